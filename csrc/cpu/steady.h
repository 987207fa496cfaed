// Where neighbouring spans of an axis have the same weights, as at whole multiples of a map's size: cells or rows of
// such spans can be computed sixteen at a time, a lane each. Most of a grid is of that kind, its border is not.
#pragma once

#include "profiles.h"

namespace dissect {
namespace {

// The spans [begin, end) of an axis, maybe none: each between two neighbours, of `size` targets with these weights,
// those of the span `like`.
struct Steady {
  int64_t begin, end, like;
  int32_t size;
  const float* weights;
};

inline Steady steady_spans(const Span* spans, int64_t num_spans, const float* weights) {
  const int64_t middle = num_spans / 2;
  const Span& like = spans[middle];
  const float* const first = weights + like.begin;
  const auto is_alike = [&](const Span& span) {
    if (span.index1 != span.index0 + 1 || span.index0 - like.index0 != &span - &like ||
        span.end - span.begin != like.end - like.begin)
      return false;
    return __builtin_memcmp(weights + span.begin, first, (span.end - span.begin) * sizeof(float)) == 0;
  };
  int64_t begin = middle, end = middle;
  while (begin > 0 && is_alike(spans[begin - 1])) --begin;
  while (end < num_spans && is_alike(spans[end])) ++end;
  return {end == middle ? end : begin, end, middle, like.end - like.begin, first};
}

// Of sixteen lanes each: the sum of what is added where its value exceeds the level.
struct LaneSums {
#if defined(__AVX512F__)
  __m512i sums = _mm512_setzero_si512();
  inline void add(Lanes values, Lanes level, int32_t amount) {
    const __mmask16 exceeds =
        _mm512_cmp_ps_mask(reinterpret_cast<__m512>(values), reinterpret_cast<__m512>(level), _CMP_GT_OQ);
    sums = _mm512_mask_add_epi32(sums, exceeds, sums, _mm512_set1_epi32(amount));
  }
  inline void store(int32_t* to) const { _mm512_storeu_si512(to, sums); }
#else
  HalfPatterns low{}, high{};
  inline void add(Lanes values, Lanes level, int32_t amount) {
    low += (values.low > level.low) & amount;
    high += (values.high > level.high) & amount;
  }
  inline void store(int32_t* to) const {
    __builtin_memcpy(to, &low, sizeof low);
    __builtin_memcpy(to + 8, &high, sizeof high);
  }
#endif
};

}  // namespace
}  // namespace dissect
