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

// A bound that every value with this key or a higher one reaches.
DISSECT_HD float least_with_key(uint32_t key, float) { return value_of_key(key); }
DISSECT_HD float least_with_key(uint32_t key, Float16) {
  if (key <= 0x03ffu) return value_of_key(0);            // of -infinity, or of no number
  if (key >= 0xfc00u) return value_of_key(0xffffffffu);  // of infinity, or of no number
  return widen_float16(static_cast<uint16_t>(key ^ ((key >> 15) ? 0x8000u : 0xffffu)));
}
DISSECT_HD float least_with_key(uint32_t key, BFloat16) { return value_of_key(key << 16); }

// Tells of bad input. A null status tells nobody.
__device__ inline void tell(int32_t* status) {
  if (status != nullptr) atomicExch(status, 1);
}

// The largest magnitude's bits that a thread has met.
struct Worst {
  uint32_t magnitude;

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
