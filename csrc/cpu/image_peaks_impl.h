// The CPU's image_peaks, included once per SIMD level with DISSECT_LEVEL set to the level's name.
#pragma once

#include "../image_peaks.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

inline float larger_of(float a, float b) { return a > b ? a : b; }

// Maps whose units are neighbours in memory: all units of the block advance together.
template <typename T>
void peaks_across_units(const FeatureMaps& maps, const typename Widen<T>::Stored* base, int64_t num_units,
                        float* peaks) {
  float best[kUnitBlock];
  for (int64_t u = 0; u < num_units; ++u) best[u] = Widen<T>::one(base[u]);
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const auto* here = base + y * maps.stride_row + x * maps.stride_column;
      for (int64_t u = 0; u < num_units; ++u) best[u] = larger_of(best[u], Widen<T>::one(here[u]));
    }
  for (int64_t u = 0; u < num_units; ++u) peaks[u] = best[u] + 0.0f;
}

template <typename T>
float peak_of_map(const FeatureMaps& maps, const typename Widen<T>::Stored* base) {
  float best = Widen<T>::one(base[0]);
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x)
      best = larger_of(best, Widen<T>::one(base[y * maps.stride_row + x * maps.stride_column]));
  return best + 0.0f;
}

template <typename T>
void peaks_typed(const ImagePeaksParams& p, int64_t image, int64_t begin, int64_t end) {
  const auto* base = static_cast<const typename Widen<T>::Stored*>(p.maps.data) + image * p.maps.stride_image;
  float* peaks = p.peaks + image * p.maps.num_units;
  if (p.maps.stride_unit == 1) return peaks_across_units<T>(p.maps, base + begin, end - begin, peaks + begin);
  for (int64_t u = begin; u < end; ++u) peaks[u] = peak_of_map<T>(p.maps, base + u * p.maps.stride_unit);
}

}  // namespace

void image_peaks_block(const ImagePeaksParams& p, int64_t image, int64_t unit_begin, int64_t unit_end) {
  switch (p.maps.dtype) {
    case DType::kFloat32:
      return peaks_typed<float>(p, image, unit_begin, unit_end);
    case DType::kFloat16:
      return peaks_typed<Float16>(p, image, unit_begin, unit_end);
    case DType::kBFloat16:
      return peaks_typed<BFloat16>(p, image, unit_begin, unit_end);
  }
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
