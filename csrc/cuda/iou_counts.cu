// iou_counts on a GPU. A warp visits the target rows of one map that can fire (cells.cuh), one per lane, and finds the
// range of columns that does by its two ends and a binary search. Ranges are cut at the ends of runs of equal labels,
// and the pieces are added up in shared memory, per unit and combination of labels; when a block has seen an image,
// each combination is taken apart, once, into counts per label, and only when it has seen all its images are these
// added to those in device memory. Where all cells are small, a lane counts all of a cell at once (small_cells.cuh).
// iou_counts_by_image is the same, but that combinations are taken apart into counts per image, in device memory at
// once.
#include "../iou_counts.h"
#include "device.h"
#include "small_cells.cuh"

namespace dissect {
namespace {

// Shared memory for counts per label. With more labels than that, counts go straight to device memory.
constexpr int64_t kLabelBytes = 48 << 10;

// Shared memory for counts per combination. An image with more of them is counted by label at once.
constexpr int64_t kCombinationBytes = 8 << 10;

struct IouCountsLaunch {
  IouCountsParams p;
  CellPlan plan;
  int32_t* status;
  bool shares_labels;
  int combinations;        // per unit that shared memory has counts for
  cuda::ImagePairs pairs;  // of iou_counts_by_image
  HotCells hot;            // in the place of maps, if these are HotEntries
  const cuda::CellLabels* cells;
};

// Where one block counts: combinations of the image at hand and, if not by image, labels of all its images.
template <bool kByImage>
struct Counts {
  int32_t* combinations;  // [combinations, units]
  int32_t* labels;        // [units, labels]; null: in device memory

  __device__ Counts(const IouCountsLaunch& launch, unsigned char* memory)
      : combinations(reinterpret_cast<int32_t*>(memory + CellMemory::bytes(launch.p.maps, launch.plan))),
        labels(launch.shares_labels ? combinations + launch.combinations * launch.plan.units() : nullptr) {
    const int units = launch.plan.units(), num_labels = static_cast<int>(launch.p.num_labels);
#pragma unroll 1
    for (int i = threadIdx.x; i < units * launch.combinations; i += kThreads) combinations[i] = 0;
    if (labels == nullptr) return;
#pragma unroll 1
    for (int i = threadIdx.x; i < units * num_labels; i += kThreads) labels[i] = 0;
  }

