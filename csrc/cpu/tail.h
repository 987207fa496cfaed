// A unit's bracket and bins, and its samples on their way there, for one SIMD level.
#pragma once

#include "../detail/arithmetic.h"
#include "../tail_histogram.h"
#include "compress.h"
#include "steady.h"

namespace dissect {
namespace {

// One unit's bracket and bins.
struct Tail {
  uint32_t low;
  int32_t shift;
  int64_t step;  // what one sample adds: 1, or -1 to take it back
  int64_t* bins;
  Lanes low_value, high_value;  // the floats of the bracket's ends, no bad value between them
  int64_t above;

  // Whether a good value can be above it.
  inline bool has_above() const { return high_value[0] < kLargestGood; }

  inline uint32_t bin_of(float value) const { return (key_of(value) - low) >> shift; }
  inline void add(float value, int64_t weight) { bins[bin_of(value)] += step * weight; }

  // Counts samples between two values of which the lesser reaches the bracket, all at once where they are above it, or
  // in one bin, as the zeros are of a unit that is seldom above 0. Returns whether it did.
  inline bool add_alike(float least, float most, int64_t samples) {
    if (least > high_value[0]) above += samples;
    else if (most <= high_value[0] && bin_of(least) == bin_of(most)) add(least, samples);
    else return false;
    return true;
  }
};

inline Tail tail_of(const TailHistogramParams& p, int64_t unit, int64_t step) {
  const uint32_t low = static_cast<uint32_t>(p.low[unit]), high = static_cast<uint32_t>(p.high[unit]);
  // No value has the key 0x7fffffff: as a float it would be the negative zero, which is no less than the positive one.
  const float low_value = value_of_key(low), high_value = value_of_key(high == 0x7fffffffu ? high - 1 : high);
  // Keys beyond an infinity's have it as their float, so that it would seem to be within and have no bin.
  return {low,
          static_cast<int32_t>(p.shift[unit]),
          step,
          p.bins + unit * p.num_bins,
          same(low_value < -kLargestGood ? -kLargestGood : low_value),
          same(high_value > kLargestGood ? kLargestGood : high_value),
          0};
}

// Samples of one unit that wait to be binned together.
struct Waiting {
  static constexpr int64_t kCapacity = 256;
  float values[kCapacity + kLanes];
  int64_t count = 0;
  bool rare = false;  // whether few, it seems, are within the bracket

  __attribute__((noinline)) void flush(const Tail& tail) {
    uint32_t numbers[kCapacity + kLanes];
    const int64_t num = count, step = tail.step;
    for (int64_t i = 0; i < num; ++i) numbers[i] = tail.bin_of(values[i]);
    int64_t* const bins = tail.bins;
    for (int64_t i = 0; i < num; ++i) bins[numbers[i]] += step;
    count = 0;
  }
};

// Looks at samples, of which those within the bracket wait and those above it are counted. What a loop needs of a tail
// and of what waits is here, so that it stays in registers.
class Samples {
 public:
  Samples(const Tail& tail, Waiting& waiting)
      : tail_(tail),
        waiting_(waiting),
        low_(tail.low_value),
        high_(tail.high_value),
        count_(waiting.count),
        always_(waiting.rare ? 0 : 1) {}

  // Keeps those that are within and have a bit. Whether one is is hard to predict, so there is no branch for it, unless
  // few are. No bad value is within.
  template <typename Vector>
  inline void keep(Vector values, uint32_t valid) {
    const uint32_t within =
        at_most(first_lanes<Vector>(low_), values) & at_most(values, first_lanes<Vector>(high_)) & valid;
    if ((within | always_) == 0) return;
    count_ += compress(waiting_.values + count_, values, within);
    if (count_ >= Waiting::kCapacity) flush();
  }
  // And counts those above, if there can be some.
  template <bool kAbove = true, typename Vector>
  inline void add(Vector values, uint32_t valid) {
    if (kAbove) above_ += __builtin_popcount(greater(values, first_lanes<Vector>(high_)) & valid);
    keep(values, valid);
  }
  // The same, but counts in lanes.
  inline void add(Lanes values, uint32_t valid, LaneSums& above) {
    above.add(values, high_, 1);
    keep(values, valid);
  }
  // What was above in so many of the lanes.
  inline void count_above(const LaneSums& above, int64_t number) {
    int32_t counts[kLanes];
    above.store(counts);
    for (int64_t k = 0; k < number; ++k) above_ += counts[k];
  }

  // Returns how many were above.
  inline int64_t end() {
    waiting_.count = count_;
    return above_;
  }

 private:
  inline void flush() {
    waiting_.count = count_;
    waiting_.flush(tail_);
    count_ = 0;
  }

  const Tail& tail_;
  Waiting& waiting_;
  const Lanes low_, high_;
  int64_t count_, above_ = 0;
  const uint32_t always_;  // 1: no branch where nothing is within
};

}  // namespace
}  // namespace dissect
