// observe where a map's cells are neighbours in memory, or lie anyhow: a group of lanes takes a map after the other.
#include "observe.cuh"

namespace dissect {
namespace {

// One map. Contiguous ones are loaded in aligned vectors; the cells before the first and after the last are its edges.
// kCount 1: any strides.
template <typename T, int kCount>
struct Plane {
  int image, unit;
  int64_t offset;  // of the first vector
  bool writes = false;
  int head, vectors, edges;
  Blending blending;

  __device__ Plane(const ObserveLaunch& launch, int image, int unit) : image(image), unit(unit) {
    const ObserveParams& p = launch.p;
    const int area = launch.area();
    offset = image * p.maps.stride_image + unit * p.maps.stride_unit;
    const uintptr_t address = reinterpret_cast<uintptr_t>(from(launch));
    head = kCount == 1 ? 0 : static_cast<int>(-address % 16 / sizeof(T));
    head = head < area ? head : area;
    offset += head;
    vectors = static_cast<int>(static_cast<unsigned>(area - head) / kCount);
    edges = area - vectors * kCount;
  }
  __device__ void find_blending(const ObserveLaunch& launch) {
    blending = Blending::of_plane(launch, image, unit);
    writes = blending.changes || !launch.in_place;
  }

  __device__ const T* from(const ObserveLaunch& launch) const {
    return static_cast<const T*>(launch.p.maps.data) + offset;
  }
  __device__ T* to(const ObserveLaunch& launch) const { return static_cast<T*>(launch.p.out) + offset; }

  // Of a vector.
  __device__ int64_t place(const ObserveLaunch& launch, int vector) const {
    if (kCount > 1) return int64_t{vector} * kCount;
    const FeatureMaps& maps = launch.p.maps;
    const int row = launch.width.quotient(vector), column = vector - row * launch.width.number;
    return row * maps.stride_row + column * maps.stride_column;
  }

  __device__ void blend(const ObserveLaunch& launch, int cell, Vector<T, kCount>& vector) const {
    if (kCount == 1 && launch.spatial) {
      const int row = launch.width.quotient(cell), column = cell - row * launch.width.number;
      vector.items[0] = Blending::at(launch.p, image, unit, row, column).of(vector.items[0]);
    } else if (blending.changes) {
      change_items(vector, [&](int, T stored) { return blending.changed(stored); });
    }
  }
};

// In one instruction: the compiler would take the struct apart.
template <typename T, int kCount>
__device__ __forceinline__ void store(const Vector<T, kCount>& vector, T* to) {
#ifdef __CUDA_ARCH__
  if constexpr (sizeof vector == sizeof(uint4)) {
    uint4 words;
    memcpy(&words, &vector, sizeof words);
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "r"(words.x),
                 "r"(words.y), "r"(words.z), "r"(words.w)
                 : "memory");
    return;
  }
#endif
  *reinterpret_cast<Vector<T, kCount>*>(to) = vector;
}

// kDepth vectors of a map: `first`, and others at the distance of a step of its lanes.
template <typename T, int kCount, bool kObserves, bool kBlends>
__device__ __forceinline__ void see_vectors(const ObserveLaunch& launch, const Plane<T, kCount>& plane, int first,
                                            int end, Watch<WordOf<T, kCount>>& watch,
                                            WorstOf<WordOf<T, kCount>>& worst) {
  using Loaded = Vector<T, kCount>;
  Loaded vectors[kDepth];
  const T* from = plane.from(launch);
  const int step = launch.lanes;
#pragma unroll
  for (int d = 0; d < kDepth; ++d)
    if (first + d * step < end)
      vectors[d] = *reinterpret_cast<const Loaded*>(from + plane.place(launch, first + d * step));
  if constexpr (kObserves) {
    unsigned hits = look<T, kCount, 1>(vectors, first, step, end, &watch, worst);
    for (; hits != 0; hits &= hits - 1) {
      const auto hit = Hit<T, kCount>::of(hits);
      bin(launch.p, plane.unit, from[plane.place(launch, first + hit.vector * step) + hit.item]);
    }
  }
  if (!kBlends || !plane.writes) return;
  T* to = plane.to(launch);
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    const int vector = first + d * step;
    if (vector >= end) break;
    plane.blend(launch, vector, vectors[d]);
    store(vectors[d], to + plane.place(launch, vector));
  }
}

