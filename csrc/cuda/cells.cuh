// The walk over the cells of upsampled maps that iou_counts and tail_histogram share.
//
// A cell is the pixels of one row span and one column span; all lie between its four corners. A block stages the maps
// of a few units of one image in shared memory, padded by a ring of zeros, some rows (a band) at a time. A warp then
// looks at 32 cells of its map at once, one per lane, and queues those that a test of the largest corner wants. Of 32
// queued cells each lane finds the target rows of one that the test wants, by a search. These rows are then visited by
// all lanes, a row each, whichever cells they are of, so that nearly all lanes work although few rows are wanted.
#pragma once

#include "staging.cuh"

namespace dissect {
namespace {

// The tables of a grid, in shared memory where they fit, else in device memory.
struct GridTables {
  const Span* row_spans;
  const Span* column_spans;
  const float* row_weights;
  const float* column_weights;
};

// Copies them; visible to other threads after a barrier.
__device__ inline GridTables stage_tables(const GridView& grid, const CellPlan& plan, unsigned char* memory) {
  if (plan.grid_words == 0) return {grid.row_spans, grid.column_spans, grid.row_weights, grid.column_weights};
  int32_t* words = reinterpret_cast<int32_t*>(memory + CellMemory::tables_at());
  const int32_t* given = reinterpret_cast<const int32_t*>(grid.row_spans);  // they lie one after the other
#pragma unroll 1
  for (int i = threadIdx.x; i < plan.grid_words; i += kThreads) words[i] = given[i];
  const Span* row_spans = reinterpret_cast<const Span*>(words);
  const Span* column_spans = row_spans + grid.num_row_spans;
  const float* row_weights = reinterpret_cast<const float*>(column_spans + grid.num_column_spans);
  return {row_spans, column_spans, row_weights, row_weights + grid.num_rows};
}

// One warp's share of one staged band.
struct Band {
  GridTables tables;
  const float* map;  // the unit's padded map, as if all of its rows were staged
  int pitch, num_column_spans;
  int span_begin, span_end;  // row spans whose two source rows are staged
  int part;                  // this warp among those of the unit
  Cell* queue;
  WantedRows* wanted;
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

// A block keeps its units, and a warp its one unit, for all of the block's images; warps beyond the last unit idle.
// Blocks that follow each other take other units of the same images.
struct UnitsInside {
  static __device__ int64_t first_unit(const CellPlan& plan) {
    return static_cast<int64_t>(blockIdx.x % static_cast<unsigned>(plan.groups)) * plan.units();
  }
  static __device__ int64_t first_image(const CellPlan& plan) {
    return static_cast<int64_t>(blockIdx.x / static_cast<unsigned>(plan.groups)) * plan.images;
  }
};
// Or other images of the same units.
struct UnitsOutside {
  static __device__ unsigned parts(const CellPlan& plan) { return gridDim.x / static_cast<unsigned>(plan.groups); }
  static __device__ int64_t first_unit(const CellPlan& plan) {
    return static_cast<int64_t>(blockIdx.x / parts(plan)) * plan.units();
  }
  static __device__ int64_t first_image(const CellPlan& plan) {
    return static_cast<int64_t>(blockIdx.x % parts(plan)) * plan.images;
  }
};

// T is what maps are stored as, or HotEntries, where `hot` holds what there is of them.
// Calls visit(image, band) for every band of the warp's map in every image of the block, all lanes together, and
// finish(image), all threads together, when the last band of each has been visited by all; barriers part the two.
template <typename T, typename Order, typename Visit, typename Finish>
__device__ void for_bands(const FeatureMaps& maps, const HotCells& hot, const GridView& grid, const CellPlan& plan,
                          unsigned char* memory, int warp, int32_t* status, const Visit& visit, const Finish& finish) {
  const int64_t first_unit = Order::first_unit(plan), first_image = Order::first_image(plan);
  const int padded_rows = static_cast<int>(maps.height) + 2, map_floats = CellMemory::map_floats(maps, plan.band_rows);
  const int pitch = CellMemory::pitch(maps), place = warp & (plan.units() - 1);
  const bool idle = first_unit + place >= maps.num_units;
  WantedRows* wanted = reinterpret_cast<WantedRows*>(memory) + warp * 32;
  Cell* queue = reinterpret_cast<Cell*>(memory + CellMemory::queues_at()) + warp * kQueue;
  float* staged = reinterpret_cast<float*>(memory + CellMemory::staged_at(plan));
  Worst worst{0};
#pragma unroll 1
  for (int i = threadIdx.x; i < plan.units() * map_floats; i += kThreads) staged[i] = 0.0f;
  const GridTables tables = stage_tables(grid, plan, memory);
  const Stager<T> stager(maps, hot, plan, warp, first_unit, staged);
  const int64_t left = maps.num_images - first_image;
  const int images = left < plan.images ? static_cast<int>(left) : plan.images;
  for (int i = 0; i <= images; ++i) {  // once more, to finish the last
    for (int row = 0; row + 1 < padded_rows; row += plan.band_rows - 1) {
      const int num_rows = padded_rows - row < plan.band_rows ? padded_rows - row : plan.band_rows;
      __syncthreads();  // the warps are done with what is staged
      if (row == 0 && i > 0) finish(first_image + i - 1);
      if (i == images) break;
      stager.stage(maps, plan, first_image + i, row, num_rows, worst);
      __syncthreads();  // all of it is staged
      if (idle) continue;
      const bool last = row + num_rows == padded_rows;
      visit(first_image + i,
            Band{tables, staged + place * map_floats - row * pitch, pitch, static_cast<int>(grid.num_column_spans),
                 row == 0 ? 0 : first_span_at(grid, row),
                 last ? static_cast<int>(grid.num_row_spans) : first_span_at(grid, row + plan.band_rows - 1),
                 warp >> plan.unit_bits, queue, wanted});
    }
  }
  worst.tell_if_bad(status);
}

// The warp's cells of a band, up to 32 at a time, one per lane. A lane keeps its column span for all row spans.
struct CellCursor {
  Cell cell;                  // this lane's; to be used only if `inside`
  int base_row, base_column;  // of lane 0
  const float *left, *right;  // this lane's columns in padded row 0

