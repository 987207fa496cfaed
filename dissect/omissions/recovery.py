"""How well images whose z is known are inverted (thesis, section 5.4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.network.modes import check_segmenter
from dissect.omissions.inversion import Inversion
from dissect.omissions.inverter import LayerInverter


class RecoveryRow(NamedTuple):
    """How close an inversion comes to the truth, over all images.

    A correlation "pooled" is one Pearson correlation over all values of all images, as the published notebook has it;
    "mean" is the mean over dimensions of each one's correlation over the images, as the caption of Figure 5-6 can be
    read; dimensions that never vary are left out of it. None where nothing varies, as of a single image.

    Attributes:
        method: of the inversion.
        images: how many.
        z: pooled correlation of z.
        z_mean: mean correlation.
        r: the same of the n-th layer.
        r_mean: see above.
        pixels: the same of the images.
        pixels_mean: see above.
        l1: mean absolute difference of the images, cut to [-1, 1].
        psnr: mean over images of ``10 log10(4 / mean squared difference)`` in decibels, of images cut to [-1, 1].
        agreement: the share of pixels that a segmenter gives the same label; None without one.
    """

    method: str
    images: int
    z: float | None
    z_mean: float | None
    r: float | None
    r_mean: float | None
    pixels: float | None
    pixels_mean: float | None
    l1: float
    psnr: float
    agreement: float | None


@speaks
def recovery(
    inverter: LayerInverter, z: Tensor, found: Inversion, *, segmenter: Callable[[Tensor], Tensor] | None = None,
    plane: int = 0,
) -> RecoveryRow:  # fmt: skip
    """Compares an inversion with the z of which the generator made the images.

    Args:
        inverter: that made it.
        z: [N, ...].
        found: the inversion of the generator's images of these z.
        segmenter: from images in [-1, 1] to planes.
        plane: of these.

    Raises:
        ValueError: an inversion of another generator; another number of z than of images, NaN among them; a segmenter
            in training mode, or of images in [0, 1].

    Example:
        >>> model = dissect.models.ProGAN((4, 4, 4), z_channels=4).eval()
        >>> inverter = LayerInverter.untrained(model, ["layer1", "layer2"], width=2)
        >>> z = dissect.latents(model, 5)
        >>> row = recovery(inverter, z, inverter.invert(model(z).detach(), "d", progress=False))
        >>> row.images, row.pixels < 1
        (5, True)
    """
    for name, value, kind in (("inverter", inverter, LayerInverter), ("z", z, Tensor), ("found", found, Inversion)):
        if not isinstance(value, kind):
            raise refusal(TypeError(f"{name} must be a {kind.__name__}, but got {type(value).__name__}."))
    if found.generator not in ("", inverter.generator):
        raise refusal(ValueError("found must be an inversion of the inverter's generator, but is of another's images."))
    if z.shape != found.z.shape or z.dtype != found.z.dtype:
        raise refusal(
            ValueError(
                f"z must have shape {list(found.z.shape)} and {found.z.dtype}, as found has, but got {list(z.shape)} "
                f"{z.dtype}."
            )
        )
    if not bool(z.isfinite().all()):
        raise refusal(ValueError("z must be finite, but some are NaN or infinite."))
    check_segmenter(segmenter, generated=True)
    with torch.no_grad():
        r = inverter.chain.layers_of(z)[-1]
        images = inverter.chain.render(r)
        agreement = None
        if segmenter is not None:
            planes = segmenter(images)
            if planes.ndim != 4 or not 0 <= integer("plane", plane, 0) < planes.shape[1]:
                raise refusal(
                    ValueError(f"plane must be one of those of segmenter {list(planes.shape)}, but is {plane}.")
                )
            same = planes[:, plane] == segmenter(found.images)[:, plane]
            agreement = float(same.double().mean())
    shown, again = images.clamp(-1, 1).double(), found.images.clamp(-1, 1).double()
    squares = (shown - again).square().flatten(1).mean(1)
    psnr = float((10 * torch.log10(4 / squares.clamp(min=1e-12))).mean())
    return RecoveryRow(
        found.method, len(z), *_correlations(z, found.z), *_correlations(r, found.r),
        *_correlations(images, found.images), float((shown - again).abs().mean()), psnr, agreement,
    )  # fmt: skip


def _correlations(true: Tensor, found: Tensor) -> tuple[float | None, float | None]:
    """Pooled, and the mean over dimensions; None where nothing varies.

    Example:
        >>> _correlations(torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[0.0, 2], [2, 4]]))
        (0.0, 0.0)
    """
    one, other = true.detach().flatten(1).double(), found.detach().flatten(1).double()
    found_of = (_pearson(one.flatten()[:, None], other.flatten()[:, None]), _pearson(one, other))
    pooled, mean = (known.mean().item() if len(known := each[~each.isnan()]) else None for each in found_of)
    return pooled, mean


def _pearson(one: Tensor, other: Tensor) -> Tensor:
    """[D] of two [N, D], over rows; NaN where a column does not vary."""
    one, other = one - one.mean(0), other - other.mean(0)
    return (one * other).sum(0) / (one.square().sum(0) * other.square().sum(0)).sqrt()
