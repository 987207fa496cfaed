// dissect._cuda: the CUDA engine for Python, beside bindings.cpp for the CPU's. Tensors arrive as addresses, shapes and
// strides (in elements); the caller (dissect/ops/backends/cuda.py) has checked them and keeps them alive.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "engine.h"

namespace py = pybind11;
using namespace dissect;

namespace {

using Four = std::array<int64_t, 4>;
using Maps = std::tuple<uintptr_t, int, Four, Four>;                              // address, dtype, shape, strides
using Grid = std::tuple<uintptr_t, int64_t, int64_t, int64_t, int64_t, int64_t>;  // as device_grid
using Place = std::tuple<int, uintptr_t, uintptr_t>;                              // device, stream, status
using OperandAt = std::tuple<uintptr_t, Four>;                                    // address, strides
using Tails =
    std::tuple<uintptr_t, uintptr_t, uintptr_t, int64_t, uintptr_t, uintptr_t>;  // low, high, shift, B, bins, above

using HotAt = std::optional<std::tuple<uintptr_t, uintptr_t, uintptr_t, bool, uintptr_t, uintptr_t>>;  // as HotCells

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

FeatureMaps feature_maps(const Maps& maps) {
  const auto& [data, dtype, shape, strides] = maps;
  return {at<void>(data), static_cast<DType>(dtype),
          shape[0],       shape[1],
          shape[2],       shape[3],
          strides[0],     strides[1],
          strides[2],     strides[3]};
}

cuda::DeviceGrid device_grid(const Grid& grid) {
  const auto& [words, num_rows, num_columns, num_row_spans, num_column_spans, longest] = grid;
  return cuda::device_grid(at<const void>(words), num_rows, num_columns, num_row_spans, num_column_spans, longest);
}

cuda::Place place_of(const Place& place) {
  const auto& [device, stream, status] = place;
  return {device, at<void>(stream), at<int32_t>(status)};
}

// Lives while an op is called.
struct Hot {
  HotCells cells{};
  const HotCells* place;

