// Sixteen floats at a time, whatever the SIMD level: the compiler's vector types do the arithmetic, and only what they
// cannot say (a comparison as bits, a gather) is written per level. No standard library in here.
#pragma once

#include <cstdint>

#include "../detail/arithmetic.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dissect {
namespace {

constexpr int64_t kLanes = 16;

// Eight floats, which every level with wide registers keeps in one.
typedef float Half __attribute__((vector_size(32)));

// Of one vector of the compiler's.
template <typename Vector>
inline Vector load_vector(const float* from) {
  Vector vector;
  __builtin_memcpy(&vector, from, sizeof vector);
  return vector;
}
template <typename Vector>
inline void store_vector(float* to, Vector vector) {
  __builtin_memcpy(to, &vector, sizeof vector);
}
template <typename Vector>
inline Vector larger(Vector a, Vector b) {
  return a > b ? a : b;
}
template <typename Vector>
inline Vector smaller(Vector a, Vector b) {
  return a < b ? a : b;
}

inline Half load_half(const float* from) { return load_vector<Half>(from); }
inline void store_half(float* to, Half half) { store_vector(to, half); }

#if defined(__AVX512F__)
typedef float Lanes __attribute__((vector_size(64)));

inline Lanes load(const float* from) { return load_vector<Lanes>(from); }
inline void store(float* to, Lanes lanes) { store_vector(to, lanes); }

inline Lanes same(float value) { return Lanes{} + value; }
#else
// In two registers, since the compiler takes vectors that are wider than one through memory.
struct Lanes {
  Half low, high;
  inline float operator[](int i) const { return i < 8 ? low[i] : high[i - 8]; }
};

inline Lanes load(const float* from) { return {load_half(from), load_half(from + 8)}; }

inline void store(float* to, Lanes lanes) { store_half(to, lanes.low), store_half(to + 8, lanes.high); }

inline Lanes same(float value) { return {Half{} + value, Half{} + value}; }

inline Lanes operator+(Lanes a, Lanes b) { return {a.low + b.low, a.high + b.high}; }
inline Lanes operator-(Lanes a, Lanes b) { return {a.low - b.low, a.high - b.high}; }
inline Lanes operator*(Lanes a, Lanes b) { return {a.low * b.low, a.high * b.high}; }
inline Lanes operator/(Lanes a, Lanes b) { return {a.low / b.low, a.high / b.high}; }
inline Lanes operator+(Lanes a, float b) { return a + same(b); }
inline Lanes operator*(Lanes a, float b) { return a * same(b); }
inline Lanes& operator+=(Lanes& a, Lanes b) { return a = a + b; }

inline Lanes larger(Lanes a, Lanes b) { return {larger(a.low, b.low), larger(a.high, b.high)}; }
inline Lanes smaller(Lanes a, Lanes b) { return {smaller(a.low, b.low), smaller(a.high, b.high)}; }
#endif

// The first `count` lanes, at most sixteen; memory beyond them is not touched, and those lanes are zero.
inline Lanes load_some(const float* from, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 valid = static_cast<__mmask16>(count >= kLanes ? 0xffffu : (1u << count) - 1u);
  return reinterpret_cast<Lanes>(_mm512_maskz_loadu_ps(valid, from));
#else
  if (count >= kLanes) return load(from);
  float copied[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) copied[i] = from[i];
  return load(copied);
#endif
}

// What one register holds here: as many columns of a row are looked at together.
#if defined(__AVX512F__)
typedef Lanes Wide;
inline Wide load_wide(const float* from) { return load(from); }
#else
typedef Half Wide;
inline Wide load_wide(const float* from) { return load_half(from); }
#endif
constexpr int64_t kWide = sizeof(Wide) / sizeof(float);

// The first lanes, as many as a vector has.
template <typename Vector>
inline Vector first_lanes(Lanes lanes);
template <>
inline Lanes first_lanes<Lanes>(Lanes lanes) {
  return lanes;
}
#if !defined(__AVX512F__)
template <>
inline Half first_lanes<Half>(Lanes lanes) {
  return lanes.low;
}
#endif

// The lowest `count` bits, all for 16 and more, or for as many as `Wide` has.
inline uint32_t first_bits(int64_t count) { return count >= kLanes ? 0xffffu : (1u << count) - 1u; }
inline uint32_t first_wide_bits(int64_t count) { return first_bits(count < kWide ? count : kWide); }

// a0 at weight 0, towards a1: each operation rounded, as in detail/arithmetic.h.
template <typename Vector>
inline Vector interpolate(Vector a0, Vector a1, Vector weight) {
  const Vector difference = a1 - a0;
  const Vector step = difference * weight;
  return a0 + step;
}

// From a0 to a1, which all lanes have the same of.
inline Lanes interpolate_same(float a0, float a1, Lanes weight) {
#if defined(__AVX2__)
  return interpolate(same(a0), same(a1), weight);
#else
  // The compiler keeps a loop in registers, and takes vectors that are wider than one through memory.
  float values[kLanes];
  store(values, weight);
  const float difference = a1 - a0;
  for (float& value : values) value = a0 + difference * value;
  return load(values);
#endif
}

// What comparisons ask for; a NaN gives none of it.
enum class Order { kGreater, kAtMost };
#if defined(__AVX2__)
template <Order kOrder>
constexpr int kPredicate = kOrder == Order::kGreater ? _CMP_GT_OQ : _CMP_LE_OQ;
#endif

// Bit i is set where a[i] and b[i] are in that order.
template <Order kOrder>
inline uint32_t in_order(Half a, Half b) {
#if defined(__AVX2__)
  return static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), kPredicate<kOrder>)));
