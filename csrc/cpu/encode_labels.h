// The CPU's encode_labels of one image: one pass per plane, rows from right to left.
#pragma once

#include "../encode_labels.h"

namespace dissect {

inline void remove_repeated_labels(int32_t* plane, const int32_t* earlier, int64_t num_pixels) {
  for (int64_t i = 0; i < num_pixels; ++i) plane[i] = plane[i] == earlier[i] ? 0 : plane[i];
}

inline void encode_labels_image(const EncodeLabelsParams& p, int64_t image) {
  const int64_t plane_size = p.height * p.width;
  int64_t* label_area = p.label_area + image * p.num_labels;
  for (int64_t k = 0; k < p.num_planes; ++k) {
    int32_t* plane = p.planes + (image * p.num_planes + k) * plane_size;
    int32_t* run_ends = p.run_ends + (image * p.num_planes + k) * plane_size;
    for (int64_t earlier = 1; earlier <= k; ++earlier) remove_repeated_labels(plane, plane - earlier * plane_size, plane_size);
    for (int64_t y = 0; y < p.height; ++y) {
      const int32_t* row = plane + y * p.width;
      int32_t end = static_cast<int32_t>(p.width);
      for (int64_t x = p.width - 1; x >= 0; --x) {
        if (x + 1 < p.width && row[x] != row[x + 1]) {
          label_area[row[x + 1]] += end - (x + 1);
          end = static_cast<int32_t>(x + 1);
        }
        run_ends[y * p.width + x] = end;
      }
      label_area[row[0]] += end;
    }
  }
  label_area[0] = 0;
}

}  // namespace dissect
