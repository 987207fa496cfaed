// The CPU's tail_histogram, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A cell is the pixels of one row span and one column span: all lie between its four corners. What lies below `low` is
// skipped and what lies above `high` is counted whole, sixteen at a time; only the few in between are binned.
#pragma once

#include "../tail_histogram.h"
#include "compress.h"
#include "hot_maps.h"
#include "load_maps.h"
#include "profiles.h"

namespace dissect {
namespace DISSECT_LEVEL {

bool bad_values(const FeatureMaps& maps, int64_t image, int64_t begin, int64_t end);

namespace {

// Units whose own cells are counted together: few enough for their bins to stay in a near cache, enough for memory to
// be read in long runs.
constexpr int64_t kFeatureBlock = kUnitBlock / 2;

inline float smallest(float a, float b, float c, float d) {
  const float one = a < b ? a : b, other = c < d ? c : d;
  return one < other ? one : other;
}
inline float largest(float a, float b, float c, float d) {
  const float one = a > b ? a : b, other = c > d ? c : d;
  return one > other ? one : other;
}

// One unit's bracket and bins.
struct Tail {
  uint32_t low;
  int32_t shift;
  int64_t step;  // what one sample adds: 1, or -1 to take it back
  int64_t* bins;
  Lanes low_value, high_value;  // the floats of the bracket's ends
  int64_t above;

  // Counts those of some valid samples that are above the bracket, and returns the bits of those within.
  inline uint32_t within(Lanes lanes, uint32_t valid) { return within(lanes, low_value, high_value, valid); }
  template <typename Vector>
  inline uint32_t within(Vector lanes, Vector low_end, Vector high_end, uint32_t valid) {
    const uint32_t above_bits = greater(lanes, high_end) & valid;
    above += __builtin_popcount(above_bits);
    return ~(greater(low_end, lanes) | above_bits) & valid;
  }

  inline uint32_t bin_of(float value) const { return (key_of(value) - low) >> shift; }
  inline void add(float value, int64_t weight) { bins[bin_of(value)] += step * weight; }

  // Counts samples between two values of which the lesser reaches the bracket, all at once where they are above it, or
  // in one bin, as the zeros are of a unit that is seldom above 0. Returns whether it did.
  inline bool add_alike(float least, float most, int64_t samples) {
    if (least > high_value[0]) above += samples;
    else if (most <= high_value[0] && bin_of(least) == bin_of(most)) add(least, samples);
    else return false;
    return true;
  }
};

inline Tail tail_of(const TailHistogramParams& p, int64_t unit, int64_t step) {
  const uint32_t low = static_cast<uint32_t>(p.low[unit]), high = static_cast<uint32_t>(p.high[unit]);
  // No value has the key 0x7fffffff: as a float it would be the negative zero, which is no less than the positive one.
  return {low,
          static_cast<int32_t>(p.shift[unit]),
          step,
          p.bins + unit * p.num_bins,
          same(value_of_key(low)),
          same(value_of_key(high == 0x7fffffffu ? high - 1 : high)),
          0};
}

// Samples of one unit that wait to be binned. Whether one is within the bracket is hard to predict, so those that are
// get here without a branch, and are binned together; unless they are `rare`.
struct Waiting {
  static constexpr int64_t kCapacity = 256;
  float values[kCapacity + kLanes];
  int64_t count = 0;
  bool rare = false;

  // Takes those of a vector of samples that are `valid`.
  inline void add(Tail& tail, Lanes lanes, uint32_t valid) { add_within(tail, lanes, tail.within(lanes, valid)); }
  template <typename Vector>
  inline void add_within(Tail& tail, Vector lanes, uint32_t within) {
    if (rare && within == 0) return;
    keep(tail, lanes, within);
  }
  template <typename Vector>
  inline void keep(Tail& tail, Vector lanes, uint32_t within) {
    count += compress(values + count, lanes, within);
    if (count >= kCapacity) flush(tail);
  }

