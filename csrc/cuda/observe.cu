// observe on a GPU: one read of the feature maps, 16 bytes per load where their layout allows. Two kernels: maps whose
// cells are neighbours in memory (or lie anyhow) are given a group of lanes each; where units are neighbours, a lane
// takes the same few units of one pixel after the other.
#include "../observe.h"
#include "device.h"

namespace dissect {
namespace {

struct ObserveLaunch {
  ObserveParams p;
  int32_t* status;
  int lanes;      // planes: that share a map; pixels: vectors of units per block. A power of two up to 32.
  bool observes;  // anything but blending is asked for
  bool in_place;
  bool spatial;  // value or mask differ within a plane
};

constexpr float kInfinity = __builtin_inff();
constexpr float kNobodyReaches = __builtin_nanf("");  // not even a bad value

// As many stored values as one load brings.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T items[kCount];
};

__device__ inline float at(const Operand& operand, int64_t image, int64_t unit, int row, int column) {
  return operand.data[image * operand.stride_image + unit * operand.stride_unit + row * operand.stride_row +
                      column * operand.stride_column];
}

// One unit's constants, and what a thread has seen of its cells.
template <typename T>
struct Unit {
  float least = kNobodyReaches, threshold = kInfinity;  // values below `least` are not binned
  float a = 0.0f, value = 0.0f;                         // to blend with; if spatial, a without the mask
  float peak = -kInfinity;
  int area = 0;
  // Binned together in the end, since a ReLU leaves many, which would all meet in one bin. The windows of 16-bit keys
  // hold them; those of 32 bits begin above, and there is no register left.
  static constexpr bool kCountsZeros = sizeof(T) == 2;
  int zeros = 0;

  __device__ void begin(const ObserveLaunch& launch, int64_t image, int64_t unit) {
    const ObserveParams& p = launch.p;
    const bool bins = p.bins != nullptr && p.low[unit] <= p.high[unit];
    if (bins && image == 0 && !bracket_fits(p.low[unit], p.high[unit], p.shift[unit], p.num_bins)) tell(launch.status);
    least = bins ? least_with_key(static_cast<uint32_t>(p.low[unit]), T{}) : kNobodyReaches;
    if (p.thresholds != nullptr) threshold = p.thresholds[unit];
    if (p.out != nullptr) {
      a = at(p.alpha, image, unit, 0, 0) * (launch.spatial ? 1.0f : at(p.mask, image, unit, 0, 0));
      value = launch.spatial ? 0.0f : at(p.value, image, unit, 0, 0);
    }
    peak = -kInfinity, area = 0, zeros = 0;
  }

  __device__ bool writes(const ObserveLaunch& launch) const {
    return launch.p.out != nullptr && (a != 0.0f || !launch.in_place);
  }

  // Returns whether the value may have to be binned.
  __device__ bool add(float seen) {
    peak = seen > peak ? seen : peak;
    area += seen > threshold;
    const bool waits = kCountsZeros && seen == 0.0f;
    zeros += waits;
    return seen >= least && !waits;
  }

