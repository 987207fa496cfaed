// narrow: where units' thresholds lie after a visit, and what the next visit bins. See dissect/reference/narrow.py.
#pragma once

#include <cstdint>

namespace dissect {

// Keys [U] but where it says otherwise.
struct NarrowParams {
  int64_t num_units, num_bins;
  const int64_t *low, *high, *spare, *kept, *least;  // what is known
  const int64_t *first, *last, *shift;               // what the visit binned
  const int64_t* bins;                               // [U, B] counts
  const int64_t* above;                              // [U] counts
  // Of the threshold; or, if `guesses`, of what seems to lie below it, above it, and well below.
  int64_t ranks[3];
  bool guesses, is_first;  // the first visit
  int32_t bits;            // of a key, 16 or 32
  int64_t next_bins;       // of the next visit
  int64_t* narrowed;       // [6, U], written: low, high, spare, first, last, shift
  int64_t* facts;          // [4], added to: open units, unproved ones, torn ones; the highest U - such a unit
};

}  // namespace dissect
