// A Grid's tables as the cells that the ops walk.
#include <algorithm>

#include "../spans.h"
#include "engine.h"

namespace dissect {

namespace {

std::vector<Span> checked_spans(const char* name, const GridEntry* entries, int64_t count, int64_t size) {
  check_axis(name, entries, count, size);
  return make_spans(entries, count);
}

}  // namespace

OwnedGrid::OwnedGrid(const GridEntry* rows, int64_t num_rows, const GridEntry* columns, int64_t num_columns,
                     int64_t height, int64_t width)
    : row_spans_(checked_spans("rows", rows, num_rows, height)),
      column_spans_(checked_spans("columns", columns, num_columns, width)),
      row_weights_(num_rows + 16),
      column_weights_(num_columns + 16),
      left_index_(column_spans_.size() + 16),
      right_index_(column_spans_.size() + 16),
      left_column_(num_columns + 16),
      right_column_(num_columns + 16) {
  for (int64_t y = 0; y < num_rows; ++y) row_weights_[y] = rows[y].weight;
  for (int64_t x = 0; x < num_columns; ++x) {
    column_weights_[x] = columns[x].weight;
    left_column_[x] = columns[x].index0 + 1;
    right_column_[x] = columns[x].index1 + 1;
  }
  for (size_t s = 0; s < column_spans_.size(); ++s) {
    left_index_[s] = column_spans_[s].index0;
    right_index_[s] = column_spans_[s].index1;
  }
  const int32_t num_source = column_spans_.empty() ? 0 : column_spans_.back().index1 + 1;
  first_span_.assign(num_source, 0);
  end_span_.assign(num_source, 0);
  for (size_t s = column_spans_.size(); s-- > 0;)
    for (int32_t index : {column_spans_[s].index0, column_spans_[s].index1}) {
      first_span_[index] = static_cast<int32_t>(s);
      end_span_[index] = std::max(end_span_[index], static_cast<int32_t>(s + 1));
    }
  view_ = {num_rows,
           num_columns,
           row_spans_.data(),
           column_spans_.data(),
           static_cast<int64_t>(row_spans_.size()),
           static_cast<int64_t>(column_spans_.size()),
           row_weights_.data(),
           column_weights_.data(),
           left_index_.data(),
           right_index_.data(),
           left_column_.data(),
           right_column_.data(),
           first_span_.data(),
           end_span_.data()};
}

}  // namespace dissect
