// The CPU's image_peaks, included once per SIMD level with DISSECT_LEVEL set to the level's name.
#pragma once

#include "../image_peaks.h"
#include "load_maps.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// Maps whose units are neighbours in memory: all units of the block advance together.
template <typename T>
bool peaks_across_units(const FeatureMaps& maps, const typename Widen<T>::Stored* base, int64_t num_units,
                        float* peaks) {
  float copied[kLanes] = {};
  const float* first = units_at<T>(base, num_units, copied);
  HalfPeaks low{load_half(first)}, high{load_half(first + 8)};
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const float* lanes = units_at<T>(base + y * maps.stride_row + x * maps.stride_column, num_units, copied);
      low.see(load_half(lanes)), high.see(load_half(lanes + 8));
    }
  for (int64_t u = 0; u < num_units; ++u) peaks[u] = (u < 8 ? low.highest[u] : high.highest[u - 8]) + 0.0f;
  return low.good() && high.good();
}

// A row of neighbours in memory.
template <typename T>
inline void see_row(HalfPeaks& seen, const typename Widen<T>::Stored* row, int64_t width) {
  if (for_eights<T>(row, width, [&seen](int64_t, Half values) { seen.see(values); })) return;
  for (int64_t x = 0; x < width; ++x) seen.see(Half{} + Widen<T>::one(row[x]));
}

template <typename T>
bool peak_of_map(const FeatureMaps& maps, const typename Widen<T>::Stored* base, float* peak) {
  HalfPeaks seen{Half{} + Widen<T>::one(base[0])};
  if (maps.stride_column == 1 && maps.stride_row == maps.width) see_row<T>(seen, base, maps.height * maps.width);
  else
    for (int64_t y = 0; y < maps.height; ++y) {
      const auto* row = base + y * maps.stride_row;
      if (maps.stride_column == 1) see_row<T>(seen, row, maps.width);
      else
        for (int64_t x = 0; x < maps.width; ++x) see_row<T>(seen, row + x * maps.stride_column, 1);
    }
  *peak = seen.peak();
  return seen.good();
}

template <typename T>
bool peaks_typed(const ImagePeaksParams& p, int64_t image, int64_t begin, int64_t end) {
  const auto* base = static_cast<const typename Widen<T>::Stored*>(p.maps.data) + image * p.maps.stride_image;
  float* peaks = p.peaks + image * p.maps.num_units;
  if (across_units(p.maps)) return peaks_across_units<T>(p.maps, base + begin, end - begin, peaks + begin);
  bool good = true;
  for (int64_t u = begin; u < end; ++u) good &= peak_of_map<T>(p.maps, base + u * p.maps.stride_unit, peaks + u);
  return good;
}

}  // namespace

bool image_peaks_block(const ImagePeaksParams& p, int64_t image, int64_t unit_begin, int64_t unit_end) {
  switch (p.maps.dtype) {
    case DType::kFloat32:
      return peaks_typed<float>(p, image, unit_begin, unit_end);
    case DType::kFloat16:
      return peaks_typed<Float16>(p, image, unit_begin, unit_end);
    case DType::kBFloat16:
      return peaks_typed<BFloat16>(p, image, unit_begin, unit_end);
  }
  return false;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
