// formula_search: the formula of labels that overlaps each unit most. See dissect/reference/formula_search.py.
#pragma once

#include <cstdint>

namespace dissect {

// How a label is joined to what stands before it.
enum class Join : int64_t { kNone = 0, kOr = 1, kAnd = 2, kAndNot = 3 };

struct FormulaSearchParams {
  const int32_t* table;   // [K, P], contiguous, as all others: a combination's labels, each once; 0 is none
  const int64_t* areas;   // [K] pixels
  const int64_t* counts;  // [U, K] pixels on which units fire
  int64_t num_combinations, width, num_units, num_labels, length, beam;
  int64_t* labels;        // [U, L], written, as all that follow
  int64_t* joins;         // [U, L]
  int64_t* intersection;  // [U]
  int64_t* area;          // [U]
};

}  // namespace dissect
