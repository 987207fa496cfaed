// The CPU's iou_counts, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// A cell none of whose corners exceeds the threshold costs nothing: only the spans of columns that do are visited.
// Within a row, a span lies between two ends, and its values rise or fall monotonically between them (rounding is
// monotone), so what fires in a span is its head, its tail, all or nothing: a range. Ranges are counted a run of equal
// labels at a time, for all planes at once: a pixel's labels are one combination, and a combination is taken apart once
// per map, however often it was met.
#pragma once

#include "../iou_counts.h"
#include "hot_maps.h"
#include "load_maps.h"
#include "profiles.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// What one map meets: pixels per combination.
struct Meetings {
  int64_t* counts;
  int32_t* touched;
  int64_t num_touched;

  // `is_new` where some pixels, but none yet, are of this combination.
  inline void add(int64_t combination, int64_t pixels, bool is_new) {
    // Written always, kept only if new: a branch here would be mispredicted.
    touched[num_touched] = static_cast<int32_t>(combination);
    num_touched += is_new;
    counts[combination] += pixels;
  }

  // All from one cell; maybe none.
  inline void add(int64_t combination, int64_t pixels) {
    add(combination, pixels, (counts[combination] == 0) & (pixels != 0));
  }

  inline void add(const CellPieces& pieces, uint32_t fires) {
    for (int i = 0; i < kMaxPieces; ++i) add(pieces.combination[i], __builtin_popcount(fires & pieces.pixels[i]));
  }

  template <typename Word>
  inline void add(const Word* runs_of_row, int64_t begin, int64_t end) {
    for (int64_t x = begin; x < end;) {
      const Word run = runs_of_row[x];
      const int64_t run_end = end_of(run) < end ? end_of(run) : end;
      add(combination_of(run), run_end - x, counts[combination_of(run)] == 0);
      x = run_end;
    }
  }

  // Returns the area: every pixel has one combination.
  inline int64_t take_apart(const int32_t* table, int64_t num_planes, int64_t* intersection) {
    int64_t area = 0;
    for (int64_t i = 0; i < num_touched; ++i) {
      const int64_t pixels = counts[touched[i]];
      const int32_t* labels = table + touched[i] * num_planes;
      for (int64_t k = 0; k < num_planes; ++k) intersection[labels[k]] += pixels;
      counts[touched[i]] = 0;
      area += pixels;
    }
    num_touched = 0;
    return area;
  }

  // The same, and notes each label with its pixels, in order.
  inline int64_t take_apart(const int32_t* table, int64_t num_planes, int64_t* intersection, const ImageLabels& image,
                            int32_t* by_place, LabelCounts& noted) {
    if (num_touched == 0) return 0;
    int64_t area = 0;
    for (int64_t i = 0; i < num_touched; ++i) {
      const int64_t pixels = counts[touched[i]];
      const int32_t* labels = table + touched[i] * num_planes;
      const int32_t* places = image.places + touched[i] * num_planes;
      for (int64_t k = 0; k < num_planes; ++k) {
        intersection[labels[k]] += pixels;
        by_place[places[k]] += static_cast<int32_t>(pixels);
      }
      counts[touched[i]] = 0;
      area += pixels;
    }
    num_touched = 0;
    by_place[0] = 0;  // "no label"
    const int32_t* const labels = image.labels;
    const int64_t num_labels = image.num_labels;
    int32_t* const labels_to = noted.labels + noted.size;
    int32_t* const pixels_to = noted.pixels + noted.size;
    int64_t size = 0;
    for (int64_t i = 0; i < num_labels; i += kLanes)
      size += take_counts(labels_to + size, pixels_to + size, labels + i, by_place + i);
    noted.size += size;
    return area;
  }
};

// How many columns of a span fire in one row, given that exactly one of its ends does.
inline int32_t count_in_row(const float* weights, const Span& span, float left, float right, Lanes threshold) {
  const Wide from = Wide{} + left, to = Wide{} + right, level = first_wide(threshold);
  int32_t count = 0;
  for (int64_t x = span.begin; x < span.end; x += kWide) {
    const uint32_t fires = greater(interpolate(from, to, load_wide(weights + x)), level);
    count += __builtin_popcount(fires & first_wide_bits(span.end - x));
  }
  return count;
}

