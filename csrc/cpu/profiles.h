// Sixteen target rows between two source rows, looked at one source column at a time, for one SIMD level.
//
// Few columns reach a threshold. So which do is found first, as bits per source row; then only their spans are visited,
// with the values of all sixteen rows at the span's two columns at once.
#pragma once

#include "load_maps.h"
#include "simd.h"

namespace dissect {
namespace {

// Per source row of a padded map, a bit for every column that passes a test.
struct ColumnBits {
  uint64_t* words;
  int64_t per_row;

  // `passes` turns sixteen values into sixteen bits. Columns outside [first, last] have no bit.
  template <typename Test>
  inline void fill(const FeatureMaps& maps, const float* map, int64_t first, int64_t last, const Test& passes) {
    const int64_t pitch = padded_width(maps);
    for (int64_t y = 0; y < maps.height + 2; ++y) {
      uint64_t* row = words + y * per_row;
      for (int64_t w = 0; w < per_row; ++w) row[w] = 0;
      for (int64_t x = first; x <= last; x += kLanes) {
        const uint64_t bits = passes(load(map + y * pitch + x)) & first_bits(last + 1 - x);
        row[x >> 6] |= bits << (x & 63);
        if ((x & 63) > 48) row[(x >> 6) + 1] |= bits >> (64 - (x & 63));
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

// Calls visit(span, left, right) for every column span one of whose two columns has a bit in either source row.
template <typename Test, typename Visit>
inline void for_active_spans(const GridView& grid, const float* upper, const float* lower, const uint64_t* upper_bits,
                             const uint64_t* lower_bits, int64_t num_words, Lanes weights, const Test& passes,
                             const Visit& visit) {
  Profile profiles[2] = {{-1, 0, {}}, {-1, 0, {}}};  // of an even and of an odd column
  const auto profile_of = [&](int32_t column) -> const Profile& {
    Profile& profile = profiles[column & 1];
    if (profile.column != column) {
      const Lanes values = interpolate(same(upper[column]), same(lower[column]), weights);
      profile.column = column;
      profile.bits = passes(values);
      store(profile.values, values);
    }
    return profile;
  };
  int64_t next = 0;  // spans are visited once, left to right
  for (int64_t w = 0; w < num_words; ++w) {
    for (uint64_t columns = upper_bits[w] | lower_bits[w]; columns != 0; columns &= columns - 1) {
      const int64_t column = 64 * w + __builtin_ctzll(columns);
      int64_t s = grid.first_span[column];
      for (s = s > next ? s : next; s < grid.end_span[column]; ++s) {
        const Span& span = grid.column_spans[s];
        const Profile& left = profile_of(span.index0);
        visit(span, left, profile_of(span.index1));
        next = s + 1;
      }
    }
  }
}

}  // namespace
}  // namespace dissect
