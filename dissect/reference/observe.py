"""What one read of a feature map's own cells tells: peaks, the tail's histogram, where units fire; and ablation."""

import torch
from torch import Tensor

from dissect.reference.blend_units import blend_units
from dissect.reference.image_peaks import image_peaks
from dissect.reference.tail_histogram import tail_histogram
from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def observe(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    num_bins: int,
    thresholds: Tensor | None = None,
    alpha: Tensor | None = None,
    value: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """`image_peaks`, `tail_histogram` at feature positions and the firing cells, all of the maps as they are given.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        low: [U] int64 keys, see `tail_histogram`.
        high: [U] int64 keys.
        shift: [U] int64.
        num_bins: B.
        thresholds: [U] float32; None: no unit fires.
        alpha: float32, broadcasts to the activations; None: nothing is blended.
        value: float32, broadcasts to the activations.
        mask: float32, broadcasts to the activations.

    Returns:
        peaks: [N, U] float32.
        bins: [U, B] int64.
        above: [U] int64.
        unit_area: [N, U] int64, cells strictly above the threshold.
        blended: [N, U, h, w], what `blend_units` makes of the maps.
    """
    bins, above = tail_histogram(activations, low, high, shift, num_bins, None, None)
    fires = torch.zeros_like(activations, dtype=torch.bool)
    if thresholds is not None:
        fires = activations.float() > thresholds[:, None, None]
    blended = activations
    if alpha is not None and value is not None and mask is not None:
        blended = blend_units(activations, alpha, value, mask)
    return image_peaks(activations), bins, above, fires.sum((2, 3)), blended
