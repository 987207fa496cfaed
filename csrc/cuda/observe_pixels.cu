// observe where units are neighbours in memory (channels-last): a lane keeps the same few units, which it loads
// together, and takes one pixel after the other. What the threads of a block have seen meets in shared memory.
#include "observe.cuh"

namespace dissect {
namespace {

// A block's shared memory: what its units are watched for, and blended with; what each thread has seen.
template <typename T, int kCount>
struct PixelMemory {
  using Word = WordOf<T, kCount>;
  struct Bounds {
    Word threshold, least;
  };
  Bounds* bounds;       // [words of a block's units]
  Blending* blendings;  // [kCount][lanes], so that lanes meet in no bank
  Seen<Word>* seen;     // [threads][words of a thread's units]

  __device__ PixelMemory(const ObserveLaunch& launch, unsigned char* memory)
      : bounds(reinterpret_cast<Bounds*>(memory)),
        blendings(reinterpret_cast<Blending*>(bounds + launch.lanes * kWords<T, kCount>)),
        seen(reinterpret_cast<Seen<Word>*>(blendings + launch.lanes * kCount)) {}
  static size_t bytes(const ObserveLaunch& launch) {
    const size_t seen = launch.observes() ? kThreads * sizeof(Seen<Word>) : 0;
    return kWords<T, kCount> * (launch.lanes * sizeof(Bounds) + seen) + kCount * launch.lanes * sizeof(Blending);
  }
};

// What a thread works on: kCount units of one image, from `unit` on.
template <typename T, int kCount>
struct Column {
  int image, unit;
  Watch<WordOf<T, kCount>> watches[kWords<T, kCount>];
  const Blending* blendings;  // at the distance of the lanes
  unsigned changes = 0;       // a bit for each of them
  bool writes = false;

