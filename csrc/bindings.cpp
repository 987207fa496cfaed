// The only file that knows Python. Tensors arrive as addresses, shapes and strides (in elements); the caller
// (dissect/ops) has checked them and keeps them alive.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <utility>

#include "cpu/engine.h"
#include "cpu/huge_pages.h"

namespace py = pybind11;
using namespace dissect;

namespace {

using Four = std::array<int64_t, 4>;

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

FeatureMaps feature_maps(uintptr_t data, int dtype, const Four& shape, const Four& strides) {
  return {at<void>(data), static_cast<DType>(dtype),
          shape[0],       shape[1],
          shape[2],       shape[3],
          strides[0],     strides[1],
          strides[2],     strides[3]};
}

Operand operand(uintptr_t data, const Four& strides) {
  return {at<const float>(data), strides[0], strides[1], strides[2], strides[3]};
}

// The combinations of all images, until the caller has memory for them.
class LabelTables {
 public:
  explicit LabelTables(std::vector<std::vector<int32_t>> tables) : tables_(std::move(tables)) {}

  std::vector<int64_t> sizes() const {
    std::vector<int64_t> sizes;
    for (const auto& table : tables_) sizes.push_back(static_cast<int64_t>(table.size()));
    return sizes;
  }

  void write(uintptr_t address) const {
    int32_t* to = at<int32_t>(address);
    for (const auto& table : tables_) to = std::copy(table.begin(), table.end(), to);
  }

