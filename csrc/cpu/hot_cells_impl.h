// The CPU's hot_cells, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// What is above its floor is marked by a bit, the marks are spread to their neighbours, and what has a bit then is
// listed. Where units are neighbours in memory, a mark is sixteen units at one place; else it is 64 columns of one
// unit's row.
#pragma once

#include "../hot_cells.h"
#include "hot_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// The lists of a block, as they grow.
struct HotLists {
  int32_t* places;
  float* values;
  int64_t capacity;
  int32_t counts[kUnitBlock];

  inline void add(int64_t unit, int64_t place, float value) {
    const int64_t at = unit * capacity + counts[unit]++;
    places[at] = static_cast<int32_t>(place);
    values[at] = value;
  }
};

// Marks the virtual zeros around the maps.
inline void mark_ring(const FeatureMaps& maps, uint16_t* marks, uint16_t mark) {
  const int64_t pitch = padded_width(maps), last = (maps.height + 1) * pitch;
  for (int64_t x = 0; x < pitch; ++x) marks[x] = marks[last + x] = mark;
  for (int64_t y = 1; y <= maps.height; ++y) marks[y * pitch] = marks[(y + 1) * pitch - 1] = mark;
}

// Lists of a row of places, `first` and on, the values of units whose bits are set.
template <typename T>
inline void list_units(const uint16_t* kept, int64_t width, const typename Widen<T>::Stored* row, int64_t stride,
                       int64_t first, HotLists& lists) {
  for (int64_t x = 0; x < width; ++x) {
    uint32_t units = kept[x];
    if (units == 0) continue;
    const auto* from = row + x * stride;
    for (; units != 0; units &= units - 1) {
      const int unit = __builtin_ctz(units);
      lists.add(unit, first + x, Widen<T>::one(from[unit]));
    }
  }
}

// Up to sixteen units whose values at one place are neighbours in memory.
template <typename T>
bool keep_across_units(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
                       const HotCellsWorkspace& workspace, HotLists& lists) {
  using Stored = typename Widen<T>::Stored;
  const FeatureMaps& maps = p.maps;
  const Stored* base = static_cast<const Stored*>(maps.data) + image * maps.stride_image + unit_begin;
  const int64_t pitch = padded_width(maps);
  auto* const marks = reinterpret_cast<uint16_t*>(workspace.marks);
  auto* const near = reinterpret_cast<uint16_t*>(workspace.near);
  const float* floors = p.floors + image * maps.num_units + unit_begin;
  uint16_t below_zero = 0;
  float values[kLanes] = {}, levels[kLanes], largest[kLanes] = {};
  for (int64_t u = 0; u < kLanes; ++u) levels[u] = __builtin_inff();
  for (int64_t u = 0; u < num_units; ++u) {
    levels[u] = floors[u];
    largest[u] = Widen<T>::one(base[u]);
    below_zero |= static_cast<uint16_t>((floors[u] < 0) << u);
  }
  mark_ring(maps, marks, below_zero);
  const Half levels0 = load_half(levels), levels1 = load_half(levels + 8);
  HalfPeaks low{load_half(largest)}, high{load_half(largest + 8)};
  const auto mark_row = [&](int64_t y) {
    for (int64_t x = 0; x < maps.width; ++x) {
      const float* lanes = units_at<T>(base + y * maps.stride_row + x * maps.stride_column, num_units, values);
      const Half half0 = load_half(lanes), half1 = load_half(lanes + 8);
      low.see(half0), high.see(half1);
      marks[(y + 1) * pitch + x + 1] = static_cast<uint16_t>(greater(half0, levels0) | greater(half1, levels1) << 8);
    }
  };
  const auto list_row = [&](int64_t y) {
    const uint16_t* here = marks + (y + 1) * pitch + 1;
    if (p.reach == 1) {
      // Of three rows first, then of three columns.
      for (int64_t x = -1; x <= maps.width; ++x) near[x + 1] = here[x - pitch] | here[x] | here[x + pitch];
      for (int64_t x = 0; x < maps.width; ++x) near[x] |= near[x + 1] | near[x + 2];
      here = near;
    }
    list_units<T>(here, maps.width, base + y * maps.stride_row, maps.stride_column, y * maps.width, lists);
  };
  // A row is listed as soon as the one below it is marked, when it is still in a near cache.
  for (int64_t y = 0; y <= maps.height; ++y) {
    if (y < maps.height) mark_row(y);
    if (y > 0) list_row(y - 1);
  }
  for (int64_t u = 0; u < num_units; ++u)
    p.peaks[image * maps.num_units + unit_begin + u] = (u < 8 ? low.highest[u] : high.highest[u - 8]) + 0.0f;
  return low.good() && high.good();
}

