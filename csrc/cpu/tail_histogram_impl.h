// The CPU's tail_histogram, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A cell is the pixels of one row span and one column span: all lie between its four corners. Cells below `low` are
// skipped, cells above `high` are counted whole, and only the few in between are evaluated pixel by pixel.
#pragma once

#include "../tail_histogram.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// One unit's part of the parameters.
struct Tail {
  uint32_t low, high;
  int32_t shift;
  int64_t* bins;
  int64_t above;

  inline void add(uint32_t key, int64_t weight) {
    if (key > high) above += weight;
    else if (key >= low) bins[(key - low) >> shift] += weight;
  }
};

inline void add_cell_bounds(const GridView& grid, Sample sample, const float* map, int64_t pitch, Tail& tail) {
  for (int64_t r = 0; r < grid.num_row_spans; ++r) {
    const Span& rows = grid.row_spans[r];
    const float* upper = map + rows.index0 * pitch;
    const float* lower = map + rows.index1 * pitch;
    for (int64_t c = 0; c < grid.num_column_spans; ++c) {
      const Span& columns = grid.column_spans[c];
      const float a = upper[columns.index0], b = upper[columns.index1];
      const float d = lower[columns.index0], e = lower[columns.index1];
      const float bound = sample == Sample::kMin ? smaller(smaller(a, b), smaller(d, e)) : larger(larger(a, b), larger(d, e));
      tail.add(key_of(bound), int64_t{rows.end - rows.begin} * (columns.end - columns.begin));
    }
  }
}

// One target row: spans between its ends, then pixels.
inline void add_row(const GridView& grid, const float* line, Tail& tail) {
  for (int64_t c = 0; c < grid.num_column_spans; ++c) {
    const Span& span = grid.column_spans[c];
    const float left = line[span.index0], right = line[span.index1];
    const uint32_t left_key = key_of(left), right_key = key_of(right);
    const uint32_t least = left_key < right_key ? left_key : right_key;
    const uint32_t most = left_key < right_key ? right_key : left_key;
    if (most < tail.low) continue;
    if (least > tail.high) {
      tail.above += span.end - span.begin;
      continue;
    }
    for (int32_t x = span.begin; x < span.end; ++x)
      tail.add(key_of(interpolate(left, right, grid.columns[x].weight)), 1);
  }
}

inline void add_values(const GridView& grid, const float* map, int64_t pitch, float* line, Tail& tail) {
  const int64_t first = grid.column_spans[0].index0, last = grid.column_spans[grid.num_column_spans - 1].index1;
  for (int64_t r = 0; r < grid.num_row_spans; ++r) {
    const Span& rows = grid.row_spans[r];
    const float* upper = map + rows.index0 * pitch;
    const float* lower = map + rows.index1 * pitch;
    float least = upper[first], most = upper[first];
    for (int64_t x = first; x <= last; ++x) {
      least = smaller(least, smaller(upper[x], lower[x]));
      most = larger(most, larger(upper[x], lower[x]));
    }
    if (key_of(most) < tail.low) continue;
    if (key_of(least) > tail.high) {
      tail.above += int64_t{rows.end - rows.begin} * grid.num_columns;
      continue;
    }
    for (int64_t y = rows.begin; y < rows.end; ++y) {
      for (int64_t x = first; x <= last; ++x) line[x] = interpolate(upper[x], lower[x], grid.rows[y].weight);
      add_row(grid, line, tail);
    }
  }
}

// The feature map's own cells, in the key space of the stored type.
inline void add_cells(const FeatureMaps& maps, int64_t image, int64_t unit, Tail& tail) {
  const int64_t base = image * maps.stride_image + unit * maps.stride_unit;
  for (int64_t y = 0; y < maps.height; ++y) {
    for (int64_t x = 0; x < maps.width; ++x) {
      const int64_t at = base + y * maps.stride_row + x * maps.stride_column;
      tail.add(maps.dtype == DType::kFloat32 ? key_of(static_cast<const float*>(maps.data)[at])
                                             : key_of_half(static_cast<const uint16_t*>(maps.data)[at]),
               1);
    }
  }
}

}  // namespace

void tail_histogram_block(const TailHistogramParams& p, int64_t unit_begin, int64_t unit_end, float* workspace) {
  const int64_t size = padded_size(p.maps), pitch = padded_width(p.maps);
  float* line = workspace + kUnitBlock * size;
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    if (p.grid.num_rows > 0) load_maps(p.maps, image, unit_begin, unit_end - unit_begin, workspace);
    for (int64_t unit = unit_begin; unit < unit_end; ++unit) {
      const float* map = workspace + (unit - unit_begin) * size;
      Tail tail{static_cast<uint32_t>(p.low[unit]), static_cast<uint32_t>(p.high[unit]),
                static_cast<int32_t>(p.shift[unit]), p.bins + unit * p.num_bins, 0};
      if (p.grid.num_rows == 0) add_cells(p.maps, image, unit, tail);
      else if (p.sample == Sample::kValue) add_values(p.grid, map, pitch, line, tail);
      else add_cell_bounds(p.grid, p.sample, map, pitch, tail);
      p.above[unit] += tail.above;
    }
  }
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
