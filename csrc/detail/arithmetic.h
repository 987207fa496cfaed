// The arithmetic that decides a bit, shared by every backend written in C++ or CUDA. Compiled without fused
// multiply-add (-ffp-contract=off, --fmad=false). Everything is static: no copy built for a wider instruction set can
// replace another's at link time.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define DISSECT_HD __host__ __device__ __forceinline__
#else
#define DISSECT_HD inline
#endif

namespace dissect {
namespace {

// a0 at weight 0, towards a1 as the weight grows; stays between the two (Grid's laws).
DISSECT_HD float interpolate(float a0, float a1, float weight) {
  const float difference = a1 - a0;
  const float step = difference * weight;
  return a0 + step;
}

DISSECT_HD uint32_t bits_of(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

DISSECT_HD float float_of(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

// Unsigned keys in the order of the floats; both zeros share one.
DISSECT_HD uint32_t key_of(float value) {
  const uint32_t bits = bits_of(value + 0.0f);
  return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

// The float of a key; keys beyond the finite floats give infinities, so that comparisons still hold.
DISSECT_HD float value_of_key(uint32_t key) {
  if (key < 0x00800000u) return float_of(0xff800000u);
  if (key > 0xff7fffffu) return float_of(0x7f800000u);
  return float_of(key ^ ((key >> 31) ? 0x80000000u : 0xffffffffu));
}

// The same for the 16 bits of a float16 or a bfloat16.
DISSECT_HD uint32_t key_of_half(uint16_t bits) {
  if (bits == 0x8000u) bits = 0;
  return static_cast<uint16_t>(bits ^ ((bits >> 15) ? 0xffffu : 0x8000u));
}

DISSECT_HD float widen_bfloat16(uint16_t bits) { return float_of(static_cast<uint32_t>(bits) << 16); }

// Exact, subnormals included: an integer mantissa times a power of two.
DISSECT_HD float widen_float16(uint16_t bits) {
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));  // exact too, in one instruction
  return value;
#else
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = bits & 0x7fffu;
  if (magnitude < 0x0400u) {
    return float_of(bits_of(static_cast<float>(magnitude) * 5.9604644775390625e-8f) | sign);
  }
  const uint32_t rebias = magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u;  // infinity and NaN keep the top exponent
  return float_of(((magnitude << 13) + rebias) | sign);
#endif
}

// Rounds to nearest, ties to even, as torch does. NaN stays NaN; which one is the processor's choice.
DISSECT_HD uint16_t narrow_bfloat16(float value) {
#ifdef __CUDA_ARCH__
  uint16_t stored;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(stored) : "f"(value));
  return stored;
#else
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

DISSECT_HD uint16_t narrow_float16(float value) {
#ifdef __CUDA_ARCH__
  uint16_t stored;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(stored) : "f"(value));
  return stored;
#else
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // from 65520 on, to infinity
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 puts the rounding where the result's last bit is.
    const float shifted = float_of(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(bits_of(shifted) - 0x3f000000u);
  }
  const uint32_t rounded = magnitude + 0x0fffu + ((magnitude >> 13) & 1u);
  return sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
#endif
}

// alpha * mask, and 0 where either is 0, whatever the other: infinity and NaN too.
DISSECT_HD float share_of(float alpha, float mask) {
  const float share = alpha * mask;
  return alpha == 0.0f || mask == 0.0f ? 0.0f : share;
}

// a * value + (1 - a) * r, exactly value at a = 1 (a = 0 is the caller's: it leaves r alone).
DISSECT_HD float blend(float a, float value, float r) {
  const float taken = a * value;
  const float rest = 1.0f - a;
  const float kept = rest * r;
  return a == 1.0f ? value : taken + kept;
}

// NaN, infinity and magnitudes from 2^126 are no activations: their differences could overflow. The bits of 2^126, and
// the float before it:
constexpr uint32_t kLeastBad = 0x7e800000u;
constexpr float kLargestGood = 0x1.fffffep+125f;
DISSECT_HD bool is_bad(float value) { return (bits_of(value) & 0x7fffffffu) >= kLeastBad; }

}  // namespace
}  // namespace dissect
