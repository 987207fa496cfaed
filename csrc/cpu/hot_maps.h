// What `HotCells` keep of a map, spread over a padded one, for one SIMD level.
#pragma once

#include "../hot_cells.h"
#include "load_maps.h"
#include "profiles.h"

namespace dissect {
namespace {

// Calls visit(index, row, position) for every entry of a map: its number, and its row and its position when padded.
template <typename Place, typename Visit>
inline void for_entries(const FeatureMaps& maps, const Place* places, int64_t count, const Visit& visit) {
  int64_t row = 1, row_end = maps.width, shift = padded_width(maps) + 1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t place = places[i];
    for (; place >= row_end; row_end += maps.width, shift += 2) ++row;
    visit(i, row, place + shift);
  }
}

template <typename Visit>
inline void for_entries(const FeatureMaps& maps, const HotCells& hot, int64_t number, const Visit& visit) {
  const int64_t start = hot.starts[number], count = hot.counts[number];
  if (hot.wide) for_entries(maps, static_cast<const int32_t*>(hot.places) + start, count, visit);
  else for_entries(maps, static_cast<const uint16_t*>(hot.places) + start, count, visit);
}

// Fills a padded map of zeros.
inline void spread(const FeatureMaps& maps, const HotCells& hot, int64_t number, float* map) {
  const float* values = hot.values + hot.starts[number];
  for_entries(maps, hot, number, [=](int64_t i, int64_t, int64_t at) { map[at] = values[i]; });
}

// Tests of one value and of sixteen at a time.
struct Exceeds {
  float level;
  inline bool operator()(float value) const { return value > level; }
  inline uint32_t operator()(Lanes values) const { return greater(values, same(level)); }
};
struct Reaches {
  float low;
  inline bool operator()(float value) const { return !(low > value); }
  inline uint32_t operator()(Lanes values) const { return ~greater(same(low), values) & 0xffffu; }
};

// Sets the bits of the virtual zeros around a map, in the columns from first to last.
inline void mark_ring(const FeatureMaps& maps, const ColumnBits& bits, int64_t first, int64_t last) {
  const auto mark = [&](int64_t row, int64_t column) {
    if (column >= first && column <= last)
      bits.words[row * bits.per_row + (column >> 6)] |= uint64_t{1} << (column & 63);
  };
  for (int64_t column = first; column <= last; ++column) mark(0, column), mark(maps.height + 1, column);
  for (int64_t row = 1; row <= maps.height; ++row) mark(row, 0), mark(row, maps.width + 1);
}

// Fills a padded map of zeros, and the bits of its columns that pass a test, as `ColumnBits::fill` would.
template <typename Test>
inline void spread(const FeatureMaps& maps, const HotCells& hot, int64_t number, float* map, const ColumnBits& bits,
                   int64_t first, int64_t last, const Test& passes) {
  const int64_t pitch = padded_width(maps), per_row = bits.per_row;
  __builtin_memset(bits.words, 0, bit_words(maps) * sizeof(uint64_t));
  if (passes(0.0f)) mark_ring(maps, bits, first, last);
  const float* values = hot.values + hot.starts[number];
  uint64_t* const words = bits.words;
  for_entries(maps, hot, number, [=](int64_t i, int64_t row, int64_t at) {
    const int64_t column = at - row * pitch;
    const float value = values[i];
    map[at] = value;
    const uint64_t bit = passes(value) & (column >= first) & (column <= last);
    words[row * per_row + (column >> 6)] |= bit << (column & 63);
  });
}

// The bits of the columns that pass a test, and of hot cells the map, which `clear` empties again. The ring's zeros
// count only where the grid's border uses them.
template <typename Test>
inline void mark_columns(const FeatureMaps& maps, const HotCells* hot, int64_t number, const GridView& grid, float* map,
                         const ColumnBits& bits, const Test& passes) {
  const int64_t first = grid.column_spans[0].index0, last = grid.column_spans[grid.num_column_spans - 1].index1;
  if (hot == nullptr) bits.fill(maps, map, first, last, passes);
  else spread(maps, *hot, number, map, bits, first, last, passes);
}

// Zeros again.
inline void clear(const FeatureMaps& maps, const HotCells& hot, int64_t number, float* map) {
  for_entries(maps, hot, number, [=](int64_t, int64_t, int64_t at) { map[at] = 0; });
}

}  // namespace
}  // namespace dissect
