// What launches have in common, on the host.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cells.cuh"
#include "engine.h"

namespace dissect {
namespace cuda {

// Throws std::runtime_error where `error` is one.
inline void require(cudaError_t error, const char* op, const FeatureMaps& maps, const Place& place) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // told here, so that nobody finds it after a later launch
  throw std::runtime_error(
      std::string(op) + ": the launch failed on device " + std::to_string(place.device) + " for activations [" +
      std::to_string(maps.num_images) + ", " + std::to_string(maps.num_units) + ", " + std::to_string(maps.height) +
      ", " + std::to_string(maps.width) + "]: " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error) + ".");
}

inline int attribute(cudaDeviceAttr name, const char* op, const FeatureMaps& maps, const Place& place) {
  int value = 0;
  require(cudaDeviceGetAttribute(&value, name, place.device), op, maps, place);
  return value;
}

// Blocks in flight per multiprocessor that a launch aims at, over all of its waves.
constexpr int64_t kBlocksPerMultiprocessor = 12;

// Shared memory for staged maps, so that four blocks or more fit into a multiprocessor.
constexpr int64_t kStagedBytes = 24 << 10;

inline int64_t power_of_two_from(int64_t value) {
  int64_t power = 1;
  while (power < value) power *= 2;
  return power;
}

// Within a map, a segmentation and a block 32 bits count.
inline void check_sizes(const char* op, int64_t rows, int64_t columns) {
  if (rows * columns < 1 << 30) return;
  throw std::invalid_argument(std::string(op) + ": maps and segmentations must have fewer than 2^30 cells, but got " +
                              std::to_string(rows) + " x " + std::to_string(columns) + ".");
}

// How many maps a block stages together: as many as it has warps, there are units, and both their rows and their counts
// fit in shared memory.
inline int64_t units_per_block(const FeatureMaps& maps, int64_t count_bytes, int64_t most_count_bytes) {
  const int64_t two_rows = 2 * CellMemory::pitch(maps) * static_cast<int64_t>(sizeof(float));
  int64_t units = kWarps;
  while (units > 1 &&
         (units / 2 >= maps.num_units || units * two_rows > kStagedBytes || units * count_bytes > most_count_bytes))
    units /= 2;
  return units;
}

// The plan of a launch over cells, with `units` maps per block.
inline CellPlan plan_cells(const FeatureMaps& maps, const DeviceGrid& grid, int64_t units, int multiprocessors) {
  const int64_t row_bytes = units * CellMemory::pitch(maps) * static_cast<int64_t>(sizeof(float));
  const int64_t band_rows = std::clamp<int64_t>(kStagedBytes / row_bytes, 2, maps.height + 2);
  const int64_t row_lanes = std::min<int64_t>(power_of_two_from(grid.tallest), 32);
  const int64_t groups = (maps.num_units + units - 1) / units;
  const int64_t wanted = std::max<int64_t>(1, multiprocessors * kBlocksPerMultiprocessor / groups);
  // A block counts in 32 bits.
  const int64_t area = std::max<int64_t>(1, grid.view.num_rows * grid.view.num_columns);
  const int64_t most = std::max<int64_t>(1, INT32_MAX / area);
  const int64_t images = std::clamp<int64_t>((maps.num_images + wanted - 1) / wanted, 1, most);
  return {static_cast<int>(units), static_cast<int>(band_rows), static_cast<int>(row_lanes),
          static_cast<int>((grid.tallest + row_lanes - 1) / row_lanes), static_cast<int>(images)};
}

inline int64_t num_blocks(const FeatureMaps& maps, const CellPlan& plan) {
  return (maps.num_units + plan.units - 1) / plan.units * ((maps.num_images + plan.images - 1) / plan.images);
}

}  // namespace cuda
}  // namespace dissect
