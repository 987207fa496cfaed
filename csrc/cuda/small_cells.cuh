// Cells of few pixels: a lane looks at all pixels of a cell, a bit each, where for_wanted_rows has it find the rows
// that can hold a wanted pixel, and then visit one of them.
#pragma once

#include "../encode_labels.h"
#include "cells.cuh"

namespace dissect {
namespace {

// The bits of a cell's first `rows` rows and `columns` columns, row by row, kSide to a row.
template <int kSide>
DISSECT_HD uint32_t first_pixels(int rows, int columns) {
  constexpr uint32_t kFirstColumn = kSide == 4 ? 0x1111u : kSide == 2 ? 0x5u : 0x1u;
  return ((1u << columns) - 1u) * kFirstColumn & ((1u << rows * kSide) - 1u);
}

// The pixels of a cell that pass a test. Weights beyond the cell's are read (there are some: PackedGrid), and what
// comes of them is left out.
template <int kSide, typename Test>
__device__ uint32_t pixels_where(const Band& band, const Span& rows, const Span& columns, const Test& test) {
  const float *upper = band.map + rows.index0 * band.pitch, *lower = band.map + rows.index1 * band.pitch;
  const Corners corners{upper[columns.index0], upper[columns.index1], lower[columns.index0], lower[columns.index1]};
  const float* row_weights = band.tables.row_weights + rows.begin;
  const float* column_weights = band.tables.column_weights + columns.begin;
  uint32_t pixels = 0;
#pragma unroll
  for (int y = 0; y < kSide; ++y) {
    const float left = interpolate(corners.a00, corners.a10, row_weights[y]);
    const float right = interpolate(corners.a01, corners.a11, row_weights[y]);
#pragma unroll
    for (int x = 0; x < kSide; ++x)
      if (test(interpolate(left, right, column_weights[x]))) pixels |= 1u << (y * kSide + x);
  }
  return pixels & first_pixels<kSide>(rows.end - rows.begin, columns.end - columns.begin);
}

// The pixels, of those of a cell, that are of the same run as the first of them; `runs` are those of the cell's first
// pixel and so on, `width` to a row, `begin` its first column. `combination` is theirs.
template <int kSide, typename Word>
__device__ uint32_t first_piece(const Word* runs, int width, int begin, uint32_t pixels, int& combination) {
  constexpr uint32_t kRow = (1u << kSide) - 1u;
  const unsigned first = __ffs(pixels) - 1, x = first % kSide;
  const Word run = runs[static_cast<int>(first / kSide) * width + static_cast<int>(x)];
  const int end = static_cast<int>(end_of(run)) - begin, length = end < kSide ? end : kSide;
  combination = static_cast<int>(combination_of(run));
  return pixels & kRow << (first - x) & ~(0xffffffffu << (first - x + length));
}

}  // namespace
}  // namespace dissect
