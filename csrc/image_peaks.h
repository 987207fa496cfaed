// image_peaks: the highest value of every map. See dissect/reference/image_peaks.py.
#pragma once

#include "feature_maps.h"

namespace dissect {

struct ImagePeaksParams {
  FeatureMaps maps;
  float* peaks;  // [N, U]
};

// The units [unit_begin, unit_end) of one image. Returns false where it met a bad value.
using ImagePeaksBlock = bool (*)(const ImagePeaksParams&, int64_t image, int64_t unit_begin, int64_t unit_end);

}  // namespace dissect
