"""tail_histogram: what lies below a bracket is skipped by its cell's corners, what lies above is counted whole.

At feature positions a program bins the cells of UNITS maps of one image. At pixel positions it reads them for their
peaks, which ends it for maps that do not reach the bracket, and then goes through the grid's cells as iou_counts does.
"""

import triton
import triton.language as tl
from torch import Tensor

from dissect.kernels.arithmetic import is_bad, order_of, order_of_half, widen
from dissect.kernels.cells import choose, largest, load_cells, sample_tile, smallest
from dissect.kernels.launch import RUN_TIME, AxisTable, Maps, launch, tile_of
from dissect.kernels.maps import find_peaks, load_values


@triton.jit
def load_bracket(low, high, shift, units, num_units, num_bins, status, ZERO: tl.constexpr):
    """Of each unit: the ends of its bracket as int32 in the order of the floats, its shift, and whether it is counted.

    ZERO is the key of 0. A unit whose low exceeds its high is left out; so is one whose bins do not suffice, and then
    status becomes 1.
    """
    exist = units < num_units
    lows = tl.load(low + units, mask=exist, other=1)
    highs = tl.load(high + units, mask=exist, other=0)
    shifts = tl.load(shift + units, mask=exist, other=0)
    wanted = lows <= highs
    fits = ((highs - lows) >> shifts) < num_bins
    if tl.sum((wanted & ~fits).to(tl.int32)) > 0:
        tl.store(status, 1)
    return (lows - ZERO).to(tl.int32), (highs - ZERO).to(tl.int32), shifts.to(tl.int32), wanted & fits


@triton.jit
def bin_of(orders, low, shift):
    """Bins of orders from low on."""
    return ((orders - low).to(tl.uint32, bitcast=True) >> shift.to(tl.uint32, bitcast=True)).to(tl.int64)


