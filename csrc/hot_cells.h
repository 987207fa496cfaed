// hot_cells: of maps what lies near values above a floor, all that counts above it ask for. See
// dissect/reference/hot_cells.py.
#pragma once

#include "feature_maps.h"

namespace dissect {

// What was kept of [N, U] maps; all else of them is not above their floors.
struct HotCells {
  const int64_t* starts;  // [N, U], where the entries of a map begin
  const int32_t* counts;  // [N, U], how many they are, in the order of the map's cells
  const void* places;     // row * width + column: uint16_t, or int32_t if `wide`
  bool wide;
  const float* values;
  const float* floors = nullptr;  // [N, U]; the CUDA engine's alone
};

struct HotCellsParams {
  FeatureMaps maps;     // without data where `hot` is given
  const float* floors;  // [N, U]; -infinity keeps all
  int64_t reach;        // 0, or 1: the neighbours of what is above the floor, virtual zeros too, are kept as well
  float* peaks;         // [N, U], written; null where `hot` is given
  int32_t* counts;      // [N, U], written
  const HotCells* hot = nullptr;
};

// Of a block of units, a list per unit with room for a whole map. `marks` and `near` hold mark_words(maps), zero at
// first; `row` a padded row; `map` a padded map, zero at first.
struct HotCellsWorkspace {
  uint64_t *marks, *near;
  float *row, *map;
  int32_t* places;  // [kUnitBlock, height * width]
  float* values;    // the same
};
// Writes the lists of the units [unit_begin, unit_end), kUnitBlock at most, of an image. Returns false where it met a
// bad value; what it wrote is then worthless.
using HotCellsBlock = bool (*)(const HotCellsParams&, int64_t image, int64_t unit_begin, int64_t unit_end,
                               const HotCellsWorkspace&);

}  // namespace dissect
