// Maps whose units are neighbours in memory, copied map by map.
#pragma once

#include "feature_maps.h"

namespace dissect {

struct CopyPlanesParams {
  FeatureMaps maps;  // units are neighbours
  void* planes;      // [N, U, h, w], contiguous
};

// The units [unit_begin, unit_end) of one image.
using CopyPlanesBlock = void (*)(const CopyPlanesParams&, int64_t image, int64_t unit_begin, int64_t unit_end);

}  // namespace dissect
