// The spans of one axis of a Grid: what turns its table into cells. Host code.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "feature_maps.h"

namespace dissect {

// Throws std::invalid_argument where a table breaks a law of dissect.grid.Grid, which kernels and spans stand on.
inline void check_axis(const char* name, const GridEntry* entries, int64_t count, int64_t size) {
  for (int64_t t = 0; t < count; ++t) {
    const GridEntry& entry = entries[t];
    const bool inside = entry.index0 >= -1 && entry.index1 <= size;
    const bool neighbours = entry.index1 == entry.index0 || entry.index1 == int64_t{entry.index0} + 1;
    const bool rises = t == 0 || (entry.index0 >= entries[t - 1].index0 && entry.index1 >= entries[t - 1].index1);
    const bool weighs = entry.weight >= 0.0f && entry.weight < 1.0f;  // false for NaN
    if (!(inside && neighbours && rises && weighs))
      throw std::invalid_argument("grid: " + std::string(name) + " must be a table of a Grid for maps of " +
                                  std::to_string(size) + " cells, but entry " + std::to_string(t) + " is not.");
  }
}

inline std::vector<Span> make_spans(const GridEntry* entries, int64_t count) {
  std::vector<Span> spans;
  for (int64_t t = 0; t < count; ++t) {
    const GridEntry& entry = entries[t];
    const bool goes_on = t > 0 && entry.index0 == entries[t - 1].index0 && entry.index1 == entries[t - 1].index1 &&
                         entry.weight >= entries[t - 1].weight;
    if (goes_on) spans.back().end = static_cast<int32_t>(t + 1);
    else spans.push_back({entry.index0 + 1, entry.index1 + 1, static_cast<int32_t>(t), static_cast<int32_t>(t + 1)});
  }
  return spans;
}

}  // namespace dissect
