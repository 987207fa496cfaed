// iou_counts on a GPU. A warp visits the wanted cells of one map (cells.cuh), a target row per lane, and finds the
// range of columns that fires by its two ends and a binary search. Ranges meet runs of equal labels; lanes that met the
// same combination of labels are added up in registers, a combination's labels are counted in the block's shared
// memory, and only when a block has seen all its images are the counts added to those in device memory.
#include "../iou_counts.h"
#include "device.h"

namespace dissect {
namespace {

// Shared memory for counts per label. With more labels than that, counts go straight to device memory.
constexpr int64_t kCountBytes = 48 << 10;

struct IouCountsLaunch {
  IouCountsParams p;
  CellPlan plan;
  int32_t* status;
  bool shares_counts;
};

// Counts the labels that the lanes' ranges meet, in `shared` or, if that is null, in device memory. All lanes call it.
template <typename Word>
__device__ void meet(const IouCountsParams& p, int64_t image, int64_t unit, int row, Range range, int32_t* shared) {
  for (;;) {
    const bool meets = range.from < range.to;
    unsigned pending = __ballot_sync(kAllLanes, meets);
    if (pending == 0) return;
    int combination = 0, pixels = 0;
    if (meets) {
      const int64_t place = (image * p.grid.num_rows + row) * p.grid.num_columns + range.from;
      const Word run = static_cast<const Word*>(p.runs)[place];
      const int end = static_cast<int>(end_of(run));
      combination = static_cast<int>(combination_of(run));
      pixels = (end < range.to ? end : range.to) - range.from;
      range.from += pixels;
    }
    while (pending != 0) {
      const int common = __shfl_sync(kAllLanes, combination, __ffs(pending) - 1);
      const bool joins = meets && combination == common;
      const int total = __reduce_add_sync(kAllLanes, joins ? pixels : 0);
      pending &= ~__ballot_sync(kAllLanes, joins);
      if (common == 0) continue;  // no label
      const int32_t* labels = p.table + (p.offsets[image] + common) * p.num_planes;
      for (int k = lane_of_thread(); k < p.num_planes; k += 32) {
        const int32_t label = labels[k];
        if (label == 0) continue;
        if (shared != nullptr) atomicAdd(shared + label, total);
        else atomicAdd(counter(p.intersection + unit * p.num_labels + label), static_cast<unsigned long long>(total));
      }
    }
  }
}

template <typename T, typename Word>
__global__ void __launch_bounds__(kThreads, 3) iou_counts_kernel(IouCountsLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const IouCountsParams& p = launch.p;
  const CellPlan& plan = launch.plan;
  const int64_t first_unit = first_unit_of_block(p.maps, plan), unit = first_unit + place_of_warp(plan);
  int32_t* shared_counts = nullptr;
  if (launch.shares_counts) {
    shared_counts = reinterpret_cast<int32_t*>(memory + CellMemory::bytes(p.maps, plan));
    for (int64_t i = threadIdx.x; i < plan.units * p.num_labels; i += kThreads) shared_counts[i] = 0;
  }
  int area = 0;  // of this lane's rows
  int32_t* counts = shared_counts == nullptr ? nullptr : shared_counts + (unit - first_unit) * p.num_labels;
  const auto visit = [&](int64_t image, const Band& band) {
    const float threshold = p.thresholds[unit];
    const auto fires = [threshold](float value) { return value > threshold; };
    for_wanted_rows(p.grid, plan, band, fires,
                    [&](bool has_row, int row, const Span& columns, float left, float right) {
                      Range range{0, 0};
                      if (has_row) range = range_where(p.grid.column_weights, columns, left, right, fires);
                      area += range.to - range.from;
                      meet<Word>(p, image, unit, row, range, counts);
                    });
  };
  const auto finish = [&](int64_t image) {
    const int total = __reduce_add_sync(kAllLanes, area);
    area = 0;
    if (lane_of_thread() == 0 && total != 0)
      atomicAdd(counter(p.unit_area + image * p.maps.num_units + unit), static_cast<unsigned long long>(total));
  };
  for_bands<T>(p.maps, p.grid, plan, memory, launch.status, visit, finish);
  if (unit < p.maps.num_units && isnan(p.thresholds[unit])) tell(launch.status);
  if (shared_counts == nullptr) return;
  __syncthreads();  // all warps have counted
  int64_t* intersection = p.intersection + first_unit * p.num_labels;
  const int64_t units = p.maps.num_units - first_unit < plan.units ? p.maps.num_units - first_unit : plan.units;
  for (int64_t i = threadIdx.x; i < units * p.num_labels; i += kThreads)
    if (shared_counts[i] != 0) atomicAdd(counter(intersection + i), static_cast<unsigned long long>(shared_counts[i]));
}

template <typename T>
auto kernel_of(const IouCountsParams& p) {
  return p.wide ? iou_counts_kernel<T, int64_t> : iou_counts_kernel<T, int32_t>;
}

auto kernel_of(const IouCountsParams& p) {
  switch (p.maps.dtype) {
    case DType::kFloat16:
      return kernel_of<Float16>(p);
    case DType::kBFloat16:
      return kernel_of<BFloat16>(p);
    default:
      return kernel_of<float>(p);
  }
}

}  // namespace

void cuda::iou_counts(const IouCountsParams& params, const DeviceGrid& grid, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  check_sizes("iou_counts", maps.height + 2, maps.width + 2);
  check_sizes("iou_counts", grid.view.num_rows, grid.view.num_columns);
  require(cudaSetDevice(place.device), "iou_counts", maps, place);
  const int multiprocessors = attribute(cudaDevAttrMultiProcessorCount, "iou_counts", maps, place);
  const int64_t label_bytes = params.num_labels * static_cast<int64_t>(sizeof(int32_t));
  const bool shares_counts = label_bytes <= kCountBytes;
  const int64_t units = units_per_block(maps, shares_counts ? label_bytes : 0, kCountBytes);
  IouCountsLaunch kernel{params, plan_cells(maps, grid, units, multiprocessors), place.status, shares_counts};
  kernel.p.grid = grid.view;
  const int64_t bytes = CellMemory::bytes(maps, kernel.plan) + (shares_counts ? units * label_bytes : 0);
  require(launch(kernel_of(params), num_blocks(maps, kernel.plan), kThreads, bytes,
                 static_cast<cudaStream_t>(place.stream), kernel),
          "iou_counts", maps, place);
}

}  // namespace dissect