 private:
  std::vector<std::vector<int32_t>> tables_;
};

// Defines an op with the arguments of iou_counts.
template <typename Count>
void def_counts(py::module_& module, const char* name, const Count& count) {
  module.def(
      name,
      [&count](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t rows, int64_t num_rows, uintptr_t columns,
               int64_t num_columns, uintptr_t thresholds, uintptr_t runs, bool wide, uintptr_t table, uintptr_t offsets,
               int64_t num_planes, int64_t num_labels, uintptr_t intersection, uintptr_t unit_area, const HotCells* hot,
               int num_threads) {
        const OwnedGrid grid(at<const GridEntry>(rows), num_rows, at<const GridEntry>(columns), num_columns, shape[2],
                             shape[3]);
        return count({feature_maps(data, dtype, shape, strides), grid.view(), at<const float>(thresholds),
                      at<const void>(runs), wide, at<const int32_t>(table), at<const int64_t>(offsets), num_planes,
                      num_labels, at<int64_t>(intersection), at<int64_t>(unit_area), hot},
                     num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of maps as they are stored.
void def_maps(py::module_& module) {
  module.def(
      "find_bad_map",
      [](uintptr_t data, int dtype, Four shape, Four strides, int num_threads) {
        return find_bad_map(feature_maps(data, dtype, shape, strides), num_threads);
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "image_peaks",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t peaks, int num_threads) {
        return image_peaks({feature_maps(data, dtype, shape, strides), at<float>(peaks)}, num_threads);
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "blend_units",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t alpha, Four alpha_strides, uintptr_t value,
         Four value_strides, uintptr_t mask, Four mask_strides, int num_threads) {
        blend_units({feature_maps(data, dtype, shape, strides), operand(alpha, alpha_strides),
                     operand(value, value_strides), operand(mask, mask_strides)},
                    num_threads);
      },
      py::call_guard<py::gil_scoped_release>());

  module.def("ask_for_huge_pages",
             [](uintptr_t memory, int64_t bytes) { ask_for_huge_pages(at<void>(memory), bytes); });

  module.def(
      "copy_planes",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t planes, int num_threads) {
        copy_planes({feature_maps(data, dtype, shape, strides), at<void>(planes)}, num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// What stands for maps.
void def_hot_cells(py::module_& module) {
  py::class_<HotCells>(module, "HotCells")
      .def(py::init([](uintptr_t starts, uintptr_t counts, uintptr_t places, bool wide, uintptr_t values) {
        return HotCells{at<const int64_t>(starts), at<const int32_t>(counts), at<const void>(places), wide,
                        at<const float>(values)};
      }));

  py::class_<KeptCells>(module, "KeptCells")
      .def("size", &KeptCells::size)
      .def("write", [](const KeptCells& kept, uintptr_t places, uintptr_t values) {
        kept.write(at<void>(places), at<float>(values));
      });

  module.def(
      "hot_cells",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t floors, int64_t reach, uintptr_t peaks,
         uintptr_t counts, const HotCells* hot, int num_threads) {
        return hot_cells({feature_maps(data, dtype, shape, strides), at<const float>(floors), reach, at<float>(peaks),
                          at<int32_t>(counts), hot},
                         num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of planes of labels.
void def_labels(py::module_& module) {
  py::class_<LabelTables>(module, "LabelTables").def("sizes", &LabelTables::sizes).def("write", &LabelTables::write);

  module.def(
      "encode_labels",
      [](uintptr_t planes, int type, Four shape, Four strides, int64_t num_labels, uintptr_t runs, bool wide,
         uintptr_t label_area, int num_threads) {
        return LabelTables(encode_labels(
            {at<const void>(planes), static_cast<LabelType>(type), shape[0], shape[1], shape[2], shape[3], strides[0],
             strides[1], strides[2], strides[3], num_labels, at<void>(runs), wide, at<int64_t>(label_area)},
            num_threads));
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "component_halves",
      [](uintptr_t labels, int type, std::array<int64_t, 3> shape, bool omit_last, uintptr_t halves, int num_threads) {
        component_halves({at<const void>(labels), static_cast<LabelType>(type), shape[0], shape[1], shape[2], omit_last,
                          at<uint8_t>(halves)},
                         num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of pixels and their labels.
void def_label_counts(py::module_& module) {
  py::class_<ImageCounts>(module, "ImageCounts")
      .def("size", &ImageCounts::size)
      .def(
          "write",
          [](const ImageCounts& counts, uintptr_t to, int num_threads) { write(counts, at<int32_t>(to), num_threads); },
          py::call_guard<py::gil_scoped_release>());

  def_counts(module, "iou_counts", iou_counts);
  def_counts(module, "iou_counts_by_image", iou_counts_by_image);

  module.def(
      "threshold_sweep",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t rows, int64_t num_rows, uintptr_t columns,
         int64_t num_columns, uintptr_t edges, int64_t num_edges, uintptr_t runs, bool wide, uintptr_t table,
         uintptr_t offsets, int64_t num_planes, int64_t num_labels, uintptr_t bins, uintptr_t unit_bins,
         int num_threads) {
        const OwnedGrid grid(at<const GridEntry>(rows), num_rows, at<const GridEntry>(columns), num_columns, shape[2],
                             shape[3]);
        threshold_sweep({feature_maps(data, dtype, shape, strides), grid.view(), at<const float>(edges), num_edges,
                         at<const void>(runs), wide, at<const int32_t>(table), at<const int64_t>(offsets), num_planes,
                         num_labels, at<int64_t>(bins), at<int64_t>(unit_bins)},
                        num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// Of pixels alone.
void def_enlarged(py::module_& module) {
  module.def(
      "tail_histogram",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t rows, int64_t num_rows, uintptr_t columns,
         int64_t num_columns, int sample, uintptr_t low, uintptr_t high, uintptr_t shift, int64_t num_bins,
         uintptr_t bins, uintptr_t above, const HotCells* hot, int num_threads) {
        const OwnedGrid grid(at<const GridEntry>(rows), num_rows, at<const GridEntry>(columns), num_columns, shape[2],
                             shape[3]);
        return tail_histogram({feature_maps(data, dtype, shape, strides), grid.view(), static_cast<Sample>(sample),
                               at<const int64_t>(low), at<const int64_t>(high), at<const int64_t>(shift), num_bins,
                               at<int64_t>(bins), at<int64_t>(above), hot},
                              num_threads);
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "upsample_argmax",
      [](uintptr_t data, int dtype, Four shape, Four strides, uintptr_t rows, int64_t num_rows, uintptr_t columns,
         int64_t num_columns, uintptr_t winners, int num_threads) {
        const OwnedGrid grid(at<const GridEntry>(rows), num_rows, at<const GridEntry>(columns), num_columns, shape[2],
                             shape[3]);
        upsample_argmax({feature_maps(data, dtype, shape, strides), grid.view(), at<int32_t>(winners)}, num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

// What takes neither maps nor planes.
void def_searches(py::module_& module) {
  module.def(
      "filter_step",
      [](uintptr_t state, uintptr_t tiles, uintptr_t gradient, uintptr_t product, std::array<int64_t, 3> shape,
         float size, float root, int num_threads) {
        const int64_t numbers = shape[0] * shape[1] * kTaps * kFilterBlock;
        float* const weight = at<float>(state);
        filter_step({weight, weight + numbers, weight + 2 * numbers, at<const float>(tiles), at<const float>(gradient),
                     at<float>(product), shape[0], shape[1], shape[2], size, root},
                    num_threads);
      },
      py::call_guard<py::gil_scoped_release>());

  module.def(
      "formula_search",
      [](uintptr_t table, uintptr_t areas, uintptr_t counts, std::array<int64_t, 6> shape, uintptr_t labels,
         uintptr_t joins, uintptr_t intersection, uintptr_t area, int num_threads) {
        formula_search({at<const int32_t>(table), at<const int64_t>(areas), at<const int64_t>(counts), shape[0],
                        shape[1], shape[2], shape[3], shape[4], shape[5], at<int64_t>(labels), at<int64_t>(joins),
                        at<int64_t>(intersection), at<int64_t>(area)},
                       num_threads);
      },
      py::call_guard<py::gil_scoped_release>());
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "The CPU engine of dissect. Private: use dissect.ops.";

  module.def("simd_level", &simd_level);
  module.def("simd_levels", &simd_levels);
  def_maps(module);
  def_hot_cells(module);
  def_labels(module);
  def_label_counts(module);
  def_enlarged(module);
  def_searches(module);
}