  // Adds pixels where the block's unit at `place` meets a combination, of which `row` says the labels.
  __device__ void add(const IouCountsLaunch& launch, const int32_t* row, int64_t image, int64_t first_unit, int place,
                      int pixels) const {
    const IouCountsParams& p = launch.p;
    const int num_planes = static_cast<int>(p.num_planes);
    if constexpr (kByImage) {
      const int64_t begin = launch.pairs.starts[image], number = launch.pairs.starts[image + 1] - begin;
      int32_t* counts = launch.pairs.counts + begin * p.maps.num_units + (first_unit + place) * number;
#pragma unroll 1
      for (int k = 0; k < num_planes; ++k, ++row)
        if (*row != 0) atomicAdd(counts + (*row - 1), pixels);
    } else if (labels != nullptr) {
      int32_t* counts = labels + place * static_cast<int>(p.num_labels);
#pragma unroll 1
      for (int k = 0; k < num_planes; ++k, ++row)
        if (*row != 0) atomicAdd(counts + *row, pixels);
    } else {
      int64_t* counts = p.intersection + (first_unit + place) * p.num_labels;
#pragma unroll 1
      for (int k = 0; k < num_planes; ++k, ++row)
        if (*row != 0) atomicAdd(counter(counts + *row), static_cast<unsigned long long>(pixels));
    }
  }
};

// How many combinations an image has, or 0 where shared memory has not counts for all of them.
__device__ inline int shared_combinations(const IouCountsLaunch& launch, int64_t image) {
  const int64_t number = launch.p.offsets[image + 1] - launch.p.offsets[image];
  return number <= launch.combinations ? static_cast<int>(number) : 0;
}

// Takes apart what the block's units met in an image. All threads call it.
template <typename Counts>
__device__ void take_apart(const IouCountsLaunch& launch, const Counts& counts, int64_t image, int64_t first_unit) {
  const IouCountsParams& p = launch.p;
  const int number = shared_combinations(launch, image) << launch.plan.unit_bits;
  const int num_planes = static_cast<int>(p.num_planes);
  const int32_t* table = kept(p.table + p.offsets[image] * num_planes);
#pragma unroll 1
  for (int i = threadIdx.x; i < number; i += kThreads) {
    const int pixels = counts.combinations[i];
    if (pixels == 0) continue;
    counts.combinations[i] = 0;
    const int32_t* row = table + (i >> launch.plan.unit_bits) * num_planes;
    counts.add(launch, row, image, first_unit, i & (launch.plan.units() - 1), pixels);
  }
}

// Counts what fires in the cells of one band, all of at most kSide rows and columns, by combination. Returns this
// lane's pixels.
template <int kSide, typename Word, typename Fires>
__device__ int count_small_cells(const IouCountsLaunch& launch, const Band& band, const Fires& fires, const Word* runs,
                                 const cuda::CellLabels* labels, int32_t* combinations) {
  const int width = static_cast<int>(launch.p.grid.num_columns);
  int area = 0;
  const auto add = [&](int combination, uint32_t pixels) {
    if (pixels != 0) atomicAdd(combinations + (combination << launch.plan.unit_bits), __popc(pixels));
  };
  const auto never = [](const Cell&, const Corners&) { return false; };
  for_wanted_cells(launch.plan, band, fires, never, [&](bool is_cell, const Cell& place) {
    const Cell cell = place;
    __syncwarp();  // all have read theirs, whose places in the queue are free again
    if (!is_cell) return;
    cuda::CellLabels known{};
    if constexpr (kSide == cuda::kLongestSide) known = labels[cell.row_span * band.num_column_spans + cell.column_span];
    const Span rows = band.tables.row_spans[cell.row_span], columns = band.tables.column_spans[cell.column_span];
    uint32_t pixels = pixels_where<kSide>(band, rows, columns, fires);
    area += __popc(pixels);
    if constexpr (kSide == cuda::kLongestSide) {
      add(known.first, pixels & known.pixels & 0xffffu);
      add(known.second, pixels & known.pixels >> 16);
      pixels &= ~(known.pixels | known.pixels >> 16);
    }
    while (pixels != 0) {
      int combination;
      const uint32_t piece =
          first_piece<kSide>(runs + rows.begin * width + columns.begin, width, columns.begin, pixels, combination);
      add(combination, piece);
      pixels ^= piece;
    }
  });
  return area;
}

// Counts what fires in the cells of one band.
template <typename Word, typename Counts>
__device__ void count_band(const IouCountsLaunch& launch, const Counts& counts, int64_t image, int64_t first_unit,
                           int place, const Band& band) {
  const IouCountsParams& p = launch.p;
  const float threshold = p.thresholds[first_unit + place];
  const auto fires = [threshold](float value) { return value > threshold; };
  const bool by_combination = shared_combinations(launch, image) > 0;
  int32_t* combinations = counts.combinations + place;
  const int width = static_cast<int>(p.grid.num_columns);
  const Word* runs = kept(static_cast<const Word*>(p.runs) + image * p.grid.num_rows * p.grid.num_columns);
  int area = 0;
  const auto never = [](const Cell&, const Corners&) { return false; };
  const cuda::CellLabels* labels = launch.cells + image * p.grid.num_row_spans * p.grid.num_column_spans;
  const int side = by_combination ? launch.plan.side : 0;
  if (side == 4) area = count_small_cells<4>(launch, band, fires, runs, labels, combinations);
  else if (side == 2) area = count_small_cells<2>(launch, band, fires, runs, labels, combinations);
  else if (side == 1) area = count_small_cells<1>(launch, band, fires, runs, labels, combinations);
  else
    for_wanted_rows(launch.plan, band, fires, never, [&](int row, Span columns, float left, float right) {
      Range range =
          range_where(launch.plan, band.tables.column_weights, columns.begin, columns.end, left, right, fires);
      area += range.to - range.from;
      while (range.from < range.to) {
        const Word run = runs[row * width + range.from];
        const int end = static_cast<int>(end_of(run)), pixels = (end < range.to ? end : range.to) - range.from;
        const int combination = static_cast<int>(combination_of(run));
        range.from = end;
        if (by_combination) atomicAdd(combinations + (combination << launch.plan.unit_bits), pixels);
        else
          counts.add(launch, p.table + (p.offsets[image] + combination) * p.num_planes, image, first_unit, place,
                     pixels);
      }
    });
  const int total = __reduce_add_sync(kAllLanes, area);
  int64_t* unit_area = p.unit_area + image * p.maps.num_units + first_unit + place;
  if (lane_of_thread() == 0 && total != 0) atomicAdd(counter(unit_area), static_cast<unsigned long long>(total));
}

template <typename T, typename Word, bool kByImage>
__global__ void __launch_bounds__(kThreads, 3) iou_counts_kernel(IouCountsLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const IouCountsParams& p = launch.p;
  const CellPlan& plan = launch.plan;
  const int warp = warp_of_thread(), place = warp & (plan.units() - 1);
  const int64_t first_unit = UnitsInside::first_unit(plan), unit = first_unit + place;
  const Counts<kByImage> counts(launch, memory);
  const auto visit = [&](int64_t image, const Band& band) {
    count_band<Word>(launch, counts, image, first_unit, place, band);
  };
  const auto finish = [&](int64_t image) { take_apart(launch, counts, image, first_unit); };
  for_bands<T, UnitsInside>(p.maps, launch.hot, p.grid, plan, memory, warp, launch.status, visit, finish);
  if (unit < p.maps.num_units && isnan(p.thresholds[unit])) tell(launch.status);
  if (counts.labels == nullptr) return;
  __syncthreads();  // all warps have counted
  int64_t* intersection = p.intersection + first_unit * p.num_labels;
  const int64_t units = p.maps.num_units - first_unit < plan.units() ? p.maps.num_units - first_unit : plan.units();
#pragma unroll 1
  for (int i = threadIdx.x; i < units * p.num_labels; i += kThreads)
    if (counts.labels[i] != 0) atomicAdd(counter(intersection + i), static_cast<unsigned long long>(counts.labels[i]));
}

template <typename T, bool kByImage>
auto kernel_of(const IouCountsParams& p) {
  return p.wide ? iou_counts_kernel<T, int64_t, kByImage> : iou_counts_kernel<T, int32_t, kByImage>;
}

template <bool kByImage>
auto kernel_of(const IouCountsParams& p) {
  if (p.hot != nullptr) return kernel_of<HotEntries, kByImage>(p);
  switch (p.maps.dtype) {
    case DType::kFloat16:
      return kernel_of<Float16, kByImage>(p);
    case DType::kBFloat16:
      return kernel_of<BFloat16, kByImage>(p);
    default:
      return kernel_of<float, kByImage>(p);
  }
}

template <bool kByImage>
void count(const char* op, const IouCountsParams& params, const cuda::ImagePairs& pairs, const cuda::DeviceGrid& grid,
           cuda::CellLabels* cells, const cuda::Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  const int multiprocessors = cuda::begin_cells(op, maps, grid, place);
  const int64_t label_bytes = params.num_labels * static_cast<int64_t>(sizeof(int32_t));
  const bool shares_labels = !kByImage && label_bytes <= kLabelBytes;
  const int64_t units = cuda::units_per_block(maps, shares_labels ? label_bytes : 0, kLabelBytes);
  const int64_t combinations = kCombinationBytes / static_cast<int64_t>(sizeof(int32_t)) / units;
  IouCountsLaunch kernel{params,
                         cuda::plan_cells(maps, grid, units, multiprocessors),
                         place.status,
                         shares_labels,
                         static_cast<int>(combinations),
                         pairs,
                         params.hot == nullptr ? HotCells{} : *params.hot,
                         cells};
  kernel.p.grid = grid.view;
  cuda::label_cells(params, grid, cells, place);
  const int64_t bytes =
      CellMemory::bytes(maps, kernel.plan) + kCombinationBytes + (shares_labels ? units * label_bytes : 0);
  cuda::require(launch(kernel_of<kByImage>(params), cuda::num_blocks(maps, kernel.plan), kThreads, bytes,
                       static_cast<cudaStream_t>(place.stream), kernel),
                op, maps, place);
}

}  // namespace

void cuda::iou_counts(const IouCountsParams& params, const DeviceGrid& grid, CellLabels* cells, const Place& place) {
  count<false>("iou_counts", params, {}, grid, cells, place);
}

void cuda::iou_counts_by_image(const IouCountsParams& params, const ImagePairs& pairs, const DeviceGrid& grid,
                               CellLabels* cells, const Place& place) {
  count<true>("iou_counts_by_image", params, pairs, grid, cells, place);
}

}  // namespace dissect
