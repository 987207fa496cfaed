// Cells of a grid, the pixels between the same four source values, and whether their labels are all the same. Most are:
// a segment is larger than a cell. What fires in such a cell meets one combination of labels, wherever in it that is.
#pragma once

#include "../encode_labels.h"
#include "../feature_maps.h"

namespace dissect {

// The combination of labels of all pixels of a cell, or -1 where they differ.
template <typename Word>
int32_t combination_of_cell(const Word* runs, int64_t width, const Span& rows, const Span& columns) {
  const int64_t combination = combination_of(runs[rows.begin * width + columns.begin]);
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    const Word run = runs[y * width + columns.begin];
    if (combination_of(run) != combination || end_of(run) < columns.end) return -1;
  }
  return static_cast<int32_t>(combination);
}

// The same of every cell of one image: [row spans, column spans].
template <typename Word>
void find_uniform_cells(const GridView& grid, const Word* runs, int32_t* cells) {
  for (int64_t r = 0; r < grid.num_row_spans; ++r)
    for (int64_t c = 0; c < grid.num_column_spans; ++c)
      *cells++ = combination_of_cell(runs, grid.num_columns, grid.row_spans[r], grid.column_spans[c]);
}

}  // namespace dissect
