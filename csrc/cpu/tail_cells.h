// What one map adds to a unit's tail: its cells with a corner that reaches the bracket are listed, and then counted
// list by list; see cell_rows.h.
#pragma once

#include "cell_rows.h"
#include "hot_maps.h"
#include "tail.h"

namespace dissect {
namespace {

inline float smallest(float a, float b, float c, float d) {
  const float one = a < b ? a : b, other = c < d ? c : d;
  return one < other ? one : other;
}
inline float largest(float a, float b, float c, float d) {
  const float one = a > b ? a : b, other = c > d ? c : d;
  return one > other ? one : other;
}

// What a thread lists of a map.
struct TailLists {
  ActiveCells active;
  RowEnds ends;
  RowList rows;
};

// One map, whose corners that reach the bracket are listed.
struct MapTail {
  const GridView& grid;
  const CellPlan& plan;
  const float* map;

  // What is listed in `lists.active`.
  inline void add(TailLists& lists, Tail& tail, Waiting& waiting) const {
    if (plan.small) add_small(lists.active.steady, tail, waiting);
    else list_rows(lists.active.steady, lists.ends, tail, [&] { add_rows(lists.ends, tail, waiting); });
    add_others(lists.active.others, lists.rows, tail, waiting);
  }

 private:
  // Sixteen cells at a time: their corners, and then pixel after pixel of all of them.
  __attribute__((noinline)) void add_small(const CellList& list, Tail& tail, Waiting& waiting) const {
    Samples samples(tail, waiting);
    for (int64_t i = 0; i < list.size; i += kLanes) {
      const int64_t number = list.size - i < kLanes ? list.size - i : kLanes;
      const uint32_t valid = first_bits(number);
      LaneSums above;
      plan.for_pixels(plan.corners(map, list.cells + i, number),
                      [&](int32_t, Lanes values) { samples.add(values, valid, above); });
      samples.count_above(above, number);
    }
    tail.above += samples.end();
  }

  // Lists the rows of a cell of which an end reaches the bracket; what is above it as a whole, or in one bin, is
  // counted.
  template <typename Rows, typename Take>
  inline void list_rows(int32_t row, int32_t column, Rows& rows, Tail& tail, const Take& take) const {
    const Span &of_rows = grid.row_spans[row], &columns = grid.column_spans[column];
    const int64_t width = columns.end - columns.begin;
    const Reaches reaches{tail.low_value[0]};
    for_cell_rows(grid, map, plan.pitch, row, column, reaches, [&](int32_t y, Lanes left, Lanes right, uint32_t bits) {
      const uint32_t valid = first_bits(of_rows.end - y);
      if (__builtin_expect((reaches(left) & reaches(right) & valid) == valid, 0)) {
        const int last = (of_rows.end - y < kLanes ? of_rows.end - y : kLanes) - 1;
        const float a = left[0], b = right[0], c = left[last], d = right[last];
        if (tail.add_alike(smallest(a, b, c, d), largest(a, b, c, d), (last + 1) * width)) return;
      }
      const uint32_t whole = greater(left, tail.high_value) & greater(right, tail.high_value) & bits;
      tail.above += width * __builtin_popcount(whole);
      rows.add(y, column, left, right, bits & ~whole, take);
    });
  }
  template <typename Rows, typename Take>
  __attribute__((noinline)) void list_rows(const CellList& list, Rows& rows, Tail& tail, const Take& take) const {
    for (int64_t i = 0; i < list.size; ++i)
      list_rows(list.rows[i], plan.column_of(list.cells[i], list.rows[i]), rows, tail, take);
    rows.end(take);
  }

  // Rows of spans of the same weights: sixteen at a time, and then column after column of all of them.
  __attribute__((noinline)) void add_rows(const RowEnds& rows, Tail& tail, Waiting& waiting) const {
    const int32_t n = plan.columns.size;
    const float* const weights = plan.columns.weights;
    Samples samples(tail, waiting);
    for (int64_t i = 0; i < rows.size; i += kLanes) {
      const int64_t number = rows.size - i < kLanes ? rows.size - i : kLanes;
      const Lanes left = load(rows.left + i), right = load(rows.right + i);
      const uint32_t valid = first_bits(number);
      LaneSums above;
      for (int32_t x = 0; x < n; ++x) samples.add(interpolate(left, right, same(weights[x])), valid, above);
      samples.count_above(above, number);
    }
    tail.above += samples.end();
  }

  // Cells at the border, and all those of grids whose cells differ.
  inline void add_others(const CellList& list, RowList& rows, Tail& tail, Waiting& waiting) const {
    CellList large;
    add_small_others(list, large, tail, waiting);
    list_rows(large, rows, tail, [&] { add_other_rows(rows, tail, waiting); });
  }

  // Counts the small ones, and lists the others.
  __attribute__((noinline)) void add_small_others(const CellList& list, CellList& large, Tail& tail,
                                                  Waiting& waiting) const {
    Samples samples(tail, waiting);
    for (int64_t i = 0; i < list.size; ++i) {
      const int32_t cell = list.cells[i], row = list.rows[i];
      const Span &of_rows = grid.row_spans[row], &columns = grid.column_spans[plan.column_of(cell, row)];
      const int64_t pixels = int64_t{of_rows.end - of_rows.begin} * (columns.end - columns.begin);
      if (is_small(of_rows, columns)) {
        samples.add(pixels_of(grid, map, plan.pitch, of_rows, columns), first_bits(pixels));
      } else {
        large.cells[large.size] = cell, large.rows[large.size] = row;
        ++large.size;
      }
    }
    tail.above += samples.end();
  }

  __attribute__((noinline)) void add_other_rows(const RowList& rows, Tail& tail, Waiting& waiting) const {
    Samples samples(tail, waiting);
    for (int64_t i = 0; i < rows.size; ++i) {
      const Span& span = grid.column_spans[rows.columns[i]];
      const Wide left = Wide{} + rows.left[i], right = Wide{} + rows.right[i];
      for (int32_t x = span.begin; x < span.end; x += kWide)
        samples.add(interpolate(left, right, load_wide(grid.column_weights + x)), first_wide_bits(span.end - x));
    }
    tail.above += samples.end();
  }
};

}  // namespace
}  // namespace dissect