  explicit Hot(const HotAt& hot) : place(hot ? &cells : nullptr) {
    if (!hot) return;
    const auto& [starts, counts, places, wide, values, floors] = *hot;
    cells = {at<const int64_t>(starts), at<const int32_t>(counts), at<const void>(places), wide,
             at<const float>(values),   at<const float>(floors)};
  }
};

Operand operand(const OperandAt& operand) {
  const auto& [data, strides] = operand;
  return {at<const float>(data), strides[0], strides[1], strides[2], strides[3]};
}

// Of planes of labels.
void def_labels(py::module_& module) {
  module.def(
      "component_halves",
      [](const Place& place, uintptr_t labels, int type, std::array<int64_t, 3> shape, bool omit_last, uintptr_t halves,
         uintptr_t memory) {
        cuda::component_halves({at<const void>(labels), static_cast<LabelType>(type), shape[0], shape[1], shape[2],
                                omit_last, at<uint8_t>(halves)},
                               at<int32_t>(memory), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def("num_cell_labels",
             [](const Grid& grid, int64_t num_images) { return cuda::num_cell_labels(device_grid(grid), num_images); });
}

// Of pixels and their labels.
void def_iou_counts(py::module_& module) {
  module.def(
      "iou_counts",
      [](const Place& place, const Maps& maps, const Grid& grid, uintptr_t thresholds, uintptr_t runs, bool wide,
         uintptr_t table, uintptr_t offsets, int64_t num_planes, int64_t num_labels, uintptr_t intersection,
         uintptr_t unit_area, const HotAt& hot, uintptr_t cells) {
        const Hot kept(hot);
        cuda::iou_counts({feature_maps(maps),
                          {},
                          at<const float>(thresholds),
                          at<const void>(runs),
                          wide,
                          at<const int32_t>(table),
                          at<const int64_t>(offsets),
                          num_planes,
                          num_labels,
                          at<int64_t>(intersection),
                          at<int64_t>(unit_area),
                          kept.place},
                         device_grid(grid), at<cuda::CellLabels>(cells), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "iou_counts_by_image",
      [](const Place& place, const Maps& maps, const Grid& grid, uintptr_t thresholds, uintptr_t runs, bool wide,
         uintptr_t table, uintptr_t offsets, int64_t num_planes, int64_t num_labels, uintptr_t starts, uintptr_t counts,
         uintptr_t unit_area, const HotAt& hot, uintptr_t cells) {
        const Hot kept(hot);
        cuda::iou_counts_by_image({feature_maps(maps),
                                   {},
                                   at<const float>(thresholds),
                                   at<const void>(runs),
                                   wide,
                                   at<const int32_t>(table),
                                   at<const int64_t>(offsets),
                                   num_planes,
                                   num_labels,
                                   nullptr,
                                   at<int64_t>(unit_area),
                                   kept.place},
                                  {at<const int64_t>(starts), at<int32_t>(counts)}, device_grid(grid),
                                  at<cuda::CellLabels>(cells), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());
}

// The same at every edge.
void def_sweep(py::module_& module) {
  module.def("sweep_edges", &cuda::sweep_edges);

  module.def(
      "threshold_sweep",
      [](const Place& place, const Maps& maps, const Grid& grid, uintptr_t edges, int64_t num_edges, uintptr_t runs,
         bool wide, uintptr_t table, uintptr_t offsets, int64_t num_planes, int64_t num_labels, uintptr_t bins,
         uintptr_t unit_bins) {
        cuda::threshold_sweep({feature_maps(maps),
                               {},
                               at<const float>(edges),
                               num_edges,
                               at<const void>(runs),
                               wide,
                               at<const int32_t>(table),
                               at<const int64_t>(offsets),
                               num_planes,
                               num_labels,
                               at<int64_t>(bins),
                               at<int64_t>(unit_bins)},
                              device_grid(grid), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of tails.
void def_tails(py::module_& module) {
  module.def(
      "tail_histogram",
      [](const Place& place, const Maps& maps, const Grid& grid, int sample, const Tails& tails, const HotAt& hot) {
        const Hot kept(hot);
        const auto& [low, high, shift, num_bins, bins, above] = tails;
        cuda::tail_histogram({feature_maps(maps),
                              {},
                              static_cast<Sample>(sample),
                              at<const int64_t>(low),
                              at<const int64_t>(high),
                              at<const int64_t>(shift),
                              num_bins,
                              at<int64_t>(bins),
                              at<int64_t>(above),
                              kept.place},
                             device_grid(grid), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "narrow",
      [](const Place& place, const std::array<int64_t, 2>& shape, const std::array<uintptr_t, 10>& given,
         const std::array<int64_t, 3>& ranks, bool guesses, bool is_first, int bits, int64_t next_bins,
         uintptr_t narrowed, uintptr_t facts) {
        const auto in = [&](int i) { return at<const int64_t>(given[i]); };
        cuda::narrow({shape[0],
                      shape[1],
                      in(0),
                      in(1),
                      in(2),
                      in(3),
                      in(4),
                      in(5),
                      in(6),
                      in(7),
                      in(8),
                      in(9),
                      {ranks[0], ranks[1], ranks[2]},
                      guesses,
                      is_first,
                      bits,
                      next_bins,
                      at<int64_t>(narrowed),
                      at<int64_t>(facts)},
                     place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of maps as they are stored, and as large as logits become.
void def_maps(py::module_& module) {
  module.def(
      "hot_cells",
      [](const Place& place, const Maps& maps, uintptr_t floors, int64_t reach, uintptr_t peaks, uintptr_t counts,
         uintptr_t starts, uintptr_t places, bool wide, uintptr_t values) {
        cuda::hot_cells({feature_maps(maps), at<const float>(floors), reach, at<float>(peaks), at<int32_t>(counts)},
                        {at<const int64_t>(starts), at<void>(places), wide, at<float>(values)}, place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "observe",
      [](const Place& place, const Maps& maps, uintptr_t peaks, const Tails& tails, uintptr_t unit_area,
         uintptr_t thresholds, uintptr_t out, const OperandAt& alpha, const OperandAt& value, const OperandAt& mask) {
        const auto& [low, high, shift, num_bins, bins, above] = tails;
        cuda::observe(
            {feature_maps(maps), at<float>(peaks), at<int64_t>(bins), at<int64_t>(above), at<const int64_t>(low),
             at<const int64_t>(high), at<const int64_t>(shift), num_bins, at<int64_t>(unit_area),
             at<const float>(thresholds), at<void>(out), operand(alpha), operand(value), operand(mask)},
            place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "upsample_argmax",
      [](const Place& place, const Maps& maps, const Grid& grid, uintptr_t winners) {
        cuda::upsample_argmax({feature_maps(maps), {}, at<int32_t>(winners)}, device_grid(grid), place_of(place));
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "The CUDA engine of dissect. Private: use dissect.ops.";

  module.def("unavailable", &cuda::unavailable);
  module.def("capability", &cuda::capability);
  module.def("pack_grid", [](uintptr_t rows, int64_t num_rows, uintptr_t columns, int64_t num_columns) {
    const auto grid =
        cuda::PackedGrid::of(at<const GridEntry>(rows), num_rows, at<const GridEntry>(columns), num_columns);
    return py::make_tuple(grid.words, grid.num_row_spans, grid.num_column_spans, grid.longest);
  });
  def_labels(module);
  def_iou_counts(module);
  def_sweep(module);
  def_tails(module);
  def_maps(module);
}
