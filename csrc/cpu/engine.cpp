#include "engine.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "encode_labels.h"
#include "image_counts.h"
#include "label_cells.h"
#include "load_maps.h"
#include "profiles.h"
#include "share.h"

namespace dissect {

#define DISSECT_DECLARE_LEVEL(level)                                                                               \
  namespace level {                                                                                                \
  bool bad_values(const FeatureMaps&, int64_t, int64_t, int64_t);                                                  \
  void blend_units_plane(const BlendUnitsParams&, int64_t, int64_t);                                               \
  void copy_planes_block(const CopyPlanesParams&, int64_t, int64_t, int64_t);                                      \
  void filter_step_block(const FilterStepParams&, int64_t);                                                        \
  bool hot_cells_block(const HotCellsParams&, int64_t, int64_t, int64_t, const HotCellsWorkspace&);                \
  bool image_peaks_block(const ImagePeaksParams&, int64_t, int64_t, int64_t);                                      \
  bool iou_counts_block(const IouCountsParams&, int64_t, int64_t, const IouCountsWorkspace&);                      \
  bool tail_histogram_block(const TailHistogramParams&, int64_t, int64_t, int64_t, const TailHistogramWorkspace&); \
  void threshold_sweep_block(const ThresholdSweepParams&, int64_t, int64_t, const ThresholdSweepWorkspace&);       \
  void upsample_argmax_rows(const UpsampleArgmaxParams&, int64_t, int64_t, const UpsampleArgmaxWorkspace&);        \
  }
DISSECT_DECLARE_LEVEL(baseline)
#ifdef DISSECT_X86_LEVELS
DISSECT_DECLARE_LEVEL(avx2)
DISSECT_DECLARE_LEVEL(avx512)
#endif

namespace {

struct Level {
  const char* name;
  bool (*bad_values)(const FeatureMaps&, int64_t, int64_t, int64_t);
  BlendUnitsPlane blend_units;
  CopyPlanesBlock copy_planes;
  FilterStepBlock filter_step;
  HotCellsBlock hot_cells;
  ImagePeaksBlock image_peaks;
  IouCountsBlock iou_counts;
  TailHistogramBlock tail_histogram;
  ThresholdSweepBlock threshold_sweep;
  UpsampleArgmaxRows upsample_argmax;
};

#define DISSECT_LEVEL_ENTRY(level)                                                                              \
  Level {                                                                                                       \
    #level, level::bad_values, level::blend_units_plane, level::copy_planes_block, level::filter_step_block,    \
        level::hot_cells_block, level::image_peaks_block, level::iou_counts_block, level::tail_histogram_block, \
        level::threshold_sweep_block, level::upsample_argmax_rows                                               \
  }

std::vector<Level> available_levels() {
  std::vector<Level> levels{DISSECT_LEVEL_ENTRY(baseline)};
#ifdef DISSECT_X86_LEVELS
  // __builtin_cpu_supports also asks whether the operating system saves the wide registers.
  if (__builtin_cpu_supports("avx2")) levels.push_back(DISSECT_LEVEL_ENTRY(avx2));
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    levels.push_back(DISSECT_LEVEL_ENTRY(avx512));
#endif
  return levels;
}

Level chosen_level() {
  const std::vector<Level> levels = available_levels();
  const char* wanted = std::getenv("DISSECT_SIMD");
  if (wanted == nullptr || *wanted == '\0') return levels.back();
  std::string names;
  for (const Level& level : levels) {
    if (wanted == std::string(level.name)) return level;
    names += std::string(names.empty() ? "" : ", ") + level.name;
  }
  throw std::invalid_argument("DISSECT_SIMD must be one of the levels of this machine (" + names + "), but is " +
                              std::string(wanted) + ".");
}

// Runs work(unit_begin, unit_end, worker) for slices of the units, each of whole blocks and small enough for what it
// writes, `unit_bytes` per unit, to stay in a core's cache. The last slices of each thread's part are smaller, so that
// at the end none waits long for another.
template <typename Work>
void share_units(int64_t num_units, int64_t unit_bytes, int num_threads, const Work& work) {
  const int64_t num_blocks = (num_units + kUnitBlock - 1) / kUnitBlock;
  const int64_t for_cache = std::max<int64_t>(1, (384 << 10) / (kUnitBlock * unit_bytes));
  const int64_t num_parts = std::max(1, num_threads);
  std::vector<int64_t> begins{0};
  for (int64_t part = 1; part <= num_parts; ++part) {
    const int64_t end = part * num_blocks / num_parts;
    for (int64_t left = end - begins.back(); left > 0; left = end - begins.back())
      begins.push_back(begins.back() + std::min(for_cache, num_parts > 1 ? (left + 1) / 2 : left));
  }
  share(begins.size() - 1, num_threads, [&](int64_t slice, int worker) {
    work(begins[slice] * kUnitBlock, std::min(begins[slice + 1] * kUnitBlock, num_units), worker);
  });
}

}  // namespace

std::string simd_level() { return chosen_level().name; }

std::vector<std::string> simd_levels() {
  std::vector<std::string> names;
  for (const Level& level : available_levels()) names.push_back(level.name);
  return names;
}

int64_t find_bad_map(const FeatureMaps& maps, int num_threads) {
  const auto bad_values = chosen_level().bad_values;
  std::atomic<int64_t> first{INT64_MAX};
  share(maps.num_images, num_threads, [&](int64_t image, int) {
    if (!bad_values(maps, image, 0, maps.num_units)) return;
    int64_t unit = 0;
    while (!bad_values(maps, image, unit, unit + 1)) ++unit;
    const int64_t here = image * maps.num_units + unit;
    int64_t seen = first.load();
    while (here < seen && !first.compare_exchange_weak(seen, here)) {
    }
  });
  return first == INT64_MAX ? -1 : first.load();
}

namespace {

template <typename Word>
std::vector<int32_t> encode_image(const EncodeLabelsParams& params, int64_t image) {
  switch (params.type) {
    case LabelType::kUint8:
      return encode_labels_image<uint8_t, Word>(params, image);
    case LabelType::kInt16:
      return encode_labels_image<int16_t, Word>(params, image);
    case LabelType::kInt32:
      return encode_labels_image<int32_t, Word>(params, image);
    case LabelType::kInt64:
      return encode_labels_image<int64_t, Word>(params, image);
  }
  throw std::invalid_argument("encode_labels: unknown type of planes.");
}

}  // namespace

std::vector<std::vector<int32_t>> encode_labels(const EncodeLabelsParams& params, int num_threads) {
  std::vector<std::vector<int32_t>> tables(params.num_images);
  share(params.num_images, num_threads, [&](int64_t image, int) {
    tables[image] = params.wide ? encode_image<int64_t>(params, image) : encode_image<int32_t>(params, image);
  });
  return tables;
}

void blend_units(const BlendUnitsParams& params, int num_threads) {
  const BlendUnitsPlane plane = chosen_level().blend_units;
  share(params.maps.num_images, num_threads, [&](int64_t image, int) {
    for (int64_t unit = 0; unit < params.maps.num_units; ++unit) plane(params, image, unit);
  });
}

void copy_planes(const CopyPlanesParams& params, int num_threads) {
  const CopyPlanesBlock block = chosen_level().copy_planes;
  const int64_t num_units = params.maps.num_units;
  share(params.maps.num_images, num_threads, [&](int64_t image, int) {
    for (int64_t begin = 0; begin < num_units; begin += kUnitBlock)
      block(params, image, begin, std::min(begin + kUnitBlock, num_units));
  });
}

void filter_step(const FilterStepParams& params, int num_threads) {
  const FilterStepBlock block = chosen_level().filter_step;
  share(params.num_blocks, num_threads, [&](int64_t number, int) { block(params, number); });
}

std::unique_ptr<KeptCells> hot_cells(const HotCellsParams& params, int num_threads) {
  const HotCellsBlock block = chosen_level().hot_cells;
  const FeatureMaps& maps = params.maps;
  auto lists = std::make_unique<KeptCells>(maps.num_images, maps.height * maps.width > (1 << 16));
  struct Memory {
    std::vector<uint64_t> marks, near;
    std::vector<float> row, map;
    std::unique_ptr<int32_t[]> places;
    std::unique_ptr<float[]> values;
  };
  std::vector<Memory> memories(std::max(1, num_threads));
  std::atomic<bool> good{true};
  share(maps.num_images, num_threads, [&](int64_t image, int worker) {
    Memory& memory = memories[worker];
    const int64_t area = maps.height * maps.width;
    if (memory.map.empty()) {
      memory.marks.resize(mark_words(maps));
      memory.near.resize(mark_words(maps));
      memory.row.resize(row_floats(maps));
      memory.map.resize(padded_size(maps) + kLanes);
      memory.places.reset(new int32_t[kUnitBlock * area]);  // left as they are: most pages are never touched
      memory.values.reset(new float[kUnitBlock * area]);
    }
    for (int64_t begin = 0; begin < maps.num_units; begin += kUnitBlock) {
      const int64_t end = std::min(begin + kUnitBlock, maps.num_units);
      if (!block(params, image, begin, end,
                 {memory.marks.data(), memory.near.data(), memory.row.data(), memory.map.data(), memory.places.get(),
                  memory.values.get()}))
        good = false;
      for (int64_t unit = begin; unit < end; ++unit)
        lists->add(image, memory.places.get() + (unit - begin) * area, memory.values.get() + (unit - begin) * area,
                   params.counts[image * maps.num_units + unit]);
    }
  });
  return good ? std::move(lists) : nullptr;
}

bool image_peaks(const ImagePeaksParams& params, int num_threads) {
  const ImagePeaksBlock block = chosen_level().image_peaks;
  const int64_t num_units = params.maps.num_units;
  std::atomic<bool> good{true};
  share(params.maps.num_images, num_threads, [&](int64_t image, int) {
    for (int64_t begin = 0; begin < num_units; begin += kUnitBlock)
      if (!block(params, image, begin, std::min(begin + kUnitBlock, num_units))) good = false;
  });
  return good;
}

namespace {

// What the units need to know of an image's labels, made once per call.
struct LabelsOfImage {
  std::unique_ptr<OwnedLabelCells> cells;    // unless pixels are the maps' own cells
  std::unique_ptr<OwnedImageLabels> labels;  // if counts per image are wanted
};

template <typename Params>
std::unique_ptr<OwnedLabelCells> cells_of_image(const Params& params, int64_t image, bool with_rows) {
  const int64_t begin = image * params.grid.num_rows * params.grid.num_columns, width = padded_width(params.maps);
  if (params.wide)
    return std::make_unique<OwnedLabelCells>(params.grid, static_cast<const int64_t*>(params.runs) + begin, width,
                                             with_rows);
  return std::make_unique<OwnedLabelCells>(params.grid, static_cast<const int32_t*>(params.runs) + begin, width,
                                           with_rows);
}

std::vector<LabelsOfImage> labels_of_images(const IouCountsParams& params, bool by_image, int num_threads) {
  std::vector<LabelsOfImage> made(params.maps.num_images);
  const bool at_cells = is_identity(params.grid, params.maps), with_rows = has_large_cells(params.grid);
  share(params.maps.num_images, num_threads, [&](int64_t image, int) {
    if (!at_cells) made[image].cells = cells_of_image(params, image, with_rows);
    if (by_image) made[image].labels = std::make_unique<OwnedImageLabels>(params, image);
  });
  return made;
}

// What a thread needs to count.
struct CountsMemory {
  std::vector<float> maps;
  std::vector<uint64_t> bits;
  std::vector<int64_t> counts;
  std::vector<int32_t> touched, by_place;
};

// Counts, and per image too if `by_image` is given. Returns false where it met a bad value.
bool count(const IouCountsParams& params, int num_threads, ImageCounts* by_image) {
  const IouCountsBlock block = chosen_level().iou_counts;
  const auto owned = labels_of_images(params, by_image != nullptr, num_threads);
  std::vector<LabelCells> cells;
  std::vector<ImageLabels> labels;
  int64_t most = 0, most_labels = 0;
  for (size_t image = 0; image < owned.size(); ++image) {
    cells.push_back(owned[image].cells == nullptr ? LabelCells{} : owned[image].cells->view());
    most = std::max(most, params.offsets[image + 1] - params.offsets[image]);
    if (by_image == nullptr) continue;
    labels.push_back(owned[image].labels->view());
    most_labels = std::max(most_labels, labels.back().num_labels);
  }
  std::vector<CountsMemory> memories(std::max(1, num_threads));
  std::atomic<bool> good{true};
  std::mutex mutex;
  share_units(params.maps.num_units, 8 * params.num_labels, num_threads, [&](int64_t begin, int64_t end, int worker) {
    CountsMemory& memory = memories[worker];
    memory.maps.resize(block_floats(params.maps));
    memory.bits.resize(bit_words(params.maps));
    memory.counts.resize(most + kLanes);
    memory.touched.resize(most + kLanes);
    IouCountsWorkspace workspace{cells.data(),         memory.maps.data(),    memory.bits.data(),
                                 memory.counts.data(), memory.touched.data(), nullptr};
    if (by_image == nullptr) {
      if (!block(params, begin, end, workspace)) good = false;
      return;
    }
    memory.by_place.resize(most_labels + kLanes);
    auto slice = std::make_unique<ImageCounts::Slice>();
    slice->begin = begin, slice->end = end;
    const ByImageWorkspace noting{labels.data(), memory.by_place.data(), &slice->noted.list(),
                                  by_image->per_map.data()};
    workspace.by_image = &noting;
    if (!block(params, begin, end, workspace)) good = false;
    const std::lock_guard<std::mutex> lock(mutex);
    by_image->slices.push_back(std::move(slice));
  });
  return good;
}

}  // namespace

bool iou_counts(const IouCountsParams& params, int num_threads) { return count(params, num_threads, nullptr); }

std::unique_ptr<ImageCounts> iou_counts_by_image(const IouCountsParams& params, int num_threads) {
  const int64_t num_images = params.maps.num_images, num_units = params.maps.num_units;
  auto counts = std::make_unique<ImageCounts>();
  counts->num_images = num_images, counts->num_units = num_units;
  counts->per_map.resize(num_images * num_units);
  return count(params, num_threads, counts.get()) ? std::move(counts) : nullptr;
}

void write(const ImageCounts& counts, int32_t* to, int num_threads) {
  const std::vector<int64_t> starts = counts.starts();
  share(counts.slices.size(), num_threads,
        [&](int64_t slice, int) { counts.write(*counts.slices[slice], starts, to); });
}

bool tail_histogram(const TailHistogramParams& params, int num_threads) {
  const TailHistogramBlock block = chosen_level().tail_histogram;
  struct Memory {
    std::vector<float> maps, row;
    std::vector<uint64_t> bits;
  };
  std::vector<Memory> memories(std::max(1, num_threads));
  const auto count = [&](int64_t step) {
    std::atomic<bool> good{true};
    share_units(params.maps.num_units, 8 * params.num_bins, num_threads, [&](int64_t begin, int64_t end, int worker) {
      Memory& memory = memories[worker];
      memory.maps.resize(block_floats(params.maps));
      memory.row.resize(row_floats(params.maps));
      memory.bits.resize(bit_words(params.maps));
      if (!block(params, begin, end, step, {memory.maps.data(), memory.row.data(), memory.bits.data()})) good = false;
    });
    return good.load();
  };
  // Values are looked at while they are counted; to look at all of them first would read them twice.
  const bool good = count(1);
  if (!good) count(-1);
  return good;
}

void threshold_sweep(const ThresholdSweepParams& params, int num_threads) {
  const ThresholdSweepBlock block = chosen_level().threshold_sweep;
  std::vector<std::unique_ptr<OwnedLabelCells>> owned(params.maps.num_images);
  share(params.maps.num_images, num_threads,
        [&](int64_t image, int) { owned[image] = cells_of_image(params, image, false); });
  std::vector<LabelCells> cells;
  int64_t most = 0;
  for (size_t image = 0; image < owned.size(); ++image) {
    cells.push_back(owned[image]->view());
    const int64_t number = params.offsets[image + 1] - params.offsets[image];
    if (number <= most_combinations(params.num_edges)) most = std::max(most, number);
  }
  struct Memory {
    std::vector<float> maps, edges, seen;
    std::vector<uint64_t> bits;
    std::vector<int32_t> counts, touched;
  };
  std::vector<Memory> memories(std::max(1, num_threads));
  const int64_t unit_bytes = 8 * params.num_labels * params.num_edges;
  share_units(params.maps.num_units, unit_bytes, num_threads, [&](int64_t begin, int64_t end, int worker) {
    Memory& memory = memories[worker];
    memory.maps.resize(block_floats(params.maps));
    memory.edges.resize(tree_size(params.num_edges));
    memory.bits.resize(bit_words(params.maps));
    memory.counts.resize(most * params.num_edges);
    memory.seen.resize(most);
    memory.touched.resize(most + 1);
    block(params, begin, end,
          {cells.data(), memory.maps.data(), memory.bits.data(), memory.edges.data(), memory.seen.data(),
           memory.counts.data(), memory.touched.data()});
  });
}

void upsample_argmax(const UpsampleArgmaxParams& params, int num_threads) {
  const UpsampleArgmaxRows rows = chosen_level().upsample_argmax;
  const int64_t num_maps = params.maps.num_units, num_spans = params.grid.num_row_spans;
  struct Memory {
    std::vector<float> rows, bounds;
    std::vector<int32_t> candidates;
  };
  std::vector<Memory> memories(std::max(1, num_threads));
  share(params.maps.num_images * num_spans, num_threads, [&](int64_t item, int worker) {
    Memory& memory = memories[worker];
    memory.rows.resize(2 * num_maps * row_floats(params.maps) + kLanes);
    memory.bounds.resize(num_maps * kLanes);
    memory.candidates.resize(num_maps * kLanes);
    rows(params, item / num_spans, item % num_spans,
         {memory.rows.data(), memory.bounds.data(), memory.candidates.data()});
  });
}

}  // namespace dissect
