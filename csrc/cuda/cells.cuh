// The walk over the cells of upsampled maps that iou_counts and tail_histogram share.
//
// A cell is the pixels of one row span and one column span; all lie between its four corners. A block stages the maps
// of a few units of one image in shared memory, padded by a ring of zeros, some rows (a band) at a time. A warp then
// looks at 32 cells of its map at once, one per lane, and queues those that a test of the largest corner wants. Queued
// cells are visited by several lanes each, a target row per lane, so that nearly all lanes work although few cells are
// wanted.
#pragma once

#include "values.cuh"

namespace dissect {

// How a launch shares the work among blocks and threads. Powers of two: units, row_lanes.
struct CellPlan {
  int units;      // maps of one image that a block stages together; at most kWarps
  int band_rows;  // padded source rows staged at a time, at least 2
  int row_lanes;  // lanes of a warp that visit a cell together, a target row each
  int row_steps;  // how often, for the tallest cell
  int images;     // that a block handles, one after the other
};

namespace {

constexpr int kQueue = 64;  // cells per warp: fewer than 32 wait when up to 32 come

struct Cell {
  int32_t row_span, column_span;
};

struct Range {
  int32_t from, to;
};

__device__ inline int lane_of_thread() { return threadIdx.x % 32; }
__device__ inline int warp_of_thread() { return threadIdx.x / 32; }

// Shared memory of one block: a queue per warp, the staged maps, and what the kernel itself needs after them.
struct CellMemory {
  static DISSECT_HD int pitch(const FeatureMaps& maps) { return static_cast<int>(maps.width) + 2; }
  // Odd, so that the same place of several maps lies in several banks.
  static DISSECT_HD int map_floats(const FeatureMaps& maps, int band_rows) { return (band_rows * pitch(maps)) | 1; }
  static DISSECT_HD int64_t bytes(const FeatureMaps& maps, const CellPlan& plan) {
    constexpr int64_t kFloat = sizeof(float), kQueues = kWarps * kQueue * sizeof(Cell);
    return kQueues + plan.units * map_floats(maps, plan.band_rows) * kFloat;
  }
};

// One warp's share of one staged band.
struct Band {
  const float* map;  // the unit's staged rows, the first of which is padded row first_row
  int pitch;
  int first_row;
  int span_begin, span_end;  // row spans whose two source rows are staged
  int part, parts;           // this warp among those of the unit
  Cell* queue;
};

// The first row span whose upper source row is at or below this one.
__device__ inline int first_span_at(const GridView& grid, int row) {
  int begin = 0, end = static_cast<int>(grid.num_row_spans);
  while (begin < end) {
    const int middle = (begin + end) / 2;
    if (grid.row_spans[middle].index0 < row) begin = middle + 1;
    else end = middle;
  }
  return begin;
}

// Copies padded rows [first_row, first_row + num_rows) of the block's units. The ring's columns must be zero already.
template <typename T>
__device__ void stage(const FeatureMaps& maps, const CellPlan& plan, int64_t image, int64_t first_unit, int first_row,
                      int num_rows, float* staged, Worst& worst) {
  const int width = static_cast<int>(maps.width);
  int unit, cell, step;
  if (maps.stride_unit < maps.stride_column) {  // neighbours in memory are units
    unit = threadIdx.x & (plan.units - 1);
    cell = threadIdx.x / plan.units;
    step = kThreads / plan.units;
  } else {
    const int parts = kWarps / plan.units;
    unit = warp_of_thread() / parts;
    cell = warp_of_thread() % parts * 32 + lane_of_thread();
    step = 32 * parts;
  }
  if (first_unit + unit >= maps.num_units) return;
  const T* base = static_cast<const T*>(maps.data) + image * maps.stride_image + (first_unit + unit) * maps.stride_unit;
  float* target = staged + unit * CellMemory::map_floats(maps, plan.band_rows) + 1;
  const int pitch = CellMemory::pitch(maps), height = static_cast<int>(maps.height);
  int y = cell / width, x = cell % width;
  const int step_y = step / width, step_x = step % width;
  constexpr int kDepth = 4;  // loads on their way
  while (y < num_rows) {
    float values[kDepth];
    int places[kDepth];
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      const int source = first_row + y - 1;
      values[d] = 0.0f;
      places[d] = y < num_rows ? y * pitch + x : -1;
      if (y < num_rows && source >= 0 && source < height)
        values[d] = widen(base[source * maps.stride_row + x * maps.stride_column]);
      y += step_y, x += step_x;
      if (x >= width) x -= width, ++y;
    }
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      worst.add(values[d]);
      if (places[d] >= 0) target[places[d]] = values[d];
    }
  }
}

