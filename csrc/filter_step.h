// filter_step: a step of Adam for 3x3 filters, in Winograd's form. See dissect/reference/filter_step.py.
#pragma once

#include <cstdint>

namespace dissect {

// Outputs of the filters in a block, frequencies of a tile, taps of a filter.
constexpr int64_t kFilterBlock = 16, kFrequencies = 16, kTaps = 9;

struct FilterStepParams {
  float* weight;  // [B, I, 9, 16], contiguous, as all others; written
  float* first;   // Adam's moments, the same
  float* second;
  const float* tiles;     // [I, 16, T]
  const float* gradient;  // [B, 16, T, 16]
  float* product;         // the same, written
  int64_t num_blocks, num_inputs, num_tiles;
  float size, root;
};

// How fast Adam forgets, what it weighs news by, and what keeps it from dividing by 0.
constexpr float kKeepFirst = 0.9f, kNewFirst = 0.1f, kKeepSecond = 0.999f, kNewSecond = 0.001f, kEpsilon = 1e-8f;

using FilterStepBlock = void (*)(const FilterStepParams&, int64_t block);

}  // namespace dissect
