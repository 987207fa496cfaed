// Sixteen target rows between two source rows, looked at one source column at a time, for one SIMD level.
//
// Few columns reach a threshold. So which do is found first, as bits per source row; then only their spans are visited,
// with the values of all sixteen rows at the span's two columns at once.
#pragma once

#include "load_maps.h"
#include "simd.h"

namespace dissect {
namespace {

// Of a row span: bits of source columns, any of its two rows'.
struct RowBits {
  const uint64_t *upper, *lower;
  int64_t num_words;

  inline uint64_t word(int64_t w) const { return w < num_words ? upper[w] | lower[w] : 0; }
  // 64 of them, from a column on.
  inline uint64_t from(int64_t column) const {
    const int64_t w = column >> 6, bit = column & 63;
    return word(w) >> bit | word(w + 1) << 1 << (63 - bit);
  }
};

// Per source row of a padded map, a bit for every column that passes a test.
struct ColumnBits {
  uint64_t* words;
  int64_t per_row;

  inline RowBits of(const Span& rows) const {
    return {words + rows.index0 * per_row, words + rows.index1 * per_row, per_row};
  }

  // `passes` turns sixteen values into sixteen bits. Columns outside [first, last] have no bit.
  template <typename Test>
  inline void fill(const FeatureMaps& maps, const float* map, int64_t first, int64_t last, const Test& passes) const {
    const int64_t pitch = padded_width(maps);
    for (int64_t w = 0; w < per_row; ++w) {
      uint64_t inside = ~uint64_t{0};
      if (first > 64 * w) inside = first - 64 * w < 64 ? inside << (first - 64 * w) : 0;
      if (last < 64 * w + 63) inside &= last < 64 * w ? 0 : ~uint64_t{0} >> (64 * w + 63 - last);
      for (int64_t y = 0; y < maps.height + 2; ++y) {
        const float* from = map + y * pitch;
        uint64_t bits = 0;
        for (int64_t x = 64 * w; x <= last && x < 64 * w + 64; x += kLanes)
          bits |= static_cast<uint64_t>(passes(load(from + x))) << (x - 64 * w);
        words[y * per_row + w] = bits & inside;
      }
    }
  }
};

// The values of up to sixteen target rows at one source column, and which of them pass a test.
struct Profile {
  int32_t column;
  uint32_t bits;
  float values[kLanes];
};

// The profiles of neighbouring columns, each computed once.
template <typename Test>
class Profiles {
 public:
  Profiles(const float* upper, const float* lower, Lanes weights, const Test& passes)
      : upper_(upper), lower_(lower), weights_(weights), passes_(passes) {}

  inline const Profile& operator[](int32_t column) {
    Profile& profile = recent_[column & 1];
    if (profile.column != column) {
      const Lanes values = interpolate(same(upper_[column]), same(lower_[column]), weights_);
      profile.column = column;
      profile.bits = passes_(values);
      store(profile.values, values);
    }
    return profile;
  }

 private:
  const float *upper_, *lower_;
  Lanes weights_;
  Test passes_;
  Profile recent_[2] = {{-1, 0, {}}, {-1, 0, {}}};  // of an even and of an odd column
};

// Calls visit(span) for every column span one of whose two columns has a bit in either source row, left to right.
template <typename Visit>
inline void for_active_spans(const GridView& grid, const RowBits& bits, const Visit& visit) {
  int64_t next = 0;
  for (int64_t w = 0; w < bits.num_words; ++w) {
    for (uint64_t columns = bits.word(w); columns != 0; columns &= columns - 1) {
      const int64_t column = 64 * w + __builtin_ctzll(columns);
      int64_t s = grid.first_span[column];
      for (s = s > next ? s : next; s < grid.end_span[column]; ++s) visit(grid.column_spans[s]);
      next = s > next ? s : next;
    }
  }
}

// Calls visit(row_span, its bits) for every row span with a bit in either of its source rows.
template <typename Visit>
inline void for_active_rows(const GridView& grid, const ColumnBits& bits, const Visit& visit) {
  for (int64_t s = 0; s < grid.num_row_spans; ++s) {
    const Span& span = grid.row_spans[s];
    const RowBits of_row = bits.of(span);
    uint64_t any = 0;
    for (int64_t w = 0; w < bits.per_row; ++w) any |= of_row.word(w);
    if (any != 0) visit(span, of_row);
  }
}

// Whether each target pixel is the cell at its place.
inline bool is_identity(const GridView& grid, const FeatureMaps& maps) {
  if (grid.num_row_spans != maps.height || grid.num_rows != maps.height) return false;
  if (grid.num_column_spans != maps.width || grid.num_columns != maps.width) return false;
  bool same = true;
  for (int64_t s = 0; s < maps.height; ++s)
    same &= grid.row_spans[s].index0 == s + 1 && grid.row_spans[s].index1 == s + 1;
  for (int64_t s = 0; s < maps.width; ++s)
    same &= grid.column_spans[s].index0 == s + 1 && grid.column_spans[s].index1 == s + 1;
  return same;
}

// For cells of n columns and at most 16 pixels: the row and the column of pixel i within the cell, row by row.
struct SmallCells {
  int32_t row[kLanes + 1][kLanes], column[kLanes + 1][kLanes];

  constexpr SmallCells() : row(), column() {
    for (int n = 1; n <= kLanes; ++n)
      for (int i = 0; i < kLanes; ++i) row[n][i] = i / n, column[n][i] = i % n;
  }
};
constexpr SmallCells kSmallCells{};

inline bool is_small(const Span& rows, const Span& columns) {
  return kFastPermute && int64_t{rows.end - rows.begin} * (columns.end - columns.begin) <= kLanes;
}

// All pixels of a small cell at once, row by row.
__attribute__((always_inline)) inline Lanes small_cell(const GridView& grid, const Span& columns, const float* upper,
                                                       const float* lower, Lanes row_weights) {
  const int n = columns.end - columns.begin;
  const Lanes wy = permute(row_weights, kSmallCells.row[n]);
  const Lanes wx = permute(load(grid.column_weights + columns.begin), kSmallCells.column[n]);
  const Lanes left = interpolate(same(upper[columns.index0]), same(lower[columns.index0]), wy);
  const Lanes right = interpolate(same(upper[columns.index1]), same(lower[columns.index1]), wy);
  return interpolate(left, right, wx);
}

}  // namespace
}  // namespace dissect
