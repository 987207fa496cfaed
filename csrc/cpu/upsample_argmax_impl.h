// The CPU's upsample_argmax, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A cell is the pixels of one row span and one column span: each map's values there lie between its four corners. A map
// whose largest corner is below another's least wins nowhere in the cell. Mostly one map is left, and the cell is
// filled without an interpolation; else only those that are left are sampled.
#pragma once

#include "../upsample_argmax.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// Two source rows of one map, padded.
struct SourceRows {
  const float *upper, *lower;
};

inline SourceRows rows_of(const UpsampleArgmaxParams& p, const UpsampleArgmaxWorkspace& workspace, int64_t map) {
  const float* upper = workspace.rows + 2 * map * row_floats(p.maps);
  return {upper, upper + row_floats(p.maps)};
}

// One source row of every map; the virtual ones are zero already.
template <typename T>
void load_source_row(const UpsampleArgmaxParams& p, int64_t image, int64_t row, float* to) {
  if (row < 0 || row >= p.maps.height) return;
  const FeatureMaps& maps = p.maps;
  const auto* base =
      static_cast<const typename Widen<T>::Stored*>(maps.data) + image * maps.stride_image + row * maps.stride_row;
  const int64_t pitch = 2 * row_floats(maps);
  if (maps.stride_column == 1) {
    Reader reader;
    for (int64_t c = 0; c < maps.num_units; ++c)
      reader.load<T>(base + c * maps.stride_unit, maps.width, to + c * pitch + 1);
    return;
  }
  for (int64_t x = 0; x < maps.width; ++x) {
    const auto* here = base + x * maps.stride_column;
    for (int64_t c = 0; c < maps.num_units; ++c) to[c * pitch + 1 + x] = Widen<T>::one(here[c * maps.stride_unit]);
  }
}

template <typename T>
void load_source_rows(const UpsampleArgmaxParams& p, int64_t image, const Span& rows, float* to) {
  const int64_t pitch = row_floats(p.maps);
  for (int64_t i = 0; i < 2 * p.maps.num_units * pitch; ++i) to[i] = 0.0f;
  // Spans count from the virtual row before the map.
  load_source_row<T>(p, image, rows.index0 - 1, to);
  load_source_row<T>(p, image, rows.index1 - 1, to + pitch);
}

// For sixteen cells from column span `first` on, the maps that may win in each: `count` of them, in order.
inline void find_candidates(const UpsampleArgmaxParams& p, const UpsampleArgmaxWorkspace& workspace, int64_t first,
                            int64_t* count) {
  const int32_t *left = p.grid.left_index + first, *right = p.grid.right_index + first;
  const int64_t num_maps = p.maps.num_units;
  const uint32_t valid = first_bits(p.grid.num_column_spans - first);
  Lanes floor{};
  for (int64_t c = 0; c < num_maps; ++c) {
    const SourceRows rows = rows_of(p, workspace, c);
    const Lanes a = gather(rows.upper, left), b = gather(rows.upper, right);
    const Lanes d = gather(rows.lower, left), e = gather(rows.lower, right);
    const Lanes least = smaller(smaller(a, b), smaller(d, e));
    store(workspace.bounds + c * kLanes, larger(larger(a, b), larger(d, e)));
    floor = c == 0 ? least : larger(floor, least);
  }
  for (int64_t s = 0; s < kLanes; ++s) count[s] = 0;
  for (int64_t c = 0; c < num_maps; ++c)
    for (uint32_t may = ~greater(floor, load(workspace.bounds + c * kLanes)) & valid; may != 0; may &= may - 1) {
      const int s = __builtin_ctz(may);
      workspace.candidates[s * num_maps + count[s]++] = static_cast<int32_t>(c);
    }
}

// The winners among several maps, of up to sixteen columns and as many rows as fit into a vector with them.
inline void sample_winners(const UpsampleArgmaxParams& p, const UpsampleArgmaxWorkspace& workspace, const Span& columns,
                           const int32_t* candidates, int64_t count, Lanes wy, Lanes wx, int32_t* winners) {
  Leaders leaders;
  for (int64_t i = 0; i < count; ++i) {
    const SourceRows rows = rows_of(p, workspace, candidates[i]);
    const Lanes left = interpolate(same(rows.upper[columns.index0]), same(rows.lower[columns.index0]), wy);
    const Lanes right = interpolate(same(rows.upper[columns.index1]), same(rows.lower[columns.index1]), wy);
    const Lanes values = interpolate(left, right, wx);
    if (i == 0) leaders = Leaders(values, candidates[0]);
    else leaders.see(values, candidates[i]);  // a tie is the first one's
  }
  leaders.store(winners);
}

inline void sample_cell(const UpsampleArgmaxParams& p, const UpsampleArgmaxWorkspace& workspace, const Span& rows,
                        const Span& columns, const int32_t* candidates, int64_t count, int32_t* winners) {
  for (int64_t x = columns.begin; x < columns.end; x += kLanes) {
    const int64_t width = columns.end - x < kLanes ? columns.end - x : kLanes, height = kLanes / width;
    float wx[kLanes] = {}, wy[kLanes] = {};
    for (int64_t i = 0; i < height * width; ++i) wx[i] = p.grid.column_weights[x + i % width];
    for (int64_t y = rows.begin; y < rows.end; y += height) {
      const int64_t here = rows.end - y < height ? rows.end - y : height;
      for (int64_t i = 0; i < here * width; ++i) wy[i] = p.grid.row_weights[y + i / width];
      int32_t found[kLanes];
      sample_winners(p, workspace, columns, candidates, count, load(wy), load(wx), found);
      for (int64_t row = 0; row < here; ++row)
        for (int64_t i = 0; i < width; ++i) winners[(y + row) * p.grid.num_columns + x + i] = found[row * width + i];
    }
  }
}

inline void load_both_rows(const UpsampleArgmaxParams& p, int64_t image, const Span& rows, float* to) {
  switch (p.maps.dtype) {
    case DType::kFloat32:
      return load_source_rows<float>(p, image, rows, to);
    case DType::kFloat16:
      return load_source_rows<Float16>(p, image, rows, to);
    case DType::kBFloat16:
      return load_source_rows<BFloat16>(p, image, rows, to);
  }
}

}  // namespace

void upsample_argmax_rows(const UpsampleArgmaxParams& p, int64_t image, int64_t row_span,
                          const UpsampleArgmaxWorkspace& workspace) {
  const Span& rows = p.grid.row_spans[row_span];
  load_both_rows(p, image, rows, workspace.rows);
  int32_t* winners = p.winners + image * p.grid.num_rows * p.grid.num_columns;
  for (int64_t first = 0; first < p.grid.num_column_spans; first += kLanes) {
    int64_t count[kLanes];
    find_candidates(p, workspace, first, count);
    for (int64_t s = first; s < p.grid.num_column_spans && s < first + kLanes; ++s) {
      const Span& columns = p.grid.column_spans[s];
      const int32_t* candidates = workspace.candidates + (s - first) * p.maps.num_units;
      if (count[s - first] > 1) {
        sample_cell(p, workspace, rows, columns, candidates, count[s - first], winners);
        continue;
      }
      for (int64_t y = rows.begin; y < rows.end; ++y)
        for (int64_t x = columns.begin; x < columns.end; ++x) winners[y * p.grid.num_columns + x] = candidates[0];
    }
  }
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
