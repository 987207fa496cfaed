// Every kernel on tiny grids, each thread a thread of the CPU, for ThreadSanitizer. What is computed is compared with
// the references elsewhere; here only its order matters. Arguments: the file and the line of a mutant, if any.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "cuda/engine.h"
#include "cuda_on_cpu.h"

using namespace dissect;

namespace {

constexpr int64_t kImages = 2, kUnits = 3, kSize = 8, kTarget = 11, kPlanes = 2, kLabels = 4;

std::vector<GridEntry> axis(int64_t size) {
  std::vector<GridEntry> entries;
  for (int64_t t = 0; t < kTarget; ++t) {
    const double centre = (t + 0.5) * size / kTarget - 0.5;
    const double inside = centre < 0 ? 0 : centre > size - 1 ? size - 1 : centre;
    const int32_t index = static_cast<int32_t>(inside);
    const float weight = static_cast<float>(inside - index);
    entries.push_back({index, index + (weight > 0), weight});
  }
  return entries;
}

struct Problem {
  std::vector<float> activations = std::vector<float>(kImages * kUnits * kSize * kSize);
  std::vector<int64_t> low = std::vector<int64_t>(kUnits, 0x80000000), high = std::vector<int64_t>(kUnits, 0xbf800000);
  std::vector<int64_t> shift = std::vector<int64_t>(kUnits, 28), bins = std::vector<int64_t>(kUnits * 16);
  std::vector<int64_t> above = std::vector<int64_t>(kUnits), unit_area = std::vector<int64_t>(kImages * kUnits);
  std::vector<float> thresholds = std::vector<float>(kUnits, 0.5f);
  std::vector<float> peaks = std::vector<float>(kImages * kUnits, -INFINITY);
  float half = 0.5f;
  int32_t status = 0;

