// What the labels look like in the cells of a grid, a cell being the pixels between the same four source values. Most
// cells have one combination of labels, since a segment is larger than a cell: what fires there needs no look at where.
#pragma once

#include <vector>

#include "../iou_counts.h"

namespace dissect {

inline bool is_large(const Span& rows, const Span& columns) {
  return int64_t{rows.end - rows.begin} * (columns.end - columns.begin) > kPiecePixels;
}

inline bool has_large_cells(const GridView& grid) {
  bool has = false;
  for (int64_t r = 0; r < grid.num_row_spans; ++r)
    for (int64_t c = 0; c < grid.num_column_spans; ++c) has |= is_large(grid.row_spans[r], grid.column_spans[c]);
  return has;
}

// An image's cells, and what a LabelCells points to.
class OwnedLabelCells {
 public:
  template <typename Word>
  OwnedLabelCells(const GridView& grid, const Word* runs, int64_t padded_width, bool with_rows)
      : stride_(grid.num_column_spans > padded_width ? grid.num_column_spans : padded_width),
        combinations_(grid.num_row_spans * stride_) {
    for (int64_t r = 0; r < grid.num_row_spans; ++r)
      for (int64_t c = 0; c < grid.num_column_spans; ++c) {
        const Span &rows = grid.row_spans[r], &columns = grid.column_spans[c];
        if (!with_rows || !is_large(rows, columns))  // large ones are looked at row by row then
          combinations_[r * stride_ + c] = combination_of_cell(runs, grid.num_columns, rows, columns);
      }
    if (with_rows) add_rows(grid, runs);
  }
  LabelCells view() const {
    return {combinations_.data(), stride_, pieces_.data(), rows_.empty() ? nullptr : rows_.data()};
  }

 private:
  template <typename Word>
  void add_rows(const GridView& grid, const Word* runs) {
    rows_.reserve(grid.num_rows * grid.num_column_spans);
    for (int64_t y = 0; y < grid.num_rows; ++y, runs += grid.num_columns)
      for (int64_t c = 0; c < grid.num_column_spans; ++c) {
        const Span& span = grid.column_spans[c];
        const Word first = runs[span.begin];
        const int64_t end = end_of(first) < span.end ? end_of(first) : span.end;
        const Word second = end < span.end ? runs[end] : first;
        rows_.push_back(end_of(second) < span.end
                            ? RowLabels::kLookAtRuns
                            : RowLabels::word(combination_of(first), combination_of(second), end - span.begin));
      }
  }

  template <typename Word>
  int32_t combination_of_cell(const Word* runs, int64_t width, const Span& rows, const Span& columns) {
    const int64_t combination = combination_of(runs[rows.begin * width + columns.begin]);
    for (int64_t y = rows.begin; y < rows.end; ++y) {
      const Word run = runs[y * width + columns.begin];
      if (combination_of(run) != combination || end_of(run) < columns.end)
        return take_apart(runs, width, rows, columns);
    }
    return static_cast<int32_t>(combination);
  }

  // The pieces of a cell whose labels differ, if it is small and they are few.
  template <typename Word>
  int32_t take_apart(const Word* runs, int64_t width, const Span& rows, const Span& columns) {
    if (is_large(rows, columns)) return LabelCells::kLookAtRuns;
    CellPieces pieces{};
    int count = 0, pixel = 0;
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x, ++pixel) {
        const int32_t combination = static_cast<int32_t>(combination_of(runs[y * width + x]));
        int i = 0;
        while (i < count && pieces.combination[i] != combination) ++i;
        if (i == kMaxPieces) return LabelCells::kLookAtRuns;
        if (i == count) pieces.combination[count++] = combination;
        pieces.pixels[i] |= 1u << pixel;
      }
    pieces_.push_back(pieces);
    return -static_cast<int32_t>(pieces_.size());
  }

  int64_t stride_;
  std::vector<int32_t> combinations_;
  std::vector<CellPieces> pieces_;
  std::vector<uint64_t> rows_;
};

}  // namespace dissect
