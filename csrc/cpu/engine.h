// The CPU engine: chooses the SIMD level, checks values, and shares the units among threads.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../blend_units.h"
#include "../component_halves.h"
#include "../copy_planes.h"
#include "../encode_labels.h"
#include "../filter_step.h"
#include "../formula_search.h"
#include "../hot_cells.h"
#include "../image_peaks.h"
#include "../iou_counts.h"
#include "../tail_histogram.h"
#include "../threshold_sweep.h"
#include "../upsample_argmax.h"
#include "image_counts.h"
#include "kept_cells.h"

namespace dissect {

// "baseline", "avx2" or "avx512": the widest that was compiled in and that this processor has, capped by the
// environment variable DISSECT_SIMD. Throws std::invalid_argument where that names no level or one that is missing.
std::string simd_level();

// The levels that can be forced on this machine, narrowest first.
std::vector<std::string> simd_levels();

// Position n * U + u of the first map with NaN, infinity or a magnitude from 2^126, or -1.
int64_t find_bad_map(const FeatureMaps& maps, int num_threads);

void blend_units(const BlendUnitsParams& params, int num_threads);
void copy_planes(const CopyPlanesParams& params, int num_threads);
// Throws std::invalid_argument at a label below 0.
void component_halves(const ComponentHalvesParams& params, int num_threads);
// Returns each image's table of combinations. Throws std::invalid_argument at a label out of range.
std::vector<std::vector<int32_t>> encode_labels(const EncodeLabelsParams& params, int num_threads);
void filter_step(const FilterStepParams& params, int num_threads);
void formula_search(const FormulaSearchParams& params, int num_threads);
// What is kept of the maps; null where it met a bad value.
std::unique_ptr<KeptCells> hot_cells(const HotCellsParams& params, int num_threads);
// Returns false where it met a bad value.
bool image_peaks(const ImagePeaksParams& params, int num_threads);
// Returns false where it met a bad value; the counts are then worthless.
bool iou_counts(const IouCountsParams& params, int num_threads);
// The same, and the counts of each image; null where it met a bad value.
std::unique_ptr<ImageCounts> iou_counts_by_image(const IouCountsParams& params, int num_threads);
// To [4, counts.size()]: the images, the units, the labels, the pixels.
void write(const ImageCounts& counts, int32_t* to, int num_threads);
// Returns false where it met a bad value; then nothing has been added.
bool tail_histogram(const TailHistogramParams& params, int num_threads);
void threshold_sweep(const ThresholdSweepParams& params, int num_threads);
void upsample_argmax(const UpsampleArgmaxParams& params, int num_threads);

// A GridView and what it points to.
class OwnedGrid {
 public:
  OwnedGrid(const GridEntry* rows, int64_t num_rows, const GridEntry* columns, int64_t num_columns, int64_t height,
            int64_t width);
  OwnedGrid(const OwnedGrid&) = delete;
  const GridView& view() const { return view_; }

 private:
  std::vector<Span> row_spans_, column_spans_;
  std::vector<float> row_weights_, column_weights_;
  std::vector<int32_t> left_index_, right_index_, left_column_, right_column_, first_span_, end_span_;
  GridView view_;
};

}  // namespace dissect
