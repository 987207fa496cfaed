// The CPU's threshold_sweep, included once per SIMD level with DISSECT_LEVEL set to the level's name.
//
// Pixels at or below the lowest edge, most of all, are left out cell by cell as in iou_counts. Each of the others is
// sampled once, sixteen at a time, and waits, with its combination of labels, until there are many: so edges are
// searched for sixteen at a time too, though few of a row may fire. It is counted once, by its combination and the
// highest edge that it exceeds. Combinations are taken apart once per map, a cache line of edges at a time.
#pragma once

#include "../threshold_sweep.h"
#include "compress.h"
#include "load_maps.h"
#include "profiles.h"

namespace dissect {
namespace DISSECT_LEVEL {
namespace {

// A unit's edges as a binary tree, filled up with infinities, which nothing exceeds: the root is node 1, node i leads
// to the nodes 2i and 2i + 1. Six levels are searched in registers where they can be.
struct Edges {
  const float* tree;
  int64_t size;
  Lanes lowest;
#if defined(__AVX512F__)
  __m512 top, fifth, sixth[2];
#endif

  Edges(const ThresholdSweepParams& p, int64_t unit, float* memory) : tree(memory), size(tree_size(p.num_edges)) {
    const float* edges = p.edges + unit * p.num_edges;
    int64_t node = 1;
    for (int64_t step = size / 2; step > 0; step /= 2)
      for (int64_t b = step; b < size; b += 2 * step) memory[node++] = b < p.num_edges ? edges[b] : __builtin_inff();
    lowest = same(edges[0]);
#if defined(__AVX512F__)
    top = _mm512_loadu_ps(tree), fifth = _mm512_loadu_ps(tree + 16);
    sixth[0] = _mm512_loadu_ps(tree + 32), sixth[1] = _mm512_loadu_ps(tree + 48);
#endif
  }

  // The number of the highest edge that each value exceeds, for those of `valid` lanes, which exceed the lowest.
  inline void find(Lanes values, uint32_t valid, int32_t* numbers) const {
#if defined(__AVX512F__)
    (void)valid;
    __m512i node = _mm512_set1_epi32(1);
    const auto descend = [&](__m512 edges) {
      const __mmask16 exceeds = _mm512_cmp_ps_mask(reinterpret_cast<__m512>(values), edges, _CMP_GT_OQ);
      node = _mm512_add_epi32(node, node);
      node = _mm512_mask_add_epi32(node, exceeds, node, _mm512_set1_epi32(1));
    };
    for (int level = 0; level < 4; ++level) descend(_mm512_permutexvar_ps(node, top));
    descend(_mm512_permutexvar_ps(node, fifth));
    descend(_mm512_permutex2var_ps(sixth[0], node, sixth[1]));
    for (int64_t level = kLeastTree; level < size; level *= 2) descend(_mm512_i32gather_ps(node, tree, 4));
    _mm512_storeu_si512(numbers, _mm512_sub_epi32(node, _mm512_set1_epi32(static_cast<int32_t>(size))));
#elif defined(__AVX2__)
    (void)valid;
    float scalars[kLanes];
    store(scalars, values);
    for (int half = 0; half < 2; ++half) find_eight(_mm256_loadu_ps(scalars + 8 * half), numbers + 8 * half);
#else
    float scalars[kLanes];
    store(scalars, values);
    for (; valid != 0; valid &= valid - 1) {
      const int lane = __builtin_ctz(valid);
      int64_t node = 1;
      while (node < size) node += node + (scalars[lane] > tree[node]);
      numbers[lane] = static_cast<int32_t>(node - size);
    }
#endif
  }

#if defined(__AVX2__) && !defined(__AVX512F__)
  inline void find_eight(__m256 values, int32_t* numbers) const {
    __m256i node = _mm256_set1_epi32(1);
    const auto descend = [&](__m256 edges) {
      const __m256 exceeds = _mm256_cmp_ps(values, edges, _CMP_GT_OQ);
      node = _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(exceeds));
    };
    const auto eight = [&](int first) { return _mm256_permutevar8x32_ps(_mm256_loadu_ps(tree + first), node); };
    // Of two, the second where the node's bit is set.
    const auto either = [&](__m256 a, __m256 b, int bit) {
      return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(node, 31 - bit)));
    };
    for (int level = 0; level < 3; ++level) descend(eight(0));
    descend(eight(8));
    descend(either(eight(16), eight(24), 3));
    descend(either(either(eight(32), eight(40), 3), either(eight(48), eight(56), 3), 4));
    for (int64_t level = kLeastTree; level < size; level *= 2) descend(_mm256_i32gather_ps(tree, node, 4));
    node = _mm256_sub_epi32(node, _mm256_set1_epi32(static_cast<int32_t>(size)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(numbers), node);
  }
#endif
};

constexpr int64_t kWaiting = 256;

// A line of the cache.
constexpr int64_t kLine = 8;
typedef int64_t Line __attribute__((vector_size(64)));
typedef int32_t HalfLine __attribute__((vector_size(32)));

inline void add_line(int64_t* to, Line more) {
  Line sum;
  __builtin_memcpy(&sum, to, sizeof sum);
  sum += more;
  __builtin_memcpy(to, &sum, sizeof sum);
}

// The combinations of up to sixteen pixels; of more, of the first sixteen.
template <typename Word>
inline void combinations_of(const Word* runs, int64_t count, int32_t* found) {
  if (count >= kLanes) {
    for (int i = 0; i < kLanes; ++i) found[i] = static_cast<int32_t>(combination_of(runs[i]));
  } else {
    for (int i = 0; i < count; ++i) found[i] = static_cast<int32_t>(combination_of(runs[i]));
  }
}

// What one map meets, of an image with few combinations: pixels per combination and edge, until they are taken apart.
struct Met {
  const ThresholdSweepWorkspace& memory;
  int64_t num_edges, num_planes;
  const int32_t* table;  // of the image
  int64_t* bins;         // of the unit
  int64_t* area;         // of the unit in the image
  int64_t num_touched = 0;

