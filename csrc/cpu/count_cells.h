// What fires of one map: its cells with a corner that fires are listed, then counted by what they are. Between the two
// ends of a target row within a cell values rise or fall monotonically (rounding is monotone), so that what fires is
// the row's head, its tail, all or nothing: a range.
//
// The loops over lists are functions of their own and keep what they add up in locals: in one function with all that is
// around them the compiler has no registers left, and waits for memory.
#pragma once

#include "cell_rows.h"
#include "hot_maps.h"
#include "meetings.h"

namespace dissect {
namespace {

// Small cells: what fires of them, and their labels.
struct FiringList {
  int32_t cells[CellList::kCapacity + kLanes], fires[CellList::kCapacity + kLanes];
  int32_t combinations[CellList::kCapacity + kLanes];
  int64_t size = 0;

  // Of sixteen those with a bit.
  inline void add(const int32_t* of_cells, const int32_t* of_fires, const int32_t* of_combinations, uint32_t bits) {
    compress(cells + size, of_cells, bits);
    compress(fires + size, of_fires, bits);
    size += compress(combinations + size, of_combinations, bits);
  }
};

// What a thread lists of a map.
struct CountLists {
  ActiveCells active;
  RowList rows;
  FiringList alike, pieces;
};

template <typename Word, typename Meetings>
struct MapCounter {
  const GridView& grid;
  const CellPlan& plan;
  const LabelCells& labels;
  const Word* runs;  // of the image
  const float* map;
  float threshold;

  // What is listed in `lists.active`.
  inline void count(CountLists& lists, Meetings& meetings) const {
    if (plan.small) {
      count_small(lists.active.steady, lists.alike, lists.pieces);
      meet_small(lists.alike, lists.pieces, meetings);
    } else {
      count_rows(lists.active.steady, lists.rows, meetings);
    }
    count_others(lists.active.others, lists.rows, meetings);
  }

  // Sixteen cells at a time: their corners, and then pixel after pixel of all of them.
  __attribute__((noinline)) void count_small(const CellList& list, FiringList& alike, FiringList& pieces) const {
    alike.size = pieces.size = 0;
    const Lanes level = same(threshold);
    for (int64_t i = 0; i < list.size; i += kLanes) {
      const int64_t number = list.size - i < kLanes ? list.size - i : kLanes;
      int32_t fires[kLanes], combinations[kLanes];
      for (int64_t k = 0; k < number; ++k) combinations[k] = labels.combinations[list.cells[i + k]];
      LaneSums bits;
      plan.for_pixels(plan.corners(map, list.cells + i, number),
                      [&](int32_t pixel, Lanes values) { bits.add(values, level, 1 << pixel); });
      bits.store(fires);
      const uint32_t differ = negative(combinations), valid = first_bits(number);
      alike.add(list.cells + i, fires, combinations, valid & ~differ);
      pieces.add(list.cells + i, fires, combinations, valid & differ);
    }
  }

  __attribute__((noinline)) void meet_small(const FiringList& alike, const FiringList& pieces,
                                            Meetings& meetings) const {
    Meetings met = meetings;
    for (int64_t i = 0; i < alike.size; ++i) met.add(alike.combinations[i], __builtin_popcount(alike.fires[i]));
    for (int64_t i = 0; i < pieces.size; ++i) meet_cell(met, pieces.cells[i], pieces.combinations[i], pieces.fires[i]);
    meetings = met;
  }

  // Adds what fires of a small cell.
  __attribute__((always_inline)) inline void meet_cell(Meetings& met, int32_t cell, int32_t combination,
                                                       uint32_t fires) const {
    if (combination >= 0) met.add(combination, __builtin_popcount(fires));
    else if (combination != LabelCells::kLookAtRuns) met.add_pieces(labels.pieces[-1 - combination], fires);
    else meet_runs(met, cell, fires);
  }

  // What fires in a row is one range, so its bits are neighbours.
  inline void meet_runs(Meetings& met, int32_t cell, uint32_t fires) const {
    const int32_t row = cell / static_cast<int32_t>(labels.stride), column = plan.column_of(cell, row);
    const Span& columns = grid.column_spans[column];
    const int n = columns.end - columns.begin;
    for (int64_t y = grid.row_spans[row].begin; fires != 0; ++y, fires >>= n) {
      const uint32_t in_row = fires & ((1u << n) - 1u);
      if (in_row == 0) continue;
      const int32_t from = columns.begin + __builtin_ctz(in_row);
      met.add_runs(runs + y * grid.num_columns, from, from + __builtin_popcount(in_row));
    }
  }

