// The cells of a grid as they are computed from lists, for one SIMD level: of a small cell all pixels, of others the
// target rows with an end that passes a test. Where neighbouring cells have the same weights sixteen cells, or rows,
// are computed at once, a lane each.
#pragma once

#include "active_cells.h"

namespace dissect {
namespace {

// Target rows of some cells with an end that passes: the values at both ends and, if asked for, the row's number and
// its column span's.
template <bool kWithPlaces>
struct RowListOf {
  static constexpr int64_t kCapacity = 256;
  float left[kCapacity + kLanes], right[kCapacity + kLanes];
  int32_t rows[kWithPlaces ? kCapacity + kLanes : 1], columns[kWithPlaces ? kCapacity + kLanes : 1];
  int64_t size = 0;

  // Of sixteen rows from `first` on those with a bit. `Take` gets the list whenever it is full.
  template <typename Take>
  inline void add(int32_t first, int32_t column, Lanes lefts, Lanes rights, uint32_t bits, const Take& take) {
    if (kFastPermute) add_at_once(first, column, lefts, rights, bits);
    else add_one_by_one(first, column, lefts, rights, bits);
    if (size <= kCapacity - kLanes) return;
    take();
    size = 0;
  }
  // `Take` gets what is left.
  template <typename Take>
  inline void end(const Take& take) {
    if (size > 0) take();
    size = 0;
  }

 private:
  inline void add_at_once(int32_t first, int32_t column, Lanes lefts, Lanes rights, uint32_t bits) {
    compress(left + size, lefts, bits);
    compress(right + size, rights, bits);
    if (kWithPlaces) {
      fill(columns + size, column);
      compress_numbers(rows + size, first, bits);
    }
    size += __builtin_popcount(bits);
  }
  inline void add_one_by_one(int32_t first, int32_t column, Lanes lefts, Lanes rights, uint32_t bits) {
    for (; bits != 0; bits &= bits - 1, ++size) {
      const int lane = __builtin_ctz(bits);
      left[size] = lefts[lane], right[size] = rights[lane];
      if (kWithPlaces) rows[size] = first + lane, columns[size] = column;
    }
  }
};
using RowList = RowListOf<true>;
using RowEnds = RowListOf<false>;

// The values at the corners of sixteen cells.
struct Corners {
  Lanes upper_left, upper_right, lower_left, lower_right;
};

// How the cells of a grid are computed.
struct CellPlan {
  ColumnLayout layout;
  Steady rows, columns;
  bool small;            // the steady cells are
  int64_t first_corner;  // of cell 0 in a padded map, or where it would be
  int64_t pitch;         // from a row of the map to the next
  int64_t stride;        // from a row span's first cell to the next one's

  inline int32_t column_of(int32_t cell, int32_t row) const { return cell - row * static_cast<int32_t>(stride); }

  // Of up to sixteen steady cells that are small.
  inline Corners corners(const float* map, const int32_t* cells, int64_t number) const {
    float upper[2 * kLanes], lower[2 * kLanes];
    for (int64_t k = 0; k < number; ++k) {
      const float* const at = map + (first_corner + cells[k]);
      __builtin_memcpy(upper + 2 * k, at, 2 * sizeof(float));
      __builtin_memcpy(lower + 2 * k, at + pitch, 2 * sizeof(float));
    }
    Corners of;
    load_pairs(upper, of.upper_left, of.upper_right), load_pairs(lower, of.lower_left, of.lower_right);
    return of;
  }

  // Calls visit(pixel, values) for the pixels of sixteen steady cells, row by row.
  template <typename Visit>
  __attribute__((always_inline)) inline void for_pixels(const Corners& of, const Visit& visit) const {
    const int32_t m = rows.size, n = columns.size;
    const float *row_weights = rows.weights, *column_weights = columns.weights;
    for (int32_t y = 0, pixel = 0; y < m; ++y) {
      const Lanes weight = same(row_weights[y]);
      const Lanes left = interpolate(of.upper_left, of.lower_left, weight);
      const Lanes right = interpolate(of.upper_right, of.lower_right, weight);
      for (int32_t x = 0; x < n; ++x, ++pixel) visit(pixel, interpolate(left, right, same(column_weights[x])));
    }
  }

  // Lists the cells that have a column with a bit.
  template <typename Visit>
  inline void list(const GridView& grid, const ColumnBits& bits, ActiveCells& active, const Visit& visit) const {
    if (small) for_active_cells<false>(grid, layout, stride, bits, active, visit);
    else for_active_cells<true>(grid, layout, stride, bits, active, visit);
  }
};

inline CellPlan plan_cells(const GridView& grid, int64_t pitch) {
  const Steady rows = steady_spans(grid.row_spans, grid.num_row_spans, grid.row_weights);
  const Steady columns = steady_spans(grid.column_spans, grid.num_column_spans, grid.column_weights);
  const int64_t stride = grid.num_column_spans > pitch ? grid.num_column_spans : pitch;
  CellPlan plan{
      {column_shift(grid), 0, grid.num_row_spans, columns.begin, columns.end}, rows, columns, false, 0, pitch, stride};
  plan.small = plan.layout.shift >= 0 && int64_t{rows.size} * columns.size <= kLanes;
  if (plan.small) {
    plan.layout.steady_rows_begin = rows.begin, plan.layout.steady_rows_end = rows.end;
    plan.first_corner = (grid.row_spans[rows.like].index0 - rows.like) * pitch + plan.layout.shift;
  } else if (!kFastPermute) {
    plan.layout.steady_begin = plan.layout.steady_end = 0;  // a row after the other is faster there
  }
  return plan;
}

// Calls take(row, left, right, bits) for the rows of a cell, up to sixteen at a time, with a bit where an end passes.
template <typename Test, typename Take>
inline void for_cell_rows(const GridView& grid, const float* map, int64_t pitch, int32_t row, int32_t column,
                          const Test& passes, const Take& take) {
  const Span &rows = grid.row_spans[row], &columns = grid.column_spans[column];
  const float *upper = map + rows.index0 * pitch, *lower = map + rows.index1 * pitch;
  for (int32_t y = rows.begin; y < rows.end; y += kLanes) {
    const Lanes weights = load(grid.row_weights + y);
    const Lanes left = interpolate_same(upper[columns.index0], lower[columns.index0], weights);
    const Lanes right = interpolate_same(upper[columns.index1], lower[columns.index1], weights);
    take(y, left, right, (passes(left) | passes(right)) & first_bits(rows.end - y));
  }
}

// All pixels of any small cell, row by row.
inline Lanes pixels_of(const GridView& grid, const float* map, int64_t pitch, const Span& rows, const Span& columns) {
  return small_cell(grid, columns, map + rows.index0 * pitch, map + rows.index1 * pitch,
                    load(grid.row_weights + rows.begin));
}

}  // namespace
}  // namespace dissect