  __device__ T blended(const ObserveLaunch& launch, int64_t image, int64_t unit, int cell, T stored) const {
    const int width = static_cast<int>(launch.p.maps.width);
    const int row = launch.spatial ? cell / width : 0, column = launch.spatial ? cell % width : 0;
    const float here = launch.spatial ? a * at(launch.p.mask, image, unit, row, column) : a;
    const float target = launch.spatial ? at(launch.p.value, image, unit, row, column) : value;
    if (here != 0.0f) narrow(blend(here, target, widen(stored)), stored);
    return stored;
  }
};

template <typename T>
__device__ void bin(const ObserveParams& p, int64_t unit, T stored, unsigned long long times = 1) {
  const int64_t key = key_of_stored(stored), low = p.low[unit], bin = (key - low) >> p.shift[unit];
  if (key > p.high[unit]) atomicAdd(counter(p.above + unit), times);
  else if (key >= low && bin < p.num_bins) atomicAdd(counter(p.bins + unit * p.num_bins + bin), times);
}

template <typename T>
__device__ void bin_zeros(const ObserveParams& p, int64_t unit, const Unit<T>& seen) {
  if (seen.zeros != 0 && seen.least <= 0.0f) bin(p, unit, T{}, seen.zeros);
}

// One map's cells, by the lanes of its group. kCount 1: any strides. More: contiguous maps, of which aligned vectors
// are loaded; the first and the last may reach beyond the map, and are then taken apart. What is to be binned is few,
// so it is only marked at first, and read again.
template <typename T, int kCount>
__device__ void see_map(const ObserveLaunch& launch, int lane, int64_t image, int64_t unit, Unit<T>& seen,
                        Worst& worst) {
  const ObserveParams& p = launch.p;
  const int area = static_cast<int>(p.maps.height * p.maps.width), width = static_cast<int>(p.maps.width);
  const int64_t offset = image * p.maps.stride_image + unit * p.maps.stride_unit;
  const T* from = static_cast<const T*>(p.maps.data) + offset;
  T* to = static_cast<T*>(p.out) + (p.out == nullptr ? 0 : offset);
  const bool writes = seen.writes(launch);
  const int skew = kCount == 1 ? 0 : static_cast<int>(reinterpret_cast<uintptr_t>(from) % 16 / sizeof(T));
  for (int cell = lane * kCount - skew; cell < area; cell += launch.lanes * kCount) {
    const int64_t place =
        kCount == 1 ? cell / width * p.maps.stride_row + cell % width * p.maps.stride_column : int64_t{cell};
    const bool whole = cell >= 0 && cell + kCount <= area;
    Vector<T, kCount> vector;
    if (whole) vector = *reinterpret_cast<const Vector<T, kCount>*>(from + place);
    unsigned hits = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (!whole && (cell + i < 0 || cell + i >= area)) continue;
      if (!whole) vector.items[i] = from[place + i];
      const float value = widen(vector.items[i]);
      worst.add(value);
      if (seen.add(value)) hits |= 1u << i;
    }
    for (; hits != 0; hits &= hits - 1) bin(p, unit, from[place + __ffs(hits) - 1]);
    if (!writes) continue;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (!whole && (cell + i < 0 || cell + i >= area)) continue;
      vector.items[i] = seen.blended(launch, image, unit, cell + i, vector.items[i]);
      if (!whole) to[place + i] = vector.items[i];
    }
    if (whole) *reinterpret_cast<Vector<T, kCount>*>(to + place) = vector;
  }
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads, 3) observe_planes_kernel(ObserveLaunch launch) {
  const ObserveParams& p = launch.p;
  const int64_t num_units = p.maps.num_units;
  const int lane = threadIdx.x & (launch.lanes - 1);
  const int64_t groups = kThreads / launch.lanes * int64_t{gridDim.x};
  const int64_t group = kThreads / launch.lanes * int64_t{blockIdx.x} + threadIdx.x / launch.lanes;
  const int64_t image_step = groups / num_units, unit_step = groups % num_units;
  int64_t image = group / num_units, unit = group % num_units;
  Worst worst{0};
  // The lanes of a warp stay together until the first of its groups has no map.
  for (int64_t first = group - threadIdx.x % 32 / launch.lanes; first < p.maps.num_images * num_units;
       first += groups) {
    Unit<T> seen;
    const bool has_map = image < p.maps.num_images;
    if (has_map) seen.begin(launch, image, unit);
    if (has_map && (launch.observes || seen.writes(launch))) see_map<T, kCount>(launch, lane, image, unit, seen, worst);
    for (int distance = launch.lanes / 2; launch.observes && distance > 0; distance /= 2) {
      seen.peak = fmaxf(seen.peak, __shfl_xor_sync(kAllLanes, seen.peak, distance));
      seen.area += __shfl_xor_sync(kAllLanes, seen.area, distance);
      seen.zeros += __shfl_xor_sync(kAllLanes, seen.zeros, distance);
    }
    if (has_map && lane == 0) {
      if (p.peaks != nullptr) p.peaks[image * num_units + unit] = seen.peak + 0.0f;
      if (p.unit_area != nullptr) p.unit_area[image * num_units + unit] = seen.area;
      bin_zeros(p, unit, seen);
    }
    image += image_step, unit += unit_step;
    if (unit >= num_units) unit -= num_units, ++image;
  }
  worst.tell_if_bad(launch.status);
}