  // Adds what fires of a target row in a span: so many columns from one on.
  __attribute__((always_inline)) inline void meet(Meetings& met, int32_t row, int32_t column, int32_t from,
                                                  int32_t number) const {
    const uint64_t words =
        labels.rows == nullptr ? RowLabels::kLookAtRuns : labels.rows[row * grid.num_column_spans + column];
    if (words != RowLabels::kLookAtRuns) return met.add_row(words, from, number);
    const int32_t begin = grid.column_spans[column].begin + from;
    met.add_runs(runs + row * grid.num_columns, begin, begin + number);
  }

  // Lists the rows of a cell of which an end fires.
  template <typename Take>
  inline void list_rows(int32_t row, int32_t column, RowList& rows, const Take& take) const {
    for_cell_rows(
        grid, map, plan.pitch, row, column, Exceeds{threshold},
        [&](int32_t y, Lanes left, Lanes right, uint32_t fires) { rows.add(y, column, left, right, fires, take); });
  }

  // Rows of spans of the same weights: sixteen at a time, and then column after column of all of them.
  __attribute__((noinline)) void count_rows(const CellList& list, RowList& rows, Meetings& meetings) const {
    const auto take = [&] { meet_rows(rows, meetings); };
    for (int64_t i = 0; i < list.size; ++i)
      list_rows(list.rows[i], plan.column_of(list.cells[i], list.rows[i]), rows, take);
    rows.end(take);
  }

  __attribute__((noinline)) void meet_rows(const RowList& rows, Meetings& meetings) const {
    const int32_t n = plan.columns.size;
    const float* const weights = plan.columns.weights;
    const Lanes level = same(threshold);
    Meetings met = meetings;
    for (int64_t i = 0; i < rows.size; i += kLanes) {
      const int64_t number = rows.size - i < kLanes ? rows.size - i : kLanes;
      const Lanes left = load(rows.left + i), right = load(rows.right + i);
      LaneSums sums;
      for (int32_t x = 0; x < n; ++x) sums.add(interpolate(left, right, same(weights[x])), level, 1);
      int32_t counts[kLanes];
      sums.store(counts);
      for (int64_t k = 0; k < number; ++k)
        meet(met, rows.rows[i + k], rows.columns[i + k], rows.left[i + k] > threshold ? 0 : n - counts[k], counts[k]);
    }
    meetings = met;
  }

  // Cells at the border, and all those of grids whose cells differ.
  __attribute__((noinline)) void count_others(const CellList& list, RowList& rows, Meetings& meetings) const {
    Meetings met = meetings;
    const auto take = [&] { meet_others(rows, met); };
    for (int64_t i = 0; i < list.size; ++i) {
      const int32_t cell = list.cells[i], row = list.rows[i], column = plan.column_of(cell, row);
      const Span &of_rows = grid.row_spans[row], &columns = grid.column_spans[column];
      if (!is_small(of_rows, columns)) {
        list_rows(row, column, rows, take);
        continue;
      }
      const Lanes values = pixels_of(grid, map, plan.pitch, of_rows, columns);
      const int64_t pixels = int64_t{of_rows.end - of_rows.begin} * (columns.end - columns.begin);
      meet_cell(met, cell, labels.combinations[cell], greater(values, same(threshold)) & first_bits(pixels));
    }
    rows.end(take);
    meetings = met;
  }

  __attribute__((noinline)) void meet_others(const RowList& rows, Meetings& meetings) const {
    Meetings met = meetings;
    for (int64_t i = 0; i < rows.size; ++i) {
      const Span& span = grid.column_spans[rows.columns[i]];
      const Wide left = Wide{} + rows.left[i], right = Wide{} + rows.right[i], level = Wide{} + threshold;
      int32_t count = 0;
      for (int32_t x = span.begin; x < span.end; x += kWide) {
        const uint32_t fires = greater(interpolate(left, right, load_wide(grid.column_weights + x)), level);
        count += __builtin_popcount(fires & first_wide_bits(span.end - x));
      }
      const int32_t from = rows.left[i] > threshold ? 0 : span.end - span.begin - count;
      meet(met, rows.rows[i], rows.columns[i], from, count);
    }
    meetings = met;
  }
};

}  // namespace
}  // namespace dissect