  inline void touch(int64_t combination) {
    // Written always, kept only if new: a branch here would be mispredicted.
    memory.touched[num_touched] = static_cast<int32_t>(combination);
    num_touched += memory.seen[combination] == 0;
    memory.seen[combination] = 1;
  }

  inline void add_to_labels(int64_t combination, int64_t edge, int64_t pixels) {
    const int32_t* labels = table + combination * num_planes;
    area[edge] += pixels;
    for (int64_t k = 0; k < num_planes; ++k)
      if (labels[k] != 0) bins[labels[k] * num_edges + edge] += pixels;
  }

  inline void send_for(int64_t combination, int64_t edge) const {
    const int32_t* labels = table + combination * num_planes;
    for (int64_t k = 0; k < num_planes; ++k) __builtin_prefetch(bins + labels[k] * num_edges + edge, 1);
  }

  // Calls visit(first, counts) for each line of a combination's counts that has pixels: others need no line of `bins`.
  template <typename Visit>
  inline void for_lines(int64_t combination, const Visit& visit) const {
    const int32_t* const counts = memory.counts + combination * num_edges;
    for (int64_t b = 0; b + kLine <= num_edges; b += kLine) {
      HalfLine half;
      __builtin_memcpy(&half, counts + b, sizeof half);
      const Line line = __builtin_convertvector(half, Line);
      int64_t any = 0;
      for (int64_t i = 0; i < kLine; ++i) any |= line[i];
      if (any != 0) visit(b, line);
    }
  }

  // What taking a combination apart will add to, which is in no near cache.
  inline void send_for_lines(int64_t combination) const {
    const int32_t* labels = table + combination * num_planes;
    for_lines(combination, [&](int64_t b, Line) {
      for (int64_t k = 0; k < num_planes; ++k) __builtin_prefetch(bins + labels[k] * num_edges + b, 1);
    });
  }

