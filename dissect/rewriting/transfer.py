"""An edit of one image carried to others along correspondences, as pixels: what rewriting is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, interpolate, pad

from dissect.arguments import integer, refusal, speaks
from dissect.rewriting.buddies import best_buddies

BlendMode = Literal["direct", "laplace"]
BLENDS: tuple[BlendMode, ...] = get_args(BlendMode)
#: Rows and columns at least of a pyramid's coarsest level.
COARSEST = 8


@dataclass(frozen=True, eq=False)
class Transfer:
    """Pastes what was changed in one image into others, where neural best buddies say that it belongs.

    The correspondences become a dense warp by moving least squares (Schaefer et al. 2006, rigid), along which the
    changed image and its mask are pulled over. What `rule_changes` takes beside edits.

    Attributes:
        before: [3, H, W], the image as it was.
        after: [3, H, W], changed.
        mask: [H, W] in [0, 1], where.
        features: from images [N, 3, H, W] to maps [N, C, h, w], the finest first, see `best_buddies`.
        blend: "direct", by the mask, or "laplace", in a Laplacian pyramid (Burt and Adelson 1983).
        count: of correspondences.

    Example:
        >>> from dissect.rewriting import Transfer
        >>> images, mask = torch.rand(2, 3, 16, 16), torch.zeros(16, 16)
        >>> mask[4:8, 4:8] = 1
        >>> def features(x):
        ...     return [x, torch.nn.functional.avg_pool2d(x, 2)]
        >>> Transfer(images[0], images[0].flip(0), mask, features)(images).shape
        torch.Size([2, 3, 16, 16])
    """

    before: Tensor
    after: Tensor
    mask: Tensor
    features: Callable[[Tensor], Sequence[Tensor]]
    blend: BlendMode = "direct"
    count: int = 10

    @speaks
    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] with the change in them; an image without a correspondence stays as it is.

        Raises:
            ValueError: images or a mask of another size, an unknown blend, or features that do not fit.
        """
        size = self.before.shape
        if self.after.shape != size or self.mask.shape != size[1:] or images.shape[1:] != size or len(size) != 3:
            shapes = [list(each.shape) for each in (images, self.before, self.after, self.mask)]
            raise refusal(
                ValueError(
                    "images, before, after and mask must be of one size, [N, 3, H, W], twice [3, H, W] and [H, W], but "
                    f"are {', '.join(map(str, shapes))}."
                )
            )
        if self.blend not in BLENDS:
            raise refusal(ValueError(f"blend must be one of {BLENDS}, but is {self.blend!r}."))
        with torch.no_grad():
            theirs, own = self.features(images), self.features(self.before[None])
            made = [self._pasted(image, [maps[at] for maps in theirs], own) for at, image in enumerate(images)]
            return torch.stack(made) if made else images

    def _pasted(self, image: Tensor, maps: Sequence[Tensor], own: Sequence[Tensor]) -> Tensor:
        found = best_buddies([each.cpu() for each in maps], [each[0].cpu() for each in own], self.count)
        if not len(found.first):
            return image
        height, width = image.shape[1:]
        scale = torch.tensor([height, width])
        here, there = (_complex(each * scale) for each in (found.first, found.second))
        moved = moving_least_squares(_complex(_middles(height, width)), here, there)
        grid = torch.stack([moved.real / width, moved.imag / height], -1).view(1, height, width, 2) * 2 - 1
        grid = grid.to(image)
        after = grid_sample(self.after[None].to(image), grid, padding_mode="border", align_corners=False)[0]
        mask = grid_sample(self.mask[None, None].to(image), grid, align_corners=False)[0, 0]
        return mask * after + (1 - mask) * image if self.blend == "direct" else laplace_blend(after, image, mask)


