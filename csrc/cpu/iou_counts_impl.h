// The CPU's iou_counts, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// Cells none of whose corners exceeds the threshold cost nothing; what fires in the others is counted by count_cells.h,
// for all planes at once: a pixel's labels are one combination, and a combination is taken apart once per map, however
// often it was met.
#pragma once

#include "../iou_counts.h"
#include "count_cells.h"
#include "hot_maps.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// Where pixels are the map's own cells: the bits alone say which fire.
template <typename Word, typename Meetings>
inline void count_cells(const IouCountsParams& p, int64_t image, const ColumnBits& bits, Meetings& meetings) {
  const Word* runs = static_cast<const Word*>(p.runs) + image * p.maps.height * p.maps.width;
  for (int64_t y = 0; y < p.maps.height; ++y, runs += p.maps.width) {
    const uint64_t* words = bits.words + (y + 1) * bits.per_row;
    for (int64_t w = 0; w < bits.per_row; ++w)
      for (uint64_t columns = words[w]; columns != 0; columns &= columns - 1) {
        meetings.add(combination_of(runs[64 * w + __builtin_ctzll(columns) - 1]), 1);
      }
  }
}

// Takes apart what a map met. Returns its area.
template <typename Meetings>
inline int64_t take_apart(const IouCountsParams& p, int64_t image, int64_t unit, Meetings& meetings,
                          const ByImageWorkspace* by_image) {
  meetings.end(p.offsets[image + 1] - p.offsets[image]);
  int64_t* intersection = p.intersection + unit * p.num_labels;
  const int32_t* table = p.table + p.offsets[image] * p.num_planes;
  if (by_image == nullptr) return meetings.take_apart(table, p.num_planes, intersection);
  const ImageLabels& labels = by_image->images[image];
  LabelCounts& counts = *by_image->counts;
  if (counts.capacity - counts.size < labels.num_labels + kLanes) counts.reserve(counts, labels.num_labels + kLanes);
  const int64_t before = counts.size;
  const int64_t area = meetings.take_apart(table, p.num_planes, intersection, labels, by_image->by_place, counts);
  by_image->per_map[image * p.maps.num_units + unit] = static_cast<int32_t>(counts.size - before);
  return area;
}

template <typename Word, typename Meetings>
inline void count_map(const IouCountsParams& p, int64_t image, const LabelCells& labels, const CellPlan& plan,
                      const float* map, float threshold, const ColumnBits& bits, CountLists& lists,
                      Meetings& meetings) {
  const Word* runs = static_cast<const Word*>(p.runs) + image * p.grid.num_rows * p.grid.num_columns;
  const MapCounter<Word, Meetings> counter{p.grid, plan, labels, runs, map, threshold};
  plan.list(p.grid, bits, lists.active, [&] { counter.count(lists, meetings); });
}

// One image. Returns false at the first bad value.
template <typename Word, bool kFew>
bool count_image(const IouCountsParams& p, int64_t image, int64_t unit_begin, int64_t unit_end, const CellPlan& plan,
                 const IouCountsWorkspace& workspace, CountLists& lists) {
  const ColumnBits bits{workspace.bits, words_per_row(p.maps)};
  const bool at_cells = is_identity(p.grid, p.maps);
  Meetings<kFew> meetings{workspace.counts, workspace.touched, 0};
  for (int64_t block = unit_begin; block < unit_end; block += kUnitBlock) {
    const int64_t block_end = block + kUnitBlock < unit_end ? block + kUnitBlock : unit_end;
    if (p.hot == nullptr && !load_maps(p.maps, image, block, block_end - block, workspace.maps)) return false;
    for (int64_t unit = block; unit < block_end; ++unit) {
      float* map = workspace.maps + (unit - block) * padded_size(p.maps);
      const int64_t number = image * p.maps.num_units + unit;
      mark_columns(p.maps, p.hot, number, p.grid, map, bits, Exceeds{p.thresholds[unit]});
      if (at_cells) count_cells<Word>(p, image, bits, meetings);
      else count_map<Word>(p, image, workspace.cells[image], plan, map, p.thresholds[unit], bits, lists, meetings);
      if (p.hot != nullptr) clear(p.maps, *p.hot, number, map);
      p.unit_area[number] = take_apart(p, image, unit, meetings, workspace.by_image);
    }
  }
  return true;
}

template <typename Word>
bool count_units(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end, const IouCountsWorkspace& workspace) {
  const CellPlan plan = plan_cells(p.grid, padded_width(p.maps));
  CountLists lists;
  // Images outside, so that an image's runs stay in the cache for all units.
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    const bool few = p.offsets[image + 1] - p.offsets[image] <= kFewCombinations;
    const bool good = few ? count_image<Word, true>(p, image, unit_begin, unit_end, plan, workspace, lists)
                          : count_image<Word, false>(p, image, unit_begin, unit_end, plan, workspace, lists);
    if (!good) return false;
  }
  return true;
}

}  // namespace

bool iou_counts_block(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end,
                      const IouCountsWorkspace& workspace) {
  __builtin_memset(p.intersection + unit_begin * p.num_labels, 0,
                   (unit_end - unit_begin) * p.num_labels * sizeof(int64_t));
  const bool good = p.wide ? count_units<int64_t>(p, unit_begin, unit_end, workspace)
                           : count_units<int32_t>(p, unit_begin, unit_end, workspace);
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) p.intersection[unit * p.num_labels] = 0;  // "no label"
  return good;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
