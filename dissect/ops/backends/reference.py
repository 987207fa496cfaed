"""The references as a backend: `dissect.reference` behind the checks of a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect import reference
from dissect.ops import checks
from dissect.ops.backends.arguments import Blend, Brackets, Labels, Tables, check_edges, check_natural, check_thresholds
from dissect.ops.backends.composed import EncodedAtOnce, in_turn
from dissect.reference.narrow import narrow as narrow
from dissect.subnormals import keeps_subnormals


def blend_units(features: Tensor, blend: Blend) -> Tensor:
    """The blend, in the layout that the fake promises a compiler."""
    return torch.empty_like(features).copy_(reference.blend_units(features, *blend))


def blend_units_(features: Tensor, blend: Blend) -> None:
    """The same in place."""
    features.copy_(reference.blend_units(features, *blend))


def blend_units_backward(gradient: Tensor, features: Tensor, blend: Blend) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of features, alpha and value: a few elementwise operations, which run on any device."""
    by_features, by_alpha, by_value = reference.blend_units_backward(gradient, features, *blend)
    # In the layouts that the fake promises a compiler, whatever the gradient's.
    return (
        torch.empty_like(features).copy_(by_features),
        by_alpha.sum_to_size(blend.alpha.shape).contiguous(),
        by_value.sum_to_size(blend.value.shape).contiguous(),
    )


def component_halves(labels: Tensor, omit_last: bool, status: Tensor | None) -> Tensor:
    """[N, 2, H, W] uint8."""
    check_natural("component_halves", labels)
    return reference.component_halves(labels, omit_last)


def encode_labels(planes: Tensor, num_labels: int) -> EncodedAtOnce:
    """The labels, to be written."""

    def encode(runs: Tensor, label_area: Tensor) -> tuple[Tensor, Tensor]:
        checks.labels("encode_labels", planes, num_labels)
        own_runs, table, offsets, area = reference.encode_labels(planes, num_labels)
        runs.copy_(own_runs)
        label_area.copy_(area)
        return table, offsets

    return EncodedAtOnce(encode)


@keeps_subnormals
def filter_step(state: Tensor, tiles: Tensor, gradient: Tensor, size: float, root: float) -> Tensor:
    """[B, 16, T, 16] float32; the state is written."""
    return reference.filter_step(state, tiles, gradient, size, root)


def formula_search(
    table: Tensor, areas: Tensor, counts: Tensor, num_labels: int, length: int, beam: int
) -> tuple[Tensor, ...]:
    """Labels and joins [U, L], intersections and areas [U], int64."""
    return reference.formula_search(table, areas, counts, num_labels, length, beam)


def hot_cells(activations: Tensor, floors: Tensor, reach: int) -> tuple[Tensor, ...]:
    """The peaks, counts, places and values."""
    checks.finite("hot_cells", activations)
    kept, area = reference.hot_cells(activations, floors, reach), activations.shape[2] * activations.shape[3]
    places = kept.flatten(2).nonzero()[:, 2].to(torch.int32 if area > 1 << 16 else torch.uint16)
    counts = kept.sum((2, 3), dtype=torch.int32)
    return reference.image_peaks(activations), counts, places, activations[kept].float()


def image_peaks(activations: Tensor, status: Tensor | None) -> Tensor:
    """[N, U] float32."""
    checks.finite("image_peaks", activations)
    return reference.image_peaks(activations)


def iou_counts(
    activations: Tensor, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor]:
    """The intersection and unit_area."""
    check_thresholds("iou_counts", thresholds)
    checks.finite("iou_counts", activations)
    planes = reference.decode_labels(*labels[:3])
    return reference.iou_counts(activations, thresholds, planes, labels.num_labels, *tables)


def iou_counts_by_image(
    activations: Tensor, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The intersection, unit_area and entries."""
    check_thresholds("iou_counts_by_image", thresholds)
    checks.finite("iou_counts_by_image", activations)
    planes = reference.decode_labels(*labels[:3])
    return reference.iou_counts_by_image(activations, thresholds, planes, labels.num_labels, *tables)


def tail_histogram(
    activations: Tensor, brackets: Brackets, tables: Tables | None, sample: str, status: Tensor | None
) -> None:
    """Adds to the bins."""
    brackets.check(activations, tables)
    checks.finite("tail_histogram", activations)
    low, high, shift, bins, above = brackets
    rows, columns = tables or (None, None)
    counted = reference.tail_histogram(activations, low, high, shift, bins.shape[1], rows, columns, sample)
    bins += counted[0]
    above += counted[1]


def threshold_sweep(
    activations: Tensor, edges: Tensor, bins: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> Tensor:
    """The unit_bins; adds to the bins."""
    check_edges("threshold_sweep", edges)
    checks.finite("threshold_sweep", activations)
    planes = reference.decode_labels(*labels[:3])
    counted, unit_bins = reference.threshold_sweep(activations, edges, planes, labels.num_labels, *tables)
    bins += counted
    return unit_bins


def upsample_argmax(logits: Tensor, tables: Tables, status: Tensor | None) -> Tensor:
    """[N, H, W] int32."""
    checks.finite("upsample_argmax", logits, "logits")
    return reference.upsample_argmax(logits, *tables)


observe = in_turn(tail_histogram, image_peaks, blend_units_)
