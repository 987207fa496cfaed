// What a block of the walk over cells (cells.cuh) holds in shared memory, and how the work is shared.
#pragma once

#include "values.cuh"

namespace dissect {

// How a launch shares the work among blocks and threads.
struct CellPlan {
  int unit_bits;    // 2^unit_bits maps of one image are staged together, each shared by as many of the block's warps
  int band_rows;    // padded source rows staged at a time, at least 2
  int width_bits;   // 2^width_bits threads stage neighbouring columns of a map, the others further rows
  int column_bits;  // 2^column_bits lanes of a warp take neighbouring column spans, the others further row spans
  int row_step;     // so many row spans do the warps of a map look at together
  int first_step;   // of a search in a span: a power of two, no span is twice as long
  int side;         // 1, 2 or 4, where no span is longer; else 0
  int grid_words;   // of the grid's tables, copied to shared memory; 0 where they do not fit
  int groups;       // of units, one per block
  int images;       // that a block handles, one after the other

  DISSECT_HD int units() const { return 1 << unit_bits; }
  DISSECT_HD int parts() const { return kWarps >> unit_bits; }
};

namespace {

constexpr int kQueue = 64;  // cells per warp: fewer than 32 wait when up to 32 come

struct Cell {
  int32_t row_span, column_span;
};

struct Range {
  int32_t from, to;
};

struct Corners {
  float a00, a01, a10, a11;

  __device__ float largest() const { return fmaxf(fmaxf(a00, a01), fmaxf(a10, a11)); }
  __device__ float smallest() const { return fminf(fminf(a00, a01), fminf(a10, a11)); }
};

// The wanted rows of a cell, numbered among those of a warp's 32 cells: row + k is the target row of number k, from
// number `split` on row + k + gap.
struct alignas(16) WantedRows {
  Corners corners;
  int32_t column_span, row, split, gap;
};

// Of a pointer or an offset of 64 bits: it stays in its registers, where the compiler would rather compute it again
// wherever it is used.
template <typename T>
__device__ T kept(T value) {
  static_assert(sizeof(T) == 8, "a 64-bit register");
#ifdef __CUDA_ARCH__
  asm volatile("" : "+l"(value));
#endif
  return value;
}

__device__ inline int lane_of_thread() { return threadIdx.x % 32; }
// As a lane's own it would not be known to be the same for all.
__device__ inline int warp_of_thread() { return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x / 32), 0); }

// Shared memory of one block: wanted rows and a queue per warp, the grid, the staged maps, and what the kernel itself
// needs after them.
struct CellMemory {
  static DISSECT_HD int64_t queues_at() { return kWarps * 32 * sizeof(WantedRows); }
  static DISSECT_HD int64_t tables_at() { return queues_at() + kWarps * kQueue * sizeof(Cell); }
  static DISSECT_HD int pitch(const FeatureMaps& maps) { return static_cast<int>(maps.width) + 2; }
  // Odd, so that the same place of several maps lies in several banks.
  static DISSECT_HD int map_floats(const FeatureMaps& maps, int band_rows) { return (band_rows * pitch(maps)) | 1; }
  static DISSECT_HD int64_t staged_at(const CellPlan& plan) {
    return tables_at() + plan.grid_words * static_cast<int64_t>(sizeof(int32_t));
  }
  static DISSECT_HD int64_t bytes(const FeatureMaps& maps, const CellPlan& plan) {
    constexpr int64_t kFloat = sizeof(float);
    return staged_at(plan) + plan.units() * map_floats(maps, plan.band_rows) * kFloat;
  }
};

}  // namespace
}  // namespace dissect