#elif defined(__SSE2__)
  float left[8], right[8];
  __builtin_memcpy(left, &a, sizeof left), __builtin_memcpy(right, &b, sizeof right);
  const auto four = [&](int i) {
    const __m128 of_a = _mm_loadu_ps(left + i), of_b = _mm_loadu_ps(right + i);
    const __m128 found = kOrder == Order::kGreater ? _mm_cmpgt_ps(of_a, of_b) : _mm_cmple_ps(of_a, of_b);
    return static_cast<uint32_t>(_mm_movemask_ps(found));
  };
  return four(0) | four(4) << 4;
#else
  uint32_t bits = 0;
  for (int i = 0; i < 8; ++i)
    bits |= static_cast<uint32_t>(kOrder == Order::kGreater ? a[i] > b[i] : a[i] <= b[i]) << i;
  return bits;
#endif
}
template <Order kOrder>
inline uint32_t in_order(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), kPredicate<kOrder>);
#else
  return in_order<kOrder>(a.low, b.low) | in_order<kOrder>(a.high, b.high) << 8;
#endif
}
template <typename Vector>
inline uint32_t greater(Vector a, Vector b) {
  return in_order<Order::kGreater>(a, b);
}
template <typename Vector>
inline uint32_t at_most(Vector a, Vector b) {
  return in_order<Order::kAtMost>(a, b);
}

// The largest magnitude of each lane so far, as an integer in the order of the floats; NaN is above all of them.
typedef int32_t HalfPatterns __attribute__((vector_size(32)));
inline void note_magnitudes(HalfPatterns& largest, Half half) {
  const HalfPatterns magnitudes = reinterpret_cast<HalfPatterns>(half) & 0x7fffffff;
  largest = magnitudes > largest ? magnitudes : largest;
}
// Whether one was bad; see is_bad.
inline bool noted_bad(HalfPatterns largest) {
  bool bad = false;
  for (int i = 0; i < 8; ++i) bad |= largest[i] >= static_cast<int32_t>(kLeastBad);
  return bad;
}

// The highest values so far, and the largest magnitudes, in each lane.
struct HalfPeaks {
  Half highest;
  HalfPatterns magnitudes{};

  inline void see(Half half) {
    highest = larger(highest, half);
    note_magnitudes(magnitudes, half);
  }
  inline bool good() const { return !noted_bad(magnitudes); }
  // Of all lanes; zero has no sign.
  inline float peak() const {
    float most = highest[0];
    for (int i = 1; i < 8; ++i) most = highest[i] > most ? highest[i] : most;
    return most + 0.0f;
  }
};

// Each one rounded as IEEE 754 says.
inline Lanes square_root(Lanes a) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_sqrt_ps(reinterpret_cast<__m512>(a)));
#else
  float values[kLanes];
  store(values, a);
  for (float& value : values) value = __builtin_sqrtf(value);
  return load(values);
#endif
}

// The largest magnitude of each lane so far; see note_magnitudes.
struct Magnitudes {
#if defined(__AVX512F__)
  __m512i largest = _mm512_setzero_si512();
  inline void note(Lanes lanes) {
    const __m512i magnitudes = _mm512_and_si512(reinterpret_cast<__m512i>(lanes), _mm512_set1_epi32(0x7fffffff));
    largest = _mm512_max_epu32(largest, magnitudes);
  }
  inline bool good() const { return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(kLeastBad)) == 0; }