  explicit Problem(bool bad) {
    for (size_t i = 0; i < activations.size(); ++i)
      activations[i] = static_cast<float>(i * 7 % 11) / 4 - (i % kUnits == 0 ? 4 : 1);
    if (bad) activations[0] = activations[1] = activations[20] = INFINITY;
  }
  FeatureMaps maps(bool channels_last) {
    if (channels_last)
      return {activations.data(), DType::kFloat32, kImages, kUnits, kSize, kSize, kUnits * kSize * kSize, 1,
              kUnits * kSize,     kUnits};
    return {activations.data(),     DType::kFloat32, kImages, kUnits, kSize, kSize,
            kUnits * kSize * kSize, kSize * kSize,   kSize,   1};
  }
  cuda::Place place() { return {0, nullptr, &status}; }
};

// Each pixel its own run, of combination 0 or 1; the combinations of both images, and where they begin.
struct Labels {
  std::vector<int32_t> runs, table{0, 0, 1, 3, 0, 0, 2, 0};
  std::vector<int64_t> offsets{0, 2, 4};
  Labels() {
    for (int64_t n = 0; n < kImages * kTarget; ++n)
      for (int64_t x = 0; x < kTarget; ++x) runs.push_back(run_of<int32_t>(x % 2, x + 1));
  }
};

void sweep(Problem& p, const FeatureMaps& maps, const cuda::DeviceGrid& grid, const Labels& labels) {
  for (int64_t num_edges : {2, 8000}) {  // there is room for both combinations, or for one
    const int64_t padded = cuda::sweep_edges(num_edges);
    std::vector<float> edges(kUnits * padded, INFINITY);
    for (int64_t unit = 0; unit < kUnits; ++unit) std::fill_n(edges.begin() + unit * padded, num_edges, 0.5f);
    std::vector<int64_t> bins(kUnits * kLabels * num_edges), unit_bins(kImages * kUnits * num_edges);
    cuda::threshold_sweep({maps,
                           {},
                           edges.data(),
                           num_edges,
                           labels.runs.data(),
                           false,
                           labels.table.data(),
                           labels.offsets.data(),
                           kPlanes,
                           kLabels,
                           bins.data(),
                           unit_bins.data()},
                          grid, p.place());
  }
}

void count(Problem& p, const FeatureMaps& maps, const cuda::DeviceGrid& grid, const HotCells* hot = nullptr) {
  const Labels labels;
  std::vector<int64_t> intersection(kUnits * kLabels);
  std::vector<cuda::CellLabels> cells(cuda::num_cell_labels(grid, kImages));
  cuda::iou_counts({maps,
                    {},
                    p.thresholds.data(),
                    labels.runs.data(),
                    false,
                    labels.table.data(),
                    labels.offsets.data(),
                    kPlanes,
                    kLabels,
                    intersection.data(),
                    p.unit_area.data(),
                    hot},
                   grid, cells.data(), p.place());
  const std::vector<int64_t> starts{0, 2, 4};
  const std::vector<int32_t> numbers{0, 0, 1, 2, 0, 0, 2, 1};
  std::vector<int32_t> counts(kUnits * 4);
  cuda::iou_counts_by_image({maps,
                             {},
                             p.thresholds.data(),
                             labels.runs.data(),
                             false,
                             numbers.data(),
                             labels.offsets.data(),
                             kPlanes,
                             kLabels,
                             nullptr,
                             p.unit_area.data(),
                             hot},
                            {starts.data(), counts.data()}, grid, cells.data(), p.place());
  if (hot == nullptr) sweep(p, maps, grid, labels);
}

// What is kept of maps, and counts and tails of it.
void keep(Problem& p, const FeatureMaps& maps, const cuda::DeviceGrid& grid) {
  std::vector<float> floors(kImages * kUnits, 0.25f), values(kImages * kUnits * kSize * kSize);
  std::vector<int32_t> counts(kImages * kUnits);
  std::vector<uint16_t> places(values.size());
  std::vector<int64_t> starts(counts.size());
  for (size_t i = 0; i < starts.size(); ++i) starts[i] = static_cast<int64_t>(i) * kSize * kSize;
  const HotCellsParams params{maps, floors.data(), 1, p.peaks.data(), counts.data()};
  cuda::hot_cells(params, {}, p.place());
  cuda::hot_cells(params, {starts.data(), places.data(), false, values.data()}, p.place());
  const HotCells hot{starts.data(), counts.data(), places.data(), false, values.data(), floors.data()};
  const FeatureMaps shape{nullptr, DType::kFloat32, kImages, kUnits, kSize, kSize, 0, 0, 0, 0};
  count(p, shape, grid, &hot);
  cuda::tail_histogram(
      {shape, {}, Sample::kValue, p.low.data(), p.high.data(), p.shift.data(), 16, p.bins.data(), p.above.data(), &hot},
      grid, p.place());
}

// A comb of two labels: teeth that only the last row joins, so that threads join the same components.
void halve(int32_t* status) {
  std::vector<int16_t> labels;
  for (int64_t y = 0; y < kImages * kTarget; ++y)
    for (int64_t x = 0; x < kTarget; ++x) labels.push_back(x % 2 == 0 || y % kTarget == kTarget - 1 ? 1 : x % 3);
  std::vector<uint8_t> halves(2 * labels.size());
  std::vector<int32_t> memory(4 * labels.size() + kImages);
  cuda::component_halves({labels.data(), LabelType::kInt16, kImages, kTarget, kTarget, true, halves.data()},
                         memory.data(), {0, nullptr, status});
}

cuda::PackedGrid packed_grid(int64_t size) {
  const std::vector<GridEntry> entries = axis(size);
  return cuda::PackedGrid::of(entries.data(), kTarget, entries.data(), kTarget);
}

cuda::DeviceGrid grid_of(const cuda::PackedGrid& packed) {
  return cuda::device_grid(packed.words.data(), kTarget, kTarget, packed.num_row_spans, packed.num_column_spans,
                           packed.longest);
}

// Three ranks by bins of which each thread adds up two.
void narrow(int32_t* status) {
  const std::vector<int64_t> low(kUnits, 0), high(kUnits, 1 << 20), shift(kUnits, 13), bins(kUnits * 128, 3);
  std::vector<int64_t> narrowed(6 * kUnits), facts(4);
  const int64_t *none = low.data(), *all = high.data();
  cuda::narrow({kUnits,
                128,
                none,
                all,
                none,
                none,
                none,
                none,
                all,
                shift.data(),
                bins.data(),
                none,
                {200, 40, 380},
                true,
                true,
                32,
                4096,
                narrowed.data(),
                facts.data()},
               {0, nullptr, status});
}

void run_all(bool bad, bool channels_last) {
  Problem p(bad);
  emulation_configure(0, 2, 1, 0, 64);
  const FeatureMaps maps = p.maps(channels_last);
  FeatureMaps corners = maps;  // whose cells are not small
  corners.height = corners.width = 2;
  const cuda::PackedGrid packed = packed_grid(kSize), packed_corners = packed_grid(2);
  const cuda::DeviceGrid grid = grid_of(packed);
  halve(&p.status);
  narrow(&p.status);
  count(p, maps, grid);
  count(p, corners, grid_of(packed_corners));
  keep(p, maps, grid);
  std::vector<int32_t> winners(kImages * kTarget * kTarget);
  cuda::upsample_argmax({maps, {}, winners.data()}, grid, p.place());
  for (Sample sample : {Sample::kValue, Sample::kMin})
    cuda::tail_histogram(
        {maps, {}, sample, p.low.data(), p.high.data(), p.shift.data(), 16, p.bins.data(), p.above.data()}, grid,
        p.place());
  emulation_configure(0, 4, 4, 0, 64);  // several blocks share a map
  const Operand half{&p.half, 0, 0, 0, 0};
  cuda::observe({maps, p.peaks.data(), p.bins.data(), p.above.data(), p.low.data(), p.high.data(), p.shift.data(), 16,
                 p.unit_area.data(), p.thresholds.data(), maps.data, half, half, half},
                p.place());
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 3) emulation_mutate(arguments[1], std::atoi(arguments[2]));
  for (bool bad : {false, true})
    for (bool channels_last : {false, true}) run_all(bad, channels_last);
}