@triton.jit(do_not_specialize=["num_bins", *RUN_TIME])
def features_kernel(
    maps, low, high, shift, bins, above, status, num_bins,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """A program bins the cells of UNITS maps of one image. HALF: the maps are of 16 bits, and so are the keys."""
    blocks = tl.cdiv(num_units, UNITS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    units = tl.program_id(0) % blocks * UNITS + tl.arange(0, UNITS)
    lows, highs, shifts, wanted = load_bracket(
        low, high, shift, units, num_units, num_bins, status, 1 << 15 if HALF else 1 << 31
    )
    rows = bins + units.to(tl.int64) * num_bins
    num_above = tl.zeros(units.shape, tl.int64)
    num_zeros = tl.zeros(units.shape, tl.int64)
    num_bad = tl.zeros(units.shape, tl.int32)
    for start in range(0, height * width, POSITIONS):
        positions = start + tl.arange(0, POSITIONS)
        stored, exist = load_values(maps + image * stride_image, units, positions, num_units, height, width,
                                    stride_unit, stride_row, stride_column, FLAT)  # fmt: skip
        num_bad += tl.sum(is_bad(widen(stored)).to(tl.int32), axis=0)
        orders = order_of_half(stored) if HALF else order_of(stored)
        counted = exist & wanted[None, :]
        num_above += tl.sum((counted & (orders > highs[None, :])).to(tl.int32), axis=0)
        within = counted & (orders >= lows[None, :]) & (orders <= highs[None, :])
        # After a ReLU most values are 0: those are counted here, and added to their bin at once.
        num_zeros += tl.sum((within & (orders == 0)).to(tl.int32), axis=0)
        places = rows[None, :] + bin_of(orders, lows[None, :], shifts[None, :])
        tl.atomic_add(places, tl.full(orders.shape, 1, tl.int64), mask=within & (orders != 0), sem="relaxed")
    tl.atomic_add(
        rows + bin_of(tl.zeros(units.shape, tl.int32), lows, shifts), num_zeros, mask=num_zeros > 0, sem="relaxed"
    )
    tl.atomic_add(above + units, num_above, mask=num_above > 0, sem="relaxed")
    if tl.sum(num_bad) > 0:
        tl.store(status, 1)


@triton.jit
def bin_orders(orders, numbers, valid, low, high, shift, row):
    """Adds `numbers` to the bins of the orders within the bracket. Returns how many lie above it."""
    within = valid & (orders >= low) & (orders <= high)
    tl.atomic_add(row + bin_of(orders, low, shift), numbers.to(tl.int64), mask=within, sem="relaxed")
    return tl.sum(tl.where(valid & (orders > high), numbers, 0))


@triton.jit
def bin_cells(
    cells, valid, map, low, high, shift, row, row_spans, column_spans, row_weights, column_weights,
    num_column_spans, height, width, stride_row, stride_column, TILE: tl.constexpr,
):  # fmt: skip
    """Bins the pixels of the cells [G], a tile of each at a time. Returns how many lie above the bracket."""
    a00, a01, a10, a11, y_begin, y_end, x_begin, x_end = load_cells(
        cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
    )
    num_above = 0
    for down in range(0, tl.max(y_end - y_begin), TILE):
        for right in range(0, tl.max(x_end - x_begin), TILE):
            values, inside, _, _ = sample_tile(
                a00, a01, a10, a11, y_begin, y_end, x_begin, x_end, down, right, row_weights, column_weights, TILE
            )
            num_above += bin_orders(order_of(values), inside.to(tl.int32), inside, low, high, shift, row)
    return num_above


@triton.jit
def bin_map(
    map, low, high, shift, row, row_spans, column_spans, row_weights, column_weights,
    num_row_spans, num_column_spans, height, width, stride_row, stride_column,
    CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, SAMPLE: tl.constexpr,
):  # fmt: skip
    """Bins one map. Returns how many samples lie above the bracket."""
    num_above = 0
    num_cells = num_row_spans * num_column_spans
    for start in range(0, num_cells, CELLS):
        cells = start + tl.arange(0, CELLS)
        valid = cells < num_cells
        a00, a01, a10, a11, y_begin, y_end, x_begin, x_end = load_cells(
            cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
        )
        pixels = (y_end - y_begin) * (x_end - x_begin)
        least = order_of(smallest(a00, a01, a10, a11))
        most = order_of(largest(a00, a01, a10, a11))
        if SAMPLE == "min":
            num_above += bin_orders(least, pixels, valid, low, high, shift, row)
        elif SAMPLE == "max":
            num_above += bin_orders(most, pixels, valid, low, high, shift, row)
        else:
            num_above += tl.sum(tl.where(least > high, pixels, 0))
            active = valid & (least <= high) & (most >= low)
            for first in range(0, tl.sum(active.to(tl.int32)), GROUP):
                lanes = choose(active, first, GROUP)
                num_above += bin_cells(
                    start + lanes, lanes >= 0, map, low, high, shift, row, row_spans, column_spans, row_weights,
                    column_weights, num_column_spans, height, width, stride_row, stride_column, TILE,
                )  # fmt: skip
    return num_above


@triton.jit(do_not_specialize=["num_bins", "num_row_spans", "num_column_spans", *RUN_TIME])
def pixels_kernel(
    maps, low, high, shift, bins, above, row_spans, column_spans, row_weights, column_weights, status,
    num_bins, num_row_spans, num_column_spans,
    num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    UNITS: tl.constexpr, POSITIONS: tl.constexpr, FLAT: tl.constexpr,
    CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, SAMPLE: tl.constexpr,
):  # fmt: skip
    """A program bins UNITS maps of one image, at the pixels of a grid."""
    blocks = tl.cdiv(num_units, UNITS)
    maps += (tl.program_id(0) // blocks).to(tl.int64) * stride_image
    units = tl.program_id(0) % blocks * UNITS + tl.arange(0, UNITS)
    lows, _, _, wanted = load_bracket(low, high, shift, units, num_units, num_bins, status, 1 << 31)
    peaks = find_peaks(maps, units, status, num_units, height, width, stride_unit, stride_row, stride_column,
                       POSITIONS, FLAT)  # fmt: skip
    # The zeros around a map may reach a bracket below 0; the cells tell.
    left = tl.where(wanted & (order_of(tl.maximum(peaks, 0.0)) >= lows), units, num_units)
    while tl.min(left) < num_units:
        unit = tl.min(left).to(tl.int64)
        unit_low = (tl.load(low + unit) - (1 << 31)).to(tl.int32)
        unit_high = (tl.load(high + unit) - (1 << 31)).to(tl.int32)
        num_above = bin_map(
            maps + unit * stride_unit, unit_low, unit_high, tl.load(shift + unit).to(tl.int32), bins + unit * num_bins,
            row_spans, column_spans, row_weights, column_weights, num_row_spans, num_column_spans, height, width,
            stride_row, stride_column, CELLS, GROUP, TILE, SAMPLE,
        )  # fmt: skip
        tl.atomic_add(above + unit, num_above.to(tl.int64), sem="relaxed")
        left = tl.where(left == unit, num_units, left)


def tail_histogram(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    sample: str,
    status: Tensor,
) -> None:
    """Adds to `bins` [U, B] and `above` [U].

    `status` becomes 1 where activations are bad, or a bracket does not fit in its bins.
    """
    maps = Maps(activations)
    bracket = (low.contiguous(), high.contiguous(), shift.contiguous())
    if rows is None or columns is None:
        half = activations.element_size() == 2
        launch(features_kernel, maps.num_programs, activations, *bracket, bins, above, status, bins.shape[1],
               *maps.shape_and_strides, **maps.tile, HALF=half)  # fmt: skip
        return
    row_table, column_table = (AxisTable.of(axis, activations.device) for axis in (rows, columns))
    launch(
        pixels_kernel,
        maps.num_programs,
        activations,
        *bracket,
        bins,
        above,
        row_table.spans,
        column_table.spans,
        row_table.weights,
        column_table.weights,
        status,
        bins.shape[1],
        len(row_table.spans),
        len(column_table.spans),
        *maps.shape_and_strides,
        **maps.tile,
        **tile_of(row_table, column_table),
        SAMPLE=sample,
    )
