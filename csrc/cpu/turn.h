// Between maps whose units are neighbours in memory and maps whose columns are, for one SIMD level. No standard library
// in here.
#pragma once

#include "simd.h"

namespace dissect {
namespace {

// Eight places of eight units, turned to eight units of eight places.
template <typename Stored>
inline void turn(const Stored* from, int64_t stride_place, Stored* to, int64_t stride_unit) {
  Stored turned[8][8];
  for (int64_t place = 0; place < 8; ++place)
    for (int64_t unit = 0; unit < 8; ++unit) turned[unit][place] = from[place * stride_place + unit];
  for (int64_t unit = 0; unit < 8; ++unit) __builtin_memcpy(to + unit * stride_unit, turned[unit], sizeof turned[0]);
}

#if defined(__AVX2__)
inline void turn(const float* from, int64_t stride_place, float* to, int64_t stride_unit) {
  __m256 rows[8], pairs[8];
  for (int i = 0; i < 8; ++i) rows[i] = _mm256_loadu_ps(from + i * stride_place);
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  // Of units i and i + 4, four places each.
  const auto store_two = [&](int i, __m256 low, __m256 high) {
    _mm256_storeu_ps(to + i * stride_unit, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(to + (i + 4) * stride_unit, _mm256_permute2f128_ps(low, high, 0x31));
  };
  for (int i = 0; i < 2; ++i) {
    const __m256 a = pairs[i], b = pairs[i + 2], c = pairs[i + 4], d = pairs[i + 6];
    store_two(2 * i, _mm256_shuffle_ps(a, b, 0x44), _mm256_shuffle_ps(c, d, 0x44));
    store_two(2 * i + 1, _mm256_shuffle_ps(a, b, 0xee), _mm256_shuffle_ps(c, d, 0xee));
  }
}
#endif

#if defined(__SSE2__)
inline void turn(const uint16_t* from, int64_t stride_place, uint16_t* to, int64_t stride_unit) {
  __m128i rows[8], mixed[8];
  for (int i = 0; i < 8; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * stride_place));
  // Three times each row is mixed with the one four below it.
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 4; ++i) {
      mixed[2 * i] = _mm_unpacklo_epi16(rows[i], rows[i + 4]);
      mixed[2 * i + 1] = _mm_unpackhi_epi16(rows[i], rows[i + 4]);
    }
    for (int i = 0; i < 8; ++i) rows[i] = mixed[i];
  }
  for (int i = 0; i < 8; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * stride_unit), rows[i]);
}
#endif

}  // namespace
}  // namespace dissect
