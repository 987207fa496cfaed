"""Plain PyTorch as a backend, where it gives the references' bits on any device: it serves a GPU without kernels."""

from __future__ import annotations

from torch import Tensor

from dissect import reference
from dissect.devices import to_device
from dissect.ops.backends.arguments import Brackets, Tables, natural_status_of, note_bad, status_of
from dissect.ops.backends.composed import in_turn
from dissect.ops.backends.reference import blend_units as blend_units
from dissect.ops.backends.reference import blend_units_ as blend_units_
from dissect.ops.backends.reference import blend_units_backward as blend_units_backward
from dissect.ops.backends.reference import filter_step as filter_step
from dissect.ops.backends.reference import formula_search as formula_search
from dissect.ops.backends.reference import hot_cells as hot_cells
from dissect.ops.backends.reference import narrow as narrow
from dissect.subnormals import keeps_subnormals


def component_halves(labels: Tensor, omit_last: bool, status: Tensor | None) -> Tensor:
    """[N, 2, H, W] uint8."""
    status = natural_status_of("component_halves", labels, status)
    status |= (labels < 0).any()
    return reference.component_halves(labels, omit_last)


@keeps_subnormals
def image_peaks(activations: Tensor, status: Tensor | None) -> Tensor:
    """[N, U] float32."""
    status = status_of("image_peaks", activations, status)
    peaks = activations.amax((2, 3)).float()
    note_bad(activations, peaks, status)
    return peaks + 0.0  # a zero is always the positive one


def tail_histogram(
    activations: Tensor, brackets: Brackets, tables: Tables | None, sample: str, status: Tensor | None
) -> None:
    """Adds to the bins."""
    if status is None:
        brackets.check(activations, tables)
    status = status_of("tail_histogram", activations, status)
    low, high, shift, bins, above = brackets
    rows, columns = (to_device(axis, bins.device) for axis in tables) if tables else (None, None)
    counted = reference.tail_histogram(activations, low, high, shift, bins.shape[1], rows, columns, sample)
    bins += counted[0]
    above += counted[1]
    note_bad(activations, activations.amax((2, 3)).float(), status)
    status |= ((low <= high) & ((high - low) >> shift >= bins.shape[1])).any()


def upsample_argmax(logits: Tensor, tables: Tables, status: Tensor | None) -> Tensor:
    """[N, H, W] int32."""
    status = status_of("upsample_argmax", logits, status, "logits")
    note_bad(logits, logits.amax((2, 3)).float(), status)
    return reference.upsample_argmax(logits, *(to_device(axis, logits.device) for axis in tables))


observe = in_turn(tail_histogram, image_peaks, blend_units_)
