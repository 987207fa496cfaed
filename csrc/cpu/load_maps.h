// Feature maps of a block of units as padded float32, for one SIMD level. No standard library in here: an inline
// function built for a wide level must never be the copy that the linker keeps for all.
#pragma once

#include "../detail/arithmetic.h"
#include "../feature_maps.h"

namespace dissect {
namespace {

// Rows of a padded map start this far apart: one virtual zero at each side.
inline int64_t padded_width(const FeatureMaps& maps) { return maps.width + 2; }
inline int64_t padded_size(const FeatureMaps& maps) { return (maps.height + 2) * padded_width(maps); }

// A block of padded maps; sixteen more, since vectors are loaded whole.
inline int64_t block_floats(const FeatureMaps& maps) { return kUnitBlock * padded_size(maps) + 16; }

// Bits of the columns of a padded map, row by row; one word more per row than needed, since bits come in sixteens.
inline int64_t words_per_row(const FeatureMaps& maps) { return padded_width(maps) / 64 + 2; }
inline int64_t bit_words(const FeatureMaps& maps) { return (maps.height + 2) * words_per_row(maps); }

// The corners of a row of cells.
inline int64_t corner_floats(int64_t num_column_spans) { return 4 * ((num_column_spans + 15) / 16 * 16); }

template <typename T>
struct Widen;
template <>
struct Widen<float> {
  using Stored = float;
  static inline float one(float value) { return value; }
  static inline float back(float value) { return value; }
};
struct Float16;
template <>
struct Widen<Float16> {
  using Stored = uint16_t;
  static inline float one(uint16_t bits) { return widen_float16(bits); }
  static inline uint16_t back(float value) { return narrow_float16(value); }
};
struct BFloat16;
template <>
struct Widen<BFloat16> {
  using Stored = uint16_t;
  static inline float one(uint16_t bits) { return widen_bfloat16(bits); }
  static inline uint16_t back(float value) { return narrow_bfloat16(value); }
};

template <typename T>
void load_typed(const FeatureMaps& maps, int64_t image, int64_t unit_begin, int64_t num_units, float* out) {
  using Stored = typename Widen<T>::Stored;
  const Stored* base = static_cast<const Stored*>(maps.data) + image * maps.stride_image + unit_begin * maps.stride_unit;
  const int64_t pitch = padded_width(maps), size = padded_size(maps);
  for (int64_t y = 0; y < maps.height; ++y) {
    const Stored* row = base + y * maps.stride_row;
    float* target = out + (y + 1) * pitch + 1;
    if (maps.stride_unit == 1) {
      for (int64_t x = 0; x < maps.width; ++x)
        for (int64_t u = 0; u < num_units; ++u) target[u * size + x] = Widen<T>::one(row[x * maps.stride_column + u]);
    } else {
      for (int64_t u = 0; u < num_units; ++u)
        for (int64_t x = 0; x < maps.width; ++x)
          target[u * size + x] = Widen<T>::one(row[u * maps.stride_unit + x * maps.stride_column]);
    }
  }
}

// Fills the inside of the padded maps; the ring must already be zero.
inline void load_maps(const FeatureMaps& maps, int64_t image, int64_t unit_begin, int64_t num_units, float* out) {
  switch (maps.dtype) {
    case DType::kFloat32: return load_typed<float>(maps, image, unit_begin, num_units, out);
    case DType::kFloat16: return load_typed<Float16>(maps, image, unit_begin, num_units, out);
    case DType::kBFloat16: return load_typed<BFloat16>(maps, image, unit_begin, num_units, out);
  }
}

}  // namespace
}  // namespace dissect
