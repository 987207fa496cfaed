// What the two kernels of observe have in common: how they are launched, what is seen of values, bins, and blending.
#pragma once

#include "../observe.h"
#include "device.h"
#include "words.cuh"

namespace dissect {

// Divides numbers below 2^31 by one that the host knows.
struct Divisor {
  int number;
  uint32_t multiplier;
  int shift;

  static Divisor of(int64_t number) {
    int bits = 0;
    while (int64_t{1} << bits < number) ++bits;
    const uint64_t multiplier = (uint64_t{1} << (31 + bits)) / static_cast<uint64_t>(std::max<int64_t>(number, 1)) + 1;
    return {static_cast<int>(number), static_cast<uint32_t>(multiplier), 31 + bits};
  }
  DISSECT_HD int quotient(int dividend) const {
    return static_cast<int>((uint64_t{multiplier} * static_cast<uint32_t>(dividend)) >> shift);
  }
};

// Blocks take maps or tiles of units; where those are few, each takes only a slice of their cells.
struct ObserveLaunch {
  ObserveParams p;
  int32_t* status;
  bool in_place;
  bool spatial;  // value or mask differ within a plane: then values are loaded one by one, as these are
  Divisor width;
  // Planes: lanes that share a map; pixels: vectors of units per block. A power of two up to 32.
  int lanes = 1, log_lanes = 0;
  int per_slice = 0;  // vectors of a map, or pixels
  Divisor blocks{};   // per slice
  Divisor units{};    // planes: units; pixels: tiles of them
  // Planes: how many maps a group of lanes takes, one after the other, and the distance between them.
  int rounds = 0, image_step = 0, unit_step = 0;

  void set_lanes(int64_t count) {
    lanes = static_cast<int>(count), log_lanes = 0;
    while (1 << log_lanes < lanes) ++log_lanes;
  }
  bool observes() const {  // or only blends
    return p.out == nullptr || p.peaks != nullptr || p.bins != nullptr || p.unit_area != nullptr;
  }
  DISSECT_HD int area() const { return static_cast<int>(p.maps.height * p.maps.width); }
};

cudaError_t observe_planes(const ObserveLaunch& launch, int multiprocessors, cudaStream_t stream);
cudaError_t observe_pixels(const ObserveLaunch& launch, int multiprocessors, cudaStream_t stream);

namespace {

constexpr int kDepth = 4;  // vectors that a thread has on their way
constexpr float kInfinity = __builtin_inff();

// In how many slices of vectors or pixels a launch is cut, so that there are two blocks for every multiprocessor if
// each thread still has one of its `vectors`, and so that neither thread nor group counts 2^16 values.
inline int64_t num_slices(int64_t blocks, int64_t vectors, int64_t cells, int multiprocessors) {
  const int64_t wanted = (2 * multiprocessors + blocks - 1) / blocks;
  return std::max<int64_t>({1, std::min(wanted, vectors), (cells + (1 << 15) - 1) >> 15});
}

// Whether both tensors begin at multiples of this many bytes.
inline bool is_aligned(const ObserveParams& p, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(p.maps.data) % bytes == 0 && reinterpret_cast<uintptr_t>(p.out) % bytes == 0;
}

// Calls `function` with a value of the type that is stored.
template <typename Function>
cudaError_t with_stored_type(DType dtype, const Function& function) {
  switch (dtype) {
    case DType::kFloat32:
      return function(float{});
    case DType::kFloat16:
      return function(Float16{});
    default:
      return function(BFloat16{});
  }
}

// As many stored values as one load brings, and the words that they are compared in.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T items[kCount];
};
template <typename T, int kCount>
using WordOf = std::conditional_t<sizeof(T) == 2 && kCount % 2 == 0, Pair<T>, float>;
template <typename T, int kCount>
constexpr int kWords = kCount / kParts<WordOf<T, kCount>>;

template <typename T, int kCount>
__device__ inline WordOf<T, kCount> word_at(const Vector<T, kCount>& vector, int w) {
  if constexpr (kParts<WordOf<T, kCount>> == 1) {
    return widen(vector.items[w]);
  } else {
    Pair<T> word;
    memcpy(&word, vector.items + 2 * w, sizeof word);
    return word;
  }
}

// Replaces each item by what `change(i, item)` makes of it, pairs in one register, so that they are stored as loaded.
template <typename T, int kCount, typename Change>
__device__ __forceinline__ void change_items(Vector<T, kCount>& vector, const Change& change) {
#pragma unroll
  for (int w = 0; w < kWords<T, kCount>; ++w) {
    if constexpr (kParts<WordOf<T, kCount>> == 1) {
      vector.items[w] = change(w, vector.items[w]);
    } else {
      Pair<T> word = word_at(vector, w);
      const uint32_t first = change(2 * w, item(word, 0)).bits, second = change(2 * w + 1, item(word, 1)).bits;
      word.bits = first | second << 16;
      memcpy(vector.items + 2 * w, &word, sizeof word);
    }
  }
}

template <typename Word>
constexpr uint32_t kFirstPart = kParts<Word> == 1 ? 0xffffffffu : 0xffffu;

// What a thread has seen in words of a unit, or of two.
template <typename Word>
struct Seen {
  Word peak;
  // Zeros are binned together in the end, since a ReLU leaves many, which would all meet in one bin.
  uint32_t fires, zeros;

  __device__ void begin() {
    peak = lowest(Word{});
    fires = zeros = 0;
  }
};

// And what it looks for. Values below `least` are not binned.
template <typename Word>
struct Watch {
  Word threshold, least;
  Seen<Word> seen;

