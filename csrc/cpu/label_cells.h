// What the labels look like in the cells of a grid, a cell being the pixels between the same four source values. Most
// cells have one combination of labels, since a segment is larger than a cell: what fires there needs no look at where.
#pragma once

#include <vector>

#include "../iou_counts.h"

namespace dissect {

// An image's cells, and what a LabelCells points to.
class OwnedLabelCells {
 public:
  template <typename Word>
  OwnedLabelCells(const GridView& grid, const Word* runs) {
    combinations_.reserve(grid.num_row_spans * grid.num_column_spans);
    for (int64_t r = 0; r < grid.num_row_spans; ++r)
      for (int64_t c = 0; c < grid.num_column_spans; ++c)
        combinations_.push_back(combination_of_cell(runs, grid.num_columns, grid.row_spans[r], grid.column_spans[c]));
  }
  LabelCells view() const { return {combinations_.data(), pieces_.data()}; }

 private:
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
    if (int64_t{rows.end - rows.begin} * (columns.end - columns.begin) > kPiecePixels) return LabelCells::kLookAtRuns;
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

  std::vector<int32_t> combinations_;
  std::vector<CellPieces> pieces_;
};

}  // namespace dissect