// Of row bits that begin at bit 1, those with a neighbour that is set, or that are set themselves.
inline uint64_t spread_bits(const uint64_t* words, int64_t w, int64_t num_words) {
  const uint64_t here = words[w];
  const uint64_t before = w > 0 ? words[w - 1] >> 63 : 0, after = w + 1 < num_words ? words[w + 1] << 63 : 0;
  return here | here << 1 | before | here >> 1 | after;
}

// Lists the values of row y whose bits are set, from bit 1 on: where `spread`, also those of its neighbours.
template <typename RowOf>
void list_columns(const uint64_t* bits, int64_t num_words, bool spread, int64_t width, int64_t y, int64_t unit,
                  const RowOf& row_of, HotLists& lists) {
  const float* row = nullptr;
  for (int64_t w = 0; w < num_words; ++w) {
    uint64_t kept = spread ? spread_bits(bits, w, num_words) : bits[w];
    if (w == 0) kept &= ~uint64_t{1};
    const int64_t end = width + 1 - 64 * w;
    if (end < 64) kept &= (uint64_t{1} << end) - 1;
    if (kept != 0 && row == nullptr) row = row_of(y);
    for (; kept != 0; kept &= kept - 1) {
      const int64_t x = 64 * w + __builtin_ctzll(kept) - 1;
      lists.add(unit, y * width + x, row[x]);
    }
  }
}

// One unit's map; `row_of` gives the float32 values of a row.
template <typename RowOf>
bool keep_of_map(const HotCellsParams& p, int64_t number, int64_t unit, const HotCellsWorkspace& workspace,
                 const RowOf& row_of, HotLists& lists, float& peak) {
  const FeatureMaps& maps = p.maps;
  const int64_t num_words = words_per_row(maps);
  const float floor = p.floors[number];
  const Half level = Half{} + floor;
  float tail[8];
  HalfPeaks seen{Half{} + row_of(0)[0]};
  const auto mark_row = [&](int64_t y, const float* row) {
    uint64_t* words = workspace.marks + (y + 1) * num_words;
    for (int64_t w = 0; w < num_words; ++w) words[w] = 0;
    for (int64_t x = 0; x < maps.width; x += 8) {
      const int64_t count = maps.width - x;
      Half half;
      if (count >= 8) half = load_half(row + x);
      else {
        for (int64_t i = 0; i < 8; ++i) tail[i] = row[x + (i < count ? i : 0)];
        half = load_half(tail);
      }
      seen.see(half);
      const uint64_t above = greater(half, level) & first_bits(count);
      const int64_t bit = x + 1, w = bit >> 6;
      words[w] |= above << (bit & 63);
      if ((bit & 63) > 56 && w + 1 < num_words) words[w + 1] |= above >> (64 - (bit & 63));
    }
  };
  for (int64_t y = 0; y < maps.height; ++y) mark_row(y, row_of(y));
  const ColumnBits bits{workspace.marks, num_words};
  for (int64_t w = 0; w < num_words; ++w) bits.words[w] = bits.words[(maps.height + 1) * num_words + w] = 0;
  if (floor < 0) mark_ring(maps, bits, 0, maps.width + 1);
  for (int64_t y = 0; y < maps.height; ++y) {
    const uint64_t* here = workspace.marks + (y + 1) * num_words;
    if (p.reach == 1) {
      for (int64_t w = 0; w < num_words; ++w) workspace.near[w] = here[w - num_words] | here[w] | here[w + num_words];
      here = workspace.near;
    }
    list_columns(here, num_words, p.reach == 1, maps.width, y, unit, row_of, lists);
  }
  peak = seen.peak();
  return seen.good();
}

