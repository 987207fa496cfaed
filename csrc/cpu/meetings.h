// What a map meets of an image's labels, for one SIMD level: pixels per combination, which are taken apart into labels
// once per map.
#pragma once

#include "../iou_counts.h"
#include "compress.h"

namespace dissect {
namespace {

// An image of at most so many combinations has `few`: which of them a map met is then looked up when it has ended.
constexpr int64_t kFewCombinations = 128;

// What one map meets: pixels per combination. `counts` and `touched` have room for
// sixteen more than there are combinations.
template <bool kFew>
struct Meetings {
  int64_t* counts;
  int32_t* touched;
  int64_t num_touched;

  // Maybe no pixels.
  __attribute__((always_inline)) inline void add(int64_t combination, int64_t pixels) {
    const int64_t before = counts[combination], after = before + pixels;
    counts[combination] = after;
    if (kFew) return;
    // Written always, kept only if new: a branch here would be mispredicted.
    touched[num_touched] = static_cast<int32_t>(combination);
    num_touched += int64_t{before == 0} - int64_t{after == 0};
  }

  // All that were added, in `touched`.
  inline void end(int64_t num_combinations) {
    if (!kFew) return;
    for (int64_t i = 0; i < num_combinations; i += kLanes)
      num_touched += compress_numbers(touched + num_touched, static_cast<int32_t>(i), nonzero(counts + i));
  }

  __attribute__((always_inline)) inline void add_pieces(const CellPieces& pieces, uint32_t fires) {
    for (int i = 0; i < kMaxPieces; ++i) add(pieces.combination[i], __builtin_popcount(fires & pieces.pixels[i]));
  }

  // Some columns of a row.
  template <typename Word>
  __attribute__((always_inline)) inline void add_runs(const Word* runs_of_row, int64_t begin, int64_t end) {
    for (int64_t x = begin; x < end;) {
      const Word run = runs_of_row[x];
      const int64_t run_end = end_of(run) < end ? end_of(run) : end;
      add(combination_of(run), run_end - x);
      x = run_end;
    }
  }

  // Of a row within a span the columns [begin, begin + number), from the span's first on; of one or two runs.
  __attribute__((always_inline)) inline void add_row(uint64_t row_labels, int32_t begin, int32_t number) {
    const int32_t before = static_cast<int32_t>(row_labels >> 48) - begin;
    const int32_t first = before < 0 ? 0 : before < number ? before : number;
    add(static_cast<int64_t>(row_labels & 0xffffff), first);
    add(static_cast<int64_t>(row_labels >> 24 & 0xffffff), number - first);
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

}  // namespace
}  // namespace dissect