// What the threads of a block have seen of the same units is brought together in shared memory.
template <typename T, int kCount>
__device__ void share_seen(const ObserveLaunch& launch, unsigned char* memory, int64_t image, int64_t first_unit,
                           const Unit<T>* seen) {
  const ObserveParams& p = launch.p;
  const int units = launch.lanes * kCount, own = threadIdx.x * kCount;
  float* peaks = reinterpret_cast<float*>(memory);
  int* areas = reinterpret_cast<int*>(peaks + kThreads * kCount);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    peaks[own + i] = seen[i].peak;
    areas[own + i] = seen[i].area;
  }
  __syncthreads();  // all threads have told
  for (int i = threadIdx.x; i < units && first_unit + i < p.maps.num_units; i += kThreads) {
    float peak = -kInfinity;
    int area = 0;
    for (int place = i; place < kThreads * kCount; place += units) {
      peak = fmaxf(peak, peaks[place]);
      area += areas[place];
    }
    const int64_t map = image * p.maps.num_units + first_unit + i;
    if (p.peaks != nullptr) p.peaks[map] = peak + 0.0f;
    if (p.unit_area != nullptr) p.unit_area[map] = area;
  }
}

constexpr int kDepth = 4;  // loads on their way

// kDepth pixels of kCount units: `first`, and others at the distance of a block's step.
template <typename T, int kCount>
__device__ void see_pixels(const ObserveLaunch& launch, int64_t image, int64_t unit, int first, bool writes,
                           Unit<T>* seen, Worst& worst) {
  const ObserveParams& p = launch.p;
  const int64_t offset = image * p.maps.stride_image + unit;
  const T* from = static_cast<const T*>(p.maps.data) + offset;
  const int area = static_cast<int>(p.maps.height * p.maps.width), step = kThreads / launch.lanes;
  Vector<T, kCount> vectors[kDepth];
  unsigned hits = 0;
#pragma unroll
  for (int d = 0; d < kDepth; ++d)
    if (first + d * step < area)
      vectors[d] = *reinterpret_cast<const Vector<T, kCount>*>(from + (first + d * step) * p.maps.stride_column);
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    if (first + d * step >= area) continue;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const float value = widen(vectors[d].items[i]);
      worst.add(value);
      if (seen[i].add(value)) hits |= 1u << (d * kCount + i);
    }
  }
  for (; hits != 0; hits &= hits - 1) {
    const int hit = __ffs(hits) - 1, i = hit % kCount;
    bin(p, unit + i, from[(first + hit / kCount * step) * p.maps.stride_column + i]);
  }
  if (!writes) return;
  T* to = static_cast<T*>(p.out) + offset;
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    const int cell = first + d * step;
    if (cell >= area) continue;
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      vectors[d].items[i] = seen[i].blended(launch, image, unit + i, cell, vectors[d].items[i]);
    *reinterpret_cast<Vector<T, kCount>*>(to + cell * p.maps.stride_column) = vectors[d];
  }
}

// Units are neighbours in memory, kCount of them are loaded together, and pixels lie at equal distances. A block takes
// the pixels of one image in launch.lanes * kCount units.
template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads, 3) observe_pixels_kernel(ObserveLaunch launch) {
  DISSECT_SHARED_MEMORY(memory);
  const FeatureMaps& maps = launch.p.maps;
  const int64_t units = launch.lanes * kCount, tiles = (maps.num_units + units - 1) / units;
  const int64_t image = blockIdx.x / tiles, first_unit = blockIdx.x % tiles * units;
  const int64_t unit = first_unit + (threadIdx.x & (launch.lanes - 1)) * kCount;
  const bool has_units = unit < maps.num_units;
  Unit<T> seen[kCount];
  Worst worst{0};
  bool writes = false;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    if (has_units) seen[i].begin(launch, image, unit + i);
    writes = writes || (has_units && seen[i].writes(launch));
  }
  const int end = has_units && (launch.observes || writes) ? static_cast<int>(maps.height * maps.width) : 0;
  for (int first = threadIdx.x / launch.lanes; first < end; first += kDepth * kThreads / launch.lanes)
    see_pixels<T, kCount>(launch, image, unit, first, writes, seen, worst);
  worst.tell_if_bad(launch.status);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    if (has_units) bin_zeros(launch.p, unit + i, seen[i]);
  if (launch.observes) share_seen<T, kCount>(launch, memory, image, first_unit, seen);
}

