// What fires of one map: its cells with a corner that fires are listed, then counted by what they are. Of a small cell
// all pixels are computed, of others the target rows with an end that fires: between two ends values rise or fall
// monotonically (rounding is monotone), so that what fires is the row's head, its tail, all or nothing: a range. Where
// neighbouring cells have the same weights sixteen cells, or rows, are computed at once, a lane each.
//
// The loops over lists are functions of their own and keep what they add up in locals: in one function with all that is
// around them the compiler has no registers left, and waits for memory.
#pragma once

#include "active_cells.h"
#include "meetings.h"

namespace dissect {
namespace {

// Target rows of some cells with an end that fires: the values at both ends, and where the row and its columns begin.
struct RowList {
  static constexpr int64_t kCapacity = 256;
  float left[kCapacity + kLanes], right[kCapacity + kLanes];
  int32_t rows[kCapacity + kLanes], columns[kCapacity + kLanes];
  int64_t size = 0;

  inline bool is_full() const { return size > kCapacity - kLanes; }
  // Of sixteen rows from `first` on those with a bit.
  inline void add(int32_t first, int32_t column, Lanes lefts, Lanes rights, uint32_t bits) {
    if (!kFastPermute) return add_one_by_one(first, column, lefts, rights, bits);
    compress(left + size, lefts, bits);
    compress(right + size, rights, bits);
    fill(columns + size, column);
    size += compress_numbers(rows + size, first, bits);
  }

 private:
  inline void add_one_by_one(int32_t first, int32_t column, Lanes lefts, Lanes rights, uint32_t bits) {
    for (; bits != 0; bits &= bits - 1, ++size) {
      const int lane = __builtin_ctz(bits);
      left[size] = lefts[lane], right[size] = rights[lane];
      rows[size] = first + lane, columns[size] = column;
    }
  }
};

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

// How the cells of a grid are counted.
struct CountPlan {
  ColumnLayout layout;
  Steady rows, columns;
  bool small;            // the steady cells are
  int64_t first_corner;  // of cell 0 in a padded map, or where it would be
};

inline CountPlan plan_counts(const GridView& grid, int64_t pitch) {
  const Steady rows = steady_spans(grid.row_spans, grid.num_row_spans, grid.row_weights);
  const Steady columns = steady_spans(grid.column_spans, grid.num_column_spans, grid.column_weights);
  CountPlan plan{{column_shift(grid), 0, grid.num_row_spans, columns.begin, columns.end}, rows, columns, false, 0};
  plan.small = plan.layout.shift >= 0 && int64_t{rows.size} * columns.size <= kLanes;
  if (plan.small) {
    plan.layout.steady_rows_begin = rows.begin, plan.layout.steady_rows_end = rows.end;
    plan.first_corner = (grid.row_spans[rows.like].index0 - rows.like) * pitch + plan.layout.shift;
  } else if (!kFastPermute) {
    plan.layout.steady_begin = plan.layout.steady_end = 0;  // a row after the other is faster there
  }
  return plan;
}

template <typename Word, typename Meetings>
struct MapCounter {
  const GridView& grid;
  const CountPlan& plan;
  const LabelCells& labels;
  const Word* runs;  // of the image
  const float* map;
  int64_t pitch;
  float threshold;

  inline int32_t column_of(int32_t cell, int32_t row) const { return cell - row * static_cast<int32_t>(labels.stride); }

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
    const int32_t m = plan.rows.size, n = plan.columns.size;
    const float *row_weights = plan.rows.weights, *column_weights = plan.columns.weights;
    const Lanes level = same(threshold);
    for (int64_t i = 0; i < list.size; i += kLanes) {
      const int64_t number = list.size - i < kLanes ? list.size - i : kLanes;
      float upper[2 * kLanes], lower[2 * kLanes];
      int32_t fires[kLanes], combinations[kLanes];
      for (int64_t k = 0; k < number; ++k) {
        const int32_t cell = list.cells[i + k];
        const float* const at = map + (plan.first_corner + cell);
        combinations[k] = labels.combinations[cell];
        __builtin_memcpy(upper + 2 * k, at, 2 * sizeof(float));
        __builtin_memcpy(lower + 2 * k, at + pitch, 2 * sizeof(float));
      }
      Lanes upper_left, upper_right, lower_left, lower_right;
      load_pairs(upper, upper_left, upper_right), load_pairs(lower, lower_left, lower_right);
      LaneSums bits;
      for (int32_t y = 0, pixel = 0; y < m; ++y) {
        const Lanes weight = same(row_weights[y]);
        const Lanes left = interpolate(upper_left, lower_left, weight);
        const Lanes right = interpolate(upper_right, lower_right, weight);
        for (int32_t x = 0; x < n; ++x, ++pixel)
          bits.add(interpolate(left, right, same(column_weights[x])), level, 1 << pixel);
      }
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
    const int32_t row = cell / static_cast<int32_t>(labels.stride), column = column_of(cell, row);
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

  // The rows of a cell, up to sixteen at a time, of which an end fires.
  template <typename Take>
  inline void for_rows(int32_t row, int32_t column, const Take& take) const {
    const Span &rows = grid.row_spans[row], &columns = grid.column_spans[column];
    const float *upper = map + rows.index0 * pitch, *lower = map + rows.index1 * pitch;
    const Lanes level = same(threshold);
    for (int32_t y = rows.begin; y < rows.end; y += kLanes) {
      const Lanes weights = load(grid.row_weights + y);
      const Lanes left = interpolate_same(upper[columns.index0], lower[columns.index0], weights);
      const Lanes right = interpolate_same(upper[columns.index1], lower[columns.index1], weights);
      take(y, left, right, (greater(left, level) | greater(right, level)) & first_bits(rows.end - y));
    }
  }

  // Rows of spans of the same weights: sixteen at a time, and then column after column of all of them.
  __attribute__((noinline)) void count_rows(const CellList& list, RowList& rows, Meetings& meetings) const {
    rows.size = 0;
    for (int64_t i = 0; i < list.size; ++i) {
      const int32_t row = list.rows[i], column = column_of(list.cells[i], row);
      for_rows(row, column, [&](int32_t y, Lanes left, Lanes right, uint32_t fires) {
        rows.add(y, column, left, right, fires);
        if (!rows.is_full()) return;
        meet_rows(rows, meetings);
        rows.size = 0;
      });
    }
    meet_rows(rows, meetings);
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
    rows.size = 0;
    for (int64_t i = 0; i < list.size; ++i) {
      const int32_t row = list.rows[i], column = column_of(list.cells[i], row);
      const Span &of_rows = grid.row_spans[row], &columns = grid.column_spans[column];
      if (is_small(of_rows, columns)) {
        const Lanes values = small_cell(grid, columns, map + of_rows.index0 * pitch, map + of_rows.index1 * pitch,
                                        load(grid.row_weights + of_rows.begin));
        const int64_t pixels = int64_t{of_rows.end - of_rows.begin} * (columns.end - columns.begin);
        meet_cell(met, list.cells[i], labels.combinations[list.cells[i]],
                  greater(values, same(threshold)) & first_bits(pixels));
      } else {
        for_rows(row, column, [&](int32_t y, Lanes left, Lanes right, uint32_t fires) {
          rows.add(y, column, left, right, fires);
          if (!rows.is_full()) return;
          meet_others(rows, met);
          rows.size = 0;
        });
      }
    }
    meet_others(rows, met);
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
