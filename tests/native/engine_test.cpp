// Runs every op of the CPU engine on random problems, each buffer exactly as large as it must be, so that the
// sanitizers see any step beyond it. That the results are right is tested from Python; here only laws are.
#include "cpu/engine.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

using namespace dissect;

namespace {

std::mt19937 random_bits(1);

int64_t pick(int64_t low, int64_t high) { return low + static_cast<int64_t>(random_bits() % (high - low + 1)); }

void require(bool law, const char* text) {
  if (law) return;
  std::fprintf(stderr, "broken law: %s\n", text);
  std::exit(1);
}

// A digest of every result: the same at every SIMD level and on every processor.
uint64_t digest = 0xcbf29ce484222325ull;

template <typename T>
void note(const std::vector<T>& values) {
  for (T value : values)
    for (size_t i = 0; i < sizeof(T); ++i) {
      unsigned char bytes[sizeof(T)];
      __builtin_memcpy(bytes, &value, sizeof(T));
      digest = (digest ^ bytes[i]) * 0x100000001b3ull;
    }
}

struct Problem {
  int64_t num_images, num_units, height, width, target_height, target_width, num_planes, num_labels;
  std::vector<uint8_t> activations;
  FeatureMaps maps;
  std::vector<GridEntry> rows, columns;
  std::vector<int32_t> planes;
  std::vector<int64_t> label_area;
};

std::vector<GridEntry> axis(int64_t source, int64_t target, bool zeros) {
  std::vector<GridEntry> entries;
  for (int64_t t = 0; t < target; ++t) {
    double centre = (t + 0.5) * source / target - 0.5;
    if (!zeros) centre = centre < 0 ? 0 : centre > source - 1 ? source - 1 : centre;
    const int32_t index = static_cast<int32_t>(centre < 0 ? -1 : centre);
    const float weight = static_cast<float>(centre - index);
    entries.push_back({index, index + (weight > 0), weight});
  }
  return entries;
}

Problem random_problem() {
  Problem p;
  p.num_images = pick(0, 3);
  p.num_units = pick(1, 40);
  p.height = pick(1, 9), p.width = pick(1, 9);
  p.target_height = pick(1, 30), p.target_width = pick(1, 70);
  p.num_planes = pick(1, 3), p.num_labels = pick(1, 9);
  const DType dtype = static_cast<DType>(pick(0, 2));
  const int64_t size = dtype == DType::kFloat32 ? 4 : 2, count = p.num_images * p.num_units * p.height * p.width;
  p.activations.resize(count * size);
  for (int64_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(pick(-100, 100)) / 16;
    const uint16_t half = dtype == DType::kFloat16 ? static_cast<uint16_t>(pick(0, 0x5fff)) : 0;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint16_t brain = static_cast<uint16_t>(bits >> 16);
    if (dtype == DType::kFloat32) __builtin_memcpy(&p.activations[i * 4], &value, 4);
    else __builtin_memcpy(&p.activations[i * 2], dtype == DType::kFloat16 ? &half : &brain, 2);
  }
  const bool channels_last = pick(0, 1);
  const int64_t area = p.height * p.width;
  p.maps = {p.activations.data(),
            dtype,
            p.num_images,
            p.num_units,
            p.height,
            p.width,
            p.num_units * area,
            channels_last ? 1 : area,
            channels_last ? p.width * p.num_units : p.width,
            channels_last ? p.num_units : 1};
  const bool zeros = pick(0, 1);
  p.rows = axis(p.height, p.target_height, zeros);
  p.columns = axis(p.width, p.target_width, zeros);
  const int64_t pixels = p.num_images * p.num_planes * p.target_height * p.target_width;
  for (int64_t i = 0; i < pixels; ++i) p.planes.push_back(static_cast<int32_t>(pick(0, p.num_labels - 1)));
  p.label_area.resize(p.num_images * p.num_labels);
  return p;
}

void test_counts_by_image(const Problem& p, IouCountsParams params, int num_threads) {
  std::vector<int64_t> intersection(p.num_units * p.num_labels), unit_area(p.num_images * p.num_units);
  const std::vector<int64_t> expected(params.intersection, params.intersection + intersection.size());
  params.intersection = intersection.data(), params.unit_area = unit_area.data();
  const auto counts = iou_counts_by_image(params, num_threads);
  require(counts != nullptr && intersection == expected, "counts per image are in all what counts are");
  const int64_t size = counts->size();
  std::vector<int32_t> entries(4 * size);
  write(*counts, entries.data(), num_threads);
  note(entries);
  int64_t last = -1;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t map = int64_t{entries[i]} * p.num_units + entries[size + i], label = entries[2 * size + i];
    require(label > 0 && entries[3 * size + i] > 0, "only labels that are met have counts");
    require(last < map * p.num_labels + label, "counts are sorted");
    last = map * p.num_labels + label;
    intersection[entries[size + i] * p.num_labels + label] -= entries[3 * size + i];
  }
  for (int64_t left : intersection) require(left == 0, "counts per image add up");
}

