// The CPU's blend_units, included once per SIMD level with DISSECT_LEVEL set to the level's name.
// A plane whose alpha is 0 is neither read nor written.
#pragma once

#include "../blend_units.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

template <typename T>
void blend_plane(const BlendUnitsParams& p, int64_t image, int64_t unit, float alpha) {
  using Stored = typename Widen<T>::Stored;
  const FeatureMaps& maps = p.maps;
  Stored* features = static_cast<Stored*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
  const float* value = p.value.data + image * p.value.stride_image + unit * p.value.stride_unit;
  const float* mask = p.mask.data + image * p.mask.stride_image + unit * p.mask.stride_unit;
  for (int64_t y = 0; y < maps.height; ++y) {
    for (int64_t x = 0; x < maps.width; ++x) {
      const float a = share_of(alpha, mask[y * p.mask.stride_row + x * p.mask.stride_column]);
      if (a == 0.0f) continue;
      Stored* here = features + y * maps.stride_row + x * maps.stride_column;
      *here = Widen<T>::back(blend(a, value[y * p.value.stride_row + x * p.value.stride_column], Widen<T>::one(*here)));
    }
  }
}

}  // namespace

void blend_units_plane(const BlendUnitsParams& p, int64_t image, int64_t unit) {
  const float alpha = p.alpha.data[image * p.alpha.stride_image + unit * p.alpha.stride_unit];
  if (alpha == 0.0f) return;
  switch (p.maps.dtype) {
    case DType::kFloat32:
      return blend_plane<float>(p, image, unit, alpha);
    case DType::kFloat16:
      return blend_plane<Float16>(p, image, unit, alpha);
    case DType::kBFloat16:
      return blend_plane<BFloat16>(p, image, unit, alpha);
  }
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
