// encode_labels: what depends on the label planes alone. See dissect/reference/encode_labels.py.
#pragma once

#include <cstdint>

namespace dissect {

// Bytes per label of the planes given.
enum class LabelType : int32_t { kUint8 = 0, kInt16 = 1, kInt32 = 2, kInt64 = 3 };

struct EncodeLabelsParams {
  const void* planes;  // [N, K, H, W], any strides (in elements)
  LabelType type;
  int64_t num_images, num_planes, height, width;
  int64_t stride_image, stride_plane, stride_row, stride_column;
  int64_t num_labels;
  int64_t* runs;        // [N, H, W], written: combination | end of its run << 32
  int64_t* label_area;  // [N, C], added to
};

}  // namespace dissect
