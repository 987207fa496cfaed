// The CPU's iou_counts, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A target row lies between two source rows. Where neither exceeds the threshold nothing in it fires, so most rows
// cost one comparison per source column. Within a row, a span of columns lies between two ends, and its values rise or
// fall monotonically between them (rounding is monotone), so what fires in a span is its head, its tail, all or
// nothing: a range. Ranges are counted a run of equal labels at a time, never a pixel at a time.
#pragma once

#include "../iou_counts.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// Adds the pixels [begin, end) of target row y to the unit's counts.
inline void count_range(const IouCountsParams& p, int64_t image, int64_t y, int64_t begin, int64_t end,
                        int64_t* intersection) {
  const int64_t width = p.grid.num_columns, plane_size = p.grid.num_rows * width;
  const int64_t row = image * p.num_planes * plane_size + y * width;
  for (int64_t k = 0; k < p.num_planes; ++k) {
    const int32_t* labels = p.planes + row + k * plane_size;
    const int32_t* run_ends = p.run_ends + row + k * plane_size;
    for (int64_t x = begin; x < end;) {
      const int64_t run_end = run_ends[x] < end ? run_ends[x] : end;
      intersection[labels[x]] += run_end - x;
      x = run_end;
    }
  }
}

// How many columns of a span fire, given that exactly one of its ends does.
inline int64_t count_in_span(const GridEntry* columns, const Span& span, float left, float right, float threshold) {
  int64_t count = 0;
  for (int32_t x = span.begin; x < span.end; ++x) count += interpolate(left, right, columns[x].weight) > threshold;
  return count;
}

// One target row whose source columns have the values `line`. Returns the area that fires.
inline int64_t count_row(const IouCountsParams& p, int64_t image, int64_t y, const float* line, float threshold,
                         int64_t* intersection) {
  int64_t area = 0, begin = 0, end = 0;  // the range that is still growing
  for (int64_t s = 0; s < p.grid.num_column_spans; ++s) {
    const Span& span = p.grid.column_spans[s];
    const float left = line[span.index0], right = line[span.index1];
    const bool left_fires = left > threshold, right_fires = right > threshold;
    if (!left_fires && !right_fires) continue;
    int64_t from = span.begin, to = span.end;
    if (left_fires != right_fires) {
      const int64_t count = count_in_span(p.grid.columns, span, left, right, threshold);
      if (left_fires) to = from + count;
      else from = to - count;
    }
    if (from != end) {
      count_range(p, image, y, begin, end, intersection);
      begin = from;
    }
    area += to - from;
    end = to;
  }
  count_range(p, image, y, begin, end, intersection);
  return area;
}

inline int64_t count_map(const IouCountsParams& p, int64_t image, const float* map, float threshold, float* line,
                         int64_t* intersection) {
  const int64_t pitch = padded_width(p.maps);
  // The ring's zeros count only where the grid's border uses them.
  const int64_t first = p.grid.column_spans[0].index0;
  const int64_t last = p.grid.column_spans[p.grid.num_column_spans - 1].index1;
  int64_t area = 0;
  for (int64_t s = 0; s < p.grid.num_row_spans; ++s) {
    const Span& span = p.grid.row_spans[s];
    const float* upper = map + span.index0 * pitch;
    const float* lower = map + span.index1 * pitch;
    bool active = false;
    for (int64_t x = first; x <= last; ++x) active |= (upper[x] > threshold) | (lower[x] > threshold);
    if (!active) continue;
    for (int64_t y = span.begin; y < span.end; ++y) {
      const float weight = p.grid.rows[y].weight;
      bool fires = false;
      for (int64_t x = first; x <= last; ++x) {
        line[x] = interpolate(upper[x], lower[x], weight);
        fires |= line[x] > threshold;
      }
      if (fires) area += count_row(p, image, y, line, threshold, intersection);
    }
  }
  return area;
}

}  // namespace

void iou_counts_block(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end, float* workspace) {
  const int64_t size = padded_size(p.maps);
  float* line = workspace + kUnitBlock * size;
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    load_maps(p.maps, image, unit_begin, unit_end - unit_begin, workspace);
    for (int64_t unit = unit_begin; unit < unit_end; ++unit) {
      const float* map = workspace + (unit - unit_begin) * size;
      p.unit_area[image * p.maps.num_units + unit] =
          count_map(p, image, map, p.thresholds[unit], line, p.intersection + unit * p.num_labels);
    }
  }
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) p.intersection[unit * p.num_labels] = 0;  // "no label"
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