  inline void flush(Tail& tail) {
    for (int64_t i = 0; i < count; ++i) tail.add(values[i], 1);
    count = 0;
  }
};

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

// The pixels of up to sixteen target rows in one span, whose ends are at or above `low` in the profiles' bits.
inline void add_span(const GridView& grid, const Span& span, const Profile& left, const Profile& right, int64_t rows,
                     Tail& tail, Waiting& waiting) {
  if (__builtin_expect((left.bits & right.bits) == first_bits(rows), 0)) {
    const float a = left.values[0], b = right.values[0], c = left.values[rows - 1], d = right.values[rows - 1];
    if (tail.add_alike(smallest(a, b, c, d), largest(a, b, c, d), rows * (span.end - span.begin))) return;
  }
  const uint32_t active = left.bits | right.bits;
  const uint32_t whole =
      greater(load(left.values), tail.high_value) & greater(load(right.values), tail.high_value) & active;
  tail.above += int64_t{span.end - span.begin} * __builtin_popcount(whole);
  const Wide low = first_wide(tail.low_value), high = first_wide(tail.high_value);
  for (uint32_t rest = active & ~whole; rest != 0; rest &= rest - 1) {
    const int row = __builtin_ctz(rest);
    const Wide from = Wide{} + left.values[row], to = Wide{} + right.values[row];
    for (int64_t x = span.begin; x < span.end; x += kWide) {
      const Wide samples = interpolate(from, to, load_wide(grid.column_weights + x));
      waiting.add_within(tail, samples, tail.within(samples, low, high, first_wide_bits(span.end - x)));
    }
  }
}

// `bits` are those of the columns that reach `low`. `empty` counts the unit's latest maps of which no sample was within
// the bracket; after some of them one is unlikely. Not inlined: beside all that its caller needs, the compiler keeps
// less of this in registers (visits took a third longer).
__attribute__((noinline)) void add_map(const TailHistogramParams& p, const float* map, float* row, ColumnBits bits,
                                       Tail& tail, int& empty) {
  const GridView& grid = p.grid;
  const int64_t pitch = padded_width(p.maps);
  const Lanes low = tail.low_value;
  Waiting waiting;
  waiting.rare = empty >= 4;
  for_active_rows(grid, bits, [&](const Span& span, const uint64_t* upper_bits, const uint64_t* lower_bits) {
    const float* upper = map + span.index0 * pitch;
    const float* lower = map + span.index1 * pitch;
    if (p.sample != Sample::kValue) {
      add_bounds(p, span, upper, lower, row, tail);
      return;
    }
    for (int64_t y = span.begin; y < span.end; y += kLanes) {
      const int64_t rows = span.end - y < kLanes ? span.end - y : kLanes;
      const uint32_t valid = first_bits(rows);
      const Lanes weights = load(grid.row_weights + y);
      const auto passes = [=](Lanes values) { return ~greater(low, values) & valid; };
      Profiles profiles(upper, lower, weights, passes);
      for_active_spans(grid, upper_bits, lower_bits, bits.per_row, [&](const Span& columns) {
        if (is_small(span, columns)) {
          const int64_t pixels = int64_t{span.end - span.begin} * (columns.end - columns.begin);
          waiting.add(tail, small_cell(grid, columns, upper, lower, weights), first_bits(pixels));
        } else {
          const Profile& left = profiles[columns.index0];
          add_span(grid, columns, left, profiles[columns.index1], rows, tail, waiting);
        }
      });
    }
  });
  empty = waiting.count == 0 ? empty + 1 : 0;
  waiting.flush(tail);
}

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
inline bool add_cells(const FeatureMaps& maps, int64_t image, int64_t unit, Tail& tail, Waiting& waiting) {
  const float* base = static_cast<const float*>(maps.data) + image * maps.stride_image + unit * maps.stride_unit;
  const bool one_row = maps.stride_column == 1 && maps.stride_row == maps.width;
  const int64_t width = one_row ? maps.width * maps.height : maps.width, height = one_row ? 1 : maps.height;
  const int64_t ahead = image + 1 < maps.num_images ? maps.stride_image : 0;
  uint32_t bad = 0;
  const auto add = [&](Lanes values, uint32_t valid) {
    const uint32_t wrong = bad_bits(values);
    bad |= wrong;
    waiting.keep(tail, values, tail.within(values, valid & ~wrong));
  };
  for (int64_t y = 0; y < height; ++y) {
    const float* row = base + y * maps.stride_row;
    int64_t x = 0;
    if (maps.stride_column == 1)
      for (; x + kLanes <= width; x += kLanes) {
        __builtin_prefetch(row + x + ahead);
        add(load(row + x), 0xffffu);
      }
    for (; x < width; x += kLanes) {
      const int64_t count = width - x < kLanes ? width - x : kLanes;
      float strided[kLanes] = {};
      if (maps.stride_column != 1)
        for (int64_t i = 0; i < count; ++i) strided[i] = row[(x + i) * maps.stride_column];
      add(maps.stride_column == 1 ? load_some(row + x, count) : load(strided), first_bits(count));
    }
  }
  return bad == 0;
}

// All images' upsampled pixels, or their bounds, of the units [begin, end). Returns whether all values are good; of an
// image where some are not, nothing is counted.
inline bool add_pixels(const TailHistogramParams& p, int64_t begin, int64_t end, int64_t step,
                       const TailHistogramWorkspace& workspace) {
  bool wanted = false, good = true;
  for (int64_t unit = begin; unit < end; ++unit) wanted |= p.low[unit] <= p.high[unit];
  const ColumnBits bits{workspace.bits, words_per_row(p.maps)};
  int empty[kUnitBlock] = {};
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    const bool usable = p.hot != nullptr || (wanted ? load_maps(p.maps, image, begin, end - begin, workspace.maps)
                                                    : !bad_values(p.maps, image, begin, end));
    good &= usable;
    for (int64_t unit = begin; usable && unit < end; ++unit) {
      if (p.low[unit] > p.high[unit]) continue;
      Tail tail = tail_of(p, unit, step);
      float* map = workspace.maps + (unit - begin) * padded_size(p.maps);
      const int64_t number = image * p.maps.num_units + unit;
      mark_columns(p.maps, p.hot, number, p.grid, map, bits, Reaches{tail.low_value[0]});
      add_map(p, map, workspace.row, bits, tail, empty[unit - begin]);
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
  for (int64_t i = 0; i < count; i += kLanes) {
    const Lanes lanes = load_some(values + i, count - i);
    waiting.keep(tail, lanes, tail.within(lanes, first_bits(count - i)));
  }
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
