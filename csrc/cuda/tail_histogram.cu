// tail_histogram at pixels on a GPU; observe.cu does it at the feature maps' own cells. Values: a warp visits the
// target rows of one map that reach the bracket (cells.cuh), one per lane; what lies above the bracket is a range of
// the row, and what lies within comes next to it, so only the few samples within are computed and binned; a cell whose
// samples all lie above, or in one bin, as the zeros do of a unit that is seldom above 0, is counted at once. Bounds: a
// lane bins a whole cell at once.
#include "../tail_histogram.h"
#include "device.h"

namespace dissect {
namespace {

struct TailHistogramLaunch {
  TailHistogramParams p;
  CellPlan plan;
  int32_t* status;
  HotCells hot;  // in the place of maps, if these are HotEntries
};

// One unit's bracket and bins.
struct Tail {
  uint32_t low, high;
  int32_t shift;
  float low_value, high_value;
  uint32_t num_bins;
  int64_t* bins;

  __device__ Tail(const TailHistogramParams& p, int64_t unit)
      : low(static_cast<uint32_t>(p.low[unit])),
        high(static_cast<uint32_t>(p.high[unit])),
        shift(static_cast<int32_t>(p.shift[unit])),
        low_value(value_of_key(low)),
        // No value has the key 0x7fffffff: as a float it would be the negative zero, which is no less than the
        // positive.
        high_value(value_of_key(high == 0x7fffffffu ? high - 1 : high)),
        num_bins(static_cast<uint32_t>(p.num_bins < UINT32_MAX ? p.num_bins : UINT32_MAX)),
        bins(p.bins + kept(unit * p.num_bins)) {}

  __device__ uint32_t bin_of(float value) const { return (key_of(value) - low) >> shift; }
  __device__ void add(float value, int64_t weight) const {
    const uint32_t bin = bin_of(value);
    // Nobody waits to check that the bracket fits, and a bad value may lie anywhere.
    if (bin < num_bins) atomicAdd(counter(bins + bin), static_cast<unsigned long long>(weight));
  }
};

__device__ inline int64_t samples_of(const Band& band, const Cell& cell) {
  const Span rows = band.tables.row_spans[cell.row_span], columns = band.tables.column_spans[cell.column_span];
  return int64_t{rows.end - rows.begin} * (columns.end - columns.begin);
}

// Returns how many of this lane's samples lie above the bracket.
__device__ inline int64_t add_values(const CellPlan& plan, const Band& band, const Tail& tail) {
  int64_t above = 0;
  const auto reaches = [&](float value) { return value >= tail.low_value; };
  const auto exceeds = [&](float value) { return value > tail.high_value; };
  const auto whole = [&](const Cell& cell, const Corners& corners) {
    const float least = corners.smallest();
    if (!reaches(least)) return false;
    if (exceeds(least)) above += samples_of(band, cell);
    else if (!exceeds(corners.largest()) && tail.bin_of(least) == tail.bin_of(corners.largest()))
      tail.add(least, samples_of(band, cell));
    else return false;
    return true;
  };
  for_wanted_rows(plan, band, reaches, whole, [&](int, Span columns, float left, float right) {
    const float* weights = band.tables.column_weights;
    const Range tops = range_where(plan, weights, columns.begin, columns.end, left, right, exceeds);
    above += tops.to - tops.from;
    // What lies within the bracket comes next after what lies above it, or at the larger end.
    const bool falls = left > right;
    int x = falls ? tops.to : (tops.to == columns.end ? tops.from : columns.end) - 1;
    for (; x >= columns.begin && x < columns.end; x += falls ? 1 : -1) {
      const float value = interpolate(left, right, weights[x]);
      if (!reaches(value)) break;
      tail.add(value, 1);
    }
  });
  return above;
}

__device__ inline int64_t add_bounds(const TailHistogramParams& p, const CellPlan& plan, const Band& band,
                                     const Tail& tail) {
  int64_t above = 0;
  for (CellCursor cursor(plan, band); cursor.more(band); cursor.advance(plan, band)) {
    if (!cursor.inside(band)) continue;
    const Corners corners = cursor.corners(band);
    const float bound = p.sample == Sample::kMin ? corners.smallest() : corners.largest();
    if (!(bound >= tail.low_value)) continue;
    const int64_t samples = samples_of(band, cursor.cell);
    if (bound > tail.high_value) above += samples;
    else tail.add(bound, samples);
  }
  return above;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 3) tail_histogram_kernel(TailHistogramLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const TailHistogramParams& p = launch.p;
  const int warp = warp_of_thread();
  const int64_t unit = UnitsInside::first_unit(launch.plan) + (warp & (launch.plan.units() - 1));
  int64_t above = 0;  // of this lane's samples
  const auto visit = [&](int64_t, const Band& band) {
    if (p.low[unit] > p.high[unit]) return;  // left out
    const Tail tail(p, unit);
    above += p.sample == Sample::kValue ? add_values(launch.plan, band, tail) : add_bounds(p, launch.plan, band, tail);
  };
  for_bands<T, UnitsInside>(p.maps, launch.hot, p.grid, launch.plan, memory, warp, launch.status, visit,
                            [](int64_t) {});
  const bool has_unit = unit < p.maps.num_units;
  if (has_unit && !bracket_fits(p.low[unit], p.high[unit], p.shift[unit], p.num_bins)) tell(launch.status);
  if (above != 0) atomicAdd(counter(p.above + unit), static_cast<unsigned long long>(above));
}

auto kernel_of(const TailHistogramParams& p) {
  if (p.hot != nullptr) return tail_histogram_kernel<HotEntries>;
  switch (p.maps.dtype) {
    case DType::kFloat16:
      return tail_histogram_kernel<Float16>;
    case DType::kBFloat16:
      return tail_histogram_kernel<BFloat16>;
    default:
      return tail_histogram_kernel<float>;
  }
}

}  // namespace

void cuda::tail_histogram(const TailHistogramParams& params, const DeviceGrid& grid, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  const int multiprocessors = begin_cells("tail_histogram", maps, grid, place);
  TailHistogramLaunch kernel{params, plan_cells(maps, grid, units_per_block(maps, 0, 0), multiprocessors), place.status,
                             params.hot == nullptr ? HotCells{} : *params.hot};
  kernel.p.grid = grid.view;
  require(launch(kernel_of(params), num_blocks(maps, kernel.plan), kThreads, CellMemory::bytes(maps, kernel.plan),
                 static_cast<cudaStream_t>(place.stream), kernel),
          "tail_histogram", maps, place);
}

}  // namespace dissect
