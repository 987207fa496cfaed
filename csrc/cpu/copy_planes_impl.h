// The CPU's copy_planes, included once per SIMD level with DISSECT_LEVEL set to the level's name.
#pragma once

#include "../copy_planes.h"
#include "turn.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// A row of places, sixteen at a time, which are a line of the cache.
template <typename Stored>
void copy_row(const Stored* from, int64_t stride_place, int64_t places, int64_t num_units, Stored* to,
              int64_t stride_unit) {
  const int64_t whole = num_units / 8 * 8, turned = places / 8 * 8;
  for (int64_t place = 0; place < turned; place += 16)
    for (int64_t unit = 0; unit < whole; unit += 8)
      for (int64_t half = place; half < turned && half < place + 16; half += 8)
        turn(from + half * stride_place + unit, stride_place, to + unit * stride_unit + half, stride_unit);
  for (int64_t unit = 0; unit < num_units; ++unit)
    for (int64_t place = unit < whole ? turned : 0; place < places; ++place)
      to[unit * stride_unit + place] = from[place * stride_place + unit];
}

template <typename Stored>
void copy_block(const CopyPlanesParams& p, int64_t image, int64_t begin, int64_t end) {
  const FeatureMaps& maps = p.maps;
  const int64_t area = maps.height * maps.width;
  const auto* from = static_cast<const Stored*>(maps.data) + image * maps.stride_image + begin;
  auto* to = static_cast<Stored*>(p.planes) + (image * maps.num_units + begin) * area;
  if (maps.stride_row == maps.width * maps.stride_column)
    return copy_row(from, maps.stride_column, area, end - begin, to, area);
  for (int64_t y = 0; y < maps.height; ++y)
    copy_row(from + y * maps.stride_row, maps.stride_column, maps.width, end - begin, to + y * maps.width, area);
}

}  // namespace

void copy_planes_block(const CopyPlanesParams& p, int64_t image, int64_t unit_begin, int64_t unit_end) {
  if (p.maps.dtype == DType::kFloat32) return copy_block<float>(p, image, unit_begin, unit_end);
  copy_block<uint16_t>(p, image, unit_begin, unit_end);
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
