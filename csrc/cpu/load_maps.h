// Feature maps of a block of units as padded float32, for one SIMD level. No standard library in here: an inline
// function built for a wide level must never be the copy that the linker keeps for all.
#pragma once

#include "../detail/arithmetic.h"
#include "../feature_maps.h"
#include "simd.h"
#include "turn.h"

namespace dissect {
namespace {

// Rows of a padded map start this far apart: one virtual zero at each side.
inline int64_t padded_width(const FeatureMaps& maps) { return maps.width + 2; }
inline int64_t padded_size(const FeatureMaps& maps) { return (maps.height + 2) * padded_width(maps); }

// A block of padded maps; sixteen more, since vectors are loaded whole.
inline int64_t block_floats(const FeatureMaps& maps) { return kUnitBlock * padded_size(maps) + 16; }

// Bits of the columns of a padded map, row by row.
inline int64_t words_per_row(const FeatureMaps& maps) { return (padded_width(maps) + 63) / 64; }
inline int64_t bit_words(const FeatureMaps& maps) { return (maps.height + 2) * words_per_row(maps); }

// Room for a mark of sixteen bits per place of a padded map, or for a bit per column and row.
inline int64_t mark_words(const FeatureMaps& maps) { return padded_size(maps) / 4 + bit_words(maps) + 1; }

// One padded row, in whole vectors.
inline int64_t row_floats(const FeatureMaps& maps) { return padded_width(maps) + 16; }

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
inline Half widen_half(const typename Widen<T>::Stored* from) {
  float widened[8];
  for (int64_t i = 0; i < 8; ++i) widened[i] = Widen<T>::one(from[i]);
  return load_half(widened);
}
template <>
inline Half widen_half<float>(const float* from) {
  return load_half(from);
}

// A row of neighbours in memory; `visit(x, values)` gets eight at a time, the last ones maybe twice. False if the row
// is shorter, and was not read.
template <typename T, typename Stored, typename Visit>
inline bool for_eights(const Stored* row, int64_t width, const Visit& visit) {
  if (width < 8) return false;
  int64_t x = 0;
  for (; x + 8 <= width; x += 8) visit(x, widen_half<T>(row + x));
  if (x < width) visit(width - 8, widen_half<T>(row + width - 8));
  return true;
}

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
// Sixteen stored values as float32; those without a bit are zero and their memory is not touched.
inline __m512 widen_lanes(const float* from, __mmask16 valid) { return _mm512_maskz_loadu_ps(valid, from); }
template <typename T>
inline __m512 widen_lanes(const uint16_t* from, __mmask16 valid);
template <>
inline __m512 widen_lanes<Float16>(const uint16_t* from, __mmask16 valid) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(valid, from));
}
template <>
inline __m512 widen_lanes<BFloat16>(const uint16_t* from, __mmask16 valid) {
  const __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
template <typename T>
inline __m512 widen_lanes(const float* from, __mmask16 valid) {
  return widen_lanes(from, valid);
}

// Values as they are read, and whether a bad one was among them.
struct Reader {
  __mmask16 bad = 0;

  // A row of neighbours in memory; `take(x, values)` gets sixteen at a time, zeros beyond the row.
  template <typename T, typename Stored, typename Take>
  inline void read(const Stored* row, int64_t width, const Take& take) {
    const __m512 largest_good = _mm512_set1_ps(kLargestGood);
    for (int64_t x = 0; x < width; x += kLanes) {
      const __m512 values = widen_lanes<T>(row + x, static_cast<__mmask16>(first_bits(width - x)));
      bad |= _mm512_cmp_ps_mask(_mm512_abs_ps(values), largest_good, _CMP_NLE_UQ);
      take(x, values);
    }
  }
  // Whole vectors are written: up to fifteen zeros beyond the row.
  template <typename T, typename Stored>
  inline void load(const Stored* row, int64_t width, float* target) {
    read<T>(row, width, [target](int64_t x, __m512 values) { _mm512_storeu_ps(target + x, values); });
  }
  template <typename T, typename Stored>
  inline void look(const Stored* row, int64_t width) {
    read<T>(row, width, [](int64_t, __m512) {});
  }
  inline bool good() const { return bad == 0; }
};
#else
// Values as they are read, and whether a bad one was among them.
struct Reader {
  HalfPatterns magnitudes{};

  // A row of neighbours in memory; `take(x, values, count)` gets up to eight at a time, the last ones maybe twice.
  template <typename T, typename Stored, typename Take>
  inline void read(const Stored* row, int64_t width, const Take& take) {
    const auto see = [&](int64_t x, Half values, int64_t count) {
      note_magnitudes(magnitudes, values);
      take(x, values, count);
    };
    if (for_eights<T>(row, width, [&](int64_t x, Half values) { see(x, values, 8); })) return;
    float few[8] = {};
    for (int64_t x = 0; x < width; ++x) few[x] = Widen<T>::one(row[x]);
    see(0, load_half(few), width);
  }
  template <typename T, typename Stored>
  inline void load(const Stored* row, int64_t width, float* target) {
    read<T>(row, width, [target](int64_t x, Half values, int64_t count) {
      if (count == 8) return store_half(target + x, values);
      for (int64_t i = 0; i < count; ++i) target[i] = values[i];
    });
  }
  template <typename T, typename Stored>
  inline void look(const Stored* row, int64_t width) {
    read<T>(row, width, [](int64_t, Half, int64_t) {});
  }
  inline bool good() const { return !noted_bad(magnitudes); }
};
#endif

// Sixteen units that are neighbours in memory: a row of a map each. Returns how many columns were loaded.
template <typename Stored>
inline int64_t load_turned(const Stored*, int64_t, int64_t, float*, int64_t, Reader&) {
  return 0;
}
template <>
inline int64_t load_turned<float>(const float* row, int64_t stride_column, int64_t width, float* target, int64_t size,
                                  Reader& reader) {
  const int64_t turned = width / 8 * 8;
  for (int64_t x = 0; x < turned; x += 8) {
    const float* from = row + x * stride_column;
    for (int64_t place = 0; place < 8; ++place) reader.look<float>(from + place * stride_column, kUnitBlock);
    turn(from, stride_column, target + x, size);
    turn(from + 8, stride_column, target + 8 * size + x, size);
  }
  return turned;
}

template <typename T>
bool load_typed(const FeatureMaps& maps, int64_t image, int64_t unit_begin, int64_t num_units, float* out) {
  using Stored = typename Widen<T>::Stored;
  const Stored* base =
      static_cast<const Stored*>(maps.data) + image * maps.stride_image + unit_begin * maps.stride_unit;
  const int64_t pitch = padded_width(maps), size = padded_size(maps);
  Reader reader;
  if (maps.stride_column == 1) {
    // In the order of addresses: the zeros beyond a row fall on the ring, or on what is written next.
    for (int64_t u = 0; u < num_units; ++u)
      for (int64_t y = 0; y < maps.height; ++y)
        reader.load<T>(base + u * maps.stride_unit + y * maps.stride_row, maps.width,
                       out + u * size + (y + 1) * pitch + 1);
    return reader.good();
  }
  const bool whole = maps.stride_unit == 1 && num_units == kUnitBlock;
  for (int64_t y = 0; y < maps.height; ++y) {
    const Stored* row = base + y * maps.stride_row;
    float* target = out + (y + 1) * pitch + 1;
    int64_t x = whole ? load_turned(row, maps.stride_column, maps.width, target, size, reader) : 0;
    for (; x < maps.width; ++x) {
      float values[2 * kUnitBlock];
      if (maps.stride_unit == 1) reader.load<T>(row + x * maps.stride_column, num_units, values);
      else
        for (int64_t u = 0; u < num_units; ++u)
          reader.load<T>(row + u * maps.stride_unit + x * maps.stride_column, 1, values + u);
      for (int64_t u = 0; u < num_units; ++u) target[u * size + x] = values[u];
    }
  }
  return reader.good();
}

// Whether units, and not columns, are neighbours in memory.
inline bool across_units(const FeatureMaps& maps) { return maps.stride_unit == 1 && maps.stride_column != 1; }

// Sixteen float32 of up to sixteen neighbours: where they are, or copied.
template <typename T, typename Stored>
inline const float* units_at(const Stored* from, int64_t num_units, float* copied) {
  for (int64_t u = 0; u < num_units; ++u) copied[u] = Widen<T>::one(from[u]);
  return copied;
}
template <>
inline const float* units_at<float, float>(const float* from, int64_t num_units, float* copied) {
  if (num_units == kLanes) return from;
  for (int64_t u = 0; u < num_units; ++u) copied[u] = from[u];
  return copied;
}

// Fills the inside of the padded maps; the ring must already be zero. Returns whether all values are good.
inline bool load_maps(const FeatureMaps& maps, int64_t image, int64_t unit_begin, int64_t num_units, float* out) {
  switch (maps.dtype) {
    case DType::kFloat32:
      return load_typed<float>(maps, image, unit_begin, num_units, out);
    case DType::kFloat16:
      return load_typed<Float16>(maps, image, unit_begin, num_units, out);
    case DType::kBFloat16:
      return load_typed<BFloat16>(maps, image, unit_begin, num_units, out);
  }
  return false;
}

}  // namespace
}  // namespace dissect
