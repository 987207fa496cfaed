"""The cells of a grid: the target pixels that lie between the same four corners of a map.

No sample of a cell exceeds its largest corner or falls below its smallest (`dissect.Grid`), so that most cells are
decided by their corners alone.
"""

import triton
import triton.language as tl

from dissect.kernels.arithmetic import sample, widen


@triton.jit
def load_span(spans, number, valid):
    """Source indices [0], [1] and target range [begin, end) of the spans with these numbers; empty where not valid."""
    span = spans + number * 4
    index0 = tl.load(span, mask=valid, other=0)
    index1 = tl.load(span + 1, mask=valid, other=0)
    begin = tl.load(span + 2, mask=valid, other=0)
    end = tl.load(span + 3, mask=valid, other=0)
    return index0, index1, begin, end


@triton.jit
def load_corner(map, row, column, valid, height, width, stride_row, stride_column):
    """Values in float32; 0 for the virtual corners around the map."""
    inside = valid & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    place = row.to(tl.int64) * stride_row + column.to(tl.int64) * stride_column
    return widen(tl.load(map + place, mask=inside, other=0.0))


@triton.jit
def choose(wanted, first, GROUP: tl.constexpr):
    """Where the lanes of a block that are wanted lie: of number `first` and the next ones, [GROUP]; -1 beyond the last.

    A block's few active cells are gathered so, and worked at side by side.
    """
    numbers = tl.cumsum(wanted.to(tl.int32), axis=0) - 1
    lanes = tl.arange(0, wanted.shape[0])
    hits = wanted[None, :] & (numbers[None, :] == first + tl.arange(0, GROUP)[:, None])
    return tl.max(tl.where(hits, lanes[None, :], -1), axis=1)


@triton.jit
def load_cells(cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column):
    """Of the cells with these numbers, row by row: their corners, and where their target pixels begin and end."""
    y0, y1, y_begin, y_end = load_span(row_spans, cells // num_column_spans, valid)
    x0, x1, x_begin, x_end = load_span(column_spans, cells % num_column_spans, valid)
    a00 = load_corner(map, y0, x0, valid, height, width, stride_row, stride_column)
    a01 = load_corner(map, y0, x1, valid, height, width, stride_row, stride_column)
    a10 = load_corner(map, y1, x0, valid, height, width, stride_row, stride_column)
    a11 = load_corner(map, y1, x1, valid, height, width, stride_row, stride_column)
    return a00, a01, a10, a11, y_begin, y_end, x_begin, x_end


@triton.jit
def smallest(a00, a01, a10, a11):
    """Of the four corners."""
    return tl.minimum(tl.minimum(a00, a01), tl.minimum(a10, a11))


@triton.jit
def largest(a00, a01, a10, a11):
    """Of the four corners."""
    return tl.maximum(tl.maximum(a00, a01), tl.maximum(a10, a11))


@triton.jit
def sample_tile(a00, a01, a10, a11, y_begin, y_end, x_begin, x_end, down, right, row_weights, column_weights,
                TILE: tl.constexpr):  # fmt: skip
    """The samples [G, TILE * TILE] of a tile of each cell, which of them are the cell's, and their rows and columns."""
    pixel = tl.arange(0, TILE * TILE)
    y = y_begin[:, None] + down + (pixel // TILE)[None, :]
    x = x_begin[:, None] + right + (pixel % TILE)[None, :]
    inside = (y < y_end[:, None]) & (x < x_end[:, None])
    wy = tl.load(row_weights + y, mask=inside, other=0.0)
    wx = tl.load(column_weights + x, mask=inside, other=0.0)
    values = sample(a00[:, None], a01[:, None], a10[:, None], a11[:, None], wy, wx)
    return values, inside, y, x


@triton.jit
def visit_cells(
    cells, valid, map, level, visit: tl.constexpr, what, row_spans, column_spans, row_weights, column_weights,
    num_column_spans, num_columns, height, width, stride_row, stride_column, TILE: tl.constexpr,
):  # fmt: skip
    """Calls visit(values, exceed, pixels, what) for the cells [G], a tile of each at a time: what exceeds the level?

    Returns how many of their pixels do.
    """
    a00, a01, a10, a11, y_begin, y_end, x_begin, x_end = load_cells(
        cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
    )
    area = 0
    for down in range(0, tl.max(y_end - y_begin), TILE):
        for right in range(0, tl.max(x_end - x_begin), TILE):
            values, inside, y, x = sample_tile(
                a00, a01, a10, a11, y_begin, y_end, x_begin, x_end, down, right, row_weights, column_weights, TILE
            )
            exceed = inside & (values > level)
            area += tl.sum(exceed.to(tl.int32))
            visit(values, exceed, y.to(tl.int64) * num_columns + x, what)
    return area


@triton.jit
def visit_map(
    map, level, visit: tl.constexpr, what, row_spans, column_spans, row_weights, column_weights, num_row_spans,
    num_column_spans, num_columns, height, width, stride_row, stride_column,
    CELLS: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The same for all cells of a map that have a corner above the level, GROUP of them side by side."""
    area = 0
    num_cells = num_row_spans * num_column_spans
    for start in range(0, num_cells, CELLS):
        cells = start + tl.arange(0, CELLS)
        valid = cells < num_cells
        a00, a01, a10, a11, _, _, _, _ = load_cells(
            cells, valid, map, row_spans, column_spans, num_column_spans, height, width, stride_row, stride_column
        )
        active = valid & (largest(a00, a01, a10, a11) > level)
        for first in range(0, tl.sum(active.to(tl.int32)), GROUP):
            lanes = choose(active, first, GROUP)
            area += visit_cells(
                start + lanes, lanes >= 0, map, level, visit, what, row_spans, column_spans, row_weights,
                column_weights, num_column_spans, num_columns, height, width, stride_row, stride_column, TILE,
            )  # fmt: skip
    return area