void test_sweep(const Problem& p, const IouCountsParams& counts, int num_threads) {
  const int64_t num_edges = pick(0, 1) ? pick(1, 5) : pick(60, 70);
  std::vector<float> edges;
  for (int64_t u = 0; u < p.num_units; ++u)
    for (int64_t b = 0; b < num_edges; ++b) edges.push_back(0.5f + 0.1f * static_cast<float>(b));
  std::vector<int64_t> bins(p.num_units * p.num_labels * num_edges), unit_bins(p.num_images * p.num_units * num_edges);
  threshold_sweep({p.maps, counts.grid, edges.data(), num_edges, counts.runs, counts.wide, counts.table, counts.offsets,
                   counts.num_planes, counts.num_labels, bins.data(), unit_bins.data()},
                  num_threads);
  note(bins), note(unit_bins);
  for (int64_t row = 0; row < p.num_units * p.num_labels; ++row) {
    int64_t above = 0;
    for (int64_t b = 0; b < num_edges; ++b) above += bins[row * num_edges + b];
    require(above == counts.intersection[row], "what exceeds the lowest edge is what fires there");
  }
}

template <typename Word>
void test_counts(Problem& p, const GridView& grid, int num_threads) {
  const bool wide = sizeof(Word) == 8;
  std::vector<Word> runs(p.num_images * p.target_height * p.target_width);
  const int64_t area = p.target_height * p.target_width;
  const auto tables = encode_labels(
      {p.planes.data(), LabelType::kInt32, p.num_images, p.num_planes, p.target_height, p.target_width,
       p.num_planes * area, area, p.target_width, 1, p.num_labels, runs.data(), wide, p.label_area.data()},
      num_threads);
  std::vector<int32_t> table;
  std::vector<int64_t> offsets{0};
  for (const auto& rows : tables) {
    table.insert(table.end(), rows.begin(), rows.end());
    offsets.push_back(static_cast<int64_t>(table.size()) / p.num_planes);
  }
  std::vector<float> thresholds(p.num_units, 0.5f);
  std::vector<int64_t> intersection(p.num_units * p.num_labels), unit_area(p.num_images * p.num_units);
  const IouCountsParams params{p.maps,          grid,           thresholds.data(), runs.data(),  wide,
                               table.data(),    offsets.data(), p.num_planes,      p.num_labels, intersection.data(),
                               unit_area.data()};
  iou_counts(params, num_threads);
  test_counts_by_image(p, params, num_threads);
  test_sweep(p, params, num_threads);
  note(intersection), note(unit_area), note(p.label_area);
  for (int64_t u = 0; u < p.num_units; ++u) {
    int64_t area = 0;
    for (int64_t n = 0; n < p.num_images; ++n) area += unit_area[n * p.num_units + u];
    for (int64_t c = 0; c < p.num_labels; ++c) require(intersection[u * p.num_labels + c] <= area, "intersection");
  }
}

