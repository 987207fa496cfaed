// All pixels of target rows, for one SIMD level: where cells differ, so that none share a vector, and many are active,
// that is less work than one cell after the other.
#pragma once

#include "cell_rows.h"

namespace dissect {
namespace {

class WholeRows {
 public:
  WholeRows(const GridView& grid, const CellPlan& plan) : grid_(grid), pitch_(plan.pitch) {
    const bool differ = 2 * (plan.columns.end - plan.columns.begin) < grid.num_column_spans;
    const int64_t vectors = grid.num_rows * ((grid.num_columns + kLanes - 1) / kLanes);
    // In units of a vector of pixels whose source row is in registers. A small cell takes three of them, a larger one
    // three and one for each of its rows.
    const int64_t cells = grid.num_row_spans * grid.num_column_spans, pixels = grid.num_rows * grid.num_columns;
    const int64_t of_cell = pixels <= kLanes * cells ? 3 : 3 + grid.num_rows / grid.num_row_spans;
    all_ = vectors * (source() == Source::kMemory ? 5 : 1);
    // An active source column makes two spans active, or fewer where not every column is sampled.
    of_column_ = differ ? 2 * of_cell * grid.num_column_spans / pitch_ : 0;
  }

  // Whether that is so of a map with these bits of active columns.
  inline bool pay(const ColumnBits& bits) const {
    if (of_column_ == 0) return false;
    int64_t columns = 0;
    for (int64_t s = 0; s < grid_.num_row_spans; ++s) {
      const RowBits of_row = bits.of(grid_.row_spans[s]);
      for (int64_t w = 0; w < bits.per_row; ++w) columns += __builtin_popcountll(of_row.word(w));
    }
    return columns * of_column_ > all_;
  }

  // Where the pixels of a target row are picked: one padded row of the map at its height.
  enum class Source { kRegister, kTwoRegisters, kMemory };
  inline Source source() const {
    if (kFastPermute && pitch_ <= kLanes) return Source::kRegister;
    return kFastPermutePair && pitch_ <= 2 * kLanes ? Source::kTwoRegisters : Source::kMemory;
  }

  // Calls visit(values, number) for the pixels of rows with an active cell, up to sixteen at a time. `row` is room for
  // a padded row.
  template <Source kSource, typename Visit>
  __attribute__((always_inline)) inline void visit(const float* map, const ColumnBits& bits, float* row,
                                                   const Visit& visit) const {
    for_active_rows(grid_, bits, [&](const Span& span, const RowBits&) {
      const float *upper = map + span.index0 * pitch_, *lower = map + span.index1 * pitch_;
      for (int64_t y = span.begin; y < span.end; ++y) {
        const Lanes weight = same(grid_.row_weights[y]);
        const auto at = [&](int64_t x) { return interpolate(load(upper + x), load(lower + x), weight); };
        if (kSource == Source::kRegister) {
          const Lanes first = at(0);
          along(visit, [&](const int32_t* index) { return permute(first, index); });
        } else if (kSource == Source::kTwoRegisters) {
          const Lanes first = at(0), second = at(kLanes);
          along(visit, [&](const int32_t* index) { return permute(first, second, index); });
        } else {
          for (int64_t x = 0; x < pitch_; x += kLanes) store(row + x, at(x));
          along(visit, [&](const int32_t* index) { return gather(row, index); });
        }
      }
    });
  }

 private:
  // The pixels of a row, `pick`ed of the source row.
  template <typename Visit, typename Pick>
  __attribute__((always_inline)) inline void along(const Visit& visit, const Pick& pick) const {
    const int32_t *left = grid_.left_column, *right = grid_.right_column;
    const float* weights = grid_.column_weights;
    const int64_t num = grid_.num_columns;
    const auto at = [&](int64_t x) { return interpolate(pick(left + x), pick(right + x), load(weights + x)); };
    int64_t x = 0;
    for (; x + kLanes <= num; x += kLanes) visit(at(x), kLanes);
    if (x < num) visit(at(x), num - x);
  }

  const GridView& grid_;
  int64_t pitch_, all_, of_column_;
};

}  // namespace
}  // namespace dissect
