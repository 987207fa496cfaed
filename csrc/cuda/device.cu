// Whether a device can be used, and grids as devices read them.
#include "../spans.h"
#include "device.h"

namespace dissect {
namespace cuda {

namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

void append(std::vector<int32_t>& words, const std::vector<Span>& spans) {
  for (const Span& span : spans) words.insert(words.end(), {span.index0, span.index1, span.begin, span.end});
}

}  // namespace

std::string unavailable() {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver was found.";
  if (driver / 1000 < runtime / 1000)
    return "the NVIDIA driver is for CUDA " + version_text(driver) + ", but the engine needs one for CUDA " +
           std::to_string(runtime / 1000) + "; update the driver.";
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();  // what went wrong here is no later launch's fault
  if (error != cudaSuccess) return std::string("no GPU can be used: ") + cudaGetErrorString(error) + ".";
  return count == 0 ? "no GPU was found." : "";
}

int capability(int device) {
  const Place place{device, nullptr, nullptr};
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, "capability", {}, place) +
         attribute(cudaDevAttrComputeCapabilityMinor, "capability", {}, place);
}

PackedGrid PackedGrid::of(const GridEntry* rows, int64_t num_rows, const GridEntry* columns, int64_t num_columns) {
  const std::vector<Span> row_spans = make_spans(rows, num_rows), column_spans = make_spans(columns, num_columns);
  PackedGrid grid{{}, static_cast<int64_t>(row_spans.size()), static_cast<int64_t>(column_spans.size()), 0};
  append(grid.words, row_spans);
  append(grid.words, column_spans);
  for (int64_t y = 0; y < num_rows; ++y) grid.words.push_back(static_cast<int32_t>(bits_of(rows[y].weight)));
  for (int64_t x = 0; x < num_columns; ++x) grid.words.push_back(static_cast<int32_t>(bits_of(columns[x].weight)));
  grid.words.insert(grid.words.end(), kLongestSide - 1, 0);
  for (const auto* spans : {&row_spans, &column_spans})
    for (const Span& span : *spans) grid.longest = std::max<int64_t>(grid.longest, span.end - span.begin);
  return grid;
}

DeviceGrid device_grid(const void* words, int64_t num_rows, int64_t num_columns, int64_t num_row_spans,
                       int64_t num_column_spans, int64_t longest) {
  const Span* row_spans = static_cast<const Span*>(words);
  const Span* column_spans = row_spans + num_row_spans;
  const float* row_weights = reinterpret_cast<const float*>(column_spans + num_column_spans);
  return {{num_rows, num_columns, row_spans, column_spans, num_row_spans, num_column_spans, row_weights,
           row_weights + num_rows, nullptr, nullptr, nullptr, nullptr},
          longest};
}

}  // namespace cuda
}  // namespace dissect
