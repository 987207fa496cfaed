"""threshold_sweep: pixels by the highest of a unit's edges that they exceed, and by label.

A program takes UNITS maps of one image, as in iou_counts: most end at their peaks, most cells at their corners. Of what
exceeds the lowest edge, each pixel searches its edge and is counted once for the unit and once per label.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.cells import visit_map
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
def sweep_pixels(values, exceed, pixels, what):
    """Counts the pixels [G, P] that exceed the lowest edge."""
    edges, bins, unit_bins, num_edges, first_step, runs, table, num_planes, mask = what
    edge = highest_edge(values, exceed, edges, num_edges, first_step).to(tl.int64)
    one = tl.full(values.shape, 1, tl.int64)
    tl.atomic_add(unit_bins + edge, one, mask=exceed, sem="relaxed")
    combination = (tl.load(runs + pixels, mask=exceed, other=0) & mask).to(tl.int64)
    for plane in range(0, num_planes):
        label = tl.load(table + combination * num_planes + plane, mask=exceed, other=0)
        place = bins + label.to(tl.int64) * num_edges + edge
        tl.atomic_add(place, one, mask=exceed & (label > 0), sem="relaxed")


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
        unit_edges = edges + unit * num_edges
        visit_map(
            maps + unit * stride_unit, tl.load(unit_edges), sweep_pixels,
            (unit_edges, bins + unit * num_labels * num_edges, unit_bins + unit * num_edges, num_edges, first_step,
             runs, table, num_planes, (1 << RUN_BITS) - 1),
            row_spans, column_spans, row_weights, column_weights, num_row_spans, num_column_spans, num_columns, height,
            width, stride_row, stride_column, CELLS, GROUP, TILE,
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
        (1 << (num_edges - 1).bit_length()) // 2,
        *maps.shape_and_strides,
        **maps.tile,
        **tile_of(row_table, column_table),
        RUN_BITS=17 if runs.element_size() == 4 else 32,
    )
    return unit_bins