// Up to sixteen target rows, each with the range of columns that is still growing.
template <typename Word>
struct Rows {
  const Word* runs;  // of the first row
  int64_t width;
  uint32_t open;  // which rows have a range
  int32_t begin[kLanes], end[kLanes];

  inline void add(int row, int32_t from, int32_t to, Meetings& meetings) {
    const bool is_open = (open >> row) & 1u;
    if (!is_open || end[row] != from) {
      if (is_open) meetings.add(runs + row * width, begin[row], end[row]);
      begin[row] = from;
      open |= 1u << row;
    }
    end[row] = to;
  }

  inline void close(Meetings& meetings) {
    for (; open != 0; open &= open - 1) {
      const int row = __builtin_ctz(open);
      meetings.add(runs + row * width, begin[row], end[row]);
    }
  }
};

// Adds a span of up to sixteen rows whose labels differ.
template <typename Word>
inline void add_span(const GridView& grid, const Span& span, const Profile& left, const Profile& right, Lanes threshold,
                     Rows<Word>& rows, Meetings& meetings) {
  for (uint32_t active = left.bits | right.bits; active != 0; active &= active - 1) {
    const int row = __builtin_ctz(active);
    int32_t from = span.begin, to = span.end;
    if (((left.bits ^ right.bits) >> row) & 1u) {
      const int32_t count = count_in_row(grid.column_weights, span, left.values[row], right.values[row], threshold);
      const bool head = (left.bits >> row) & 1u;
      to = head ? from + count : to;
      from = head ? from : to - count;
    }
    rows.add(row, from, to, meetings);
  }
}

// The area that fires in a span of up to sixteen rows.
inline int64_t count_span(const GridView& grid, const Span& span, const Profile& left, const Profile& right,
                          Lanes threshold) {
  int64_t area = int64_t{span.end - span.begin} * __builtin_popcount(left.bits & right.bits);
  for (uint32_t mixed = left.bits ^ right.bits; mixed != 0; mixed &= mixed - 1) {
    const int row = __builtin_ctz(mixed);
    area += count_in_row(grid.column_weights, span, left.values[row], right.values[row], threshold);
  }
  return area;
}

// Adds a small cell whose labels differ: what fires in a row of a span is one range, so its bits are neighbours.
template <typename Word>
inline void add_small_cell(const Span& span, uint32_t fires, const Rows<Word>& rows, Meetings& meetings) {
  const int n = span.end - span.begin;
  for (int row = 0; fires != 0; ++row, fires >>= n) {
    const uint32_t bits = fires & ((1u << n) - 1u);
    if (bits == 0) continue;
    const int32_t from = span.begin + __builtin_ctz(bits);
    meetings.add(rows.runs + row * rows.width, from, from + __builtin_popcount(bits));
  }
}

template <typename Word>
inline void count_map(const IouCountsParams& p, int64_t image, const LabelCells& cells, const float* map,
                      float threshold, ColumnBits bits, Meetings& meetings) {
  const GridView& grid = p.grid;
  const int64_t pitch = padded_width(p.maps);
  const Word* runs = static_cast<const Word*>(p.runs) + image * grid.num_rows * grid.num_columns;
  const Lanes level = same(threshold);
  for_active_rows(grid, bits, [&](const Span& span, const uint64_t* upper_bits, const uint64_t* lower_bits) {
    const float* upper = map + span.index0 * pitch;
    const float* lower = map + span.index1 * pitch;
    const int32_t* cells_of_row = cells.combinations + (&span - grid.row_spans) * grid.num_column_spans;
    for (int64_t y = span.begin; y < span.end; y += kLanes) {
      const uint32_t valid = first_bits(span.end - y);
      const Lanes weights = load(grid.row_weights + y);
      const auto passes = [=](Lanes values) { return greater(values, level) & valid; };
      Profiles profiles(upper, lower, weights, passes);
      Rows<Word> rows{runs + y * grid.num_columns, grid.num_columns, 0, {}, {}};
      for_active_spans(grid, upper_bits, lower_bits, bits.per_row, [&](const Span& columns) {
        const int32_t combination = cells_of_row[&columns - grid.column_spans];
        if (is_small(span, columns)) {
          const int64_t pixels = int64_t{span.end - span.begin} * (columns.end - columns.begin);
          const uint32_t fires = greater(small_cell(grid, columns, upper, lower, weights), level) & first_bits(pixels);
          if (combination >= 0) meetings.add(combination, __builtin_popcount(fires));
          else if (combination != LabelCells::kLookAtRuns) meetings.add(cells.pieces[-1 - combination], fires);
          else add_small_cell(columns, fires, rows, meetings);
        } else {
          const Profile& left = profiles[columns.index0];
          const Profile& right = profiles[columns.index1];
          if (combination >= 0) meetings.add(combination, count_span(grid, columns, left, right, level));
          else add_span(grid, columns, left, right, level, rows, meetings);
        }
      });
      rows.close(meetings);
    }
  });
}