template <typename T>
bool keep_of_maps(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
                  const HotCellsWorkspace& workspace, HotLists& lists) {
  using Stored = typename Widen<T>::Stored;
  const FeatureMaps& maps = p.maps;
  bool good = true;
  for (int64_t u = 0; u < num_units; ++u) {
    const int64_t unit = unit_begin + u, number = image * maps.num_units + unit;
    const Stored* base = static_cast<const Stored*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
    const auto row_of = [&](int64_t y) {
      const Stored* row = base + y * maps.stride_row;
      for (int64_t x = 0; x < maps.width; ++x) workspace.row[x] = Widen<T>::one(row[x * maps.stride_column]);
      return const_cast<const float*>(workspace.row);
    };
    good &= keep_of_map(p, number, u, workspace, row_of, lists, p.peaks[number]);
  }
  return good;
}

// Rows of neighbours in memory are read where they are.
bool keep_of_planes(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
                    const HotCellsWorkspace& workspace, HotLists& lists) {
  const FeatureMaps& maps = p.maps;
  bool good = true;
  for (int64_t u = 0; u < num_units; ++u) {
    const int64_t unit = unit_begin + u, number = image * maps.num_units + unit;
    const float* base = static_cast<const float*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
    const auto row_of = [&](int64_t y) { return base + y * maps.stride_row; };
    good &= keep_of_map(p, number, u, workspace, row_of, lists, p.peaks[number]);
  }
  return good;
}

inline void fill_inside(const FeatureMaps& maps, float* map, float value) {
  for (int64_t y = 1; y <= maps.height; ++y)
    for (int64_t x = 1; x <= maps.width; ++x) map[y * padded_width(maps) + x] = value;
}

// Of what was kept by lower floors.
void keep_of_hot(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
                 const HotCellsWorkspace& workspace, HotLists& lists) {
  const FeatureMaps& maps = p.maps;
  for (int64_t u = 0; u < num_units; ++u) {
    const int64_t number = image * maps.num_units + unit_begin + u;
    float peak;
    // What was not kept is not above the floor; zeros would be above one below 0.
    const float floor = p.floors[number], rest = floor < 0 ? floor : 0.0f;
    if (rest < 0) fill_inside(maps, workspace.map, rest);
    spread(maps, *p.hot, number, workspace.map);
    const auto row_of = [&](int64_t y) { return workspace.map + (y + 1) * padded_width(maps) + 1; };
    keep_of_map(p, number, u, workspace, row_of, lists, peak);
    if (rest < 0) fill_inside(maps, workspace.map, 0.0f);
    else clear(maps, *p.hot, number, workspace.map);
  }
}

template <typename T>
bool keep_typed(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
                const HotCellsWorkspace& workspace, HotLists& lists) {
  if (across_units(p.maps)) return keep_across_units<T>(p, image, unit_begin, num_units, workspace, lists);
  return keep_of_maps<T>(p, image, unit_begin, num_units, workspace, lists);
}

bool keep(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t num_units,
          const HotCellsWorkspace& workspace, HotLists& lists) {
  const FeatureMaps& maps = p.maps;
  if (p.hot != nullptr) {
    keep_of_hot(p, image, unit_begin, num_units, workspace, lists);
    return true;
  }
  switch (maps.dtype) {
    case DType::kFloat32:
      if (maps.stride_column == 1) return keep_of_planes(p, image, unit_begin, num_units, workspace, lists);
      return keep_typed<float>(p, image, unit_begin, num_units, workspace, lists);
    case DType::kFloat16:
      return keep_typed<Float16>(p, image, unit_begin, num_units, workspace, lists);
    case DType::kBFloat16:
      return keep_typed<BFloat16>(p, image, unit_begin, num_units, workspace, lists);
  }
  return false;
}

}  // namespace

bool hot_cells_block(const HotCellsParams& p, int64_t image, int64_t unit_begin, int64_t unit_end,
                     const HotCellsWorkspace& workspace) {
  HotLists lists{workspace.places, workspace.values, p.maps.height * p.maps.width, {}};
  const bool good = keep(p, image, unit_begin, unit_end - unit_begin, workspace, lists);
  for (int64_t unit = unit_begin; unit < unit_end; ++unit)
    p.counts[image * p.maps.num_units + unit] = lists.counts[unit - unit_begin];
  return good;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
