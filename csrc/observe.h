// observe: everything that one read of a feature map's own cells can tell or change. See dissect/reference/observe.py.
//
// On a GPU this one kernel serves image_peaks (peaks alone), tail_histogram at feature positions (bins alone),
// blend_units (out alone) and observe (any of them together, in one pass).
#pragma once

#include "blend_units.h"
#include "feature_maps.h"

namespace dissect {

// Each part is left out where its pointer is null. What is observed are the values before they are blended.
struct ObserveParams {
  FeatureMaps maps;

  float* peaks;  // [N, U], -infinity at first, raised to the highest value of each map

  int64_t* bins;         // [U, B], added to: cells whose key lies within [low, high], see tail_histogram.h
  int64_t* above;        // [U], added to: cells with a higher key
  const int64_t* low;    // [U] keys, of 16 bits for 16-bit maps
  const int64_t* high;   // [U] keys
  const int64_t* shift;  // [U]
  int64_t num_bins;

  int64_t* unit_area;       // [N, U], added to: cells strictly above the threshold
  const float* thresholds;  // [U]

  // Blended features, with the strides of maps: another tensor, then written whole; or maps.data, in place, then only
  // cells whose alpha is not 0 are written, and planes of which nothing else is asked are not even read.
  void* out;
  Operand alpha;  // strides of rows and columns are 0
  Operand value;
  Operand mask;
};

}  // namespace dissect
