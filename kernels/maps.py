"""How kernels read feature maps of any strides."""

import triton
import triton.language as tl

from dissect.kernels.arithmetic import is_bad, widen


@triton.jit
def at_position(position, width, stride_row, stride_column, FLAT: tl.constexpr):
    """int64 offset of a map's cell, numbered row by row. FLAT: the rows follow each other, so no division is needed."""
    if FLAT:
        return position.to(tl.int64) * stride_column
    return (position // width).to(tl.int64) * stride_row + (position % width).to(tl.int64) * stride_column


@triton.jit
def load_values(
    map, units, positions, num_units, height, width, stride_unit, stride_row, stride_column, FLAT: tl.constexpr
):
    """The stored values [P, BU] of an image's cells `positions` and `units`, and which of them exist; 0 elsewhere."""
    cells = at_position(positions, width, stride_row, stride_column, FLAT)
    exist = (units < num_units)[None, :] & (positions < height * width)[:, None]
    stored = tl.load(map + units.to(tl.int64)[None, :] * stride_unit + cells[:, None], mask=exist, other=0.0)
    return stored, exist


@triton.jit
def find_peaks(map, units, status, num_units, height, width, stride_unit, stride_row, stride_column,
               POSITIONS: tl.constexpr, FLAT: tl.constexpr):  # fmt: skip
    """The highest value [BU] of each of an image's maps. Bad values set status to 1, and count as 0."""
    peaks = tl.full(units.shape, float("-inf"), tl.float32)
    num_bad = tl.zeros(units.shape, tl.int32)
    for start in range(0, height * width, POSITIONS):
        positions = start + tl.arange(0, POSITIONS)
        stored, exist = load_values(
            map, units, positions, num_units, height, width, stride_unit, stride_row, stride_column, FLAT
        )
        values = widen(stored)
        bad = is_bad(values)
        num_bad += tl.sum(bad.to(tl.int32), axis=0)
        values = tl.where(exist, tl.where(bad, 0.0, values), float("-inf"))
        peaks = tl.maximum(peaks, tl.max(values, axis=0))
    if tl.sum(num_bad) > 0:
        tl.store(status, 1)
    return peaks