// A block keeps its units, and a warp its one unit, for all of the block's images; warps beyond the last unit idle.
__device__ inline int64_t first_unit_of_block(const FeatureMaps& maps, const CellPlan& plan) {
  return blockIdx.x % ((maps.num_units + plan.units - 1) / plan.units) * plan.units;
}
__device__ inline int64_t first_image_of_block(const FeatureMaps& maps, const CellPlan& plan) {
  return blockIdx.x / ((maps.num_units + plan.units - 1) / plan.units) * plan.images;
}
__device__ inline int place_of_warp(const CellPlan& plan) { return warp_of_thread() / (kWarps / plan.units); }

// Calls visit(image, band) for every band of the warp's map in every image of the block, all lanes together, and
// finish(image) after the last band of each.
template <typename T, typename Visit, typename Finish>
__device__ void for_bands(const FeatureMaps& maps, const GridView& grid, const CellPlan& plan, unsigned char* memory,
                          int32_t* status, const Visit& visit, const Finish& finish) {
  const int64_t first_unit = first_unit_of_block(maps, plan), first_image = first_image_of_block(maps, plan);
  const int padded_rows = static_cast<int>(maps.height) + 2, map_floats = CellMemory::map_floats(maps, plan.band_rows);
  const int parts = kWarps / plan.units, place = place_of_warp(plan);
  const bool idle = first_unit + place >= maps.num_units;
  float* staged = reinterpret_cast<float*>(memory + kWarps * kQueue * sizeof(Cell));
  Cell* queue = reinterpret_cast<Cell*>(memory) + warp_of_thread() * kQueue;
  Worst worst{0};
  for (int i = threadIdx.x; i < plan.units * map_floats; i += kThreads) staged[i] = 0.0f;
  for (int64_t image = first_image; image < first_image + plan.images && image < maps.num_images; ++image) {
    for (int row = 0; row + 1 < padded_rows; row += plan.band_rows - 1) {
      const int num_rows = padded_rows - row < plan.band_rows ? padded_rows - row : plan.band_rows;
      __syncthreads();  // the warps are done with what is staged
      stage<T>(maps, plan, image, first_unit, row, num_rows, staged, worst);
      __syncthreads();  // all of it is staged
      if (idle) continue;
      const bool last = row + num_rows == padded_rows;
      const Band band{staged + place * map_floats,
                      CellMemory::pitch(maps),
                      row,
                      row == 0 ? 0 : first_span_at(grid, row),
                      last ? static_cast<int>(grid.num_row_spans) : first_span_at(grid, row + plan.band_rows - 1),
                      warp_of_thread() % parts,
                      parts,
                      queue};
      visit(image, band);
    }
    if (!idle) finish(image);
  }
  worst.tell_if_bad(status);
}

struct Corners {
  float a00, a01, a10, a11;

  __device__ float largest() const { return fmaxf(fmaxf(a00, a01), fmaxf(a10, a11)); }
  __device__ float smallest() const { return fminf(fminf(a00, a01), fminf(a10, a11)); }
};

__device__ inline Corners corners_of(const Band& band, const Span& rows, const Span& columns) {
  const float* upper = band.map + (rows.index0 - band.first_row) * band.pitch;
  const float* lower = band.map + (rows.index1 - band.first_row) * band.pitch;
  return {upper[columns.index0], upper[columns.index1], lower[columns.index0], lower[columns.index1]};
}

