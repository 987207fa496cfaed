// The CPU's tail_histogram, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// What lies below `low` is skipped, and of what lies above `high` only how much is counted: only the few in between are
// binned.
#pragma once

#include "../tail_histogram.h"
#include "hot_maps.h"
#include "load_maps.h"
#include "tail_cells.h"
#include "whole_rows.h"

namespace dissect {
namespace DISSECT_LEVEL {

bool bad_values(const FeatureMaps& maps, int64_t image, int64_t begin, int64_t end);

namespace {

// Units whose own cells are counted together: few enough for their bins to stay in a near cache, enough for memory to
// be read in long runs.
constexpr int64_t kFeatureBlock = kUnitBlock / 2;

// Cells by their least or largest corner, with all their pixels as weight. First the two source rows become one.
inline void add_bounds(const TailHistogramParams& p, const Span& rows, const float* upper, const float* lower,
                       float* row, Tail& tail) {
  const auto bound_of = [&p](Lanes a, Lanes b) { return p.sample == Sample::kMin ? smaller(a, b) : larger(a, b); };
  const GridView& grid = p.grid;
  const int64_t width = padded_width(p.maps);
  for (int64_t x = 0; x < width; x += kLanes) store(row + x, bound_of(load(upper + x), load(lower + x)));
  const bool in_one_vector = kFastPermute && width <= kLanes;
  const Lanes first = load(row);
  for (int64_t c = 0; c < grid.num_column_spans; c += kLanes) {
    const int32_t *left = grid.left_index + c, *right = grid.right_index + c;
    const Lanes bound = in_one_vector ? bound_of(permute(first, left), permute(first, right))
                                      : bound_of(gather(row, left), gather(row, right));
    uint32_t within = ~greater(tail.low_value, bound) & first_bits(grid.num_column_spans - c);
    if (within == 0) continue;
    const uint32_t above = greater(bound, tail.high_value);
    float scalars[kLanes];
    store(scalars, bound);
    for (; within != 0; within &= within - 1) {
      const int s = __builtin_ctz(within);
      const Span& columns = grid.column_spans[c + s];
      const int64_t weight = int64_t{rows.end - rows.begin} * (columns.end - columns.begin);
      if ((above >> s) & 1u) tail.above += weight;
      else tail.add(scalars[s], weight);
    }
  }
}

template <WholeRows::Source kSource, bool kAbove>
__attribute__((noinline)) void add_whole_rows(const WholeRows& rows, const float* map, const ColumnBits& bits,
                                              float* row, Tail& tail, Waiting& waiting) {
  Samples samples(tail, waiting);
  rows.visit<kSource>(map, bits, row,
                      [&](Lanes values, int64_t number) { samples.add<kAbove>(values, first_bits(number)); });
  tail.above += samples.end();
}
template <bool kAbove>
inline void add_whole_rows(const WholeRows& rows, const float* map, const ColumnBits& bits, float* row, Tail& tail,
                           Waiting& waiting) {
  switch (rows.source()) {
    case WholeRows::Source::kRegister:
      return add_whole_rows<WholeRows::Source::kRegister, kAbove>(rows, map, bits, row, tail, waiting);
    case WholeRows::Source::kTwoRegisters:
      return add_whole_rows<WholeRows::Source::kTwoRegisters, kAbove>(rows, map, bits, row, tail, waiting);
    case WholeRows::Source::kMemory:
      return add_whole_rows<WholeRows::Source::kMemory, kAbove>(rows, map, bits, row, tail, waiting);
  }
}

// What the maps of a block of units are counted with.
struct PixelTails {
  const TailHistogramParams& p;
  const ColumnBits bits;
  float* const row;
  const CellPlan plan;
  const WholeRows rows;
  TailLists lists;
  Waiting waiting;

