// iou_counts: pixels where units fire, and where units and labels meet. See dissect/reference/iou_counts.py.
#pragma once

#include "encode_labels.h"
#include "hot_cells.h"

namespace dissect {

struct IouCountsParams {
  FeatureMaps maps;
  GridView grid;
  const float* thresholds;  // [U]
  const void* runs;         // [N, H, W] RunWords, see encode_labels.h
  bool wide;                // of int64_t, else of int32_t
  const int32_t* table;     // [T, K], the labels of every combination of every image
  const int64_t* offsets;   // [N + 1], where each image's combinations begin in the table
  int64_t num_planes, num_labels;
  int64_t* intersection;          // [U, C]
  int64_t* unit_area;             // [N, U]
  const HotCells* hot = nullptr;  // instead of the maps' data
};

// A cell of at most 16 pixels whose labels differ: its combinations, and the bits of their pixels, row by row.
constexpr int kMaxPieces = 4, kPiecePixels = 16;
struct CellPieces {
  int32_t combination[kMaxPieces];
  uint32_t pixels[kMaxPieces];  // 0 where there are fewer
};

// The labels of a target row within a column span: mostly one run or two, of which one word tells all. Of a row that
// has more, or of which a number does not fit, it tells to look at the image's runs.
struct RowLabels {
  static constexpr int64_t kMostCombinations = int64_t{1} << 24, kMostColumns = 0xffff;
  static constexpr uint64_t kLookAtRuns = ~uint64_t{0};

  // `columns` of the first combination, and then the second to the end of the span.
  static uint64_t word(int64_t first, int64_t second, int64_t columns) {
    if (first >= kMostCombinations || second >= kMostCombinations || columns >= kMostColumns) return kLookAtRuns;
    return static_cast<uint64_t>(columns << 48 | second << 24 | first);
  }
};

// The cells of a grid in one image.
struct LabelCells {
  static constexpr int32_t kLookAtRuns = INT32_MIN;
  // [row spans, stride]: the combination of all of a cell's pixels; where they differ, -1 - an index of `pieces`,
  // or kLookAtRuns. 0 of cells of more than 16 pixels where `rows` tell.
  const int32_t* combinations;
  int64_t stride;  // at least the column spans, and a padded map's width
  const CellPieces* pieces;
  const uint64_t* rows;  // [target rows, column spans] words of RowLabels; null where not asked for
};

// The labels of one image in order, label 0 first, with room for 16 more, and the image's table of combinations with a
// label's place among them instead of the label.
struct ImageLabels {
  const int32_t* labels;
  int64_t num_labels;
  const int32_t* places;
};

// Labels that maps meet, each with its pixels: lists that grow. `reserve` makes room for so many more.
struct LabelCounts {
  int32_t *labels, *pixels;
  int64_t size, capacity;
  void (*reserve)(LabelCounts&, int64_t more);
};

// What counts per image need. `by_place` holds an entry per label of the image that has most, and those of 16 more;
// it is zero before and after.
struct ByImageWorkspace {
  const ImageLabels* images;  // an entry per image
  int32_t* by_place;
  LabelCounts* counts;  // added to: image after image, unit after unit, label after label
  int32_t* per_map;     // [N, U], written: how many were added
};

// Counts the units [unit_begin, unit_end) over all images. Writes only their rows.
// `cells` holds an entry per image; `maps` holds block_floats(maps), zero at first; `bits` holds bit_words(maps);
// `counts` and `touched` hold an entry per combination of the image that has most, and 16 more; counts is zero before
// and after.
struct IouCountsWorkspace {
  const LabelCells* cells;
  float* maps;
  uint64_t* bits;
  int64_t* counts;
  int32_t* touched;
  const ByImageWorkspace* by_image;  // null: counts per image are not wanted
};
// Returns false where it met a bad value; the counts are then worthless.
using IouCountsBlock = bool (*)(const IouCountsParams&, int64_t unit_begin, int64_t unit_end,
                                const IouCountsWorkspace&);

}  // namespace dissect