  inline void take_apart() {
    if (num_touched > 0) send_for_lines(memory.touched[0]);
    for (int64_t i = 0; i < num_touched; ++i) {
      const int64_t combination = memory.touched[i];
      if (i + 1 < num_touched) send_for_lines(memory.touched[i + 1]);
      int32_t* const counts = memory.counts + combination * num_edges;
      const int32_t* labels = table + combination * num_planes;
      for_lines(combination, [&](int64_t b, Line line) {
        add_line(area + b, line);
        for (int64_t k = 0; k < num_planes; ++k)
          if (labels[k] != 0) add_line(bins + labels[k] * num_edges + b, line);
      });
      for (int64_t b = num_edges / kLine * kLine; b < num_edges; ++b)
        if (counts[b] != 0) add_to_labels(combination, b, counts[b]);
      __builtin_memset(counts, 0, num_edges * sizeof(int32_t));
      memory.seen[combination] = 0;
    }
    num_touched = 0;
  }
};

// The pixels of one map. Of an image with more combinations than the table has room for they go to their labels at
// once.
struct Swept {
  Met& met;
  const Edges& edges;
  bool by_combination;
  int64_t num_waiting = 0;
  // Values, and the bits of their combinations.
  float waiting[kWaiting + kLanes], combinations[kWaiting + kLanes];
  // Sixteen whose edges are known, of an image with many combinations.
  struct {
    int32_t combinations[kLanes], numbers[kLanes];
    uint32_t valid = 0;
  } late;

  Swept(Met& met, const Edges& edges, bool by_combination) : met(met), edges(edges), by_combination(by_combination) {}

  // Pixels that are counted by `flush`.
  inline void wait(Lanes values, uint32_t fires, const int32_t* of_pixels) {
    compress(combinations + num_waiting, load(reinterpret_cast<const float*>(of_pixels)), fires);
    num_waiting += compress(waiting + num_waiting, values, fires);
    if (num_waiting >= kWaiting) {
      for (int64_t i = 0; i < kWaiting; i += kLanes) count_waiting(i, 0xffffu);
      num_waiting -= kWaiting;
      store(waiting, load(waiting + kWaiting)), store(combinations, load(combinations + kWaiting));
    }
  }

  inline void flush() {
    store(combinations + num_waiting, Lanes{});  // what is looked up, though not counted
    for (int64_t i = 0; i < num_waiting; i += kLanes) count_waiting(i, first_bits(num_waiting - i));
    num_waiting = 0;
    if (late.valid != 0) count_late(late.combinations, late.numbers, 0);
  }

  // Nearly each goes to bins that are in no near cache: they are sent for, and counted when the next sixteen are.
  inline void count_late(const int32_t* own, const int32_t* numbers, uint32_t valid) {
    for (uint32_t rest = valid; rest != 0; rest &= rest - 1) {
      const int i = __builtin_ctz(rest);
      met.send_for(own[i], numbers[i]);
    }
    for (; late.valid != 0; late.valid &= late.valid - 1) {
      const int i = __builtin_ctz(late.valid);
      met.add_to_labels(late.combinations[i], late.numbers[i], 1);
    }
    __builtin_memmove(late.combinations, own, sizeof late.combinations);
    __builtin_memmove(late.numbers, numbers, sizeof late.numbers);
    late.valid = valid;
  }

  inline void count_waiting(int64_t first, uint32_t valid) {
    int32_t numbers[kLanes] = {}, own[kLanes], keys[kLanes];
    edges.find(load(waiting + first), valid, numbers);
    __builtin_memcpy(own, combinations + first, sizeof own);
    if (!by_combination) return count_late(own, numbers, valid);
    for (uint32_t fresh = ~greater(gather(met.memory.seen, own), Lanes{}) & valid; fresh != 0; fresh &= fresh - 1)
      met.touch(own[__builtin_ctz(fresh)]);
    int32_t* const counts = met.memory.counts;
    const int32_t row = static_cast<int32_t>(met.num_edges);
    for (int i = 0; i < kLanes; ++i) keys[i] = own[i] * row + numbers[i];
    if (valid != 0xffffu) {
      for (; valid != 0; valid &= valid - 1) ++counts[keys[__builtin_ctz(valid)]];
      return;
    }
    // Neighbours often have one key, and one would wait for the other: so not one after another.
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < kLanes; j += 4) ++counts[keys[i + j]];
  }
};

// The runs of some rows of a span, which other maps have driven out of the near caches.
template <typename Word>
inline void send_for_runs(const Word* runs, int64_t width, uint32_t rows, const Span& columns) {
  constexpr int64_t kWords = 64 / sizeof(Word);
  for (; rows != 0; rows &= rows - 1) {
    const Word* const row = runs + __builtin_ctz(rows) * width;
    for (int64_t x = columns.begin; x < columns.end; x += kWords) __builtin_prefetch(row + x);
    __builtin_prefetch(row + columns.end - 1);
  }
}

