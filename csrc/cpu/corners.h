// The cells between two source rows, sixteen at a time, for one SIMD level.
#pragma once

#include "../feature_maps.h"
#include "simd.h"

namespace dissect {
namespace {

// The four corners of every cell between two source rows, as columns of spans.
struct Corners {
  float* memory;
  int64_t pitch;  // from one corner's values to the next one's

  inline Corners(float* workspace, int64_t num_spans)
      : memory(workspace), pitch((num_spans + kLanes - 1) / kLanes * kLanes) {}

  inline void gather_all(const GridView& grid, const float* upper, const float* lower) {
    for (int64_t c = 0; c < grid.num_column_spans; c += kLanes) {
      store(memory + c, gather(upper, grid.left_index + c));
      store(memory + pitch + c, gather(upper, grid.right_index + c));
      store(memory + 2 * pitch + c, gather(lower, grid.left_index + c));
      store(memory + 3 * pitch + c, gather(lower, grid.right_index + c));
    }
  }
  // Corner 0 is the upper left, 1 the upper right, 2 the lower left, 3 the lower right.
  inline Lanes at(int64_t corner, int64_t c) const { return load(memory + corner * pitch + c); }
};

}  // namespace
}  // namespace dissect
