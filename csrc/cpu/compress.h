// Lists of what a mask of sixteen bits keeps of sixteen values or numbers, without a branch for each, for one SIMD
// level.
#pragma once

#include "simd.h"

namespace dissect {
namespace {

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

// Those of the lanes whose bit of `keep` is set, in order, at `to`, where a whole vector may be written. Returns how
// many they are.
inline int64_t compress(float* to, Half half, uint32_t keep) {
#if defined(__AVX2__)
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kOrders.of[keep]));
  const __m256i order = _mm256_cvtepu8_epi32(bytes);
  store_half(to, reinterpret_cast<Half>(_mm256_permutevar8x32_ps(reinterpret_cast<__m256>(half), order)));
#else
  if (keep == 0) return 0;
  float scalars[8];
  store_half(scalars, half);
  int64_t count = 0;
  for (uint32_t rest = keep; rest != 0; rest &= rest - 1) to[count++] = scalars[__builtin_ctz(rest)];
#endif
  return __builtin_popcount(keep);
}
inline int64_t compress(float* to, Lanes lanes, uint32_t keep) {
#if defined(__AVX512F__)
  // In a register first: compressing straight to memory is slow on some processors.
  store(to, reinterpret_cast<Lanes>(
                _mm512_maskz_compress_ps(static_cast<__mmask16>(keep), reinterpret_cast<__m512>(lanes))));
  return __builtin_popcount(keep);
#else
  const int64_t low = compress(to, lanes.low, keep & 0xffu);
  return low + compress(to + low, lanes.high, keep >> 8 & 0xffu);
#endif
}

// Sixteen times the same number.
inline void fill(int32_t* to, int32_t number) {
#if defined(__AVX512F__)
  _mm512_storeu_si512(to, _mm512_set1_epi32(number));
#else
  for (int i = 0; i < kLanes; ++i) to[i] = number;
#endif
}

// first + i for each bit i that is set, in order, at `to`, where sixteen may be written. Returns how many they are.
inline int64_t compress_numbers(int32_t* to, int32_t first, uint32_t bits) {
#if defined(__AVX512F__)
  const __m512i numbers = _mm512_add_epi32(_mm512_set1_epi32(first),
                                           _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(static_cast<__mmask16>(bits), numbers));
  return __builtin_popcount(bits);
#elif defined(__AVX2__)
  const auto eight = [](int32_t* target, int32_t base, uint32_t byte) {
    const __m128i order = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kOrders.of[byte]));
    const __m256i numbers = _mm256_add_epi32(_mm256_cvtepu8_epi32(order), _mm256_set1_epi32(base));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), numbers);
    return int64_t{__builtin_popcount(byte)};
  };
  const int64_t low = eight(to, first, bits & 0xffu);
  return low + eight(to + low, first + 8, bits >> 8 & 0xffu);
#else
  int64_t count = 0;
  for (; bits != 0; bits &= bits - 1) to[count++] = first + __builtin_ctz(bits);
  return count;
#endif
}

// Of sixteen numbers those whose bit is set, in order, at `to`, where sixteen may be written. Returns how many they
// are.
inline int64_t compress(int32_t* to, const int32_t* from, uint32_t keep) {
  // As floats, whose patterns are moved and not looked at.
  return compress(reinterpret_cast<float*>(to), load(reinterpret_cast<const float*>(from)), keep);
}

// Bit i is set where the i-th of sixteen numbers is below 0.
inline uint32_t negative(const int32_t* numbers) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(_mm512_loadu_si512(numbers));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= (static_cast<uint32_t>(numbers[i]) >> 31) << i;
  return bits;
#endif
}

// Bit i is set where the i-th of sixteen counts is not 0.
inline uint32_t nonzero(const int64_t* counts) {
#if defined(__AVX512F__)
  const __m512i low = _mm512_loadu_si512(counts), high = _mm512_loadu_si512(counts + 8);
  return static_cast<uint32_t>(_mm512_test_epi64_mask(low, low)) |
         static_cast<uint32_t>(_mm512_test_epi64_mask(high, high)) << 8;
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(counts[i] != 0) << i;
  return bits;
#endif
}

// Bit i is set where the i-th of eight counts is above 0.
inline uint32_t positive(const int32_t* counts) {
  HalfPatterns eight;
  __builtin_memcpy(&eight, counts, sizeof eight);
  return greater(__builtin_convertvector(eight, Half), Half{});
}

// Sixteen counts, which become 0, and of which those above 0 are kept, in order, at `to`; beside each, at `keys_to`,
// its key. Sixteen of both may be written. Returns how many they are.
inline int64_t take_counts(int32_t* keys_to, int32_t* to, const int32_t* keys, int32_t* counts) {
  const uint32_t keep = positive(counts) | positive(counts + 8) << 8;
  compress(keys_to, keys, keep);
  const int64_t kept = compress(to, counts, keep);
  __builtin_memset(counts, 0, kLanes * sizeof(int32_t));
  return kept;
}

}  // namespace
}  // namespace dissect
