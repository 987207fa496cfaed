// upsample_argmax on a GPU. A block takes 32 cells of one row span, a lane each. First its warps, which share the maps,
// find the highest of the maps' least corners in each cell: a map whose largest corner lies below wins nowhere in it.
// Those that are left are noted, a bit per cell. Then a warp takes a cell at a time, a lane a pixel, and samples only
// what is left, the same map in all lanes.
#include "../upsample_argmax.h"
#include "device.h"

namespace dissect {
namespace {

struct UpsampleArgmaxLaunch {
  UpsampleArgmaxParams p;
  int64_t groups;  // of 32 column spans
};

// One image's source values; those around it are 0. Spans count from there.
template <typename T>
struct Source {
  const T* data;
  const FeatureMaps& maps;

  __device__ float at(int64_t map, int row, int column) const {
    if (row < 1 || row > maps.height || column < 1 || column > maps.width) return 0.0f;
    return widen(data[map * maps.stride_unit + (row - 1) * maps.stride_row + (column - 1) * maps.stride_column]);
  }
  __device__ Corners corners(int64_t map, const Span& rows, const Span& columns) const {
    return {at(map, rows.index0, columns.index0), at(map, rows.index0, columns.index1),
            at(map, rows.index1, columns.index0), at(map, rows.index1, columns.index1)};
  }
};

__device__ inline float sample_of(const Corners& corners, float wy, float wx) {
  return interpolate(interpolate(corners.a00, corners.a10, wy), interpolate(corners.a01, corners.a11, wy), wx);
}

// For each map, the bits of the cells in which it may win.
template <typename T>
__device__ inline void note_candidates(const UpsampleArgmaxParams& p, const Source<T>& source, const Span& rows,
                                       const Span& columns, bool valid, float (*floors)[32], unsigned* candidates) {
  const int warp = warp_of_thread(), lane = lane_of_thread();
  float floor = float_of(0xff800000u);
  for (int64_t map = warp; map < p.maps.num_units; map += kWarps)
    floor = fmaxf(floor, source.corners(map, rows, columns).smallest());
  floors[warp][lane] = floor;
  __syncthreads();
  for (int other = 0; other < kWarps; ++other) floor = fmaxf(floor, floors[other][lane]);
  for (int64_t map = warp; map < p.maps.num_units; map += kWarps) {
    const bool may = valid && source.corners(map, rows, columns).largest() >= floor;
    const unsigned cells = __ballot_sync(kAllLanes, may);
    if (lane == 0) candidates[map] = cells;
  }
  __syncthreads();
}

// The pixels of one cell of the group.
template <typename T>
__device__ inline void write_cell(const UpsampleArgmaxParams& p, const Source<T>& source, const Span& rows,
                                  const Span& columns, int cell, const unsigned* candidates, int32_t* winners) {
  const int width = columns.end - columns.begin, pixels = (rows.end - rows.begin) * width;
  for (int pixel = lane_of_thread(); pixel < pixels; pixel += 32) {
    const int y = rows.begin + pixel / width, x = columns.begin + pixel % width;
    const float wy = p.grid.row_weights[y], wx = p.grid.column_weights[x];
    float best = float_of(0xff800000u);
    int32_t winner = 0;
    for (int64_t map = 0; map < p.maps.num_units; ++map) {
      if (!((candidates[map] >> cell) & 1u)) continue;
      const float value = sample_of(source.corners(map, rows, columns), wy, wx);
      if (value > best) best = value, winner = static_cast<int32_t>(map);  // a tie is the first one's
    }
    winners[int64_t{y} * p.grid.num_columns + x] = winner;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) upsample_argmax_kernel(UpsampleArgmaxLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const UpsampleArgmaxParams& p = launch.p;
  float (*floors)[32] = reinterpret_cast<float (*)[32]>(memory);
  unsigned* candidates = reinterpret_cast<unsigned*>(memory + kWarps * 32 * sizeof(float));
  const int64_t item = blockIdx.x / launch.groups, first = blockIdx.x % launch.groups * 32;
  const int64_t image = item / p.grid.num_row_spans;
  const Span rows = p.grid.row_spans[item % p.grid.num_row_spans];
  const Source<T> source{static_cast<const T*>(p.maps.data) + image * p.maps.stride_image, p.maps};
  const int64_t last = p.grid.num_column_spans - 1, own = first + lane_of_thread();
  note_candidates(p, source, rows, p.grid.column_spans[own < last ? own : last], own <= last, floors, candidates);
  int32_t* winners = p.winners + image * p.grid.num_rows * p.grid.num_columns;
  for (int cell = warp_of_thread(); cell < 32 && first + cell <= last; cell += kWarps)
    write_cell(p, source, rows, p.grid.column_spans[first + cell], cell, candidates, winners);
}

auto kernel_of(const UpsampleArgmaxParams& p) {
  switch (p.maps.dtype) {
    case DType::kFloat16:
      return upsample_argmax_kernel<Float16>;
    case DType::kBFloat16:
      return upsample_argmax_kernel<BFloat16>;
    default:
      return upsample_argmax_kernel<float>;
  }
}

}  // namespace

void cuda::upsample_argmax(const UpsampleArgmaxParams& params, const DeviceGrid& grid, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0) return;
  begin_cells("upsample_argmax", maps, grid, place);
  UpsampleArgmaxLaunch kernel{params, (grid.view.num_column_spans + 31) / 32};
  kernel.p.grid = grid.view;
  const int64_t blocks = maps.num_images * grid.view.num_row_spans * kernel.groups;
  const size_t bytes = kWarps * 32 * sizeof(float) + maps.num_units * sizeof(unsigned);
  require(launch(kernel_of(params), blocks, kThreads, bytes, static_cast<cudaStream_t>(place.stream), kernel),
          "upsample_argmax", maps, place);
}

}  // namespace dissect
