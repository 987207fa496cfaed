"""The compiled CPU engine as a backend: tensors become addresses, shapes and strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dissect.ops import checks, native
from dissect.ops.backends.arguments import SAMPLES, Blend, Brackets, Labels, Tables, check_edges, check_thresholds
from dissect.ops.backends.composed import EncodedAtOnce, in_turn
from dissect.ops.backends.reference import blend_units_backward as blend_units_backward
from dissect.ops.hot import HotCells


def blend_units(features: Tensor, blend: Blend) -> Tensor:
    """The blend. Copying whole planes is what the vendor does best; only the blended ones are then touched."""
    blended = features.clone()
    blend_units_(blended, blend)
    return blended


def blend_units_(features: Tensor, blend: Blend) -> None:
    """The same in place; planes whose alpha is 0 are neither read nor written."""
    operands = [operand.expand_as(features) for operand in blend]
    native.engine().blend_units(
        *native.maps_arguments(features),
        *(part for operand in operands for part in (operand.data_ptr(), list(operand.stride()))),
        torch.get_num_threads(),
    )


def component_halves(labels: Tensor, omit_last: bool, status: Tensor | None) -> Tensor:
    """[N, 2, H, W] uint8."""
    labels, shape = labels.contiguous(), labels.shape
    halves = torch.empty((shape[0], 2, *shape[1:]), dtype=torch.uint8, device="cpu")
    native.engine().component_halves(
        labels.data_ptr(),
        native.LABEL_DTYPES.index(labels.dtype),
        list(shape),
        omit_last,
        halves.data_ptr(),
        torch.get_num_threads(),
    )
    return halves


def encode_labels(planes: Tensor, num_labels: int) -> EncodedAtOnce:
    """The labels, to be written."""

    def encode(runs: Tensor, label_area: Tensor) -> tuple[Tensor, Tensor]:
        tables = native.engine().encode_labels(
            planes.data_ptr(),
            native.LABEL_DTYPES.index(planes.dtype),
            list(planes.shape),
            list(planes.stride()),
            num_labels,
            runs.data_ptr(),
            runs.dtype == torch.int64,
            label_area.data_ptr(),
            torch.get_num_threads(),
        )
        offsets = torch.tensor([0, *tables.sizes()], device="cpu").cumsum(0) // planes.shape[1]
        table = torch.empty(int(offsets[-1]), planes.shape[1], dtype=torch.int32, device="cpu")
        tables.write(table.data_ptr())
        return table, offsets

    return EncodedAtOnce(encode)


def filter_step(state: Tensor, tiles: Tensor, gradient: Tensor, size: float, root: float) -> Tensor:
    """[B, 16, T, 16] float32; the state is written."""
    blocks, channels, num_tiles = state.shape[1], state.shape[2], tiles.shape[2]
    checks.laid_out("filter_step", "state", state, torch.float32, (3, blocks, channels, 9, 16))
    tiles, gradient = tiles.contiguous(), gradient.contiguous()
    checks.laid_out("filter_step", "tiles", tiles, torch.float32, (channels, 16, num_tiles))
    checks.laid_out("filter_step", "gradient", gradient, torch.float32, (blocks, 16, num_tiles, 16))
    product = torch.empty_like(gradient)
    native.engine().filter_step(
        *(tensor.data_ptr() for tensor in (state, tiles, gradient, product)),
        [blocks, channels, num_tiles],
        size,
        root,
        torch.get_num_threads(),
    )
    return product


def formula_search(
    table: Tensor, areas: Tensor, counts: Tensor, num_labels: int, length: int, beam: int
) -> tuple[Tensor, ...]:
    """Labels and joins [U, L], intersections and areas [U], int64."""
    if num_labels > 1 << 31:
        raise ValueError(f"formula_search: num_labels must be at most 2^31, but is {num_labels}.")
    rows = table.sort(1).values
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = 0  # each label of a row once
    rows, areas, counts = rows.int().contiguous(), areas.contiguous(), counts.contiguous()
    labels, joins = counts.new_empty(len(counts), length), counts.new_empty(len(counts), length)
    both, area = counts.new_empty(len(counts)), counts.new_empty(len(counts))
    native.engine().formula_search(
        *(tensor.data_ptr() for tensor in (rows, areas, counts)),
        [*rows.shape, len(counts), num_labels, length, beam],
        *(tensor.data_ptr() for tensor in (labels, joins, both, area)),
        torch.get_num_threads(),
    )
    return labels, joins, both, area


def hot_cells(activations: Tensor | HotCells, floors: Tensor, reach: int) -> tuple[Tensor, ...]:
    """The peaks, counts, places and values; of hot cells no peaks."""
    peaks, counts = torch.empty_like(floors), torch.empty(floors.shape, dtype=torch.int32)
    kept = native.engine().hot_cells(
        *native.maps_arguments(activations),
        floors.data_ptr(),
        reach,
        peaks.data_ptr(),
        counts.data_ptr(),
        native.hot_argument(activations),
        torch.get_num_threads(),
    )
    if kept is None:
        checks.finite("hot_cells", activations)  # finds and names the first one
    wide = activations.shape[2] * activations.shape[3] > 1 << 16
    places = torch.empty(kept.size(), dtype=torch.int32 if wide else torch.uint16)
    values = torch.empty(kept.size(), dtype=torch.float32)
    kept.write(places.data_ptr(), values.data_ptr())
    return peaks, counts, places, values


def image_peaks(activations: Tensor, status: Tensor | None) -> Tensor:
    """[N, U] float32."""
    peaks = torch.empty(activations.shape[:2], dtype=torch.float32)
    maps = native.maps_arguments(activations)
    if not native.engine().image_peaks(*maps, peaks.data_ptr(), torch.get_num_threads()):
        checks.finite("image_peaks", activations)  # finds and names the first one
    return peaks


def iou_counts(
    activations: Tensor | HotCells, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor]:
    """The intersection and unit_area."""
    check_thresholds("iou_counts", thresholds)
    intersection, unit_area, good = _count(native.engine().iou_counts, activations, thresholds, labels, tables)
    if not good:
        checks.finite("iou_counts", activations)  # finds and names the first one
    return intersection, unit_area


def iou_counts_by_image(
    activations: Tensor | HotCells, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The intersection, unit_area and entries."""
    check_thresholds("iou_counts_by_image", thresholds)
    count = native.engine().iou_counts_by_image
    intersection, unit_area, found = _count(count, activations, thresholds, labels, tables)
    if found is None:
        checks.finite("iou_counts_by_image", activations)  # finds and names the first one
    entries = torch.empty(4, found.size(), dtype=torch.int32)
    found.write(entries.data_ptr(), torch.get_num_threads())
    return intersection, unit_area, entries


