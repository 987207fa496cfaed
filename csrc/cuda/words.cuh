// Values as they are compared: a float, or two stored values of 16 bits in one register, for which devices have
// instructions that treat both at once. Comparisons give masks: all bits of each part for which they are true.
#pragma once

#include <type_traits>

#include "values.cuh"

namespace dissect {
namespace {

// The first in the lower half.
template <typename T>
struct Pair {
  uint32_t bits;
};

template <typename Word>
constexpr int kParts = 2;
template <>
constexpr int kParts<float> = 1;

template <typename T>
DISSECT_HD T item(Pair<T> word, int i) {
  return {static_cast<uint16_t>(word.bits >> 16 * i)};
}
DISSECT_HD float part(float word, int) { return word; }
template <typename T>
DISSECT_HD float part(Pair<T> word, int i) {
  return widen(item(word, i));
}

DISSECT_HD float lowest(float) { return -__builtin_inff(); }
DISSECT_HD Pair<Float16> lowest(Pair<Float16>) { return {0xfc00fc00u}; }
DISSECT_HD Pair<BFloat16> lowest(Pair<BFloat16>) { return {0xff80ff80u}; }

// The mask of one value, or of two.
DISSECT_HD uint32_t mask_of(bool is_true) { return is_true ? 0xffffffffu : 0; }
DISSECT_HD uint32_t mask_of(bool first, bool second) { return (first ? 0xffffu : 0) | (second ? 0xffff0000u : 0); }

DISSECT_HD uint32_t exceeds(float a, float b) { return mask_of(a > b); }
DISSECT_HD uint32_t reaches(float a, float b) { return mask_of(a >= b); }
DISSECT_HD uint32_t equals(float a, float b) { return mask_of(a == b); }
DISSECT_HD float highest(float a, float b) { return fmaxf(a, b); }

// Pairs, for a CPU and for devices that lack an instruction.
template <typename T>
DISSECT_HD uint32_t exceeds(Pair<T> a, Pair<T> b) {
  return mask_of(part(a, 0) > part(b, 0), part(a, 1) > part(b, 1));
}
template <typename T>
DISSECT_HD uint32_t reaches(Pair<T> a, Pair<T> b) {
  return mask_of(part(a, 0) >= part(b, 0), part(a, 1) >= part(b, 1));
}
template <typename T>
DISSECT_HD uint32_t equals(Pair<T> a, Pair<T> b) {
  return mask_of(part(a, 0) == part(b, 0), part(a, 1) == part(b, 1));
}

#ifdef __CUDA_ARCH__
// These treat subnormals as numbers, and a comparison with NaN is false: as the ones above.
#define DISSECT_COMPARES_PAIRS(T, type)                                             \
  __device__ __forceinline__ uint32_t exceeds(Pair<T> a, Pair<T> b) {               \
    uint32_t mask;                                                                  \
    asm("set.gt.u32." type " %0, %1, %2;" : "=r"(mask) : "r"(a.bits), "r"(b.bits)); \
    return mask;                                                                    \
  }                                                                                 \
  __device__ __forceinline__ uint32_t reaches(Pair<T> a, Pair<T> b) {               \
    uint32_t mask;                                                                  \
    asm("set.ge.u32." type " %0, %1, %2;" : "=r"(mask) : "r"(a.bits), "r"(b.bits)); \
    return mask;                                                                    \
  }                                                                                 \
  __device__ __forceinline__ uint32_t equals(Pair<T> a, Pair<T> b) {                \
    uint32_t mask;                                                                  \
    asm("set.eq.u32." type " %0, %1, %2;" : "=r"(mask) : "r"(a.bits), "r"(b.bits)); \
    return mask;                                                                    \
  }
DISSECT_COMPARES_PAIRS(Float16, "f16x2")
#if __CUDA_ARCH__ >= 900
DISSECT_COMPARES_PAIRS(BFloat16, "bf16x2")
#endif
#undef DISSECT_COMPARES_PAIRS

__device__ __forceinline__ Pair<Float16> highest(Pair<Float16> a, Pair<Float16> b) {
  asm("max.f16x2 %0, %1, %2;" : "=r"(a.bits) : "r"(a.bits), "r"(b.bits));
  return a;
}
__device__ __forceinline__ Pair<BFloat16> highest(Pair<BFloat16> a, Pair<BFloat16> b) {
  asm("max.bf16x2 %0, %1, %2;" : "=r"(a.bits) : "r"(a.bits), "r"(b.bits));
  return a;
}
#else
template <typename T>
DISSECT_HD Pair<T> highest(Pair<T> a, Pair<T> b) {
  const uint32_t mask = exceeds(a, b);
  return {(a.bits & mask) | (b.bits & ~mask)};
}
#endif

// A word of one stored value, twice where there is room; and of two.
template <typename Word, typename T>
DISSECT_HD Word word_of(T stored) {
  if constexpr (kParts<Word> == 1) return widen(stored);
  else return Word{stored.bits * 0x00010001u};
}
DISSECT_HD void set_part(float& word, int, float stored) { word = stored; }
template <typename T>
DISSECT_HD void set_part(float& word, int, T stored) {
  word = widen(stored);
}
template <typename T>
DISSECT_HD void set_part(Pair<T>& word, int i, T stored) {
  word.bits = i == 0 ? stored.bits : word.bits | static_cast<uint32_t>(stored.bits) << 16;  // the first comes first
}

// The highest stored value up to this one: what exceeds either exceeds both.
template <typename T>
DISSECT_HD T highest_up_to(float value) {
  T stored;
  narrow(value, stored);
  if constexpr (sizeof(T) == 2)
    if (widen(stored) > value) stored.bits += (stored.bits >> 15) * 2 - 1;  // never +0, to which nothing rounds up
  return stored;
}
// How many masks were subtracted from a count that was 0, for a part of the word; fewer than 2^16 in pairs.
template <typename Word>
DISSECT_HD int counted(uint32_t count, int i) {
  if constexpr (kParts<Word> == 1) return static_cast<int>(count);
  const uint32_t first = count & 0xffffu;
  return static_cast<int>(i == 0 ? first : (((count - first) >> 16) + first) & 0xffffu);
}

// The largest magnitudes that a thread has met in words of pairs, as Worst in floats.
template <typename T>
struct WorstPair {
  uint32_t magnitudes = 0;

  __device__ void add(Pair<T> word) {
    const uint32_t seen = word.bits & 0x7fff7fffu;
#ifdef __CUDA_ARCH__
    if constexpr (std::is_same_v<T, Float16>) asm("max.NaN.f16x2 %0, %0, %1;" : "+r"(magnitudes) : "r"(seen));
    else asm("max.NaN.bf16x2 %0, %0, %1;" : "+r"(magnitudes) : "r"(seen));
#else
    const uint32_t low = seen & 0xffffu, high = seen & 0xffff0000u;
    const uint32_t most_low = magnitudes & 0xffffu, most_high = magnitudes & 0xffff0000u;
    magnitudes = (low > most_low ? low : most_low) | (high > most_high ? high : most_high);
#endif
  }
  __device__ void tell_if_bad(int32_t* status) const {
    const Pair<T> word{magnitudes};
    if (is_bad(part(word, 0)) || is_bad(part(word, 1))) tell(status);
  }
};

template <typename Word>
struct WorstOf {};
template <>
struct WorstOf<float> : Worst {};
template <typename T>
struct WorstOf<Pair<T>> : WorstPair<T> {};

}  // namespace
}  // namespace dissect
