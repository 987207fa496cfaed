// Views of the tensors that every op takes: raw pointers, sizes and strides in elements. Nothing here owns memory.
#pragma once

#include <cstdint>

namespace dissect {

enum class DType : int32_t { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2 };

// [N, U, h, w] activations with any strides.
struct FeatureMaps {
  void* data;  // const but for ops that say they write
  DType dtype;
  int64_t num_images, num_units, height, width;
  int64_t stride_image, stride_unit, stride_row, stride_column;
};

// One target row or column of a Grid: two source indices and the weight of the second.
struct GridEntry {
  int32_t index0, index1;
  float weight;
};
static_assert(sizeof(GridEntry) == 12, "must match the packed int32 [T, 3] tables of dissect.grid");

// A maximal run of target rows (or columns) that sample the same two source indices with weights that do not fall.
struct alignas(16) Span {
  int32_t index0, index1;  // shifted by one: 0 is the virtual zero before the map
  int32_t begin, end;      // target positions
};

// Both axes of a Grid and the cells they form. Weights, indices and columns go on for 16 entries beyond their length,
// so that whole vectors can be loaded.
struct GridView {
  int64_t num_rows, num_columns;  // H, W; 0 rows: no grid
  const Span* row_spans;
  const Span* column_spans;
  int64_t num_row_spans, num_column_spans;
  const float* row_weights;     // [H]
  const float* column_weights;  // [W]
  const int32_t* left_index;    // [column spans], their index0
  const int32_t* right_index;   // [column spans], their index1
  const int32_t* left_column;   // [W], index0 of the span that a target column is in
  const int32_t* right_column;  // [W], its index1
  // [padded source columns], the column spans [first_span, end_span) that sample each; none beyond the last.
  const int32_t* first_span;
  const int32_t* end_span;
};

// Units are loaded in blocks, so that a channels-last map is read along its contiguous axis.
constexpr int64_t kUnitBlock = 16;

}  // namespace dissect