  // Returns a mask of what may have to be binned.
  __device__ uint32_t add(Word word, uint32_t parts = 0xffffffffu) {
    const uint32_t zero = equals(word, Word{}) & parts;
    seen.peak = highest(seen.peak, word);
    seen.fires -= exceeds(word, threshold) & parts;
    seen.zeros -= zero;
    return reaches(word, least) & ~zero & parts;
  }
};

template <typename T>
__device__ T threshold_of(const ObserveParams& p, int64_t unit) {
  return highest_up_to<T>(p.thresholds == nullptr ? kInfinity : p.thresholds[unit]);
}

template <typename T>
__device__ T least_of(const ObserveParams& p, int64_t unit) {
  if (p.bins == nullptr) return unreachable(T{});
  const int64_t low = p.low[unit];
  return low <= p.high[unit] ? least_with_key(static_cast<uint32_t>(low), T{}) : unreachable(T{});
}

__device__ inline void check_bracket(const ObserveLaunch& launch, int64_t unit) {
  const ObserveParams& p = launch.p;
  if (p.bins != nullptr && !bracket_fits(p.low[unit], p.high[unit], p.shift[unit], p.num_bins)) tell(launch.status);
}

// Looks at the vectors first, first + step, ... before end. Returns a bit for each value that may have to be binned:
// the few of them are read again.
template <typename T, int kCount, int kWatches>
__device__ __forceinline__ unsigned look(const Vector<T, kCount>* vectors, int first, int step, int end,
                                         Watch<WordOf<T, kCount>>* watches, WorstOf<WordOf<T, kCount>>& worst) {
  using Word = WordOf<T, kCount>;
  constexpr int kEach = kWords<T, kCount>;
  constexpr unsigned kBit = kParts<Word> == 1 ? 1u : 0x00010001u;
  unsigned hits = 0;
#pragma unroll
  for (int d = 0; d < kDepth; ++d) {
    if (first + d * step >= end) break;
#pragma unroll
    for (int w = 0; w < kEach; ++w) {
      const Word word = word_at(vectors[d], w);
      worst.add(word);
      hits |= watches[w % kWatches].add(word) & kBit << (d * kEach + w);
    }
  }
  return hits;
}

// Where the value of a bit is.
template <typename T, int kCount>
struct Hit {
  int vector, item;

  __device__ static Hit of(unsigned hits) {
    constexpr int kEach = kWords<T, kCount>;
    const int bit = __ffs(hits) - 1, word = bit % 16;
    return {word / kEach, word % kEach * kParts<WordOf<T, kCount>> + bit / 16};
  }
};

__device__ inline unsigned long long times(int count) { return static_cast<unsigned long long>(count); }

template <typename T>
__device__ void bin(const ObserveParams& p, int64_t unit, T stored, int count = 1) {
  const int64_t key = key_of_stored(stored), low = p.low[unit], bin = (key - low) >> p.shift[unit];
  if (key > p.high[unit]) atomicAdd(counter(p.above + unit), times(count));
  else if (key >= low && bin < p.num_bins) atomicAdd(counter(p.bins + unit * p.num_bins + bin), times(count));
}

// The order of floats is that of their bits as integers, turned round below zero.
__device__ inline void raise(float* highest, float value) {
  const uint32_t bits = bits_of(value + 0.0f);
  if (bits >> 31) atomicMin(reinterpret_cast<unsigned*>(highest), bits);
  else atomicMax(reinterpret_cast<int*>(highest), static_cast<int>(bits));
}

// What one group of lanes, or one block, has seen of a map.
template <typename T>
__device__ void tell_seen(const ObserveParams& p, int64_t image, int64_t unit, float peak, int area, int zeros,
                          float least) {
  const int64_t map = image * p.maps.num_units + unit;
  if (p.peaks != nullptr) raise(p.peaks + map, peak);
  if (p.unit_area != nullptr && area != 0) atomicAdd(counter(p.unit_area + map), times(area));
  if (zeros != 0 && least <= 0.0f) bin(p, unit, T{}, zeros);
}

__device__ inline float at(const Operand& operand, int64_t image, int64_t unit, int row, int column) {
  return operand.data[image * operand.stride_image + unit * operand.stride_unit + row * operand.stride_row +
                      column * operand.stride_column];
}

// What a plane, or a cell, is blended with: `blend` with what it can compute beforehand. Where a is 1, `rest` is 0 and
// `taken` the value.
struct Blending {
  float taken, rest;
  bool changes;

  // If spatial, it only tells whether the plane may change.
  __device__ static Blending of_plane(const ObserveLaunch& launch, int64_t image, int64_t unit) {
    Blending blending = at(launch.p, image, unit, 0, 0);
    if (launch.spatial) blending.changes = dissect::at(launch.p.alpha, image, unit, 0, 0) != 0.0f;
    return blending;
  }

  __device__ static Blending at(const ObserveParams& p, int64_t image, int64_t unit, int row, int column) {
    const float a = share_of(dissect::at(p.alpha, image, unit, 0, 0), dissect::at(p.mask, image, unit, row, column));
    return {a * dissect::at(p.value, image, unit, row, column), 1.0f - a, a != 0.0f};
  }
  template <typename T>
  __device__ T changed(T stored) const {
    const float kept = rest * widen(stored);
    narrow(rest == 0.0f ? taken : taken + kept, stored);
    return stored;
  }
  template <typename T>
  __device__ T of(T stored) const {
    return changes ? changed(stored) : stored;
  }
};

}  // namespace
}  // namespace dissect