void test_tails(Problem& p, const GridView& grid, int num_threads) {
  const int64_t pixels = p.num_images * p.target_height * p.target_width;
  for (Sample sample : {Sample::kValue, Sample::kMin, Sample::kMax}) {
    std::vector<int64_t> low(p.num_units, 0), high(p.num_units, 0xffffffffll), shift(p.num_units, 24);
    std::vector<int64_t> bins(p.num_units * 256), above(p.num_units);
    tail_histogram({p.maps, grid, sample, low.data(), high.data(), shift.data(), 256, bins.data(), above.data()},
                   num_threads);
    note(bins), note(above);
    for (int64_t u = 0; u < p.num_units; ++u) {
      int64_t sum = above[u];
      for (int64_t b = 0; b < 256; ++b) sum += bins[u * 256 + b];
      require(sum == pixels, "every sample is counted once");
    }
  }
  std::vector<int64_t> low(p.num_units, 0x8000), high(p.num_units, 0x80ff), shift(p.num_units, 0);
  std::vector<int64_t> bins(p.num_units * 256), above(p.num_units);
  tail_histogram(
      {p.maps, GridView{}, Sample::kValue, low.data(), high.data(), shift.data(), 256, bins.data(), above.data()},
      num_threads);
  note(bins), note(above);
}

// What is kept of the maps by random floors, and by higher ones of that; tails and counts above them agree.
void test_hot_cells(Problem& p, const GridView& grid, int num_threads) {
  const int64_t num_maps = p.num_images * p.num_units;
  std::vector<float> floors(num_maps), peaks(num_maps), higher(num_maps);
  for (int64_t i = 0; i < num_maps; ++i) {
    floors[i] = static_cast<float>(pick(-5, 4));
    higher[i] = floors[i] + static_cast<float>(pick(0, 2));
    if (pick(0, 5) == 0) floors[i] = -__builtin_inff();
  }
  std::vector<int32_t> counts(num_maps), fewer(num_maps), again(num_maps);
  const auto lists = hot_cells({p.maps, floors.data(), 1, peaks.data(), counts.data()}, num_threads);
  require(lists != nullptr, "all values are good");
  std::vector<uint16_t> places(lists->size());
  std::vector<float> values(lists->size());
  lists->write(places.data(), values.data());
  note(places), note(values), note(counts), note(peaks);
  std::vector<int64_t> starts(num_maps);
  for (int64_t i = 1; i < num_maps; ++i) starts[i] = starts[i - 1] + counts[i - 1];
  const HotCells hot{starts.data(), counts.data(), places.data(), false, values.data()};
  FeatureMaps shape = p.maps;
  shape.data = nullptr;
  hot_cells({shape, higher.data(), 1, nullptr, fewer.data(), &hot}, num_threads);
  hot_cells({p.maps, higher.data(), 1, peaks.data(), again.data()}, num_threads);
  require(fewer == again, "higher floors keep the same of what lower ones kept");
  std::vector<int64_t> low(p.num_units, 0xc0c00000ll), high(p.num_units, 0xffffffffll), shift(p.num_units, 24);  // 6
  for (const GridView& view : {grid, GridView{}}) {
    if (view.num_rows == 0 && p.maps.dtype != DType::kFloat32) continue;
    std::vector<int64_t> bins(p.num_units * 256), above(p.num_units), of_maps(bins.size());
    tail_histogram(
        {shape, view, Sample::kValue, low.data(), high.data(), shift.data(), 256, bins.data(), above.data(), &hot},
        num_threads);
    tail_histogram(
        {p.maps, view, Sample::kValue, low.data(), high.data(), shift.data(), 256, of_maps.data(), above.data()},
        num_threads);
    require(bins == of_maps, "hot cells have the tails of the maps");
  }
}

