// How a block of the walk over cells (cells.cuh) gets maps into shared memory: as they lie in memory, or what hot cells
// hold of them.
#pragma once

#include "../hot_cells.h"
#include "cell_plan.cuh"

namespace dissect {
namespace {

// What a thread stages of a block's maps: a column of one unit, every `step` rows, and columns 2^width_bits further on.
template <typename T>
struct Stager {
  const T* source;  // where it begins in the first image, were that image's padded row 0 staged first
  float* target;
  int x, begin, step, target_hop;
  int64_t hop;  // in memory, as target_hop in the staged map

  __device__ Stager(const FeatureMaps& maps, const HotCells&, const CellPlan& plan, int warp, int64_t first_unit,
                    float* staged) {
    const bool units_are_neighbours = maps.stride_unit < maps.stride_column;  // in memory
    const int unit = (units_are_neighbours ? threadIdx.x : warp) & (plan.units() - 1);
    const int place =
        units_are_neighbours ? threadIdx.x >> plan.unit_bits : (warp >> plan.unit_bits) * 32 + lane_of_thread();
    x = place & ((1 << plan.width_bits) - 1), begin = place >> plan.width_bits;
    if (first_unit + unit >= maps.num_units) x = static_cast<int>(maps.width);  // nothing
    step = 32 * plan.parts() >> plan.width_bits;
    target_hop = step * CellMemory::pitch(maps), hop = step * maps.stride_row;
    source = kept(static_cast<const T*>(maps.data) + (first_unit + unit) * maps.stride_unit +
                  (begin - 1) * maps.stride_row + x * maps.stride_column);
    target = staged + unit * CellMemory::map_floats(maps, plan.band_rows) + begin * CellMemory::pitch(maps) + x + 1;
  }

  // Copies padded rows [first_row, first_row + num_rows). The ring's columns must be zero already.
  __device__ void stage(const FeatureMaps& maps, const CellPlan& plan, int64_t image, int first_row, int num_rows,
                        Worst& worst) const {
    const int width = static_cast<int>(maps.width), bottom = static_cast<int>(maps.height) + 1 - first_row;
    const int top = first_row == 0 ? 1 : 0;  // of the rows that are no ring's
    const unsigned rows = (bottom < num_rows ? bottom : num_rows) - top;
    const T* column_source = source + image * maps.stride_image + first_row * maps.stride_row;
    float* column_target = target;
    constexpr int kDepth = 4;  // loads on their way
    for (int column = x; column < width; column += 1 << plan.width_bits) {
      const T* from = column_source;
      float* to = column_target;
      for (int y = begin; y < num_rows; y += kDepth * step) {
        float values[kDepth];
#pragma unroll
        for (int d = 0; d < kDepth; ++d, from += hop) {
          const unsigned row = y + d * step - top;
          values[d] = row < rows ? widen(*from) : 0.0f;
        }
#pragma unroll
        for (int d = 0; d < kDepth; ++d, to += target_hop) {
          worst.add(values[d]);
          if (y + d * step < num_rows) *to = values[d];
        }
      }
      column_source += maps.stride_column << plan.width_bits, column_target += 1 << plan.width_bits;
    }
  }
};

// In the place of a stored type: of maps there is what hot cells hold.
struct HotEntries {};

// What a thread stages of them: entries of one unit, every `lanes` further.
template <>
struct Stager<HotEntries> {
  const HotCells& hot;
  float* target;  // the unit's padded row 0, were it staged first
  int64_t unit;
  int lane, lanes;

  __device__ Stager(const FeatureMaps& maps, const HotCells& hot, const CellPlan& plan, int warp, int64_t first_unit,
                    float* staged)
      : hot(hot),
        target(staged + (warp & (plan.units() - 1)) * CellMemory::map_floats(maps, plan.band_rows)),
        unit(first_unit + (warp & (plan.units() - 1))),
        lane((warp >> plan.unit_bits) * 32 + lane_of_thread()),
        lanes(32 * plan.parts()) {}

  // Padded rows [first_row, first_row + num_rows): what was kept, and elsewhere what is above no floor.
  __device__ void stage(const FeatureMaps& maps, const CellPlan&, int64_t image, int first_row, int num_rows,
                        Worst& worst) const {
    const int width = static_cast<int>(maps.width), height = static_cast<int>(maps.height);
    const int pitch = CellMemory::pitch(maps);
    const bool inside = unit < maps.num_units;
    const int64_t number = image * maps.num_units + unit;
    if (inside) {
      const float rest = fminf(hot.floors[number], 0.0f);
      for (int y = 0; y < num_rows; ++y) {
        const bool ring = first_row + y == 0 || first_row + y > height;
        for (int x = lane; x < width; x += lanes) target[y * pitch + x + 1] = ring ? 0.0f : rest;
      }
    }
    __syncthreads();  // what is kept comes on top
    if (!inside) return;
    const int64_t start = hot.starts[number];
    const int count = hot.counts[number];
    const int last_row = first_row + num_rows > height + 1 ? height + 1 : first_row + num_rows;
    const int end = first_at(start, count, int64_t{last_row - 1} * width);
    for (int i = first_at(start, count, int64_t{first_row - 1} * width) + lane; i < end; i += lanes) {
      const int place = place_at(start + i), row = place / width;
      const float value = hot.values[start + i];
      worst.add(value);
      target[(row + 1 - first_row) * pitch + place - row * width + 1] = value;
    }
  }

 private:
  __device__ int place_at(int64_t entry) const {
    return hot.wide ? static_cast<const int32_t*>(hot.places)[entry] : static_cast<const uint16_t*>(hot.places)[entry];
  }
  // The first of a map's entries at or behind a place.
  __device__ int first_at(int64_t start, int count, int64_t place) const {
    int begin = 0, end = count;
    while (begin < end) {
      const int middle = begin + (end - begin) / 2;
      if (place_at(start + middle) < place) begin = middle + 1;
      else end = middle;
    }
    return begin;
  }
};

}  // namespace
}  // namespace dissect