#else
  HalfPatterns low{}, high{};
  inline void note(Lanes lanes) { note_magnitudes(low, lanes.low), note_magnitudes(high, lanes.high); }
  inline bool good() const { return !noted_bad(low) && !noted_bad(high); }
#endif
};

// from[index[i]]
inline Lanes gather(const float* from, const int32_t* index) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4));
#else
  float gathered[kLanes];
  for (int i = 0; i < kLanes; ++i) gathered[i] = from[index[i]];
  return load(gathered);
#endif
}

// Whether `permute` is a few instructions here.
#if defined(__AVX2__)
constexpr bool kFastPermute = true;
#else
constexpr bool kFastPermute = false;
#endif

// from[index[i]], indices below 16
inline Lanes permute(Lanes from, const int32_t* index) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_permutexvar_ps(_mm512_loadu_si512(index), reinterpret_cast<__m512>(from)));
#elif defined(__AVX2__)
  const auto permuted = [from](const int32_t* eight) {
    const __m256i lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(eight));
    const __m256 low = _mm256_permutevar8x32_ps(reinterpret_cast<__m256>(from.low), lanes);
    const __m256 high = _mm256_permutevar8x32_ps(reinterpret_cast<__m256>(from.high), lanes);
    // Bit 3 tells which half is meant; shifted to the sign, by which lanes are chosen.
    const __m256 choice = _mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28));
    return reinterpret_cast<Half>(_mm256_blendv_ps(low, high, choice));
  };
  return {permuted(index), permuted(index + 8)};
#else
  float scalars[kLanes];
  store(scalars, from);
  return gather(scalars, index);
#endif
}

// Whether `permute` of two vectors is one instruction here.
#if defined(__AVX512F__)
constexpr bool kFastPermutePair = true;
#else
constexpr bool kFastPermutePair = false;
#endif

// The same of the thirty-two values of two vectors, indices below 32
inline Lanes permute(Lanes first, Lanes second, const int32_t* index) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_permutex2var_ps(reinterpret_cast<__m512>(first), _mm512_loadu_si512(index),
                                                        reinterpret_cast<__m512>(second)));
#else
  float scalars[2 * kLanes];
  store(scalars, first), store(scalars + kLanes, second);
  return gather(scalars, index);
#endif
}

// Of each lane the largest value so far, the first of equal ones, and the number that it came with.
template <typename Values, typename Numbers>
struct LeadersOf {
  Values best{};
  Numbers winner{};

  inline void see(Values values, int32_t number) {
    const Numbers wins = values > best;
    best = wins ? values : best;
    winner = wins ? Numbers{} + number : winner;
  }
};
#if defined(__AVX512F__)
typedef int32_t Patterns __attribute__((vector_size(64)));
struct Leaders {
  LeadersOf<Lanes, Patterns> all;
  inline Leaders() = default;
  inline Leaders(Lanes values, int32_t number) : all{values, Patterns{} + number} {}
  inline void see(Lanes values, int32_t number) { all.see(values, number); }
  inline void store(int32_t* to) const { __builtin_memcpy(to, &all.winner, sizeof all.winner); }
};
#else
struct Leaders {
  LeadersOf<Half, HalfPatterns> low, high;
  inline Leaders() = default;
  inline Leaders(Lanes values, int32_t number)
      : low{values.low, HalfPatterns{} + number}, high{values.high, HalfPatterns{} + number} {}
  inline void see(Lanes values, int32_t number) { low.see(values.low, number), high.see(values.high, number); }
  inline void store(int32_t* to) const {
    __builtin_memcpy(to, &low.winner, sizeof low.winner);
    __builtin_memcpy(to + 8, &high.winner, sizeof high.winner);
  }
};
#endif

// Sixteen pairs: the first and the second of each.
inline void load_pairs(const float* from, Lanes& first, Lanes& second) {
#if defined(__AVX512F__)
  const __m512 low = _mm512_loadu_ps(from), high = _mm512_loadu_ps(from + kLanes);
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  first = reinterpret_cast<Lanes>(_mm512_permutex2var_ps(low, even, high));
  second = reinterpret_cast<Lanes>(_mm512_permutex2var_ps(low, odd, high));
#else
  const auto eight = [](const float* pairs, Half& even, Half& odd) {
    for (int i = 0; i < 8; ++i) even[i] = pairs[2 * i], odd[i] = pairs[2 * i + 1];
  };
  eight(from, first.low, second.low), eight(from + kLanes, first.high, second.high);
#endif
}

}  // namespace
}  // namespace dissect
