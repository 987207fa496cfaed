// The spans of one axis of a Grid: what turns its table into cells. Host code.
#pragma once

#include <vector>

#include "feature_maps.h"

namespace dissect {

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