def moving_least_squares(points: Tensor, controls: Tensor, goals: Tensor) -> Tensor:
    """Where points come to lie when controls come to their goals: each by the nearest rigid movement (Schaefer 2006).

    All complex, [P], [M] and [M]: a movement is ``q* + (v - p*) r``, with weights 1 / |p - v|^2.

    Example:
        >>> controls = torch.tensor([0j, 4, 4j])
        >>> moved = moving_least_squares(torch.tensor([2j]), controls, controls * 1j + 3)
        >>> torch.allclose(moved, torch.tensor([1 + 0j]))
        True
    """
    weights = 1 / (points[:, None] - controls).abs().square().clamp_min(1e-8)
    weights = (weights / weights.sum(1, keepdim=True)).to(controls.dtype)
    middle, goal = weights @ controls, weights @ goals
    turn = (weights * (controls - middle[:, None]).conj() * (goals - goal[:, None])).sum(1)
    length = turn.abs()
    rigid = torch.where(length > 1e-12, turn / length.clamp_min(1e-12), torch.ones_like(turn))
    moved: Tensor = goal + (points - middle) * rigid
    return moved


@speaks
def laplace_blend(first: Tensor, second: Tensor, mask: Tensor, *, levels: int | None = None) -> Tensor:
    """Two images blended in a Laplacian pyramid, so that fine details change over sharply and broad ones softly.

    Each level halves the image by the binomial filter (1, 3, 3, 1) / 8, whose results lie between pixels as bilinear
    enlargement takes them; details are what that leaves out. They are mixed by the mask, halved as often.

    Args:
        first: [3, H, W], where the mask is 1.
        second: [3, H, W], where it is 0.
        mask: [H, W] in [0, 1].
        levels: of details; as many as leave 8 rows and columns by default.

    Raises:
        ValueError: shapes that differ, or more levels than there are sizes.

    Example:
        >>> from dissect.rewriting import laplace_blend
        >>> laplace_blend(torch.ones(3, 32, 32), torch.zeros(3, 32, 32), torch.ones(32, 32)).aminmax().min
        tensor(1.)
    """
    if first.ndim != 3 or first.shape != second.shape or mask.shape != first.shape[1:]:
        shapes = ", ".join(str(list(each.shape)) for each in (first, second, mask))
        raise refusal(ValueError(f"images and mask must be [3, H, W] twice and [H, W], but are {shapes}."))
    side, fitting = min(mask.shape), 0
    while side >> (fitting + 1) >= COARSEST:
        fitting += 1
    levels = fitting if levels is None else integer("levels", levels, 0)
    if side >> levels < 2:
        raise refusal(ValueError(f"levels must leave two rows and columns of {side}, but are {levels}."))
    stack = torch.cat([first, second, mask[None].to(first)])[None]
    details = []
    for _ in range(levels):
        smaller = _halved(stack)
        details.append((stack, stack - _enlarged(smaller, stack)))
        stack = smaller
    mixed = _mixed(stack, stack)
    for whole, detail in reversed(details):
        mixed = _enlarged(mixed, whole) + _mixed(detail, whole)
    return mixed[0]


def _mixed(stack: Tensor, masks: Tensor) -> Tensor:
    """By the last channel of `masks`, the first half of a stack's images and the second."""
    channels, alpha = stack.shape[1] // 2, masks[:, -1:]
    return alpha * stack[:, :channels] + (1 - alpha) * stack[:, channels : 2 * channels]


def _halved(stack: Tensor) -> Tensor:
    filter_ = torch.tensor([1.0, 3.0, 3.0, 1.0]).to(stack) / 8
    kernel = torch.outer(filter_, filter_).expand(stack.shape[1], 1, 4, 4)
    return conv2d(pad(stack, (1, 1, 1, 1), "replicate"), kernel, stride=2, groups=stack.shape[1])


def _enlarged(stack: Tensor, like: Tensor) -> Tensor:
    return interpolate(stack, size=like.shape[2:], mode="bilinear", align_corners=False)


def _middles(height: int, width: int) -> Tensor:
    """Row and column of the middle of each pixel, [H * W, 2]."""
    return torch.cartesian_prod(torch.arange(height) + 0.5, torch.arange(width) + 0.5)


def _complex(places: Tensor) -> Tensor:
    """Rows and columns [M, 2] as column + i row."""
    wide = places.double()
    return torch.complex(wide[:, 1], wide[:, 0])
