// The CUDA engine as the host sees it: plain C++, without the CUDA runtime's headers. Every op checks that its launch
// went well, waits for nothing and allocates nothing: outputs, workspace and grids are the caller's, on the device.
#pragma once

#include <string>
#include <vector>

#include "../component_halves.h"
#include "../hot_cells.h"
#include "../iou_counts.h"
#include "../narrow.h"
#include "../observe.h"
#include "../tail_histogram.h"
#include "../threshold_sweep.h"
#include "../upsample_argmax.h"

namespace dissect {
namespace cuda {

// Where an op runs, and where it tells of bad input: `*status` becomes 1.
struct Place {
  int device;
  void* stream;     // a cudaStream_t
  int32_t* status;  // on the device; null: nobody is told
};

// A cell of at most so many rows and columns is small: its pixels are the bits of one number.
constexpr int kLongestSide = 4;
// 1, 2 or 4, if no span of a grid is longer than that; else 0.
constexpr int side_of_cells(int64_t longest) { return longest > 4 ? 0 : longest > 2 ? 4 : longest > 1 ? 2 : 1; }

// The two combinations of a small cell's labels that come first, and the bits of their pixels, four to a row: those of
// the first in the lower half, of the second in the upper half.
struct alignas(16) CellLabels {
  int32_t first, second;
  uint32_t pixels, unused;
};

// A Grid as the device reads it: row spans, column spans, row weights, column weights, one after the other, and zeros
// for who reads a small cell's weights beyond the last.
struct PackedGrid {
  std::vector<int32_t> words;
  int64_t num_row_spans, num_column_spans, longest;  // most targets of a span

  static PackedGrid of(const GridEntry* rows, int64_t num_rows, const GridEntry* columns, int64_t num_columns);
};

// A PackedGrid's words on the device; the view's arrays that only the CPU engine uses are null.
struct DeviceGrid {
  GridView view;
  int64_t longest;
};
DeviceGrid device_grid(const void* words, int64_t num_rows, int64_t num_columns, int64_t num_row_spans,
                       int64_t num_column_spans, int64_t longest);

// Counts per image, only of the labels that it carries, which are numbered from 1 within it: image n's begin at
// starts[n] * U, [U, starts[n + 1] - starts[n]] of them.
struct ImagePairs {
  const int64_t* starts;  // [N + 1]
  int32_t* counts;
};

// Where entries of hot cells go; without `values` they are but counted.
struct HotEntriesOut {
  const int64_t* starts;  // [N, U], where a map's begin
  void* places;           // uint16_t, or int32_t if `wide`
  bool wide;
  float* values;
};

// Why no device can be used, or an empty string.
std::string unavailable();
// Ten times the major number plus the minor one.
int capability(int device);

// These throw std::runtime_error, which names the op, the shapes and the device, where a launch fails.
// `memory` holds 4 numbers per pixel and one per image; labels below 0 are told.
void component_halves(const ComponentHalvesParams& params, int32_t* memory, const Place& place);
// Writes peaks and counts, or, where it is told where, the entries themselves; `params.hot` is not used.
void hot_cells(const HotCellsParams& params, const HotEntriesOut& out, const Place& place);
// Hot cells have their floors, here and below; `params.maps` has no data then.
// How many `cells` the next two need.
int64_t num_cell_labels(const DeviceGrid& grid, int64_t num_images);
// Writes them; the next two call it.
void label_cells(const IouCountsParams& params, const DeviceGrid& grid, CellLabels* cells, const Place& place);
// `params.intersection` and `params.unit_area` must be zero; `params.grid` is not read, but `grid`.
void iou_counts(const IouCountsParams& params, const DeviceGrid& grid, CellLabels* cells, const Place& place);
// Adds to `pairs.counts`; `params.table` holds an image's numbers instead of labels; `params.intersection` is not used.
void iou_counts_by_image(const IouCountsParams& params, const ImagePairs& pairs, const DeviceGrid& grid,
                         CellLabels* cells, const Place& place);
// `params.facts` must be zero.
void narrow(const NarrowParams& params, const Place& place);
// At pixels.
void tail_histogram(const TailHistogramParams& params, const DeviceGrid& grid, const Place& place);
// `params.unit_bins` must be zero; `params.edges` are [U, sweep_edges(B)], infinity after the last.
int64_t sweep_edges(int64_t num_edges);
void threshold_sweep(const ThresholdSweepParams& params, const DeviceGrid& grid, const Place& place);
// `params.grid` is not read, but `grid`.
void upsample_argmax(const UpsampleArgmaxParams& params, const DeviceGrid& grid, const Place& place);
// `params.peaks` must be -infinity, `params.unit_area` zero.
void observe(const ObserveParams& params, const Place& place);

}  // namespace cuda
}  // namespace dissect