// Where pixels are the map's own cells: the bits alone say which fire.
template <typename Word>
inline void count_cells(const IouCountsParams& p, int64_t image, const ColumnBits& bits, Meetings& meetings) {
  const Word* runs = static_cast<const Word*>(p.runs) + image * p.maps.height * p.maps.width;
  for (int64_t y = 0; y < p.maps.height; ++y, runs += p.maps.width) {
    const uint64_t* words = bits.words + (y + 1) * bits.per_row;
    for (int64_t w = 0; w < bits.per_row; ++w)
      for (uint64_t columns = words[w]; columns != 0; columns &= columns - 1) {
        const int64_t combination = combination_of(runs[64 * w + __builtin_ctzll(columns) - 1]);
        meetings.add(combination, 1, meetings.counts[combination] == 0);
      }
  }
}

// Takes apart what a map met. Returns its area.
inline int64_t take_apart(const IouCountsParams& p, int64_t image, int64_t unit, Meetings& meetings,
                          const ByImageWorkspace* by_image) {
  int64_t* intersection = p.intersection + unit * p.num_labels;
  const int32_t* table = p.table + p.offsets[image] * p.num_planes;
  if (by_image == nullptr) return meetings.take_apart(table, p.num_planes, intersection);
  const ImageLabels& labels = by_image->images[image];
  LabelCounts& counts = *by_image->counts;
  if (counts.capacity - counts.size < labels.num_labels + kLanes) counts.reserve(counts, labels.num_labels + kLanes);
  const int64_t before = counts.size;
  const int64_t area = meetings.take_apart(table, p.num_planes, intersection, labels, by_image->by_place, counts);
  by_image->per_map[image * p.maps.num_units + unit] = static_cast<int32_t>(counts.size - before);
  return area;
}

// Returns false at the first bad value.
template <typename Word>
bool count_units(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end, const IouCountsWorkspace& workspace) {
  const int64_t size = padded_size(p.maps);
  Meetings meetings{workspace.counts, workspace.touched, 0};
  const ColumnBits bits{workspace.bits, words_per_row(p.maps)};
  const bool at_cells = is_identity(p.grid, p.maps);
  // Images outside, so that an image's runs stay in the cache for all units.
  for (int64_t image = 0; image < p.maps.num_images; ++image) {
    for (int64_t block = unit_begin; block < unit_end; block += kUnitBlock) {
      const int64_t block_end = block + kUnitBlock < unit_end ? block + kUnitBlock : unit_end;
      if (p.hot == nullptr && !load_maps(p.maps, image, block, block_end - block, workspace.maps)) return false;
      for (int64_t unit = block; unit < block_end; ++unit) {
        float* map = workspace.maps + (unit - block) * size;
        const int64_t number = image * p.maps.num_units + unit;
        mark_columns(p.maps, p.hot, number, p.grid, map, bits, Exceeds{p.thresholds[unit]});
        if (at_cells) count_cells<Word>(p, image, bits, meetings);
        else count_map<Word>(p, image, workspace.cells[image], map, p.thresholds[unit], bits, meetings);
        if (p.hot != nullptr) clear(p.maps, *p.hot, number, map);
        p.unit_area[image * p.maps.num_units + unit] = take_apart(p, image, unit, meetings, workspace.by_image);
      }
    }
  }
  return true;
}

}  // namespace

bool iou_counts_block(const IouCountsParams& p, int64_t unit_begin, int64_t unit_end,
                      const IouCountsWorkspace& workspace) {
  __builtin_memset(p.intersection + unit_begin * p.num_labels, 0,
                   (unit_end - unit_begin) * p.num_labels * sizeof(int64_t));
  const bool good = p.wide ? count_units<int64_t>(p, unit_begin, unit_end, workspace)
                           : count_units<int32_t>(p, unit_begin, unit_end, workspace);
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) p.intersection[unit * p.num_labels] = 0;  // "no label"
  return good;
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