// The warp's cells of a band, 32 at a time, one per lane.
struct CellCursor {
  Cell cell;  // this lane's; to be used only if `inside`
  int step_row, step_column, num_columns, end_row;

  __device__ CellCursor(const GridView& grid, const Band& band)
      : num_columns(static_cast<int>(grid.num_column_spans)), end_row(band.span_end) {
    const int step = 32 * band.parts, first = 32 * band.part + lane_of_thread();
    step_row = step / num_columns, step_column = step % num_columns;
    cell = {band.span_begin + first / num_columns, first % num_columns};
  }
  __device__ bool inside() const { return cell.row_span < end_row; }
  // The same for all lanes, which all ask.
  __device__ bool more() const { return __any_sync(kAllLanes, inside()); }
  __device__ void advance() {
    cell.row_span += step_row, cell.column_span += step_column;
    if (cell.column_span >= num_columns) cell.column_span -= num_columns, ++cell.row_span;
  }
};

// Visits the rows of `count` cells.
template <typename Visit>
__device__ void visit_rows(const GridView& grid, const CellPlan& plan, const Band& band, const Cell* cells, int count,
                           const Visit& visit) {
  const int lane_row = lane_of_thread() & (plan.row_lanes - 1), lane_cell = lane_of_thread() / plan.row_lanes;
  for (int base = 0; base < count; base += 32 / plan.row_lanes) {
    const bool has_cell = base + lane_cell < count;
    const Cell cell = cells[has_cell ? base + lane_cell : 0];
    const Span rows = grid.row_spans[cell.row_span], columns = grid.column_spans[cell.column_span];
    const Corners corners = corners_of(band, rows, columns);
    for (int step = 0; step < plan.row_steps; ++step) {
      const int row = rows.begin + step * plan.row_lanes + lane_row;
      const bool has_row = has_cell && row < rows.end;
      const float weight = grid.row_weights[has_row ? row : rows.begin];
      visit(has_row, row, columns, interpolate(corners.a00, corners.a10, weight),
            interpolate(corners.a01, corners.a11, weight));
    }
  }
}

// Calls visit(has_row, row, columns, left, right) for every target row of every cell whose largest corner is wanted.
// All lanes call it together, those without a row as well; left and right are the row's ends within the cell.
template <typename Wanted, typename Visit>
__device__ void for_wanted_rows(const GridView& grid, const CellPlan& plan, const Band& band, const Wanted& wanted,
                                const Visit& visit) {
  CellCursor cursor(grid, band);
  int waiting = 0;
  for (bool more = cursor.more(); more || waiting > 0;) {
    for (; more && waiting < 32; cursor.advance(), more = cursor.more()) {
      bool takes = cursor.inside();
      if (takes) {
        const Span rows = grid.row_spans[cursor.cell.row_span], columns = grid.column_spans[cursor.cell.column_span];
        takes = wanted(corners_of(band, rows, columns).largest());
      }
      const unsigned takers = __ballot_sync(kAllLanes, takes);
      if (takes) band.queue[waiting + __popc(takers & ((1u << lane_of_thread()) - 1u))] = cursor.cell;
      waiting += __popc(takers);
    }
    const int count = waiting < 32 ? waiting : 32;
    waiting -= count;
    __syncwarp();  // all cells are queued
    visit_rows(grid, plan, band, band.queue + waiting, count, visit);
    __syncwarp();  // their places are free again
  }
}

// The columns of a span whose value passes a test that every higher value passes too. Between two ends the values rise
// or fall monotonically, since rounding is monotone, so these are the span's head, its tail, all of it or nothing.
template <typename Test>
__device__ Range range_where(const float* weights, const Span& columns, float left, float right, const Test& test) {
  const bool head = test(left), tail = test(right);
  if (head == tail) return {columns.begin, head ? columns.end : columns.begin};
  int32_t from = columns.begin, to = columns.end;
  while (from < to) {
    const int32_t middle = (from + to) / 2;
    if (test(interpolate(left, right, weights[middle])) == head) from = middle + 1;
    else to = middle;
  }
  return head ? Range{columns.begin, from} : Range{from, columns.end};
}

}  // namespace
}  // namespace dissect