template <typename Word>
inline void sweep_map(const ThresholdSweepParams& p, int64_t image, const LabelCells& cells, const float* map,
                      ColumnBits bits, Swept& swept) {
  const GridView& grid = p.grid;
  const int64_t pitch = padded_width(p.maps), width = grid.num_columns;
  const Word* runs = static_cast<const Word*>(p.runs) + image * grid.num_rows * width;
  const Lanes lowest = swept.edges.lowest;
  bits.fill(p.maps, map, grid.column_spans[0].index0, grid.column_spans[grid.num_column_spans - 1].index1,
            [lowest](Lanes values) { return greater(values, lowest); });
  for_active_rows(grid, bits, [&](const Span& span, const RowBits& of_row) {
    const float* upper = map + span.index0 * pitch;
    const float* lower = map + span.index1 * pitch;
    const int32_t* cells_of_row = cells.combinations + (&span - grid.row_spans) * cells.stride;
    for (int64_t y = span.begin; y < span.end; y += kLanes) {
      const uint32_t valid = first_bits(span.end - y);
      const Lanes weights = load(grid.row_weights + y);
      const auto passes = [=](Lanes values) { return greater(values, lowest) & valid; };
      Profiles profiles(upper, lower, weights, passes);
      for_active_spans(grid, of_row, [&](const Span& columns) {
        const int32_t combination = cells_of_row[&columns - grid.column_spans];
        int32_t of_pixels[kLanes] = {};
        if (combination >= 0)
          for (int32_t& own : of_pixels) own = combination;
        if (is_small(span, columns)) {
          const int64_t n = columns.end - columns.begin, rows = span.end - span.begin;
          if (combination < 0)
            for (int64_t row = 0; row < rows; ++row)
              combinations_of(runs + (y + row) * width + columns.begin, n, of_pixels + row * n);
          const Lanes values = small_cell(grid, columns, upper, lower, weights);
          return swept.wait(values, greater(values, lowest) & first_bits(rows * n), of_pixels);
        }
        const Profile& left = profiles[columns.index0];
        const Profile& right = profiles[columns.index1];
        const uint32_t active = left.bits | right.bits;
        if (combination < 0) send_for_runs(runs + y * width, width, active, columns);
        for (uint32_t rest = active; rest != 0; rest &= rest - 1) {
          const int row = __builtin_ctz(rest);
          const Lanes from = same(left.values[row]), to = same(right.values[row]);
          for (int64_t x = columns.begin; x < columns.end; x += kLanes) {
            const Lanes values = interpolate(from, to, load(grid.column_weights + x));
            const uint32_t fires = greater(values, lowest) & first_bits(columns.end - x);
            if (combination < 0) combinations_of(runs + (y + row) * width + x, columns.end - x, of_pixels);
            swept.wait(values, fires, of_pixels);
          }
        }
      });
    }
  });
  swept.flush();
}

}  // namespace

void threshold_sweep_block(const ThresholdSweepParams& p, int64_t unit_begin, int64_t unit_end,
                           const ThresholdSweepWorkspace& workspace) {
  const ColumnBits bits{workspace.bits, words_per_row(p.maps)};
  // Units outside, so that a unit's bins stay in the cache for all images.
  for (int64_t unit = unit_begin; unit < unit_end; ++unit) {
    const Edges edges(p, unit, workspace.edges);
    for (int64_t image = 0; image < p.maps.num_images; ++image) {
      Met met{workspace,
              p.num_edges,
              p.num_planes,
              p.table + p.offsets[image] * p.num_planes,
              p.bins + unit * p.num_labels * p.num_edges,
              p.unit_bins + (image * p.maps.num_units + unit) * p.num_edges};
      Swept swept(met, edges, p.offsets[image + 1] - p.offsets[image] <= most_combinations(p.num_edges));
      load_maps(p.maps, image, unit, 1, workspace.maps);
      const LabelCells& cells = workspace.cells[image];
      if (p.wide) sweep_map<int64_t>(p, image, cells, workspace.maps, bits, swept);
      else sweep_map<int32_t>(p, image, cells, workspace.maps, bits, swept);
      met.take_apart();
    }
  }
}

}  // namespace DISSECT_LEVEL
}  // namespace dissect
