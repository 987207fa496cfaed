// The CPU's iou_counts, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A target row lies between two source rows. Where neither exceeds the threshold nothing in it fires, so most rows
// cost one bit. Within a row, a span of columns lies between two ends, and its values rise or fall monotonically
// between them (rounding is monotone), so what fires in a span is its head, its tail, all or nothing: a range. Ranges
// are counted a run of equal labels at a time, for all planes at once: a pixel's labels are one combination, and a
// combination is taken apart once per map, however often it was met.
#pragma once

#include "../iou_counts.h"
#include "corners.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// What one map meets: pixels per combination.
struct Meetings {
  int64_t* counts;
  int32_t* touched;
  int64_t num_touched;

  template <typename Word>
  inline void add(const Word* runs_of_row, int64_t begin, int64_t end) {
    for (int64_t x = begin; x < end;) {
      const Word run = runs_of_row[x];
      const int32_t combination = static_cast<int32_t>(combination_of(run));
      const int64_t run_end = end_of(run) < end ? end_of(run) : end;
      // Written always, kept only if new: a branch here would be mispredicted.
      touched[num_touched] = combination;
      num_touched += counts[combination] == 0;
      counts[combination] += run_end - x;
      x = run_end;
    }
  }

  inline void take_apart(const int32_t* table, int64_t num_planes, int64_t* intersection) {
    for (int64_t i = 0; i < num_touched; ++i) {
      const int32_t* labels = table + touched[i] * num_planes;
      for (int64_t k = 0; k < num_planes; ++k) intersection[labels[k]] += counts[touched[i]];
      counts[touched[i]] = 0;
    }
    num_touched = 0;
  }
};

// How many columns of a span fire, given that exactly one of its ends does.
inline int64_t count_in_span(const float* weights, const Span& span, float left, float right, Lanes threshold) {
  const Lanes from = same(left), to = same(right);
  int64_t count = 0;
  for (int64_t x = span.begin; x < span.end; x += kLanes) {
    const uint32_t fires = greater(interpolate(from, to, load(weights + x)), threshold);
    count += __builtin_popcount(fires & first_bits(span.end - x));
  }
  return count;
}

// The ranges of one target row, left to right; neighbours are joined.
template <typename Word>
struct Ranges {
  const Word* runs_of_row;
  Meetings& meetings;
  int64_t begin, end;

  inline void add(int64_t from, int64_t to) {
    if (from != end) {
      meetings.add(runs_of_row, begin, end);
      begin = from;
    }
    end = to;
  }
};

// One target row, whose spans have these ends, of sixteen spans. Returns the area that fires.
template <typename Word>
inline int64_t count_spans(const GridView& grid, int64_t first_span, Lanes left, Lanes right, Lanes threshold,
                           uint32_t left_fires, uint32_t right_fires, Ranges<Word>& ranges) {
  float lefts[kLanes], rights[kLanes];
  store(lefts, left), store(rights, right);
  int64_t area = 0;
  for (uint32_t active = left_fires | right_fires; active != 0; active &= active - 1) {
    const int s = __builtin_ctz(active);
    const Span& span = grid.column_spans[first_span + s];
    int64_t from = span.begin, to = span.end;
    if (((left_fires ^ right_fires) >> s) & 1u) {
      const int64_t count = count_in_span(grid.column_weights, span, lefts[s], rights[s], threshold);
      const bool head = (left_fires >> s) & 1u;
      to = head ? from + count : to;
      from = head ? from : to - count;
    }
    ranges.add(from, to);
    area += to - from;
  }
  return area;
}

inline bool any_above(const float* row, int64_t first, int64_t last, Lanes threshold) {
  uint32_t above = 0;
  for (int64_t x = first; x <= last; x += kLanes) above |= greater(load(row + x), threshold) & first_bits(last + 1 - x);
  return above != 0;
}

template <typename Word>
inline int64_t count_map(const IouCountsParams& p, int64_t image, const float* map, float threshold, Corners corners,
                         Meetings& meetings) {
  const GridView& grid = p.grid;
  const int64_t pitch = padded_width(p.maps);
  // The ring's zeros count only where the grid's border uses them.
  const int64_t first = grid.column_spans[0].index0, last = grid.column_spans[grid.num_column_spans - 1].index1;
  const Word* runs = static_cast<const Word*>(p.runs) + image * grid.num_rows * grid.num_columns;
  const Lanes level = same(threshold);
  int64_t area = 0;
  int32_t known_row = -1;
  bool known_above = false;  // whether known_row has a value above the threshold: spans share their rows
  for (int64_t s = 0; s < grid.num_row_spans; ++s) {
    const Span& span = grid.row_spans[s];
    const float* upper = map + span.index0 * pitch;
    const float* lower = map + span.index1 * pitch;
    const bool upper_above = span.index0 == known_row ? known_above : any_above(upper, first, last, level);
    known_above = span.index1 == span.index0 ? upper_above : any_above(lower, first, last, level);
    known_row = span.index1;
    if (!upper_above && !known_above) continue;
    corners.gather_all(grid, upper, lower);
    for (int64_t y = span.begin; y < span.end; ++y) {
      const Lanes weight = same(grid.row_weights[y]);
      Ranges<Word> ranges{runs + y * grid.num_columns, meetings, 0, 0};
      for (int64_t c = 0; c < grid.num_column_spans; c += kLanes) {
        const Lanes left = corners.left(c, weight), right = corners.right(c, weight);
        const uint32_t valid = first_bits(grid.num_column_spans - c);
        const uint32_t left_fires = greater(left, level) & valid, right_fires = greater(right, level) & valid;
        if ((left_fires | right_fires) != 0)
          area += count_spans(grid, c, left, right, level, left_fires, right_fires, ranges);
      }
      meetings.add(ranges.runs_of_row, ranges.begin, ranges.end);
    }
  }
  return area;
}

template <typename Word>
void count_units(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end,
                 const IouCountsWorkspace& workspace) {
  const int64_t size = padded_size(p.maps);
  Meetings meetings{workspace.counts, workspace.touched, 0};
  const Corners corners(workspace.corners, p.grid.num_column_spans);
  // Images outside, so that an image's runs stay in the cache for all units.
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    const int32_t* table = p.table + p.offsets[image] * p.num_planes;
    for (int64_t block = unit_begin; block < unit_end; block += kUnitBlock) {
      const int64_t block_end = block + kUnitBlock < unit_end ? block + kUnitBlock : unit_end;
      load_maps(p.maps, image, block, block_end - block, workspace.maps);
      for (int64_t unit = block; unit < block_end; ++unit) {
        const float* map = workspace.maps + (unit - block) * size;
        p.unit_area[image * p.maps.num_units + unit] =
            count_map<Word>(p, image, map, p.thresholds[unit], corners, meetings);
        meetings.take_apart(table, p.num_planes, p.intersection + unit * p.num_labels);
      }
    }
  }
}

}  // namespace

void iou_counts_block(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end,
                      const IouCountsWorkspace& workspace) {
  __builtin_memset(p.intersection + unit_begin * p.num_labels, 0,
                   (unit_end - unit_begin) * p.num_labels * sizeof(int64_t));
  if (p.wide) count_units<int64_t>(p, unit_begin, unit_end, workspace);
  else count_units<int32_t>(p, unit_begin, unit_end, workspace);
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) p.intersection[unit * p.num_labels] = 0;  // "no label"
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
