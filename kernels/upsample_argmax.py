"""upsample_argmax: a tile of target pixels at a time, one map after the other."""

import triton
import triton.language as tl
from torch import Tensor

from dissect.devices import to_device
from dissect.kernels.arithmetic import sample, widen
from dissect.kernels.launch import RUN_TIME, Maps, launch

ROWS, COLUMNS = 8, 32


@triton.jit
def load_entries(table, targets, num_targets):
    """Of an axis of a Grid, for these targets: the two source indices and the weight of the second."""
    entry = table + targets * 3
    valid = targets < num_targets
    index0 = tl.load(entry, mask=valid, other=-1)
    index1 = tl.load(entry + 1, mask=valid, other=-1)
    return index0, index1, tl.load(entry + 2, mask=valid, other=0).to(tl.float32, bitcast=True)


@triton.jit
def place_of(row, column, height, width, stride_row, stride_column):
    """Where a source value lies in its map, [R, C], and whether it is none of the virtual zeros around it."""
    inside = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))[None, :]
    return row.to(tl.int64)[:, None] * stride_row + column.to(tl.int64)[None, :] * stride_column, inside


@triton.jit(do_not_specialize=[*RUN_TIME, "num_rows", "num_columns"])
def upsample_argmax_kernel(
    maps, rows, columns, winners, num_units, height, width, stride_image, stride_unit, stride_row, stride_column,
    num_rows, num_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A program takes a tile of one image's target pixels."""
    across = tl.cdiv(num_columns, COLUMNS)
    tiles = tl.cdiv(num_rows, ROWS) * across
    image = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    y = tile // across * ROWS + tl.arange(0, ROWS)
    x = tile % across * COLUMNS + tl.arange(0, COLUMNS)
    y0, y1, wy = load_entries(rows, y, num_rows)
    x0, x1, wx = load_entries(columns, x, num_columns)
    p00, in00 = place_of(y0, x0, height, width, stride_row, stride_column)
    p01, in01 = place_of(y0, x1, height, width, stride_row, stride_column)
    p10, in10 = place_of(y1, x0, height, width, stride_row, stride_column)
    p11, in11 = place_of(y1, x1, height, width, stride_row, stride_column)
    best = tl.full((ROWS, COLUMNS), float("-inf"), tl.float32)
    winner = tl.zeros((ROWS, COLUMNS), tl.int32)
    map = maps + image * stride_image
    for number in range(0, num_units):
        a00 = widen(tl.load(map + p00, mask=in00, other=0.0))
        a01 = widen(tl.load(map + p01, mask=in01, other=0.0))
        a10 = widen(tl.load(map + p10, mask=in10, other=0.0))
        a11 = widen(tl.load(map + p11, mask=in11, other=0.0))
        values = sample(a00, a01, a10, a11, wy[:, None], wx[None, :])
        wins = values > best  # a tie is the first one's
        best = tl.where(wins, values, best)
        winner = tl.where(wins, number, winner)
        map += stride_unit
    place = (image * num_rows + y[:, None]) * num_columns + x[None, :]
    tl.store(winners + place, winner, mask=(y < num_rows)[:, None] & (x < num_columns)[None, :])


def upsample_argmax(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[N, H, W] int32; worthless where a value is bad."""
    num_images, num_rows, num_columns = len(logits), len(rows), len(columns)
    winners = logits.new_empty((num_images, num_rows, num_columns), dtype=rows.dtype)
    programs = num_images * -(-num_rows // ROWS) * -(-num_columns // COLUMNS)
    tables = (to_device(table, logits.device) for table in (rows, columns))
    shape_and_strides = Maps(logits).shape_and_strides
    launch(
        upsample_argmax_kernel, programs, logits, *tables, winners, *shape_and_strides, num_rows, num_columns,
        ROWS=ROWS, COLUMNS=COLUMNS, num_warps=2,
    )  # fmt: skip
    return winners
