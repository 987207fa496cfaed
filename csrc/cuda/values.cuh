// Stored activations and what is read off them, for device code.
#pragma once

#include "../detail/arithmetic.h"
#include "../feature_maps.h"
#include "runtime.h"

namespace dissect {
namespace {

struct Float16 {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

DISSECT_HD float widen(float stored) { return stored; }
DISSECT_HD float widen(Float16 stored) { return widen_float16(stored.bits); }
DISSECT_HD float widen(BFloat16 stored) { return widen_bfloat16(stored.bits); }

DISSECT_HD void narrow(float value, float& stored) { stored = value; }
DISSECT_HD void narrow(float value, Float16& stored) { stored.bits = narrow_float16(value); }
DISSECT_HD void narrow(float value, BFloat16& stored) { stored.bits = narrow_bfloat16(value); }

// Keys in the space of the stored type.
DISSECT_HD uint32_t key_of_stored(float stored) { return key_of(stored); }
DISSECT_HD uint32_t key_of_stored(Float16 stored) { return key_of_half(stored.bits); }
DISSECT_HD uint32_t key_of_stored(BFloat16 stored) { return key_of_half(stored.bits); }

// A bound that every value with this key or a higher one reaches; the lowest key that is taken is that of -infinity.
DISSECT_HD float least_with_key(uint32_t key, float) { return value_of_key(key); }
template <typename T>
DISSECT_HD T least_with_half_key(uint32_t key, uint32_t lowest) {
  key = key > lowest ? key : lowest;
  return {static_cast<uint16_t>(key ^ (key >> 15 ? 0x8000u : 0xffffu))};
}
DISSECT_HD Float16 least_with_key(uint32_t key, Float16) { return least_with_half_key<Float16>(key, 0x03ffu); }
DISSECT_HD BFloat16 least_with_key(uint32_t key, BFloat16) { return least_with_half_key<BFloat16>(key, 0x007fu); }

// No value reaches this, not even a bad one.
DISSECT_HD float unreachable(float) { return float_of(0x7fc00000u); }
template <typename T>
DISSECT_HD T unreachable(T) {
  return {0x7fff};
}

// Tells of bad input. A null status tells nobody.
__device__ inline void tell(int32_t* status) {
  if (status != nullptr) atomicExch(status, 1);
}

// The largest magnitude's bits that a thread has met.
struct Worst {
  uint32_t magnitude = 0;

  __device__ void add(float value) {
    const uint32_t bits = bits_of(value) & 0x7fffffffu;
    magnitude = bits > magnitude ? bits : magnitude;
  }
  __device__ void tell_if_bad(int32_t* status) const {
    if (is_bad(float_of(magnitude))) tell(status);
  }
};

// Whether the keys [low, high] have a bin each.
DISSECT_HD bool bracket_fits(int64_t low, int64_t high, int64_t shift, int64_t num_bins) {
  return low > high || ((high - low) >> shift) < num_bins;
}

// The library counts in int64_t, whose bits the hardware adds as unsigned.
__device__ inline unsigned long long* counter(int64_t* count) { return reinterpret_cast<unsigned long long*>(count); }

}  // namespace
}  // namespace dissect