  PixelTails(const TailHistogramParams& params, const TailHistogramWorkspace& workspace)
      : p(params),
        bits{workspace.bits, words_per_row(p.maps)},
        row(workspace.row),
        plan(plan_cells(p.grid, padded_width(p.maps))),
        rows(p.grid, plan) {}

  // One map, with `bits` for the columns that reach `low`.
  inline void add(const float* map, Tail& tail) {
    // Whole rows of hot cells have zeros where nothing was kept, which are no samples: none must reach `low`.
    const bool whole = p.hot == nullptr || tail.low_value[0] > 0;
    if (p.sample != Sample::kValue) {
      for_active_rows(p.grid, bits, [&](const Span& span, const RowBits&) {
        add_bounds(p, span, map + span.index0 * plan.pitch, map + span.index1 * plan.pitch, row, tail);
      });
    } else if (!whole || !rows.pay(bits)) {
      const MapTail of_map{p.grid, plan, map};
      plan.list(p.grid, bits, lists.active, [&] { of_map.add(lists, tail, waiting); });
    } else if (tail.has_above()) {
      add_whole_rows<true>(rows, map, bits, row, tail, waiting);
    } else {
      add_whole_rows<false>(rows, map, bits, row, tail, waiting);
    }
  }
};

// The feature map's own cells, in the key space of 16-bit types.
inline void add_half_cells(const FeatureMaps& maps, int64_t image, int64_t unit, uint32_t high, Tail& tail) {
  const uint16_t* base = static_cast<const uint16_t*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const uint32_t key = key_of_half(base[y * maps.stride_row + x * maps.stride_column]);
      if (key > high) ++tail.above;
      else if (key >= tail.low) tail.bins[(key - tail.low) >> tail.shift] += tail.step;
    }
}

// The feature map's own cells, float32. Returns whether all are good.
template <bool kAbove>
inline bool add_cells(const FeatureMaps& maps, int64_t image, int64_t unit, Tail& tail, Waiting& waiting) {
  Samples samples(tail, waiting);
  Magnitudes magnitudes;
  const auto add = [&](Lanes values, int64_t number) {
    magnitudes.note(values);
    samples.add<kAbove>(values, first_bits(number));
  };
  const float* base = static_cast<const float*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
  const bool one_row = maps.stride_column == 1 && maps.stride_row == maps.width;
  const int64_t width = one_row ? maps.width * maps.height : maps.width, height = one_row ? 1 : maps.height;
  const int64_t ahead = image + 1 < maps.num_images ? maps.stride_image : 0;
  for (int64_t y = 0; y < height; ++y) {
    const float* row = base + y * maps.stride_row;
    int64_t x = 0;
    if (maps.stride_column == 1)
      for (; x + kLanes <= width; x += kLanes) {
        __builtin_prefetch(row + x + ahead);
        add(load(row + x), kLanes);
      }
    for (; x < width; x += kLanes) {
      const int64_t count = width - x < kLanes ? width - x : kLanes;
      float strided[kLanes] = {};
      if (maps.stride_column != 1)
        for (int64_t i = 0; i < count; ++i) strided[i] = row[(x + i) * maps.stride_column];
      add(maps.stride_column == 1 ? load_some(row + x, count) : load(strided), count);
    }
  }
  tail.above += samples.end();
  return magnitudes.good();
}
inline bool add_cells(const FeatureMaps& maps, int64_t image, int64_t unit, Tail& tail, Waiting& waiting) {
  return tail.has_above() ? add_cells<true>(maps, image, unit, tail, waiting)
                          : add_cells<false>(maps, image, unit, tail, waiting);
}

// All images' upsampled pixels, or their bounds, of the units [begin, end). Returns whether all values are good; of an
// image where some are not, nothing is counted.
inline bool add_pixels(const TailHistogramParams& p, int64_t begin, int64_t end, int64_t step,
                       const TailHistogramWorkspace& workspace) {
  bool wanted = false, good = true;
  for (int64_t unit = begin; unit < end; ++unit) wanted |= p.low[unit] <= p.high[unit];
  PixelTails tails(p, workspace);
  Waiting& waiting = tails.waiting;
  int empty[kUnitBlock] = {};  // how many maps of a unit, the last ones, had no sample within its bracket
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    const bool usable = p.hot != nullptr || (wanted ? load_maps(p.maps, image, begin, end - begin, workspace.maps)
                                                    : !bad_values(p.maps, image, begin, end));
    good &= usable;
    for (int64_t unit = begin; usable && unit < end; ++unit) {
      if (p.low[unit] > p.high[unit]) continue;
      Tail tail = tail_of(p, unit, step);
      float* map = workspace.maps + (unit - begin) * padded_size(p.maps);
      const int64_t number = image * p.maps.num_units + unit;
      mark_columns(p.maps, p.hot, number, p.grid, map, tails.bits, Reaches{tail.low_value[0]});
      waiting.rare = empty[unit - begin] >= 4;
      tails.add(map, tail);
      empty[unit - begin] = waiting.count == 0 ? empty[unit - begin] + 1 : 0;
      waiting.flush(tail);
      if (p.hot != nullptr) clear(p.maps, *p.hot, number, map);
      p.above[unit] += step * tail.above;
    }
  }
  return good;
}

// The hot ones of a unit's own cells.
inline void add_hot_cells(const HotCells& hot, int64_t number, Tail& tail, Waiting& waiting) {
  const float* values = hot.values + hot.starts[number];
  const int64_t count = hot.counts[number];
  Samples samples(tail, waiting);
  for (int64_t i = 0; i < count; i += kLanes) samples.add(load_some(values + i, count - i), first_bits(count - i));
  tail.above += samples.end();
}

// All images' own cells of the units [begin, end), kFeatureBlock at most. Returns whether all values are good.
inline bool add_features(const TailHistogramParams& p, int64_t begin, int64_t end, int64_t step) {
  const bool narrow = p.maps.dtype != DType::kFloat32;
  Tail tails[kFeatureBlock];
  // Samples wait across images: to bin those of one map at a time would end a loop at a place that is hard to predict.
  Waiting waiting[kFeatureBlock];
  for (int64_t unit = begin; unit < end; ++unit) tails[unit - begin] = tail_of(p, unit, step);
  bool good = true;
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    if (narrow && bad_values(p.maps, image, begin, end)) {
      good = false;
      continue;
    }
    for (int64_t unit = begin; unit < end; ++unit) {
      Tail& tail = tails[unit - begin];
      if (p.hot != nullptr) {
        if (p.low[unit] <= p.high[unit])
          add_hot_cells(*p.hot, image * p.maps.num_units + unit, tail, waiting[unit - begin]);
        continue;
      }
      if (p.low[unit] > p.high[unit]) good &= narrow || !bad_values(p.maps, image, unit, unit + 1);
      else if (narrow) add_half_cells(p.maps, image, unit, static_cast<uint32_t>(p.high[unit]), tail);
      else good &= add_cells(p.maps, image, unit, tail, waiting[unit - begin]);
    }
  }
  for (int64_t unit = begin; unit < end; ++unit) {
    waiting[unit - begin].flush(tails[unit - begin]);
    p.above[unit] += step * tails[unit - begin].above;
  }
  return good;
}

}  // namespace

bool tail_histogram_block(const TailHistogramParams& p, int64_t unit_begin, int64_t unit_end, int64_t step,
                          const TailHistogramWorkspace& workspace) {
  const bool at_pixels = p.grid.num_rows > 0;
  const int64_t block = at_pixels ? kUnitBlock : kFeatureBlock;
  bool all_good = true;
  for (int64_t begin = unit_begin; begin < unit_end; begin += block) {
    const int64_t end = begin + block < unit_end ? begin + block : unit_end;
    all_good &= at_pixels ? add_pixels(p, begin, end, step, workspace) : add_features(p, begin, end, step);
  }
  return all_good;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
