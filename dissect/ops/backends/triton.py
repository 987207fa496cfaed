"""Triton's kernels as a backend: `dissect.kernels`, which launch and do not wait."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor

from dissect.ops.backends.arguments import Blend, Brackets, Labels, Tables, note_bad, note_edges, status_of
from dissect.ops.backends.composed import by_image, in_turn

kernels = import_module("dissect.kernels")  # they lie in no folder that the floors' test knows


def blend_units(features: Tensor, blend: Blend) -> Tensor:
    """The blend."""
    return kernels.blend_units(features, *blend)


def blend_units_(features: Tensor, blend: Blend) -> None:
    """The same in place; what has a = 0 is neither read nor written."""
    kernels.blend_units_(features, *blend)


def blend_units_backward(gradient: Tensor, features: Tensor, blend: Blend) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of features, alpha and value."""
    return kernels.blend_units_backward(gradient, features, *blend)


def encode_labels(planes: Tensor, num_labels: int) -> Any:
    """The labels, to be written when the number of their combinations is known."""
    return kernels.Combinations(planes, num_labels)


def image_peaks(activations: Tensor, status: Tensor | None) -> Tensor:
    """[N, U] float32."""
    return kernels.image_peaks(activations, status_of("image_peaks", activations, status))


def iou_counts(
    activations: Tensor, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor]:
    """The intersection and unit_area."""
    return kernels.iou_counts(activations, thresholds, *labels, *tables, status)


def _count_images(
    activations: Tensor,
    thresholds: Tensor,
    labels: Labels,
    tables: Tables,
    starts: Tensor,
    counts: Tensor,
    status: Tensor,
) -> Tensor:
    """As `composed.CountImages`."""
    return kernels.iou_counts_by_image(activations, thresholds, *labels[:3], *tables, starts, counts, status)


iou_counts_by_image = by_image(_count_images)


def tail_histogram(
    activations: Tensor, brackets: Brackets, tables: Tables | None, sample: str, status: Tensor | None
) -> None:
    """Adds to the bins."""
    if status is None:
        brackets.check(activations, tables)
    status = status_of("tail_histogram", activations, status)
    kernels.tail_histogram(activations, *brackets, *(tables or (None, None)), sample, status)


def threshold_sweep(
    activations: Tensor, edges: Tensor, bins: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> Tensor:
    """The unit_bins; adds to the bins."""
    note_edges(edges, status)
    return kernels.threshold_sweep(activations, edges, bins, *labels, *tables, status)


def upsample_argmax(logits: Tensor, tables: Tables, status: Tensor | None) -> Tensor:
    """[N, H, W] int32."""
    status = status_of("upsample_argmax", logits, status, "logits")
    note_bad(logits, logits.amax((2, 3)).float(), status)
    return kernels.upsample_argmax(logits, *tables)


observe = in_turn(tail_histogram, image_peaks, blend_units_)
