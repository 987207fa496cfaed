// blend_units, in place: see dissect/reference/blend_units.py.
#pragma once

#include "feature_maps.h"

namespace dissect {

// A float32 operand that broadcasts to [N, U, h, w] by strides of 0.
struct Operand {
  const float* data;
  int64_t stride_image, stride_unit, stride_row, stride_column;
};

struct BlendUnitsParams {
  FeatureMaps maps;  // written, where a is not 0
  Operand alpha;     // strides of rows and columns are 0
  Operand value;
  Operand mask;
};

using BlendUnitsPlane = void (*)(const BlendUnitsParams&, int64_t image, int64_t unit);

}  // namespace dissect
