// narrow on a GPU: a block per unit. Its threads share the bins, from the top down, to find the one that holds the
// sample of a rank: each adds up a part of them, and the part that holds it is shared again.
#include "../narrow.h"
#include "device.h"

namespace dissect {
namespace {

// The bins that hold the rank-th largest sample of those in them: a part of `count` from `begin` on.
struct Part {
  int64_t rank;
  int64_t begin, count;
};
constexpr int64_t kNowhere = -1;  // where a part begins if there are fewer samples

struct NarrowMemory {
  Part* part;
  int64_t* sums;  // of each warp

  explicit __device__ NarrowMemory(unsigned char* memory)
      : part(reinterpret_cast<Part*>(memory)), sums(reinterpret_cast<int64_t*>(part + 1)) {}
  static DISSECT_HD int64_t bytes() { return sizeof(Part) + kWarps * static_cast<int64_t>(sizeof(int64_t)); }
};

// The sum over this thread and those before it. What another thread wrote before is seen after it.
__device__ inline int64_t sum_up_to_thread(const NarrowMemory& memory, int64_t value) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int64_t before = __shfl_up_sync(kAllLanes, value, distance);
    if (lane_of_thread() >= distance) value += before;
  }
  const int warp = warp_of_thread();
  if (lane_of_thread() == 31) memory.sums[warp] = value;
  __syncthreads();  // all warps have theirs
  for (int i = 0; i < warp; ++i) value += memory.sums[i];
  return value;
}

// The bin that holds the rank-th largest sample, or kNowhere. All threads call it.
__device__ int64_t bin_of_rank(const NarrowMemory& memory, const int64_t* bins, int64_t num_bins, int64_t rank) {
  __syncthreads();  // all know what was found before
  if (threadIdx.x == 0) *memory.part = {rank, 0, num_bins};
  for (;;) {
    __syncthreads();  // the part is known, and nobody reads sums of before
    const Part part = *memory.part;
    if (part.count == 1 || part.begin == kNowhere) return part.begin;
    const int64_t share = (part.count + kThreads - 1) / kThreads;
    const int64_t after = part.begin + part.count - threadIdx.x * share, from = after - share;
    const int64_t begin = from > part.begin ? from : part.begin;
    int64_t own = 0;
    for (int64_t i = begin; i < after; ++i) own += bins[i];
    const int64_t end = sum_up_to_thread(memory, own);
    if (end - own < part.rank && part.rank <= end) *memory.part = {part.rank - (end - own), begin, after - begin};
    if (static_cast<int>(threadIdx.x) == kThreads - 1 && end < part.rank) memory.part->begin = kNowhere;
  }
}

struct Ends {
  int64_t low, high;
};

// Between which keys the rank-th largest of a unit's samples lies. All threads call it.
__device__ inline Ends located(const NarrowParams& p, const NarrowMemory& memory, int64_t unit, int64_t rank) {
  const int64_t first = p.first[unit], last = p.last[unit], shift = p.shift[unit], above = p.above[unit];
  if (above >= rank) return {last + 1, (int64_t{1} << p.bits) - 1};
  const int64_t bin = bin_of_rank(memory, p.bins + unit * p.num_bins, p.num_bins, rank - above);
  if (bin == kNowhere) return {0, first - 1};
  const int64_t end = first + ((bin + 1) << shift) - 1;
  return {first + (bin << shift), end < last ? end : last};
}

__device__ inline int64_t higher(int64_t a, int64_t b) { return a > b ? a : b; }

// Writes what is known of a unit, and tells how it went. One thread calls it.
__device__ inline void conclude(const NarrowParams& p, int64_t unit, Ends found, Ends next, int64_t spare) {
  const int64_t low = p.low[unit], high = p.high[unit], kept = p.kept[unit], zero = int64_t{1} << (p.bits - 1);
  const bool was_known = low == high;
  bool unproved = false;
  if (p.guesses) {
    found = {p.least[unit] >= zero ? zero : low, high};
  } else {
    const bool beyond = !was_known && found.low < kept;
    if (beyond) found = {low, higher(found.high, kept - 1)};
    next = found = {higher(low, found.low), found.high < high ? found.high : high};
    unproved = beyond && found.low < kept - 1;
    spare = p.is_first || unproved ? found.low : p.spare[unit];
  }
  const bool torn = !was_known && found.low > found.high;
  if (was_known) found = {low, high};
  const bool known = found.low == found.high;
  if (known) next = {1, 0};
  int64_t shift = 0;
  while (p.bits == 32 && (next.high - next.low) >> shift >= p.next_bins) ++shift;
  const int64_t values[6] = {found.low, found.high, spare, next.low, next.high, shift};
#pragma unroll
  for (int i = 0; i < 6; ++i) p.narrowed[i * p.num_units + unit] = values[i];
  if (!known) atomicAdd(counter(p.facts), 1ull);
  if (unproved) atomicAdd(counter(p.facts + 1), 1ull);
  if (torn) atomicAdd(counter(p.facts + 2), 1ull);
  if (torn) atomicMax(counter(p.facts + 3), static_cast<unsigned long long>(p.num_units - unit));
}

__global__ void __launch_bounds__(kThreads) narrow_kernel(NarrowParams p) {
  DISSECT_SHARED_MEMORY(bytes);
  const NarrowMemory memory(bytes);
  const int64_t unit = blockIdx.x;
  const Ends found = located(p, memory, unit, p.ranks[0]);
  Ends next = found;
  int64_t spare = 0;
  if (p.guesses) {
    next.high = located(p, memory, unit, p.ranks[1]).high;
    spare = located(p, memory, unit, p.ranks[2]).low;
  }
  if (threadIdx.x == 0) conclude(p, unit, found, next, spare);
}

}  // namespace

void cuda::narrow(const NarrowParams& params, const Place& place) {
  if (params.num_units == 0) return;
  const std::string what = "brackets of " + std::to_string(params.num_units) + " units";
  require(cudaSetDevice(place.device), "narrow", what, place);
  require(launch(narrow_kernel, params.num_units, kThreads, NarrowMemory::bytes(),
                 static_cast<cudaStream_t>(place.stream), params),
          "narrow", what, place);
}

}  // namespace dissect