// Values per load: of a map's cells, and of units.
template <typename T>
constexpr int kCells = 16 / sizeof(T);
constexpr int kUnits = 4;

// Whether vectors of this many bytes can be loaded at every multiple of these strides.
template <typename T>
bool are_aligned(const ObserveParams& p, uintptr_t bytes, std::initializer_list<int64_t> strides) {
  bool aligned =
      reinterpret_cast<uintptr_t>(p.maps.data) % bytes == 0 && reinterpret_cast<uintptr_t>(p.out) % bytes == 0;
  for (int64_t stride : strides) aligned = aligned && stride * sizeof(T) % bytes == 0;
  return aligned;
}

template <typename T, int kCount>
cudaError_t launch_pixels(ObserveLaunch kernel, cudaStream_t stream) {
  const FeatureMaps& maps = kernel.p.maps;
  const int64_t vectors = (maps.num_units + kCount - 1) / kCount;
  kernel.lanes = static_cast<int>(std::min<int64_t>(cuda::power_of_two_from(vectors), 32));
  const int64_t tiles = (vectors + kernel.lanes - 1) / kernel.lanes;
  const size_t bytes = kernel.observes ? kThreads * kCount * (sizeof(float) + sizeof(int)) : 0;
  return launch(observe_pixels_kernel<T, kCount>, maps.num_images * tiles, kThreads, bytes, stream, kernel);
}

template <typename T, int kCount>
cudaError_t launch_planes(ObserveLaunch kernel, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = kernel.p.maps;
  const int64_t vectors = (maps.height * maps.width + 2 * kCount - 2) / kCount;
  kernel.lanes = static_cast<int>(std::min<int64_t>(cuda::power_of_two_from(vectors), 32));
  const int64_t blocks = (maps.num_images * maps.num_units * kernel.lanes + kThreads - 1) / kThreads;
  const int64_t most = cuda::kBlocksPerMultiprocessor * multiprocessors;
  return launch(observe_planes_kernel<T, kCount>, std::min(blocks, most), kThreads, 0, stream, kernel);
}

template <typename T>
cudaError_t launch_typed(const ObserveLaunch& kernel, int multiprocessors, cudaStream_t stream) {
  const FeatureMaps& maps = kernel.p.maps;
  const bool even = maps.stride_row == maps.width * maps.stride_column;
  if (maps.stride_unit == 1 && maps.stride_column >= maps.num_units && even) {
    const bool whole = maps.num_units % kUnits == 0;
    if (whole && are_aligned<T>(kernel.p, kUnits * sizeof(T), {maps.stride_image, maps.stride_column}))
      return launch_pixels<T, kUnits>(kernel, stream);
    return launch_pixels<T, 1>(kernel, stream);
  }
  // With both tensors aligned a map's skew is the same in what is read and in what is written.
  if (maps.stride_column == 1 && even && are_aligned<T>(kernel.p, 16, {}))
    return launch_planes<T, kCells<T>>(kernel, multiprocessors, stream);
  return launch_planes<T, 1>(kernel, multiprocessors, stream);
}

bool is_spatial(const Operand& operand) { return operand.stride_row != 0 || operand.stride_column != 0; }

}  // namespace

void cuda::observe(const ObserveParams& params, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  check_sizes("observe", maps.height, maps.width);
  require(cudaSetDevice(place.device), "observe", maps, place);
  const int multiprocessors = attribute(cudaDevAttrMultiProcessorCount, "observe", maps, place);
  const bool observes = params.peaks != nullptr || params.bins != nullptr || params.unit_area != nullptr;
  const ObserveLaunch kernel{
      params, place.status, 1, observes, params.out == maps.data, is_spatial(params.value) || is_spatial(params.mask)};
  const auto stream = static_cast<cudaStream_t>(place.stream);
  cudaError_t error = cudaSuccess;
  switch (maps.dtype) {
    case DType::kFloat32:
      error = launch_typed<float>(kernel, multiprocessors, stream);
      break;
    case DType::kFloat16:
      error = launch_typed<Float16>(kernel, multiprocessors, stream);
      break;
    case DType::kBFloat16:
      error = launch_typed<BFloat16>(kernel, multiprocessors, stream);
      break;
  }
  require(error, "observe", maps, place);
}

}  // namespace dissect