void test_bad_values(Problem& p, const GridView& grid, int num_threads) {
  if (p.activations.empty()) return;
  const int64_t size = p.maps.dtype == DType::kFloat32 ? 4 : 2;
  const uint16_t top = p.maps.dtype == DType::kFloat16 ? 0x7c00 : 0x7f80;  // infinity, or with more bits set NaN
  const int64_t fraction = pick(0, 1), sign = pick(0, 1);
  const uint16_t bits = static_cast<uint16_t>(top | fraction | sign << 15);
  const int64_t place = pick(0, static_cast<int64_t>(p.activations.size()) / size - 1);
  __builtin_memcpy(&p.activations[place * size + size - 2], &bits, 2);
  std::vector<int64_t> low(p.num_units, 0), shift(p.num_units, 24), bins(p.num_units * 256), above(p.num_units);
  std::vector<int64_t> high(p.num_units);
  for (int64_t& last : high) last = pick(0, 1) ? 0xffffffffll : -1;
  for (const GridView& view : {grid, GridView{}}) {
    const bool good = tail_histogram(
        {p.maps, view, Sample::kValue, low.data(), high.data(), shift.data(), 256, bins.data(), above.data()},
        num_threads);
    require(!good, "a bad value is found");
    for (int64_t count : bins) require(count == 0, "what a bad batch counted is taken back");
    for (int64_t count : above) require(count == 0, "what a bad batch counted is taken back");
  }
  require(find_bad_map(p.maps, num_threads) >= 0, "the bad map is found");
  std::vector<float> peaks(p.num_images * p.num_units);
  require(!image_peaks({p.maps, peaks.data()}, num_threads), "a bad value is found beside the peaks");
}

void test_maps(Problem& p, int num_threads) {
  std::vector<float> peaks(p.num_images * p.num_units);
  require(image_peaks({p.maps, peaks.data()}, num_threads), "all values are good");
  note(peaks);
  if (p.maps.stride_unit == 1) {
    std::vector<uint8_t> copied(p.activations.size());
    copy_planes({p.maps, copied.data()}, num_threads);
    note(copied);
    FeatureMaps planes = p.maps;
    planes.data = copied.data();
    planes.stride_unit = p.height * p.width, planes.stride_row = p.width, planes.stride_column = 1;
    std::vector<float> same(peaks.size());
    image_peaks({planes, same.data()}, num_threads);
    require(same == peaks, "planes have the peaks of what they were copied from");
  }
  require(find_bad_map(p.maps, num_threads) == -1, "all values are good");
  std::vector<float> alpha(p.num_units), one(1, 0.5f);
  for (float& a : alpha) a = static_cast<float>(pick(0, 2)) / 2;
  const Operand constant{one.data(), 0, 0, 0, 0};
  blend_units({p.maps, {alpha.data(), 0, 1, 0, 0}, constant, constant}, num_threads);
  note(p.activations);
}

void test_argmax(const Problem& p, const GridView& grid, int num_threads) {
  std::vector<int32_t> winners(p.num_images * p.target_height * p.target_width, -1);
  upsample_argmax({p.maps, grid, winners.data()}, num_threads);
  note(winners);
  for (int32_t winner : winners) require(winner >= 0 && winner < p.num_units, "each pixel has a winner");
}

void test_filters(int num_threads) {
  const int64_t blocks = pick(0, 3), channels = pick(0, 18), tiles = pick(0, 9);
  const int64_t numbers = blocks * channels * kTaps * kFilterBlock;
  std::vector<float> state(3 * numbers), keys(channels * kFrequencies * tiles);
  std::vector<float> gradient(blocks * kFrequencies * tiles * kFilterBlock), product(gradient.size());
  for (auto* values : {&state, &keys, &gradient})
    for (float& value : *values) value = static_cast<float>(pick(0, 64)) / 16;
  float* const weight = state.data();
  filter_step({weight, weight + numbers, weight + 2 * numbers, keys.data(), gradient.data(), product.data(), blocks,
               channels, tiles, 0.5f, 2.0f},
              num_threads);
  note(state);
  note(product);
}