template <typename T, int kCount, bool kObserves, bool kBlends>
__device__ __forceinline__ void see_edges(const ObserveLaunch& launch, const Plane<T, kCount>& plane, int lane,
                                          Watch<WordOf<T, kCount>>& watch, WorstOf<WordOf<T, kCount>>& worst) {
  using Word = WordOf<T, kCount>;
  for (int edge = lane; edge < plane.edges; edge += launch.lanes) {
    const int cell = (edge < plane.head ? edge : edge + plane.vectors * kCount) - plane.head;
    const T stored = plane.from(launch)[cell];
    if constexpr (kObserves) {
      const Word word = word_of<Word>(stored);
      worst.add(word);
      if (watch.add(word, kFirstPart<Word>) != 0) bin(launch.p, plane.unit, stored);
    }
    if (kBlends && plane.writes) plane.to(launch)[cell] = plane.blending.of(stored);
  }
}

template <typename T, int kCount, bool kObserves, bool kBlends>
__device__ __forceinline__ void see_map(const ObserveLaunch& launch, int lane, int slice, int image, int unit,
                                        Watch<WordOf<T, kCount>>& watch, WorstOf<WordOf<T, kCount>>& worst) {
  using Word = WordOf<T, kCount>;
  Plane<T, kCount> plane(launch, image, unit);
  if constexpr (kObserves) {
    watch.threshold = word_of<Word>(threshold_of<T>(launch.p, unit));
    watch.least = word_of<Word>(least_of<T>(launch.p, unit));
    if (image == 0) check_bracket(launch, unit);
  }
  if constexpr (kBlends) plane.find_blending(launch);
  if (!kObserves && !plane.writes) return;
  const int begin = slice * launch.per_slice, rest = plane.vectors - begin;
  const int end = begin + (rest < launch.per_slice ? rest : launch.per_slice);
  for (int vector = begin + lane; vector < end; vector += kDepth * launch.lanes)
    see_vectors<T, kCount, kObserves, kBlends>(launch, plane, vector, end, watch, worst);
  if (slice == 0) see_edges<T, kCount, kObserves, kBlends>(launch, plane, lane, watch, worst);
}

// The lanes of a group bring together what they have seen. All lanes of the warp are here.
template <typename T, typename Word>
__device__ void share_seen(const ObserveLaunch& launch, bool tells, int image, int unit, const Watch<Word>& watch) {
  const Seen<Word>& seen = watch.seen;
  float peak = part(seen.peak, 0);
  int area = counted<Word>(seen.fires, 0), zeros = counted<Word>(seen.zeros, 0);
  if constexpr (kParts<Word> == 2) {
    peak = fmaxf(peak, part(seen.peak, 1));
    area += counted<Word>(seen.fires, 1);
    zeros += counted<Word>(seen.zeros, 1);
  }
  int counts = area | zeros << 16;  // of a slice, which has fewer cells
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    if (distance >= launch.lanes) break;
    peak = fmaxf(peak, __shfl_xor_sync(kAllLanes, peak, distance));
    counts += __shfl_xor_sync(kAllLanes, counts, distance);
  }
  area = counts & 0xffff, zeros = static_cast<int>(static_cast<unsigned>(counts) >> 16);
  if (tells) tell_seen<T>(launch.p, image, unit, peak, area, zeros, part(watch.least, 0));
}