  __device__ T blended(const ObserveLaunch& launch, int i, int pixel, T stored) const {
    if (kCount > 1 || !launch.spatial) {
      const T changed = blendings[i * launch.lanes].changed(stored);  // at any rate: to branch would cost more
      return (changes >> i & 1) != 0 ? changed : stored;
    }
    const int row = launch.width.quotient(pixel), column = pixel - row * launch.width.number;
    return Blending::at(launch.p, image, unit + i, row, column).of(stored);
  }
};

// The threads of a block find out together what its units are watched for and blended with.
template <typename T, int kCount, bool kObserves, bool kBlends>
__device__ void prepare(const ObserveLaunch& launch, const PixelMemory<T, kCount>& memory, int first_unit,
                        Column<T, kCount>& column) {
  using Word = WordOf<T, kCount>;
  constexpr int kEach = kWords<T, kCount>;
  const int lane = threadIdx.x & (launch.lanes - 1), units = static_cast<int>(launch.p.maps.num_units);
  for (int word = threadIdx.x; kObserves && word < launch.lanes * kEach; word += kThreads) {
#pragma unroll
    for (int i = 0; i < kParts<Word>; ++i) {
      const int unit = first_unit + word * kParts<Word> + i;
      if (unit >= units) break;
      set_part(memory.bounds[word].threshold, i, threshold_of<T>(launch.p, unit));
      set_part(memory.bounds[word].least, i, least_of<T>(launch.p, unit));
      if (column.image == 0) check_bracket(launch, unit);
    }
  }
  for (int n = threadIdx.x; kBlends && n < launch.lanes * kCount; n += kThreads) {
    const int unit = first_unit + (n & (launch.lanes - 1)) * kCount + (n >> launch.log_lanes);
    if (unit < units) memory.blendings[n] = Blending::of_plane(launch, column.image, unit);
  }
  __syncthreads();  // all are there
#pragma unroll
  for (int w = 0; kObserves && w < kEach; ++w) {
    const auto& bounds = memory.bounds[lane * kEach + w];
    column.watches[w].threshold = bounds.threshold, column.watches[w].least = bounds.least;
    column.watches[w].seen.begin();
  }
  column.blendings = memory.blendings + lane;
#pragma unroll
  for (int i = 0; kBlends && i < kCount; ++i)
    if (column.unit < units) column.changes |= static_cast<unsigned>(column.blendings[i * launch.lanes].changes) << i;
  column.writes = kBlends && (column.changes != 0 || !launch.in_place);
}

// kDepth pixels: `first`, at `offset`, and others at the distance of a block's step, which is a leap in memory.
template <typename T, int kCount, bool kObserves, bool kBlends>
__device__ __forceinline__ void see_pixels(const ObserveLaunch& launch, Column<T, kCount>& column, int first, int end,
                                           int64_t offset, int64_t leap, WorstOf<WordOf<T, kCount>>& worst) {
  using Loaded = Vector<T, kCount>;
  const T* from = static_cast<const T*>(launch.p.maps.data) + offset;
  const int step = kThreads >> launch.log_lanes;
  Loaded vectors[kDepth];
#pragma unroll
  for (int d = 0; d < kDepth; ++d)
    if (first + d * step < end) vectors[d] = *reinterpret_cast<const Loaded*>(from + d * leap);
  if constexpr (kObserves) {
    unsigned hits = look<T, kCount, kWords<T, kCount>>(vectors, first, step, end, column.watches, worst);
    for (; hits != 0; hits &= hits - 1) {
      const auto hit = Hit<T, kCount>::of(hits);
      bin(launch.p, column.unit + hit.item, from[hit.vector * leap + hit.item]);
    }
  }
  if (!kBlends || !column.writes) return;
  T* to = static_cast<T*>(launch.p.out) + offset;
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    const int pixel = first + d * step;
    if (pixel >= end) break;
    change_items(vectors[d], [&](int i, T stored) { return column.blended(launch, i, pixel, stored); });
    *reinterpret_cast<Loaded*>(to + d * leap) = vectors[d];
  }
}

// Brings together what the threads of a block have seen of the same units.
template <typename T, int kCount>
__device__ void share_seen(const ObserveLaunch& launch, const PixelMemory<T, kCount>& memory, int image, int first_unit,
                           const Watch<WordOf<T, kCount>>* watches) {
  using Word = WordOf<T, kCount>;
  constexpr int kEach = kWords<T, kCount>;
  Seen<Word>* all = memory.seen;
#pragma unroll
  for (int w = 0; w < kEach; ++w) all[threadIdx.x * kEach + w] = watches[w].seen;
  __syncthreads();  // all threads have told
  const int words = launch.lanes * kEach;
  for (int word = threadIdx.x; word < words; word += kThreads) {
#pragma unroll
    for (int i = 0; i < kParts<Word>; ++i) {
      const int unit = first_unit + word * kParts<Word> + i;
      if (unit >= launch.p.maps.num_units) break;
      float peak = -kInfinity;
      int area = 0, zeros = 0;
      for (int place = word; place < kThreads * kEach; place += words) {
        peak = fmaxf(peak, part(all[place].peak, i));
        area += counted<Word>(all[place].fires, i);
        zeros += counted<Word>(all[place].zeros, i);
      }
      tell_seen<T>(launch.p, image, unit, peak, area, zeros, part(memory.bounds[word].least, i));
    }
  }
}

// A block takes a slice of the pixels of one image in launch.lanes * kCount units.
template <typename T, int kCount, bool kObserves, bool kBlends>
__global__ void __launch_bounds__(kThreads, 3) observe_pixels_kernel(ObserveLaunch launch) {
  DISSECT_SHARED_MEMORY(bytes);
  const PixelMemory<T, kCount> memory(launch, bytes);
  const int units = launch.lanes * kCount, slice = launch.blocks.quotient(blockIdx.x);
  const int block = blockIdx.x - slice * launch.blocks.number;
  Column<T, kCount> column;
  column.image = launch.units.quotient(block);
  const int first_unit = (block - column.image * launch.units.number) * units;
  column.unit = first_unit + static_cast<int>(threadIdx.x & (launch.lanes - 1)) * kCount;
  prepare<T, kCount, kObserves, kBlends>(launch, memory, first_unit, column);
  if (column.unit < launch.p.maps.num_units && (kObserves || column.writes)) {
    const int area = launch.area(), begin = slice * launch.per_slice;
    const int end = area - begin < launch.per_slice ? area : begin + launch.per_slice;
    WorstOf<WordOf<T, kCount>> worst;
    const FeatureMaps& maps = launch.p.maps;
    const int step = kThreads >> launch.log_lanes;
    int first = begin + static_cast<int>(threadIdx.x >> launch.log_lanes);
    int64_t offset = column.image * maps.stride_image + first * maps.stride_column + column.unit;
    const int64_t leap = step * maps.stride_column;
    for (; first < end; first += kDepth * step, offset += kDepth * leap)
      see_pixels<T, kCount, kObserves, kBlends>(launch, column, first, end, offset, leap, worst);
    if constexpr (kObserves) worst.tell_if_bad(launch.status);
  }
  if constexpr (kObserves) share_seen(launch, memory, column.image, first_unit, column.watches);
}

template <typename T, int kCount>
cudaError_t launch_pixels(ObserveLaunch launch, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = launch.p.maps;
  const int64_t vectors = (maps.num_units + kCount - 1) / kCount, area = launch.area();
  const int64_t lanes = std::min<int64_t>(cuda::power_of_two_from(vectors), 32);
  const int64_t tiles = (vectors + lanes - 1) / lanes, blocks = maps.num_images * tiles;
  const int64_t slices = num_slices(blocks, (area * lanes + kThreads - 1) / kThreads, area, multiprocessors);
  launch.set_lanes(lanes);
  launch.blocks = Divisor::of(blocks);
  launch.units = Divisor::of(tiles);
  launch.per_slice = static_cast<int>((area + slices - 1) / slices);
  const size_t bytes = PixelMemory<T, kCount>::bytes(launch);
  const auto kernel = launch.p.out == nullptr ? observe_pixels_kernel<T, kCount, true, false>
                      : launch.observes()     ? observe_pixels_kernel<T, kCount, true, true>
                                              : observe_pixels_kernel<T, kCount, false, true>;
  return dissect::launch(kernel, blocks * slices, kThreads, bytes, stream, launch);
}

}  // namespace

cudaError_t observe_pixels(const ObserveLaunch& launch, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = launch.p.maps;
  return with_stored_type(maps.dtype, [&](auto stored) {
    using T = decltype(stored);
    constexpr int kUnits = 16 / sizeof(T);
    const bool even = !launch.spatial && maps.num_units % kUnits == 0 && maps.stride_image % kUnits == 0 &&
                      maps.stride_column % kUnits == 0;
    return even && is_aligned(launch.p, 16) ? launch_pixels<T, kUnits>(launch, multiprocessors, stream)
                                            : launch_pixels<T, 1>(launch, multiprocessors, stream);
  });
}

}  // namespace dissect
