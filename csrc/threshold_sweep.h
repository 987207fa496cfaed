// threshold_sweep: pixels by the highest edge that they exceed. See dissect/reference/threshold_sweep.py.
#pragma once

#include "iou_counts.h"

namespace dissect {

struct ThresholdSweepParams {
  FeatureMaps maps;  // of good values
  GridView grid;
  const float* edges;  // [U, B], rising
  int64_t num_edges;
  const void* runs;  // as of IouCountsParams, and so on
  bool wide;
  const int32_t* table;
  const int64_t* offsets;
  int64_t num_planes, num_labels;
  int64_t* bins;       // [U, C, B], added to, but for label 0
  int64_t* unit_bins;  // [N, U, B], added to
};

// Edges are searched in a binary tree of a power of two.
constexpr int64_t kLeastTree = 64;
inline int64_t tree_size(int64_t num_edges) {
  int64_t size = kLeastTree;
  while (size < num_edges) size *= 2;
  return size;
}

// An image with more combinations is counted by label at once: a larger table would leave the cache.
inline int64_t most_combinations(int64_t num_edges) { return (64 << 10) / num_edges; }

// `cells` holds an entry per image; `maps` holds block_floats(maps), zero at first; `bits` holds bit_words(maps);
// `edges` holds tree_size(num_edges). For the most combinations that an image has, up to most_combinations, `counts`
// holds B each, `seen` one, and `touched` one and one more; the first two are zero before and after.
struct ThresholdSweepWorkspace {
  const LabelCells* cells;
  float* maps;
  uint64_t* bits;
  float *edges, *seen;
  int32_t *counts, *touched;
};
// Counts the units [unit_begin, unit_end) over all images. Writes only their rows.
using ThresholdSweepBlock = void (*)(const ThresholdSweepParams&, int64_t unit_begin, int64_t unit_end,
                                     const ThresholdSweepWorkspace&);

}  // namespace dissect
