"""iou_counts: only cells with a corner above the threshold are looked at, and labels only where a unit fires.

A program takes UNITS maps of one image. It reads them once for their peaks, which ends it for most maps, and then, for
each map that reaches its threshold, tests the cells of the grid, 64 at a time, and samples those that can fire,
GROUP of them side by side, in tiles of TILE x TILE target pixels. What fires there is counted a combination of labels
at a time: few combinations meet in a tile, so the only atomics are one per tile, combination and plane.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.cells import visit_map
from dissect.kernels.launch import RUN_TIME, AxisTable, Maps, launch, tile_of
from dissect.kernels.maps import find_peaks

#: Above every combination of a 32-bit run; what a pixel holds that is counted already, or does not fire.
NONE: tl.constexpr = tl.constexpr(0x7FFFFFFF)

#: So many combinations of a tile are counted together; labels that change with every pixel are added one by one.
ROUNDS: tl.constexpr = tl.constexpr(4)


@triton.jit
def add_labels(combinations, numbers, valid, row, table, num_planes):
    """Adds `numbers` to the unit's row of counts, for each label of the combinations."""
    for plane in range(0, num_planes):
        label = tl.load(table + combinations.to(tl.int64) * num_planes + plane, mask=valid, other=0)
        tl.atomic_add(row + label, numbers, mask=valid & (label > 0), sem="relaxed")


@triton.jit
def count_labels(values, fires, pixels, what):
    """Counts the labels of the pixels [G, P] that fire."""
    row, runs, table, num_planes, mask = what
    run = tl.load(runs + pixels, mask=fires, other=0)
    left = tl.where(fires, (run & mask).to(tl.int32), NONE)
    rounds = 0
    while (rounds < ROUNDS) & (tl.min(left) != NONE):
        combination = tl.min(left, axis=1)
        met = left == combination[:, None]
        numbers = tl.sum(met.to(tl.int32), axis=1).to(row.dtype.element_ty)
        add_labels(combination, numbers, combination != NONE, row, table, num_planes)
        left = tl.where(met, NONE, left)
        rounds += 1
    if tl.min(left) != NONE:
        add_labels(left, tl.full(left.shape, 1, row.dtype.element_ty), left != NONE, row, table, num_planes)


@triton.jit(
    do_not_specialize=[
        *RUN_TIME,
        "num_row_spans",
        "num_column_spans",
        "num_rows",
        "num_columns",
        "num_planes",
        "num_labels",
    ]
)
def iou_counts_kernel(
    maps, thresholds, row_spans, column_spans, row_weights, column_weights, runs, table, offsets,
    starts, counts, unit_area, status,
    num_row_spans, num_column_spans, num_rows, num_columns, num_planes, num_labels,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr,
    CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, RUN_BITS: tl.constexpr, BY_IMAGE: tl.constexpr,
):  # fmt: skip
    """A program takes UNITS maps of one image. Counts are [U, C], or BY_IMAGE as `iou_counts_by_image` says."""
    blocks = tl.cdiv(num_units, UNITS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    units = tl.program_id(0) % blocks * UNITS + tl.arange(0, UNITS)
    exist = units < num_units
    maps += image * stride_image
    runs += image * num_rows * num_columns
    table += tl.load(offsets + image) * num_planes
    unit_area += image * num_units
    size = num_labels.to(tl.int64)
    if BY_IMAGE:
        first = tl.load(starts + image)
        size = tl.load(starts + image + 1) - first
        counts += first * num_units - 1  # numbers begin with 1
    levels = tl.load(thresholds + units, mask=exist, other=0.0)
    if tl.sum((levels != levels).to(tl.int32)) > 0:  # NaN
        tl.store(status, 1)
    peaks = find_peaks(maps, units, status, num_units, height, width, stride_unit, stride_row, stride_column,
                       POSITIONS, FLAT)  # fmt: skip
    # The zeros around a map may exceed a negative threshold; the cells tell.
    reach = exist & (tl.maximum(peaks, 0.0) > levels)
    tl.store(unit_area + units, 0, mask=exist & ~reach)
    left = tl.where(reach, units, num_units)
    while tl.min(left) < num_units:
        unit = tl.min(left).to(tl.int64)
        area = visit_map(
            maps + unit * stride_unit, tl.load(thresholds + unit), count_labels,
            (counts + unit * size, runs, table, num_planes, (1 << RUN_BITS) - 1), row_spans, column_spans, row_weights,
            column_weights, num_row_spans, num_column_spans, num_columns, height, width, stride_row, stride_column,
            CELLS, GROUP, TILE,
        )  # fmt: skip
        tl.store(unit_area + unit, area)
        left = tl.where(left == unit, num_units, left)


def iou_counts(
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor,
    columns: Tensor,
    status: Tensor,
) -> tuple[Tensor, Tensor]:
    """The intersection [U, C] and unit_area [N, U], int64; bad activations and NaN thresholds set `status` to 1."""
    intersection = torch.zeros(activations.shape[1], num_labels, dtype=torch.int64, device=activations.device)
    labels = (runs, table, offsets, num_labels)
    return intersection, _count(activations, thresholds, labels, rows, columns, None, intersection, status)


def iou_counts_by_image(
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    rows: Tensor,
    columns: Tensor,
    starts: Tensor,
    counts: Tensor,
    status: Tensor,
) -> Tensor:
    """The unit_area [N, U]; of a table that numbers the labels of each image from 1, adds to `counts`, int32.

    Those of image n are [U, starts[n + 1] - starts[n]], and begin at ``starts[n] * U``.
    """
    labels = (runs, table, offsets, 0)
    return _count(activations, thresholds, labels, rows, columns, starts, counts, status)


def _count(
    activations: Tensor,
    thresholds: Tensor,
    labels: tuple[Tensor, Tensor, Tensor, int],
    rows: Tensor,
    columns: Tensor,
    starts: Tensor | None,
    counts: Tensor,
    status: Tensor,
) -> Tensor:
    runs, table, offsets, num_labels = labels
    maps = Maps(activations)
    unit_area = torch.empty(activations.shape[:2], dtype=torch.int64, device=activations.device)
    row_table, column_table = (AxisTable.of(axis, activations.device) for axis in (rows, columns))
    launch(
        iou_counts_kernel,
        maps.num_programs,
        activations,
        thresholds.contiguous(),
        row_table.spans,
        column_table.spans,
        row_table.weights,
        column_table.weights,
        runs,
        table,
        offsets,
        offsets if starts is None else starts,
        counts,
        unit_area,
        status,
        len(row_table.spans),
        len(column_table.spans),
        len(rows),
        len(columns),
        table.shape[1],
        num_labels,
        *maps.shape_and_strides,
        **maps.tile,
        **tile_of(row_table, column_table),
        RUN_BITS=17 if runs.element_size() == 4 else 32,
        BY_IMAGE=starts is not None,
    )
    return unit_area