  __device__ CellCursor(const CellPlan& plan, const Band& band) : base_column(0) { begin_columns(plan, band); }
  __device__ bool inside(const Band& band) const { return cell.row_span < band.span_end; }
  // The same for all lanes.
  __device__ bool more(const Band& band) const { return base_row < band.span_end; }
  __device__ void advance(const CellPlan& plan, const Band& band) {
    base_row += plan.row_step, cell.row_span += plan.row_step;
    if (base_row < band.span_end) return;
    base_column += 1 << plan.column_bits;
    if (base_column < band.num_column_spans) begin_columns(plan, band);
  }
  // Of some cell, if not inside.
  __device__ Corners corners(const Band& band) const {
    const Span& rows = band.tables.row_spans[inside(band) ? cell.row_span : band.span_begin];
    const int upper = rows.index0 * band.pitch, lower = rows.index1 * band.pitch;
    return {left[upper], right[upper], left[lower], right[lower]};
  }

 private:
  __device__ void begin_columns(const CellPlan& plan, const Band& band) {
    base_row = band.span_begin + (band.part << (5 - plan.column_bits));
    const int column = base_column + (lane_of_thread() & ((1 << plan.column_bits) - 1));
    const bool has_column = column < band.num_column_spans;
    cell = {has_column ? base_row + (lane_of_thread() >> plan.column_bits) : band.span_end, column};
    const Span& columns = band.tables.column_spans[has_column ? column : 0];
    left = band.map + columns.index0, right = band.map + columns.index1;
  }
};

// The targets in [begin, end), of one span, whose value passes a test that every higher value passes too. Between two
// ends the values rise or fall monotonically, since rounding is monotone, so these are the span's head, its tail, all
// of it or nothing.
template <typename Test>
__device__ Range range_where(const CellPlan& plan, const float* weights, int32_t begin, int32_t end, float a0, float a1,
                             const Test& test) {
  const bool head = test(a0), tail = test(a1);
  if (head == tail) return {begin, head ? end : begin};
  int32_t from = begin;  // before it all are as the head
  for (int step = plan.first_step; step > 0; step /= 2) {
    const int32_t next = from + step < end ? from + step : end;
    if (test(interpolate(a0, a1, weights[next - 1])) == head) from = next;
  }
  return head ? Range{begin, from} : Range{from, end};
}

// Finds the rows of a cell that may hold a wanted value: those one of whose ends is wanted, and these ends are monotone
// from row to row too. So they are a head of the cell's rows and a tail. Returns how many.
template <typename Wanted>
__device__ int find_rows(const CellPlan& plan, const Band& band, const Cell& cell, const Wanted& wanted,
                         WantedRows& found) {
  const Span rows = band.tables.row_spans[cell.row_span], columns = band.tables.column_spans[cell.column_span];
  const float *upper = band.map + rows.index0 * band.pitch, *lower = band.map + rows.index1 * band.pitch;
  const Corners corners{upper[columns.index0], upper[columns.index1], lower[columns.index0], lower[columns.index1]};
  const float* weights = band.tables.row_weights;
  int head = rows.begin, tail = rows.end;  // wanted up to head, and from tail on
  const Range left = range_where(plan, weights, rows.begin, rows.end, corners.a00, corners.a10, wanted);
  const Range right = range_where(plan, weights, rows.begin, rows.end, corners.a01, corners.a11, wanted);
  for (const Range& range : {left, right}) {
    if (range.from == rows.begin && range.to > head) head = range.to;
    if (range.to == rows.end && range.from < tail) tail = range.from;
  }
  if (tail < head) tail = head;
  found = {corners, cell.column_span, rows.begin, head - rows.begin, tail - head};
  return head - rows.begin + rows.end - tail;
}

// The sum over this lane and those before it.
__device__ inline int sum_up_to_lane(int value) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int before = __shfl_up_sync(kAllLanes, value, distance);
    if (lane_of_thread() >= distance) value += before;
  }
  return value;
}

// Visits the wanted rows of up to 32 cells; `rows` says how many this lane's cell has, `own` which.
template <typename Visit>
__device__ void visit_rows(const Band& band, int rows, WantedRows own, const Visit& visit) {
  const int end = sum_up_to_lane(rows), begin = end - rows, total = __shfl_sync(kAllLanes, end, 31);
  const unsigned up_to_lane = 0xffffffffu >> (31 - lane_of_thread()), having = __ballot_sync(kAllLanes, rows > 0);
  own.row -= begin, own.split += begin;
  if (rows > 0) band.wanted[__popc(having & up_to_lane) - 1] = own;
  __syncwarp();   // all have said which rows, and their cells' places in the queue are free again
  int begun = 0;  // cells with rows before `base`
  for (int base = 0; base < total; base += 32) {
    // A bit where the rows of a cell begin: so many cells, so many bits up to a lane.
    const unsigned place = begin - base;
    const unsigned begins = __reduce_or_sync(kAllLanes, rows > 0 && place < 32 ? 1u << place : 0u);
    const int number = base + lane_of_thread();
    if (number < total) {
      const WantedRows& of = band.wanted[begun + __popc(begins & up_to_lane) - 1];
      const Corners corners = of.corners;
      const int row = of.row + number + (number < of.split ? 0 : of.gap);
      const float weight = band.tables.row_weights[row];
      const Span columns = band.tables.column_spans[of.column_span];
      visit(row, columns, interpolate(corners.a00, corners.a10, weight), interpolate(corners.a01, corners.a11, weight));
    }
    begun += __popc(begins);
  }
}

// Calls visit(is_cell, cell), all lanes together, with those of the warp's cells in the lanes that have a wanted
// corner, as full of them as may be. Left out are cells for which whole(cell, corners) says that it did what there was
// to do.
template <typename Wanted, typename Whole, typename Visit>
__device__ void for_wanted_cells(const CellPlan& plan, const Band& band, const Wanted& wanted, const Whole& whole,
                                 const Visit& visit) {
  CellCursor cursor(plan, band);
  int waiting = 0;
  while (waiting > 0 || cursor.more(band)) {
    for (; waiting < 32 && cursor.more(band); cursor.advance(plan, band)) {
      const Corners corners = cursor.corners(band);
      const bool takes = wanted(corners.largest()) && cursor.inside(band) && !whole(cursor.cell, corners);
      const unsigned takers = __ballot_sync(kAllLanes, takes);
      if (takes) band.queue[waiting + __popc(takers & ((1u << lane_of_thread()) - 1u))] = cursor.cell;
      waiting += __popc(takers);
    }
    const int count = waiting < 32 ? waiting : 32;
    waiting -= count;
    __syncwarp();  // all cells are queued, and the visit before has ended
    visit(lane_of_thread() < count, band.queue[waiting + lane_of_thread()]);
  }
}

// Calls visit(row, columns, left, right) for every target row of every wanted cell that has a wanted end; left and
// right are the row's ends within the cell. Lanes without a row do not call.
template <typename Wanted, typename Whole, typename Visit>
__device__ void for_wanted_rows(const CellPlan& plan, const Band& band, const Wanted& wanted, const Whole& whole,
                                const Visit& visit) {
  for_wanted_cells(plan, band, wanted, whole, [&](bool is_cell, const Cell& cell) {
    int rows = 0;
    WantedRows found{};
    if (is_cell) rows = find_rows(plan, band, cell, wanted, found);
    visit_rows(band, rows, found, visit);
  });
}

}  // namespace
}  // namespace dissect
