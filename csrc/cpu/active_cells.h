// The cells of a grid with a corner that passes a test, as lists, for one SIMD level.
//
// Few cells are wanted, and which is hard to predict. So they are listed without a branch for each.
#pragma once

#include "compress.h"
#include "steady.h"

namespace dissect {
namespace {

// Some cells: their numbers, those of a row span `stride` after those of the one before, and their row spans, if asked
// for.
struct CellList {
  static constexpr int64_t kCapacity = 512;
  int32_t cells[kCapacity + kLanes], rows[kCapacity + kLanes];
  int64_t size = 0;

  // Of up to 64 neighbours those with a bit.
  template <bool kWithRows>
  inline void add(int32_t first, int32_t row, int64_t num, uint64_t bits) {
    for (int64_t i = 0; i < num; i += kLanes, first += kLanes, bits >>= kLanes) {
      if (kWithRows) fill(rows + size, row);
      size += compress_numbers(cells + size, first, bits & 0xffffu);
    }
  }
};

// How the columns of a grid are listed.
struct ColumnLayout {
  // The source columns of span s are s + shift and the next; at the border maybe only one of the two, where the other
  // is no span's. -1 where that is not so.
  int64_t shift;
  // Cells in these rows and columns are listed apart from others.
  int64_t steady_rows_begin, steady_rows_end, steady_begin, steady_end;
};

// See ColumnLayout.
inline int64_t column_shift(const GridView& grid) {
  const int64_t num = grid.num_column_spans;
  const int64_t first = grid.column_spans[0].index0, last = grid.column_spans[num - 1].index1;
  const auto is_shift = [&](int64_t shift) {
    bool is_one = shift >= 0;
    for (int64_t s = 0; s < num; ++s) {
      const Span& span = grid.column_spans[s];
      const int64_t left = s + shift, right = left + 1;
      const bool both = span.index0 == left && span.index1 == right;
      const bool one = span.index0 == span.index1 &&
                       ((span.index0 == right && left < first) || (span.index0 == left && right > last));
      is_one &= both || one;
    }
    return is_one;
  };
  return is_shift(last - num) ? last - num : is_shift(last - num + 1) ? last - num + 1 : -1;
}

// The bits of [begin, end) in a word of 64 that begins at `first`.
inline uint64_t bits_between(int64_t begin, int64_t end, int64_t first) {
  const auto below = [first](int64_t at) {
    return at <= first ? 0 : at - first >= 64 ? ~uint64_t{0} : (uint64_t{1} << (at - first)) - 1;
  };
  return below(end) & ~below(begin);
}

// Lists of active cells. `Visit` gets this whenever one is full, and at the end.
struct ActiveCells {
  CellList steady, others;

  template <typename Visit>
  inline void make_room(const Visit& visit) {
    if (steady.size + 64 > CellList::kCapacity || others.size + 64 > CellList::kCapacity) end(visit);
  }
  template <typename Visit>
  inline void end(const Visit& visit) {
    if (steady.size + others.size > 0) visit();
    steady.size = others.size = 0;
  }
};

// The same as below, of a grid of at most sixteen column spans, and of a word of bits per row: without a loop or a
// branch for what a row has.
template <bool kWithRows, typename Visit>
inline void for_active_cells_of_few(const GridView& grid, const ColumnLayout& layout, int64_t stride,
                                    const ColumnBits& bits, ActiveCells& active, const Visit& visit) {
  const int64_t num = grid.num_column_spans;
  const uint64_t valid = bits_between(0, num, 0), steady = bits_between(layout.steady_begin, layout.steady_end, 0);
  for (int64_t r = 0; r < grid.num_row_spans; ++r) {
    const Span& span = grid.row_spans[r];
    const uint64_t columns = (bits.words[span.index0] | bits.words[span.index1]) >> layout.shift;
    const uint64_t found = (columns | columns >> 1) & valid;
    const bool steady_row = r >= layout.steady_rows_begin && r < layout.steady_rows_end;
    const uint64_t apart = steady_row ? found & steady : 0;
    const int32_t row = static_cast<int32_t>(r), begin = static_cast<int32_t>(r * stride);
    active.make_room(visit);
    active.steady.add<kWithRows>(begin, row, kLanes, apart);
    active.others.add<true>(begin, row, kLanes, found & ~apart);
  }
  active.end(visit);
}

// Lists all cells that have a column with a bit in either of their source rows; the steady ones with their rows if
// asked.
template <bool kWithRows, typename Visit>
inline void for_active_cells(const GridView& grid, const ColumnLayout& layout, int64_t stride, const ColumnBits& bits,
                             ActiveCells& active, const Visit& visit) {
  const int64_t num = grid.num_column_spans;
  if (layout.shift >= 0 && num <= kLanes && bits.per_row == 1)
    return for_active_cells_of_few<kWithRows>(grid, layout, stride, bits, active, visit);
  for (int64_t r = 0; r < grid.num_row_spans; ++r) {
    const Span& span = grid.row_spans[r];
    const int32_t row = static_cast<int32_t>(r), begin = static_cast<int32_t>(r * stride);
    const RowBits of_row = bits.of(span);
    if (layout.shift < 0) {
      for_active_spans(grid, of_row, [&](const Span& columns) {
        active.make_room(visit);
        active.others.add<true>(begin + static_cast<int32_t>(&columns - grid.column_spans), row, 1, 1);
      });
      continue;
    }
    const bool steady_row = r >= layout.steady_rows_begin && r < layout.steady_rows_end;
    for (int64_t s = 0; s < num; s += 64) {
      const int64_t here = num - s < 64 ? num - s : 64;
      const uint64_t found =
          (of_row.from(s + layout.shift) | of_row.from(s + layout.shift + 1)) & bits_between(s, s + here, s);
      if (found == 0) continue;
      active.make_room(visit);
      const int32_t first = begin + static_cast<int32_t>(s);
      const uint64_t steady = steady_row ? bits_between(layout.steady_begin, layout.steady_end, s) : 0;
      if (steady != 0) active.steady.add<kWithRows>(first, row, here, found & steady);
      if ((found & ~steady) != 0) active.others.add<true>(first, row, here, found & ~steady);
    }
  }
  active.end(visit);
}

}  // namespace
}  // namespace dissect
