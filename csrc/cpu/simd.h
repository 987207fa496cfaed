// Sixteen floats at a time, whatever the SIMD level: the compiler's vector types do the arithmetic, and only what they
// cannot say (a comparison as bits, a gather) is written per level. No standard library in here.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace dissect {
namespace {

constexpr int64_t kLanes = 16;
typedef float Lanes __attribute__((vector_size(64)));

inline Lanes load(const float* from) {
  Lanes lanes;
  __builtin_memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

// The first `count` lanes, at most sixteen; memory beyond them is not touched, and those lanes are zero.
inline Lanes load_some(const float* from, int64_t count) {
#if defined(__AVX512F__)
  const __mmask16 valid = static_cast<__mmask16>(count >= kLanes ? 0xffffu : (1u << count) - 1u);
  return reinterpret_cast<Lanes>(_mm512_maskz_loadu_ps(valid, from));
#else
  if (count >= kLanes) return load(from);
  Lanes lanes{};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return lanes;
#endif
}

inline void store(float* to, Lanes lanes) { __builtin_memcpy(to, &lanes, sizeof lanes); }

inline Lanes same(float value) { return Lanes{} + value; }

// a0 at weight 0, towards a1: each operation rounded, as in detail/arithmetic.h.
inline Lanes interpolate(Lanes a0, Lanes a1, Lanes weight) {
  const Lanes difference = a1 - a0;
  const Lanes step = difference * weight;
  return a0 + step;
}

// Eight floats, which every level with wide registers keeps in one; where sixteen would go through memory.
typedef float Half __attribute__((vector_size(32)));

inline Half load_half(const float* from) {
  Half half;
  __builtin_memcpy(&half, from, sizeof half);
  return half;
}

inline Half larger(Half a, Half b) { return a > b ? a : b; }

// Bit i is set where a[i] > b[i].
inline uint32_t greater(Half a, Half b) {
#if defined(__AVX2__)
  return static_cast<uint32_t>(
      _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), _CMP_GT_OQ)));
#elif defined(__SSE2__)
  float left[8], right[8];
  __builtin_memcpy(left, &a, sizeof left), __builtin_memcpy(right, &b, sizeof right);
  const uint32_t low = _mm_movemask_ps(_mm_cmpgt_ps(_mm_loadu_ps(left), _mm_loadu_ps(right)));
  return low | static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps(_mm_loadu_ps(left + 4), _mm_loadu_ps(right + 4))))
                   << 4;
#else
  uint32_t bits = 0;
  for (int i = 0; i < 8; ++i) bits |= static_cast<uint32_t>(a[i] > b[i]) << i;
  return bits;
#endif
}

// The largest magnitude of each lane so far, as an integer in the order of the floats; NaN is above all of them.
typedef int32_t HalfPatterns __attribute__((vector_size(32)));
inline void note_magnitudes(HalfPatterns& largest, Half half) {
  const HalfPatterns magnitudes = reinterpret_cast<HalfPatterns>(half) & 0x7fffffff;
  largest = magnitudes > largest ? magnitudes : largest;
}
// Whether one was of 2^126 or more; see is_bad.
inline bool noted_bad(HalfPatterns largest) {
  bool bad = false;
  for (int i = 0; i < 8; ++i) bad |= largest[i] >= 0x7e800000;
  return bad;
}

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

// Bit i is set where a[i] > b[i].
inline uint32_t greater(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), _CMP_GT_OQ);
#else
  float left[kLanes], right[kLanes];
  store(left, a), store(right, b);
  uint32_t bits = 0;
#if defined(__AVX2__)
  for (int i = 0; i < 2; ++i)
    bits |= static_cast<uint32_t>(_mm256_movemask_ps(
                _mm256_cmp_ps(_mm256_loadu_ps(left + 8 * i), _mm256_loadu_ps(right + 8 * i), _CMP_GT_OQ)))
            << (8 * i);
#elif defined(__SSE2__)
  for (int i = 0; i < 4; ++i)
    bits |=
        static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps(_mm_loadu_ps(left + 4 * i), _mm_loadu_ps(right + 4 * i))))
        << (4 * i);
#else
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(left[i] > right[i]) << i;
#endif
  return bits;
#endif
}

