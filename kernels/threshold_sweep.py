"""threshold_sweep: pixels by the highest of a unit's edges that they exceed, and by label.

A program takes UNITS maps of one image, as in iou_counts: most end at their peaks, most cells at their corners. Of what
exceeds the lowest edge, each pixel searches its edge and is counted once for the unit and once per label.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.cells import choose, largest, load_cells, sample_tile
from dissect.kernels.launch import RUN_TIME, AxisTable, Maps, launch, tile_of
from dissect.kernels.maps import find_peaks


@triton.jit
def highest_edge(values, exceed, edges, num_edges, first_step):
    """The number of the highest edge below each value, of those that exceed the lowest."""
    found = tl.zeros(values.shape, tl.int32)
    step = first_step
    while step > 0:
        following = found + step
        inside = exceed & (following < num_edges)
        edge = tl.load(edges + following, mask=inside, other=float("inf"))
        found = tl.where(values > edge, following, found)
        step = step // 2
    return found


@triton.jit
def sweep_cells(
    cells, valid, map, lowest, edges, bins, unit_bins, row_spans, column_spans, row_weights, column_weights, runs,
    table, num_column_spans, num_columns, num_planes, num_edges, first_step, height, width, stride_row, stride_column,
    TILE: tl.constexpr, RUN_BITS: tl.constexpr,
):  # fmt: skip
    """Counts the cells [G], a tile of each at a time."""
    a00, a01, a10, a11, y_begin, y_end, x_begin, x_end = load_cells(
        cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
    )
    for down in range(0, tl.max(y_end - y_begin), TILE):
        for right in range(0, tl.max(x_end - x_begin), TILE):
            values, inside, y, x = sample_tile(
                a00, a01, a10, a11, y_begin, y_end, x_begin, x_end, down, right, row_weights, column_weights, TILE
            )
            exceed = inside & (values > lowest)
            edge = highest_edge(values, exceed, edges, num_edges, first_step).to(tl.int64)
            one = tl.full(values.shape, 1, tl.int64)
            tl.atomic_add(unit_bins + edge, one, mask=exceed, sem="relaxed")
            run = tl.load(runs + y.to(tl.int64) * num_columns + x, mask=exceed, other=0)
            combination = (run & ((1 << RUN_BITS) - 1)).to(tl.int64)
            for plane in range(0, num_planes):
                label = tl.load(table + combination * num_planes + plane, mask=exceed, other=0)
                place = bins + label.to(tl.int64) * num_edges + edge
                tl.atomic_add(place, one, mask=exceed & (label > 0), sem="relaxed")


@triton.jit
def sweep_map(
    map, edges, bins, unit_bins, row_spans, column_spans, row_weights, column_weights, runs, table,
    num_row_spans, num_column_spans, num_columns, num_planes, num_edges, first_step, height, width, stride_row,
    stride_column, CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, RUN_BITS: tl.constexpr,
):  # fmt: skip
    """Counts one map."""
    lowest = tl.load(edges)
    num_cells = num_row_spans * num_column_spans
    for start in range(0, num_cells, CELLS):
        cells = start + tl.arange(0, CELLS)
        valid = cells < num_cells
        a00, a01, a10, a11, _, _, _, _ = load_cells(
            cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
        )
        active = valid & (largest(a00, a01, a10, a11) > lowest)
        for first in range(0, tl.sum(active.to(tl.int32)), GROUP):
            lanes = choose(active, first, GROUP)
            sweep_cells(
                start + lanes, lanes >= 0, map, lowest, edges, bins, unit_bins, row_spans, column_spans, row_weights,
                column_weights, runs, table, num_column_spans, num_columns, num_planes, num_edges, first_step, height,
                width, stride_row, stride_column, TILE, RUN_BITS,
            )  # fmt: skip


@triton.jit(
    do_not_specialize=[
        *RUN_TIME,
        "num_row_spans",
        "num_column_spans",
        "num_rows",
        "num_columns",
        "num_planes",
        "num_labels",
        "num_edges",
        "first_step",
    ]
)
def threshold_sweep_kernel(
    maps, edges, row_spans, column_spans, row_weights, column_weights, runs, table, offsets, bins, unit_bins, status,
    num_row_spans, num_column_spans, num_rows, num_columns, num_planes, num_labels, num_edges, first_step,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr,
    CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, RUN_BITS: tl.constexpr,
):  # fmt: skip
    """A program takes UNITS maps of one image."""
    blocks = tl.cdiv(num_units, UNITS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    units = tl.program_id(0) % blocks * UNITS + tl.arange(0, UNITS)
    maps += image * stride_image
    runs += image * num_rows * num_columns
    table += tl.load(offsets + image) * num_planes
    unit_bins += image * num_units * num_edges
    lowest = tl.load(edges + units.to(tl.int64) * num_edges, mask=units < num_units, other=float("inf"))
    peaks = find_peaks(maps, units, status, num_units, height, width, stride_unit, stride_row, stride_column,
                       POSITIONS, FLAT)  # fmt: skip
    # The zeros around a map may exceed a negative edge; the cells tell.
    left = tl.where(tl.maximum(peaks, 0.0) > lowest, units, num_units)
    while tl.min(left) < num_units:
        unit = tl.min(left).to(tl.int64)
        sweep_map(
            maps + unit * stride_unit, edges + unit * num_edges, bins + unit * num_labels * num_edges,
            unit_bins + unit * num_edges, row_spans, column_spans, row_weights, column_weights, runs, table,
            num_row_spans, num_column_spans, num_columns, num_planes, num_edges, first_step, height, width, stride_row,
            stride_column, CELLS, GROUP, TILE, RUN_BITS,
        )  # fmt: skip
        left = tl.where(left == unit, num_units, left)


def threshold_sweep(
    activations: Tensor,
    edges: Tensor,
    bins: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor,
    columns: Tensor,
    status: Tensor,
) -> Tensor:
    """The unit_bins [N, U, B], int64; adds to `bins` [U, C, B]; bad activations set `status` to 1."""
    maps = Maps(activations)
    num_edges = edges.shape[1]
    unit_bins = torch.zeros(*activations.shape[:2], num_edges, dtype=torch.int64, device=activations.device)
    row_table, column_table = (AxisTable.of(axis, activations.device) for axis in (rows, columns))
    launch(
        threshold_sweep_kernel,
        maps.num_programs,
        activations,
        edges.contiguous(),
        row_table.spans,
        column_table.spans,
        row_table.weights,
        column_table.weights,
        runs,
        table,
        offsets,
        bins,
        unit_bins,
        status,
        len(row_table.spans),
        len(column_table.spans),
        len(rows),
        len(columns),
        table.shape[1],
        num_labels,
        num_edges,
        1 << (num_edges.bit_length() - 1),
        *maps.shape_and_strides,
        **maps.tile,
        **tile_of(row_table, column_table),
        RUN_BITS=17 if runs.element_size() == 4 else 32,
    )
    return unit_bins
