// encode_labels: what depends on the label planes alone. See dissect/reference/encode_labels.py.
#pragma once

#include <cstdint>

#include "detail/arithmetic.h"

namespace dissect {

// A run as an integer: the pixel's combination in the low bits, in the others the first column after the run.
// 32 bits hold it where an image has fewer than 2^17 pixels and fewer than 2^14 columns, and 64 bits always.
template <typename Word>
struct RunWord;
template <>
struct RunWord<int32_t> {
  static constexpr int kShift = 17;
};
template <>
struct RunWord<int64_t> {
  static constexpr int kShift = 32;
};

template <typename Word>
DISSECT_HD int64_t combination_of(Word run) {
  return run & ((Word{1} << RunWord<Word>::kShift) - 1);
}
template <typename Word>
DISSECT_HD int64_t end_of(Word run) {
  return run >> RunWord<Word>::kShift;
}
template <typename Word>
DISSECT_HD Word run_of(int64_t combination, int64_t end) {
  return static_cast<Word>(combination | end << RunWord<Word>::kShift);
}

// Bytes per label of the planes given.
enum class LabelType : int32_t { kUint8 = 0, kInt16 = 1, kInt32 = 2, kInt64 = 3 };

struct EncodeLabelsParams {
  const void* planes;  // [N, K, H, W], any strides (in elements)
  LabelType type;
  int64_t num_images, num_planes, height, width;
  int64_t stride_image, stride_plane, stride_row, stride_column;
  int64_t num_labels;
  void* runs;           // [N, H, W], written: RunWords of int64_t or int32_t
  bool wide;            // which of the two
  int64_t* label_area;  // [N, C], added to
};

}  // namespace dissect
