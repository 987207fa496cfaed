"""How far apart two samples are when they are looked at from many directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from dissect.arguments import integer, refusal, seed_number, speaks

#: Values of both samples that are sorted together.
VALUES = 1 << 22
#: (1, 4, 6, 4, 1) / 16: how pyramids blur.
KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


@speaks
def sliced_wasserstein(
    features: Tensor, others: Tensor, *, projections: int = 512, seed: int = 0, order: int = 1
) -> float:
    """The sliced Wasserstein distance of two samples: the mean over directions of their distance along each.

    With D directions d drawn evenly from the unit sphere, and F_d^-1 the quantiles of a sample's products with d::

        ( 1/D sum over d of  integral over t in (0, 1) of |F_d^-1(t) - G_d^-1(t)|^p dt ) ^ (1/p)

    (Rabin et al. 2011, equation 15, there of squares.) With p = 1 and 512 directions it is the measure of Karras et al.
    2018, section 5, if `features` are patches of images (`pyramid_patches`). Along a direction it is exact, also of
    samples of different sizes. Samples of finite size never have distance 0, so state a distance of two samples of the
    same distribution beside it.

    Args:
        features: [N, D].
        others: [M, D].
        projections: how many directions are drawn.
        seed: of the directions.
        order: p, from 1 on.

    Returns:
        The distance, at least 0, in units of the features.

    Raises:
        TypeError, ValueError: shapes that do not go together, no rows, or values that are not finite; a number of
            directions, a seed or an order that cannot be.

    Example:
        >>> from dissect.stats import sliced_wasserstein
        >>> sliced_wasserstein(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]]), projections=4)
        3.0
    """
    for name, number, least in (("projections", projections, 1), ("seed", seed, 0), ("order", order, 1)):
        integer(name, number, least)
    for name, sample in (("features", features), ("others", others)):
        if sample.dim() != 2 or not sample.numel() or sample.shape[1] != features.shape[1]:
            raise refusal(
                ValueError(
                    f"{name} must be [N, D] with at least one row and the same D, but features is "
                    f"{list(features.shape)} and others is {list(others.shape)}."
                )
            )
        if not torch.isfinite(sample).all():
            raise refusal(ValueError(f"{name} must be finite."))
    ours, theirs = (sample.detach().to("cpu", torch.float64) for sample in (features, others))
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(projections, ours.shape[1], generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    places, weights = _coupled(len(ours), len(theirs))
    total = 0.0
    for some in directions.split(max(1, VALUES // (len(ours) + len(theirs)))):
        one, other = ((some @ sample.T).sort(1).values[:, place] for sample, place in zip((ours, theirs), places))
        total += float(((one - other).abs().pow(order) @ weights).sum())
    return math.pow(total / projections, 1 / order)


def _coupled(count: int, other: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Which sorted values of two samples lie at the same quantiles, and over what share of these."""
    ends = torch.cat([torch.arange(1, count + 1) * other, torch.arange(1, other + 1) * count]).unique()
    places = (ends - 1) // other, (ends - 1) // count
    return places, ends.diff(prepend=ends.new_zeros(1)).double() / (count * other)


@speaks
def pyramid_patches(
    images: Tensor, *, count: int = 128, side: int = 7, smallest: int = 16, seed: int = 0
) -> dict[int, Tensor]:
    """Patches of images at every scale, as the sliced Wasserstein distance of Karras et al. 2018 (section 5) looks at.

    Each level of the Laplacian pyramid holds what its next one, half as large, lacks; the last is the image itself,
    made small. Patches lie at random places, and each colour of a level's patches has mean 0 and deviation 1 over all
    of the patches given here: real and generated images go into calls of their own, as published.

    Args:
        images: [N, C, H, W] floats, H = W a power of two times `smallest`.
        count: patches of each image and level.
        side: of a patch, in pixels.
        smallest: the last level's side; 16 as published.
        seed: of the places, which are other ones at each level.

    Returns:
        By the level's side, the largest first, [N * count, C * side * side] float32.

    Raises:
        TypeError, ValueError: images of another shape or type, or smaller than a patch.

    Example:
        >>> from dissect.stats import pyramid_patches
        >>> {size: tuple(found.shape) for size, found in pyramid_patches(torch.rand(2, 3, 32, 32), count=5).items()}
        {32: (10, 147), 16: (10, 147)}
    """
    for name, number in {"count": count, "side": side, "smallest": smallest}.items():
        integer(name, number)
    seed_number(seed)
    size = images.shape[-1]
    levels = int(math.log2(size / smallest)) + 1 if images.ndim == 4 and size >= smallest else 0
    if not images.is_floating_point() or not levels or images.shape[2:] != (smallest << levels - 1,) * 2:
        raise refusal(
            ValueError(
                f"images must be floats [N, C, H, H] with H={smallest} or a power of two times that, but "
                f"are {images.dtype} {list(images.shape)}."
            )
        )
    if side > smallest:
        raise refusal(ValueError(f"side must be at most {smallest}, the smallest level's, but is {side}."))
    generator, found = torch.Generator().manual_seed(seed), {}
    for level in range(levels):
        small = images if level == levels - 1 else _halved(images)
        band = images if small is images else images - _doubled(small)
        found[band.shape[-1]] = _standard(_patches(band, count, side, generator))
        images = small
    return found


def _patches(images: Tensor, count: int, side: int, generator: torch.Generator) -> Tensor:
    """[N * count, C, side, side] at random places."""
    most = images.shape[-1] - side + 1
    tops, lefts = torch.randint(most, (2, len(images), count, 1, 1), generator=generator)
    within = torch.arange(side)
    rows, columns = (tops + within[:, None]).flatten(0, 1), (lefts + within).flatten(0, 1)
    owners = torch.arange(len(images)).repeat_interleave(count)[:, None, None]
    return images.permute(0, 2, 3, 1)[owners, rows, columns].movedim(3, 1)


def _standard(patches: Tensor) -> Tensor:
    """Each colour with mean 0 and deviation 1 (one that never changes stays 0), and rows of numbers."""
    deviation, mean = torch.std_mean(patches.double(), (0, 2, 3), correction=0, keepdim=True)
    return ((patches - mean) / deviation.clamp_min(torch.finfo(torch.float32).tiny)).float().flatten(1)


def _halved(images: Tensor) -> Tensor:
    """[N, C, H / 2, W / 2]: every second pixel of the blurred images."""
    return _blurred(images)[:, :, ::2, ::2]


def _doubled(images: Tensor) -> Tensor:
    """[N, C, 2 H, 2 W]: zeros between the pixels, blurred."""
    wide = images.new_zeros(*images.shape[:2], *(2 * size for size in images.shape[2:]))
    wide[:, :, ::2, ::2] = images
    return 4 * _blurred(wide)


def _blurred(images: Tensor) -> Tensor:
    """Images blurred, mirrored at their edges."""
    row = torch.tensor(KERNEL, dtype=images.dtype, device=images.device)
    kernel = torch.outer(row, row).expand(images.shape[1], 1, 5, 5)
    return conv2d(pad(images, (2, 2, 2, 2), "reflect"), kernel, groups=images.shape[1])
