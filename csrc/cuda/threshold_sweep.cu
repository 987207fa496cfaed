// threshold_sweep on a GPU. A warp visits the target rows of one map that can exceed the unit's lowest edge
// (cells.cuh), one per lane, and finds the range of columns that does, as iou_counts does. Each pixel of the range
// searches its edge and is counted in shared memory, once, by combination of labels and edge; when a block has seen an
// image, each combination is taken apart into counts per label in device memory, a warp's lanes side by side along the
// edges. Edges are [U, sweep_edges(B)]: after the last come infinities, which nothing exceeds.
#include "../threshold_sweep.h"
#include "device.h"

namespace dissect {
namespace {

// Shared memory for counts per combination and edge, and for how many combinations of each of a block's units it should
// have room. An image with more of them than there is room for is counted by label at once.
constexpr int64_t kCountBytes = 48 << 10, kLeastCombinations = 96;

// Edges are padded to a power of two, at least this one, up to which a search takes no loop.
constexpr int kLeastEdges = 64;

// A block's images are few, so that the units at work at a time are few too, and their bins stay in the cache.
constexpr int kMostImages = 16;

struct ThresholdSweepLaunch {
  ThresholdSweepParams p;
  CellPlan plan;
  int32_t* status;
  int combinations;  // per unit that shared memory has counts for
  int padded_edges;
};

// Where one unit's pixels of one image go.
struct Swept {
  const int32_t* table;
  int num_planes, num_edges;
  int64_t *bins, *area;

  __device__ Swept(const ThresholdSweepParams& p, int64_t image, int64_t unit)
      : table(p.table + p.offsets[image] * p.num_planes),
        num_planes(static_cast<int>(p.num_planes)),
        num_edges(static_cast<int>(p.num_edges)),
        bins(p.bins + unit * p.num_labels * p.num_edges),
        area(p.unit_bins + (image * p.maps.num_units + unit) * p.num_edges) {}

