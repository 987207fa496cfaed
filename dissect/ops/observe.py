"""observe: peaks, the tail's histogram, firing cells and ablation, in one read of a layer's feature maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.backends.arguments import new_status
from dissect.ops.blend_units import blend_of, blend_operands, inplace_operands
from dissect.ops.dispatch import implementation, register
from dissect.ops.tail_histogram import brackets_of, check_tails


class Observation(NamedTuple):
    """What was seen of one batch, beside what was added to the bins.

    Attributes:
        peaks: [N, U] float32, the highest activation of each unit in each image.
        unit_area: [N, U] int64, cells of the feature map strictly above the unit's threshold; 0 without thresholds.
        status: [] int32, 0, or 1 where the batch held bad data; only on a GPU, since a CPU raises.
    """

    peaks: Tensor
    unit_area: Tensor
    status: Tensor

    def check(self) -> Observation:
        """Returns itself, or raises ValueError where `status` tells of bad data. Waits for the device."""
        if int(self.status):
            raise ValueError(
                "observe: activations must be finite and below 2^126 in magnitude, and [low, high] fit in the bins, "
                "but they are not or do not."
            )
        return self


def observe(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    *,
    thresholds: Tensor | None = None,
    alpha: Tensor | None = None,
    value: Tensor | float = 0.0,
    mask: Tensor | None = None,
    backend: str = "auto",
) -> Observation:
    """`image_peaks`, `tail_histogram` at feature positions, firing cells and `blend_units` of the same maps.

    Equivalent to::

        peaks = image_peaks(activations)
        tail_histogram(activations, low, high, shift, bins, above)
        unit_area = (activations > thresholds[:, None, None]).sum((2, 3))
        blend_units(activations, alpha, value, mask, inplace=True)

    and on a GPU each activation is read once for all of it. What is observed are the values before they are blended.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides; written if alpha is given.
        low: [U] int64 keys; a unit whose low exceeds its high is left out of the histogram.
        high: [U] int64 keys; ``(high - low) >> shift`` must be below B.
        shift: [U] int64.
        bins: [U, B] int64, contiguous, B >= 1; added to.
        above: [U] int64, contiguous; added to.
        thresholds: [U] float32.
        alpha: [U] or [N, U]; blends in place. None: nothing is written.
        value: as of `blend_units`.
        mask: as of `blend_units`.
        backend: "auto", "cpp", "cuda", "triton", "torch" or "reference".

    Raises:
        TypeError, ValueError: as `tail_histogram` and `blend_units`, which the messages name; on a CPU before anything
            is counted or written.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> maps = torch.tensor([[[[0.5, 1.0, 2.0, 3.0]]]])
        >>> keys = dissect.reference.keys_of(torch.tensor([1.0]))
        >>> bins, above = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        >>> shift, ablated = torch.zeros_like(keys), torch.ones(1)
        >>> seen = dissect.ops.observe(
        ...     maps, keys, keys, shift, bins, above, thresholds=torch.tensor([0.7]), alpha=ablated
        ... )
        >>> seen.peaks.item(), seen.unit_area.item(), bins.item(), above.item(), maps.sum().item()
        (3.0, 3, 1, 2, 0.0)
    """
    checks.backend("observe", backend)
    check_tails(activations, low, high, shift, bins, above)
    if thresholds is not None:
        checks.vector("observe", "thresholds", thresholds, torch.float32, activations)
    tails = (low, high, shift, bins, above)
    if alpha is None:
        return Observation(*torch.ops.dissect.observe(activations, *tails, thresholds, backend))
    operands = inplace_operands(activations, blend_operands(activations, alpha, value, mask))
    return Observation(*torch.ops.dissect.observe_(activations, *tails, thresholds, *operands, backend))


def _observe(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    thresholds: Tensor | None,
    *others: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    *operands, backend = others
    serve = implementation("observe", backend, activations.device)
    brackets = brackets_of(activations, low, high, shift, bins, above)
    blend = blend_of(activations, *operands) if operands else None
    status = new_status(activations.device)
    peaks, unit_area = serve(activations, brackets, thresholds, blend, status)
    return peaks, unit_area, status


def _shapes(activations: Tensor, *arguments: object) -> tuple[Tensor, Tensor, Tensor]:
    shape = activations.shape[:2]
    return (
        activations.new_empty(shape, dtype=torch.float32),
        activations.new_empty(shape, dtype=torch.int64),
        activations.new_empty((), dtype=torch.int32),
    )


_TAILS = "Tensor low, Tensor high, Tensor shift, Tensor(b!) bins, Tensor(c!) above, Tensor? thresholds"
register(
    f"observe(Tensor activations, {_TAILS}, str backend) -> (Tensor, Tensor, Tensor)",
    _observe,
    _shapes,
)
register(
    f"observe_(Tensor(a!) activations, {_TAILS}, Tensor alpha, Tensor value, Tensor mask, str backend) "
    "-> (Tensor, Tensor, Tensor)",
    _observe,
    _shapes,
    mutates_first=True,
)