void test_halves(const Problem& p, int num_threads) {
  const int64_t height = p.target_height, width = p.target_width, area = height * width;
  std::vector<uint8_t> labels, halves(p.num_images * 2 * area), without_last(halves.size());
  for (int64_t i = 0; i < p.num_images * area; ++i) labels.push_back(static_cast<uint8_t>(p.planes[i] % 3));
  for (const bool omit : {false, true})
    component_halves({labels.data(), LabelType::kUint8, p.num_images, height, width, omit,
                      omit ? without_last.data() : halves.data()},
                     num_threads);
  note(halves);
  note(without_last);
  for (int64_t n = 0; n < p.num_images; ++n)
    for (int64_t i = 0; i < area; ++i) {
      const uint8_t upper = halves[2 * n * area + i], left = halves[(2 * n + 1) * area + i];
      require((labels[n * area + i] == 0) == (upper == 0) && (upper == 0) == (left == 0), "labels have halves");
      require(without_last[2 * n * area + i] == 0 || without_last[2 * n * area + i] == upper, "halves stay");
    }
}

void test_formulas(int num_threads) {
  const int64_t number = pick(0, 30), width = pick(0, 3), units = pick(0, 5), labels = pick(1, 8);
  const int64_t length = pick(1, 4), beam = pick(1, 12);
  std::vector<int32_t> table(number * width);
  std::vector<int64_t> areas(number), counts(units * number);
  for (int64_t k = 0; k < number; ++k) {
    areas[k] = pick(0, 4);
    int32_t label = 0;  // rising, so that no row has one twice
    for (int64_t at = 0; at < width; ++at) {
      const auto next = static_cast<int32_t>(label + pick(0, 3));
      if (next < labels && next > label) table[k * width + at] = label = next;
    }
    for (int64_t unit = 0; unit < units; ++unit) counts[unit * number + k] = pick(0, areas[k]);
  }
  std::vector<int64_t> found(units * length), joins(units * length), both(units, -1), area(units, -1);
  formula_search({table.data(), areas.data(), counts.data(), number, width, units, labels, length, beam, found.data(),
                  joins.data(), both.data(), area.data()},
                 num_threads);
  for (auto* values : {&found, &joins, &both, &area}) note(*values);
  for (int64_t unit = 0; unit < units; ++unit) {
    require(0 <= both[unit] && both[unit] <= area[unit], "a formula has the pixels that it shares");
    require((both[unit] == 0) == (found[unit * length] == 0), "a formula shares pixels with its unit");
    for (int64_t at = 0; at < length; ++at)
      require(0 <= found[unit * length + at] && found[unit * length + at] < labels, "labels are in range");
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 100;
  for (int round = 0; round < rounds; ++round) {
    Problem problem = random_problem();
    const int num_threads = static_cast<int>(pick(1, 4));
    const OwnedGrid grid(problem.rows.data(), problem.target_height, problem.columns.data(), problem.target_width,
                         problem.height, problem.width);
    test_counts<int32_t>(problem, grid.view(), num_threads);
    test_counts<int64_t>(problem, grid.view(), num_threads);
    test_tails(problem, grid.view(), num_threads);
    test_hot_cells(problem, grid.view(), num_threads);
    test_argmax(problem, grid.view(), num_threads);
    test_maps(problem, num_threads);
    test_halves(problem, num_threads);
    test_filters(num_threads);
    test_formulas(num_threads);
    test_bad_values(problem, grid.view(), num_threads);
  }
  std::printf("%d rounds at level %s: %016llx\n", rounds, simd_level().c_str(),
              static_cast<unsigned long long>(digest));
}