template <typename T, int kCount, bool kObserves, bool kBlends>
__global__ void __launch_bounds__(kThreads, 3) observe_planes_kernel(ObserveLaunch launch) {
  using Word = WordOf<T, kCount>;
  const int lane = threadIdx.x & (launch.lanes - 1);
  const int slice = launch.blocks.quotient(blockIdx.x), block = blockIdx.x - slice * launch.blocks.number;
  const int group = block * (kThreads >> launch.log_lanes) + static_cast<int>(threadIdx.x >> launch.log_lanes);
  int image = launch.units.quotient(group), unit = group - image * launch.units.number;
  WorstOf<Word> worst;
  for (int round = 0; round < launch.rounds; ++round) {  // the lanes of a warp stay together
    const bool has_map = image < static_cast<int>(launch.p.maps.num_images);
    Watch<Word> watch;
    watch.seen.begin();
    if (has_map) see_map<T, kCount, kObserves, kBlends>(launch, lane, slice, image, unit, watch, worst);
    if constexpr (kObserves) share_seen<T>(launch, has_map && lane == 0, image, unit, watch);
    image += launch.image_step, unit += launch.unit_step;
    if (unit >= launch.units.number) unit -= launch.units.number, ++image;
  }
  if constexpr (kObserves) worst.tell_if_bad(launch.status);
}

template <typename T, int kCount>
cudaError_t launch_planes(ObserveLaunch launch, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = launch.p.maps;
  const int64_t num_maps = maps.num_images * maps.num_units, area = launch.area();
  const int64_t vectors = (area + kCount - 1) / kCount;
  const auto lanes_for = [&](int64_t each) {
    return std::min<int64_t>(cuda::power_of_two_from((vectors + each - 1) / each), 32);
  };
  // A lane takes several vectors of a small map, so that what a map costs is shared by few; two lanes, since one would
  // load 16 bytes here and there.
  int64_t lanes = std::min(lanes_for(1), std::max<int64_t>(lanes_for(2 * kDepth), 2));
  const auto all_blocks = [&] { return (num_maps * lanes + kThreads - 1) / kThreads; };
  while (lanes < lanes_for(1) && all_blocks() < 2 * multiprocessors) lanes *= 2;
  const int64_t most_blocks = cuda::kBlocksPerMultiprocessor * multiprocessors;
  const int64_t rounds = (all_blocks() + most_blocks - 1) / most_blocks, blocks = (all_blocks() + rounds - 1) / rounds;
  const int64_t slices = num_slices(blocks, (vectors + lanes - 1) / lanes, area, multiprocessors);
  launch.set_lanes(lanes);
  launch.blocks = Divisor::of(blocks);
  launch.units = Divisor::of(maps.num_units);
  launch.per_slice = static_cast<int>((vectors + slices - 1) / slices);
  launch.rounds = static_cast<int>(rounds);
  launch.image_step = static_cast<int>(blocks * kThreads / lanes / maps.num_units);
  launch.unit_step = static_cast<int>(blocks * kThreads / lanes % maps.num_units);
  const auto kernel = launch.p.out == nullptr ? observe_planes_kernel<T, kCount, true, false>
                      : launch.observes()     ? observe_planes_kernel<T, kCount, true, true>
                                              : observe_planes_kernel<T, kCount, false, true>;
  return dissect::launch(kernel, blocks * slices, kThreads, 0, stream, launch);
}

}  // namespace

cudaError_t observe_planes(const ObserveLaunch& launch, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = launch.p.maps;
  const bool even = maps.stride_row == maps.width * maps.stride_column && maps.stride_column == 1;
  // With both tensors aligned a map begins at the same place of a vector in what is read and in what is written.
  const bool vectors = even && !launch.spatial && is_aligned(launch.p, 16);
  return with_stored_type(maps.dtype, [&](auto stored) {
    using T = decltype(stored);
    return vectors ? launch_planes<T, 16 / sizeof(T)>(launch, multiprocessors, stream)
                   : launch_planes<T, 1>(launch, multiprocessors, stream);
  });
}

}  // namespace dissect
