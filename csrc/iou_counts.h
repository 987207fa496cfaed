// iou_counts: pixels where units fire, and where units and labels meet. See dissect/reference/iou_counts.py.
#pragma once

#include "feature_maps.h"

namespace dissect {

struct IouCountsParams {
  FeatureMaps maps;
  GridView grid;
  const float* thresholds;   // [U]
  const int32_t* planes;     // [N, K, H, W], no label twice at a pixel
  const int32_t* run_ends;   // [N, K, H, W], the column after the run of equal labels
  int64_t num_planes, num_labels;
  int64_t* intersection;     // [U, C]
  int64_t* unit_area;        // [N, U]
};

// Counts the units of [unit_begin, unit_end), at most kUnitBlock of them, over all images. Writes only their rows.
// `workspace` holds workspace_floats(maps) floats.
using IouCountsBlock = void (*)(const IouCountsParams&, int64_t unit_begin, int64_t unit_end, float* workspace);

}  // namespace dissect