// Bit i is set where lanes[i] is NaN, infinite or of magnitude 2^126 or more; see is_bad.
inline uint32_t bad_bits(Lanes lanes) {
  typedef int32_t Patterns __attribute__((vector_size(64)));
  const Lanes magnitudes = reinterpret_cast<Lanes>(reinterpret_cast<Patterns>(lanes) & 0x7fffffff);
  return ~greater(same(8.507059173023462e37f), magnitudes) & 0xffffu;
}

inline Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }
inline Lanes smaller(Lanes a, Lanes b) { return a < b ? a : b; }

// from[index[i]]
inline Lanes gather(const float* from, const int32_t* index) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4));
#else
  Lanes lanes;
  for (int i = 0; i < kLanes; ++i) lanes[i] = from[index[i]];
  return lanes;
#endif
}

// Whether `permute` is one instruction here.
#if defined(__AVX512F__)
constexpr bool kFastPermute = true;
#else
constexpr bool kFastPermute = false;
#endif

// from[index[i]], indices below 16
inline Lanes permute(Lanes from, const int32_t* index) {
#if defined(__AVX512F__)
  return reinterpret_cast<Lanes>(_mm512_permutexvar_ps(_mm512_loadu_si512(index), reinterpret_cast<__m512>(from)));
#else
  float scalars[kLanes];
  store(scalars, from);
  return gather(scalars, index);
#endif
}

#if defined(__AVX2__)
// Of each byte the numbers of the bits that are set, in order.
struct Orders {
  uint8_t of[256][8] = {};
  constexpr Orders() {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0, count = 0; bit < 8; ++bit)
        if (byte >> bit & 1) of[byte][count++] = static_cast<uint8_t>(bit);
  }
};
constexpr Orders kOrders;
#endif

// Those lanes of `keep` that are set, in order, at `to`, where sixteen floats may be written. Returns how many they
// are.
inline int64_t compress(float* to, Lanes lanes, uint32_t keep) {
#if defined(__AVX512F__)
  // In a register first: compressing straight to memory is slow on some processors.
  store(to, reinterpret_cast<Lanes>(
                _mm512_maskz_compress_ps(static_cast<__mmask16>(keep), reinterpret_cast<__m512>(lanes))));
#elif defined(__AVX2__)
  float scalars[kLanes];
  store(scalars, lanes);
  int64_t count = 0;
  for (int half = 0; half < 2; ++half) {
    const uint32_t bits = keep >> (8 * half) & 0xffu;
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kOrders.of[bits]));
    const __m256 kept = _mm256_permutevar8x32_ps(_mm256_loadu_ps(scalars + 8 * half), _mm256_cvtepu8_epi32(bytes));
    _mm256_storeu_ps(to + count, kept);
    count += __builtin_popcount(bits);
  }
#else
  if (keep == 0) return 0;
  float scalars[kLanes];
  store(scalars, lanes);
  int64_t count = 0;
  for (uint32_t rest = keep; rest != 0; rest &= rest - 1) to[count++] = scalars[__builtin_ctz(rest)];
#endif
  return __builtin_popcount(keep);
}

// Sixteen counts, which become 0, and of which those above 0 are kept, in order, at `to`; beside each, at `keys_to`,
// its key. Sixteen of both may be written. Returns how many they are.
inline int64_t take_counts(int32_t* keys_to, int32_t* to, const int32_t* keys, int32_t* counts) {
  typedef int32_t Counts __attribute__((vector_size(64)));
  Counts lanes, lanes_of_keys;
  __builtin_memcpy(&lanes, counts, sizeof lanes);
  __builtin_memcpy(&lanes_of_keys, keys, sizeof lanes_of_keys);
  __builtin_memset(counts, 0, sizeof lanes);
  const uint32_t keep = greater(__builtin_convertvector(lanes, Lanes), Lanes{});
  compress(reinterpret_cast<float*>(keys_to), reinterpret_cast<Lanes>(lanes_of_keys), keep);
  return compress(reinterpret_cast<float*>(to), reinterpret_cast<Lanes>(lanes), keep);
}

// The lowest `count` bits, all for 16 and more.
inline uint32_t first_bits(int64_t count) { return count >= kLanes ? 0xffffu : (1u << count) - 1u; }

}  // namespace
}  // namespace dissect
