// Finds NaN, infinity and magnitudes from 2^126, included once per SIMD level with DISSECT_LEVEL set to its name.
#pragma once

#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

template <typename T>
bool has_bad_values(const FeatureMaps& maps, int64_t image, int64_t begin, int64_t end) {
  using Stored = typename Widen<T>::Stored;
  const Stored* base = static_cast<const Stored*>(maps.data) + image * maps.stride_image + begin * maps.stride_unit;
  const int64_t units = end - begin, area = maps.height * maps.width;
  const bool planes = maps.stride_column == 1 && maps.stride_row == maps.width && maps.stride_unit == area;
  const bool pixels = maps.stride_unit == 1 && maps.stride_column == units && maps.stride_row == units * maps.width;
  Reader reader;
  if (planes || pixels) {
    reader.look<T>(base, units * area);
    return !reader.good();
  }
  for (int64_t u = 0; u < units; ++u)
    for (int64_t y = 0; y < maps.height; ++y)
      for (int64_t x = 0; x < maps.width; ++x)
        reader.look<T>(base + u * maps.stride_unit + y * maps.stride_row + x * maps.stride_column, 1);
  return !reader.good();
}

}  // namespace

// Whether any of the units [begin, end) of an image holds a bad value.
bool bad_values(const FeatureMaps& maps, int64_t image, int64_t begin, int64_t end) {
  switch (maps.dtype) {
    case DType::kFloat32:
      return has_bad_values<float>(maps, image, begin, end);
    case DType::kFloat16:
      return has_bad_values<Float16>(maps, image, begin, end);
    case DType::kBFloat16:
      return has_bad_values<BFloat16>(maps, image, begin, end);
  }
  return true;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