def _count(
    count: Callable[..., Any], activations: Tensor | HotCells, thresholds: Tensor, labels: Labels, tables: Tables
) -> tuple[Tensor, Tensor, Any]:
    """The intersection [U, C], unit_area [N, U], and what this function of the engine returned."""
    num_images, num_units = activations.shape[:2]
    thresholds = thresholds.contiguous()
    # Left empty: filling large tensors would wake torch's own threads, which then spin beside the engine's.
    intersection = torch.empty(num_units, labels.num_labels, dtype=torch.int64)
    unit_area = torch.empty(num_images, num_units, dtype=torch.int64)
    returned = count(
        *native.maps_arguments(activations),
        *_grid(tables),
        thresholds.data_ptr(),
        labels.runs.data_ptr(),
        labels.runs.dtype == torch.int64,
        labels.table.data_ptr(),
        labels.offsets.data_ptr(),
        labels.table.shape[1],
        labels.num_labels,
        intersection.data_ptr(),
        unit_area.data_ptr(),
        native.hot_argument(activations),
        torch.get_num_threads(),
    )
    return intersection, unit_area, returned


def tail_histogram(
    activations: Tensor | HotCells, brackets: Brackets, tables: Tables | None, sample: str, status: Tensor | None
) -> None:
    """Adds to the bins."""
    brackets.check(activations, tables)
    low, high, shift, bins, above = brackets.dense()
    good = native.engine().tail_histogram(
        *native.maps_arguments(activations),
        *_grid(tables),
        SAMPLES.index(sample),
        low.data_ptr(),
        high.data_ptr(),
        shift.data_ptr(),
        bins.shape[1],
        bins.data_ptr(),
        above.data_ptr(),
        native.hot_argument(activations),
        torch.get_num_threads(),
    )
    if not good:
        checks.finite("tail_histogram", activations)  # finds and names the first one


def threshold_sweep(
    activations: Tensor, edges: Tensor, bins: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> Tensor:
    """The unit_bins; adds to the bins."""
    check_edges("threshold_sweep", edges)
    checks.finite("threshold_sweep", activations)  # before: what a bad batch had added could not be told apart
    edges = edges.contiguous()
    unit_bins = torch.zeros(*activations.shape[:2], edges.shape[1], dtype=torch.int64)
    native.engine().threshold_sweep(
        *native.maps_arguments(activations),
        *_grid(tables),
        edges.data_ptr(),
        edges.shape[1],
        labels.runs.data_ptr(),
        labels.runs.dtype == torch.int64,
        labels.table.data_ptr(),
        labels.offsets.data_ptr(),
        labels.table.shape[1],
        labels.num_labels,
        bins.data_ptr(),
        unit_bins.data_ptr(),
        torch.get_num_threads(),
    )
    return unit_bins


def upsample_argmax(logits: Tensor, tables: Tables, status: Tensor | None) -> Tensor:
    """[N, H, W] int32."""
    checks.finite("upsample_argmax", logits, "logits")
    labels = torch.empty(len(logits), *map(len, tables), dtype=torch.int32)
    native.engine().upsample_argmax(
        *native.maps_arguments(logits), *_grid(tables), labels.data_ptr(), torch.get_num_threads()
    )
    return labels


def _grid(tables: Tables | None) -> tuple[int, int, int, int]:
    """Addresses and lengths of a grid's tables; zeros for none."""
    if tables is None:
        return 0, 0, 0, 0
    rows, columns = tables
    return rows.data_ptr(), rows.shape[0], columns.data_ptr(), columns.shape[0]


observe = in_turn(tail_histogram, image_peaks, blend_units_)
