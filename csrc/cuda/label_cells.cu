// What labels small cells have, once per image, where iou_counts asks for each of its units again: a thread per cell.
#include "device.h"
#include "small_cells.cuh"

namespace dissect {
namespace {

struct LabelCellsLaunch {
  GridView grid;
  const void* runs;
  int64_t num_images;
  cuda::CellLabels* cells;
};

template <typename Word>
__global__ void __launch_bounds__(kThreads) label_cells_kernel(LabelCellsLaunch p) {
  constexpr int kSide = cuda::kLongestSide;
  const int64_t per_image = p.grid.num_row_spans * p.grid.num_column_spans;
  const int64_t number = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, image = number / per_image;
  if (image >= p.num_images) return;
  const int cell = static_cast<int>(number - image * per_image), num_spans = static_cast<int>(p.grid.num_column_spans);
  const Span rows = p.grid.row_spans[cell / num_spans], columns = p.grid.column_spans[cell % num_spans];
  const Word* runs = static_cast<const Word*>(p.runs) + (image * p.grid.num_rows + rows.begin) * p.grid.num_columns;
  const int width = static_cast<int>(p.grid.num_columns);
  cuda::CellLabels labels{};
  for (uint32_t left = first_pixels<kSide>(rows.end - rows.begin, columns.end - columns.begin); left != 0;) {
    int combination;
    const uint32_t piece = first_piece<kSide>(runs + columns.begin, width, columns.begin, left, combination);
    left ^= piece;
    if ((labels.pixels & 0xffffu) == 0 || labels.first == combination) {
      labels.first = combination, labels.pixels |= piece;
    } else if (labels.pixels >> 16 == 0 || labels.second == combination) {
      labels.second = combination, labels.pixels |= piece << 16;
    }
  }
  p.cells[number] = labels;
}

}  // namespace

int64_t cuda::num_cell_labels(const DeviceGrid& grid, int64_t num_images) {
  const bool are_noted = side_of_cells(grid.longest) == kLongestSide;
  return are_noted ? num_images * grid.view.num_row_spans * grid.view.num_column_spans : 0;
}

void cuda::label_cells(const IouCountsParams& params, const DeviceGrid& grid, CellLabels* cells, const Place& place) {
  const int64_t number = num_cell_labels(grid, params.maps.num_images);
  if (number == 0) return;
  const LabelCellsLaunch kernel{grid.view, params.runs, params.maps.num_images, cells};
  require(launch(params.wide ? label_cells_kernel<int64_t> : label_cells_kernel<int32_t>,
                 (number + kThreads - 1) / kThreads, kThreads, 0, static_cast<cudaStream_t>(place.stream), kernel),
          "iou_counts", params.maps, place);
}

}  // namespace dissect
