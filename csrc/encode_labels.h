// encode_labels: what depends on the label planes alone. See dissect/reference/encode_labels.py.
#pragma once

#include <cstdint>

namespace dissect {

struct EncodeLabelsParams {
  int64_t num_images, num_planes, height, width, num_labels;
  int32_t* planes;      // [N, K, H, W]; a label that an earlier plane says at the same pixel becomes 0
  int32_t* run_ends;    // [N, K, H, W]
  int64_t* label_area;  // [N, C], zeros before
};

}  // namespace dissect
