// What launches have in common, on the host.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cells.cuh"
#include "engine.h"

namespace dissect {
namespace cuda {

// Throws std::runtime_error where `error` is one; `what` names the tensor and its shape.
inline void require(cudaError_t error, const char* op, const std::string& what, const Place& place) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // told here, so that nobody finds it after a later launch
  throw std::runtime_error(std::string(op) + ": the launch failed on device " + std::to_string(place.device) + " for " +
                           what + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error) + ".");
}

inline void require(cudaError_t error, const char* op, const FeatureMaps& maps, const Place& place) {
  if (error == cudaSuccess) return;
  require(error, op,
          "activations [" + std::to_string(maps.num_images) + ", " + std::to_string(maps.num_units) + ", " +
              std::to_string(maps.height) + ", " + std::to_string(maps.width) + "]",
          place);
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

// Shared memory for a grid's tables: those of 112x112 at 224x224 fit. Larger ones are read from device memory.
constexpr int64_t kGridBytes = 6 << 10;

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

// Refuses sizes beyond these, and makes the device the current one; returns how many multiprocessors it has.
inline int begin_cells(const char* op, const FeatureMaps& maps, const DeviceGrid& grid, const Place& place) {
  check_sizes(op, maps.height + 2, maps.width + 2);
  check_sizes(op, grid.view.num_rows, grid.view.num_columns);
  require(cudaSetDevice(place.device), op, maps, place);
  return attribute(cudaDevAttrMultiProcessorCount, op, maps, place);
}

// Rows that a band should have at least: each costs what does not depend on how many rows it has.
constexpr int64_t kLeastBandRows = 16;

// How many maps a block stages together: as many as it has warps, there are units, and both their rows and their counts
// fit in shared memory.
inline int64_t units_per_block(const FeatureMaps& maps, int64_t count_bytes, int64_t most_count_bytes) {
  const int64_t rows = std::min<int64_t>(kLeastBandRows, maps.height + 2);
  const int64_t row_bytes = rows * CellMemory::pitch(maps) * static_cast<int64_t>(sizeof(float));
  int64_t units = kWarps;
  while (units > 1 &&
         (units / 2 >= maps.num_units || units * row_bytes > kStagedBytes || units * count_bytes > most_count_bytes))
    units /= 2;
  return units;
}

// The plan of a launch over cells, with `units` maps per block.
inline CellPlan plan_cells(const FeatureMaps& maps, const DeviceGrid& grid, int64_t units, int multiprocessors) {
  const GridView& view = grid.view;
  const int64_t row_bytes = units * CellMemory::pitch(maps) * static_cast<int64_t>(sizeof(float));
  const int64_t band_rows = std::clamp<int64_t>(kStagedBytes / row_bytes, 2, maps.height + 2);
  int width_bits = 0, column_bits = 0, unit_bits = 0;
  while (width_bits < 5 && 1 << width_bits < maps.width) ++width_bits;
  while (1 << unit_bits < units) ++unit_bits;
  while (column_bits < 5 && 1 << column_bits < view.num_column_spans) ++column_bits;
  const int64_t grid_words = 4 * (view.num_row_spans + view.num_column_spans) + view.num_rows + view.num_columns;
  const bool stages_grid = grid_words * static_cast<int64_t>(sizeof(int32_t)) <= kGridBytes;
  const int64_t groups = (maps.num_units + units - 1) / units;
  const int64_t wanted = std::max<int64_t>(1, multiprocessors * kBlocksPerMultiprocessor / groups);
  // A block counts in 32 bits.
  const int64_t area = std::max<int64_t>(1, view.num_rows * view.num_columns);
  const int64_t most = std::max<int64_t>(1, INT32_MAX / area);
  const int64_t images = std::clamp<int64_t>((maps.num_images + wanted - 1) / wanted, 1, most);
  return {unit_bits,
          static_cast<int>(band_rows),
          width_bits,
          column_bits,
          kWarps >> unit_bits << (5 - column_bits),
          static_cast<int>(power_of_two_from(grid.longest + 1) / 2),
          side_of_cells(grid.longest),
          stages_grid ? static_cast<int>(grid_words) : 0,
          static_cast<int>(groups),
          static_cast<int>(images)};
}

inline int64_t num_blocks(const FeatureMaps& maps, const CellPlan& plan) {
  return plan.groups * ((maps.num_images + plan.images - 1) / plan.images);
}

}  // namespace cuda
}  // namespace dissect
