// component_halves: which half of its component each pixel lies in. See dissect/reference/component_halves.py.
#pragma once

#include "encode_labels.h"

namespace dissect {

struct ComponentHalvesParams {
  const void* labels;  // [N, H, W], contiguous
  LabelType type;
  int64_t num_images, height, width;
  bool omit_last;   // as the published code does: each image's last component has no halves
  uint8_t* halves;  // [N, 2, H, W], written: 1 upper or left, 2 lower or right
};

// Where the second half of first..last begins, both of which belong to it.
template <typename T>
DISSECT_HD T middle_of(T first, T last) {
  return (first + last + 1) / 2;
}

}  // namespace dissect