  __device__ void add(int combination, int edge, int pixels) const {
    const unsigned long long more = pixels;
    const int32_t* label = table + int64_t{combination} * num_planes;
    atomicAdd(counter(area + edge), more);
#pragma unroll 1
    for (int k = 0; k < num_planes; ++k, ++label)
      if (*label != 0) atomicAdd(counter(bins + int64_t{*label} * num_edges + edge), more);
  }
};

// How many combinations an image has, or 0 where shared memory has not counts for all of them.
__device__ inline int shared_combinations(const ThresholdSweepLaunch& launch, int64_t image) {
  const int64_t number = launch.p.offsets[image + 1] - launch.p.offsets[image];
  return number <= launch.combinations ? static_cast<int>(number) : 0;
}

// Takes apart what a unit met in an image, a combination per warp of the unit. All threads call it.
__device__ inline void take_apart(const ThresholdSweepLaunch& launch, int32_t* counts, int64_t image, int64_t unit,
                                  int warp) {
  const Swept swept(launch.p, image, unit);
  const int number = shared_combinations(launch, image), num_edges = swept.num_edges;
#pragma unroll 1
  for (int edge = lane_of_thread(); edge < num_edges; edge += 32) {
    int32_t* count = counts + warp * num_edges + edge;  // of the unit's first combination, or its second, ...
#pragma unroll 1
    for (int combination = warp >> launch.plan.unit_bits; combination < number; combination += launch.plan.parts()) {
      const int pixels = *count;
      *count = 0;
      if (pixels != 0) swept.add(combination, edge, pixels);
      count += kWarps * num_edges;
    }
  }
}

// The number of the highest edge that a value exceeds, which exceeds the lowest.
__device__ inline int highest_edge(const float* edges, int padded_edges, float value) {
  int found = 0;
  for (int step = padded_edges / 2; step >= kLeastEdges; step /= 2) found += value > edges[found + step] ? step : 0;
#pragma unroll
  for (int step = kLeastEdges / 2; step > 0; step /= 2) found += value > edges[found + step] ? step : 0;
  return found;
}

// Counts what exceeds the lowest edge in the cells of one band.
template <typename Word>
__device__ void sweep_band(const ThresholdSweepLaunch& launch, int32_t* counts, int64_t image, int64_t unit, int warp,
                           const Band& band) {
  const ThresholdSweepParams& p = launch.p;
  const CellPlan& plan = launch.plan;
  const int num_edges = static_cast<int>(p.num_edges), width = static_cast<int>(p.grid.num_columns);
  const float* edges = p.edges + unit * launch.padded_edges;
  const float lowest = edges[0];
  const auto exceeds = [lowest](float value) { return value > lowest; };
  const bool by_combination = shared_combinations(launch, image) > 0;
  const Word* runs = kept(static_cast<const Word*>(p.runs) + image * p.grid.num_rows * p.grid.num_columns);
  const auto never = [](const Cell&, const Corners&) { return false; };
  for_wanted_rows(plan, band, exceeds, never, [&](int row, Span columns, float left, float right) {
    const float* weights = band.tables.column_weights;
    const Range range = range_where(plan, weights, columns.begin, columns.end, left, right, exceeds);
    int combination = 0, first_count = 0;
    for (int x = range.from, end = range.from; x < range.to; ++x) {
      if (x == end) {
        const Word run = runs[row * width + x];
        combination = static_cast<int>(combination_of(run)), end = static_cast<int>(end_of(run));
        first_count = ((combination << plan.unit_bits) + (warp & (plan.units() - 1))) * num_edges;
      }
      const int edge = highest_edge(edges, launch.padded_edges, interpolate(left, right, weights[x]));
      if (by_combination) atomicAdd(counts + first_count + edge, 1);
      else Swept(p, image, unit).add(combination, edge, 1);
    }
  });
}

template <typename T, typename Word>
__global__ void __launch_bounds__(kThreads, 3) threshold_sweep_kernel(ThresholdSweepLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const ThresholdSweepParams& p = launch.p;
  const CellPlan& plan = launch.plan;
  const int warp = warp_of_thread();
  const int64_t unit = UnitsOutside::first_unit(plan) + (warp & (plan.units() - 1));
  // [combinations, units, edges]
  int32_t* counts = reinterpret_cast<int32_t*>(memory + CellMemory::bytes(p.maps, plan));
  const int num_counts = (launch.combinations << plan.unit_bits) * static_cast<int>(p.num_edges);
#pragma unroll 1
  for (int i = threadIdx.x; i < num_counts; i += kThreads) counts[i] = 0;
  const auto visit = [&](int64_t image, const Band& band) {
    sweep_band<Word>(launch, counts, image, unit, warp, band);
  };
  const auto finish = [&](int64_t image) { take_apart(launch, counts, image, unit, warp); };
  for_bands<T, UnitsOutside>(p.maps, HotCells{}, p.grid, plan, memory, warp, launch.status, visit, finish);
}

template <typename T>
auto kernel_of(const ThresholdSweepParams& p) {
  return p.wide ? threshold_sweep_kernel<T, int64_t> : threshold_sweep_kernel<T, int32_t>;
}

auto kernel_of(const ThresholdSweepParams& p) {
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

void cuda::threshold_sweep(const ThresholdSweepParams& params, const DeviceGrid& grid, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  const int multiprocessors = begin_cells("threshold_sweep", maps, grid, place);
  check_sizes("threshold_sweep", 1, params.num_edges);
  const int64_t edge_bytes = params.num_edges * static_cast<int64_t>(sizeof(int32_t));
  const int64_t units = units_per_block(maps, kLeastCombinations * edge_bytes, kCountBytes);
  ThresholdSweepLaunch kernel{params, plan_cells(maps, grid, units, multiprocessors), place.status,
                              static_cast<int>(kCountBytes / (units * edge_bytes)),
                              static_cast<int>(sweep_edges(params.num_edges))};
  kernel.p.grid = grid.view;
  kernel.plan.images = std::min(kernel.plan.images, kMostImages);
  require(launch(kernel_of(params), num_blocks(maps, kernel.plan), kThreads,
                 CellMemory::bytes(maps, kernel.plan) + kernel.combinations * units * edge_bytes,
                 static_cast<cudaStream_t>(place.stream), kernel),
          "threshold_sweep", maps, place);
}

int64_t cuda::sweep_edges(int64_t num_edges) { return power_of_two_from(std::max<int64_t>(num_edges, kLeastEdges)); }

}  // namespace dissect
