// tail_histogram: samples by order-preserving key. See dissect/reference/tail_histogram.py.
#pragma once

#include "hot_cells.h"

namespace dissect {

enum class Sample : int32_t { kValue = 0, kMin = 1, kMax = 2 };

struct TailHistogramParams {
  FeatureMaps maps;
  GridView grid;  // num_rows 0: the samples are the feature map's own cells
  Sample sample;
  const int64_t* low;    // [U] keys
  const int64_t* high;   // [U] keys
  const int64_t* shift;  // [U]
  int64_t num_bins;
  int64_t* bins;                  // [U, B], added to
  int64_t* above;                 // [U], added to
  const HotCells* hot = nullptr;  // instead of the maps' data
};

// Sizes: block_floats(maps), zero at first; row_floats(maps); bit_words(maps).
struct TailHistogramWorkspace {
  float* maps;
  float* row;
  uint64_t* bits;
};
// Counts with the sign of `step`, 1 or -1. Where a value is bad the result is false and the counts are worthless, but
// the same every time, so that a run with the other sign takes them back.
using TailHistogramBlock = bool (*)(const TailHistogramParams&, int64_t unit_begin, int64_t unit_end, int64_t step,
                                    const TailHistogramWorkspace&);

}  // namespace dissect
