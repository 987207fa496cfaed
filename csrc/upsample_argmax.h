// upsample_argmax: of every target pixel, the map with the highest upsampled value. See
// dissect/reference/upsample_argmax.py.
#pragma once

#include "feature_maps.h"

namespace dissect {

struct UpsampleArgmaxParams {
  FeatureMaps maps;  // [N, C, h, w]
  GridView grid;
  int32_t* winners;  // [N, H, W]
};

// Memory of one thread.
struct UpsampleArgmaxWorkspace {
  float* rows;          // [C, 2, row_floats]: two padded source rows of every map
  float* bounds;        // [C, lanes]: the least corner of sixteen cells, and their largest
  int32_t* candidates;  // [lanes, C]
};

// The target rows of one row span of one image.
using UpsampleArgmaxRows = void (*)(const UpsampleArgmaxParams&, int64_t image, int64_t row_span,
                                    const UpsampleArgmaxWorkspace&);

}  // namespace dissect
