// The CPU's filter_step of sixteen outputs, included once per SIMD level with DISSECT_LEVEL set to the level's name.
// A few channels at a time go through all three stages while they are in the nearest cache, so that each number of the
// weight and of both moments is read and written once; they are fetched while the gradient is computed. Each lane is a
// filter of its own, and its sums run over tiles, or channels, in their order: the bits are the same at any width.
#pragma once

#include "../filter_step.h"
#include "simd.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// Channels, or tiles, at a time: as many sums as there are registers for.
#if defined(__AVX512F__)
constexpr int kSums = 8;
#elif defined(__AVX2__)
constexpr int kSums = 4;
#else
constexpr int kSums = 2;
#endif

static_assert(kFilterBlock == kLanes, "a block of outputs is a vector");

// Filters of the channels at hand, by channel and frequency.
struct FilterSpectra {
  alignas(64) float values[kSums][kFrequencies][kLanes];
};

inline void fetch(const float* from, int64_t begin, int64_t end) {
  for (int64_t at = begin; at < end; at += kLanes) __builtin_prefetch(from + at, 1, 3);
}

// The gradient of `channels` filters: the sum over tiles of the values' gradient times the keys.
template <int channels>
void gradient_of(const FilterStepParams& p, int64_t block, int64_t channel, FilterSpectra& spectra) {
  const int64_t per_channel = kFrequencies * p.num_tiles, size = channels * kTaps * kLanes;
  const int64_t own = (block * p.num_inputs + channel) * kTaps * kLanes;
  for (int64_t frequency = 0; frequency < kFrequencies; ++frequency) {
    const int64_t begin = own + frequency * size / kFrequencies, end = own + (frequency + 1) * size / kFrequencies;
    fetch(p.weight, begin, end), fetch(p.first, begin, end), fetch(p.second, begin, end);
    const float* keys = p.tiles + channel * per_channel + frequency * p.num_tiles;
    const float* gradient = p.gradient + (block * kFrequencies + frequency) * p.num_tiles * kLanes;
    Lanes sums[channels] = {};
    for (int64_t tile = 0; tile < p.num_tiles; ++tile) {
      const Lanes here = load(gradient + tile * kLanes);
      for (int c = 0; c < channels; ++c) sums[c] = sums[c] + here * keys[c * per_channel + tile];
    }
    for (int c = 0; c < channels; ++c) store(spectra.values[c][frequency], sums[c]);
  }
}

// G^T u of four numbers, to three.
inline void gather_taps(const Lanes* from, Lanes* to) {
  const Lanes sum = (from[1] + from[2]) * 0.5f;
  to[0] = from[0] + sum, to[1] = (from[1] - from[2]) * 0.5f, to[2] = sum + from[3];
}

// G w of three numbers, to four.
inline void spread_taps(const Lanes* from, Lanes* to) {
  const Lanes sum = from[0] + from[2];
  to[0] = from[0], to[1] = (sum + from[1]) * 0.5f, to[2] = (sum - from[1]) * 0.5f, to[3] = from[2];
}

// Adam's step of sixteen numbers at `at`. Returns the weight after it. Parameters come by value: what is written might
// be they, for all that the compiler knows, and would be read again after each number.
inline Lanes adam(const FilterStepParams p, int64_t at, Lanes gradient) {
  const Lanes first = load(p.first + at) * kKeepFirst + gradient * kNewFirst;
  const Lanes second = load(p.second + at) * kKeepSecond + (gradient * kNewSecond) * gradient;
  const Lanes weight = load(p.weight + at) - (first * p.size) / (square_root(second) * p.root + kEpsilon);
  store(p.first + at, first), store(p.second + at, second), store(p.weight + at, weight);
  return weight;
}

// A channel's step: from the spectrum of its gradient to that of its new filters.
inline void step_channel(const FilterStepParams p, int64_t block, int64_t channel, float (*spectrum)[kLanes]) {
  Lanes columns[4][3], rows[4], taps[3][3];
  for (int c = 0; c < 4; ++c) {
    for (int r = 0; r < 4; ++r) rows[r] = load(spectrum[4 * r + c]);
    gather_taps(rows, columns[c]);
  }
  const int64_t own = (block * p.num_inputs + channel) * kTaps;
  for (int r = 0; r < 3; ++r) {
    Lanes row[3];
    for (int c = 0; c < 4; ++c) rows[c] = columns[c][r];
    gather_taps(rows, row);
    for (int c = 0; c < 3; ++c) taps[c][r] = adam(p, (own + 3 * r + c) * kLanes, row[c]);
  }
  Lanes wide[3][4], row[3], spread[4];
  for (int c = 0; c < 3; ++c) spread_taps(taps[c], wide[c]);
  for (int r = 0; r < 4; ++r) {
    for (int c = 0; c < 3; ++c) row[c] = wide[c][r];
    spread_taps(row, spread);
    for (int c = 0; c < 4; ++c) store(spectrum[4 * r + c], spread[c]);
  }
}

// Adds to the product at some tiles and one frequency what some channels give.
template <int channels, int tiles>
void add_product(const float* keys, int64_t per_channel, const FilterSpectra& spectra, int64_t frequency, float* to) {
  Lanes sums[tiles];
  for (int t = 0; t < tiles; ++t) sums[t] = load(to + t * kLanes);
  for (int c = 0; c < channels; ++c) {
    const Lanes filters = load(spectra.values[c][frequency]);
    for (int t = 0; t < tiles; ++t) sums[t] = sums[t] + filters * keys[c * per_channel + t];
  }
  for (int t = 0; t < tiles; ++t) store(to + t * kLanes, sums[t]);
}

template <int channels>
void step_channels(const FilterStepParams& p, int64_t block, int64_t channel, FilterSpectra& spectra) {
  gradient_of<channels>(p, block, channel, spectra);
  for (int c = 0; c < channels; ++c) step_channel(p, block, channel + c, spectra.values[c]);
  const int64_t per_channel = kFrequencies * p.num_tiles;
  for (int64_t frequency = 0; frequency < kFrequencies; ++frequency) {
    const float* keys = p.tiles + channel * per_channel + frequency * p.num_tiles;
    float* to = p.product + (block * kFrequencies + frequency) * p.num_tiles * kLanes;
    int64_t tile = 0;
    for (; tile + kSums <= p.num_tiles; tile += kSums)
      add_product<channels, kSums>(keys + tile, per_channel, spectra, frequency, to + tile * kLanes);
    for (; tile < p.num_tiles; ++tile)
      add_product<channels, 1>(keys + tile, per_channel, spectra, frequency, to + tile * kLanes);
  }
}

}  // namespace

void filter_step_block(const FilterStepParams& p, int64_t block) {
  const int64_t size = kFrequencies * p.num_tiles * kLanes;
  for (int64_t at = 0; at < size; at += kLanes) store(p.product + block * size + at, Lanes{});
  FilterSpectra spectra;
  int64_t channel = 0;
  for (; channel + kSums <= p.num_inputs; channel += kSums) step_channels<kSums>(p, block, channel, spectra);
  for (; channel < p.num_inputs; ++channel) step_channels<1>(p, block, channel, spectra);
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
