// hot_cells on a GPU: a warp takes one map and walks down its rows. 32 columns at a time are compared with the floor,
// whose bits lane s keeps of the columns from 32 s on, so that 1,024 columns of a row are a word per lane; a cell is
// kept if it or a neighbour has a bit in its row, the one above or the one below. One launch counts, and finds peaks;
// when the host knows how many entries there are, another one writes them.
#include "../hot_cells.h"
#include "device.h"

namespace dissect {
namespace {

constexpr int kColumns = 1024;  // that the lanes have bits of

struct HotCellsLaunch {
  HotCellsParams p;
  cuda::HotEntriesOut out;
  int32_t* status;
};

// A warp's map, with the virtual zeros around it.
template <typename T>
struct WarpMap {
  const T* data;
  const FeatureMaps& maps;
  float floor;
  int height, width;
  uint32_t ring;  // a bit each, all the same: whether the zeros are above the floor

  __device__ WarpMap(const HotCellsParams& p, int64_t number)
      : data(static_cast<const T*>(p.maps.data) + number / p.maps.num_units * p.maps.stride_image +
             number % p.maps.num_units * p.maps.stride_unit),
        maps(p.maps),
        floor(p.floors[number]),
        height(static_cast<int>(p.maps.height)),
        width(static_cast<int>(p.maps.width)),
        ring(0.0f > floor ? 0xffffffffu : 0u) {}

  __device__ float at(int row, int column) const {
    return widen(data[row * maps.stride_row + column * maps.stride_column]);
  }
  // For the bits beside those of the lanes.
  __device__ bool is_hot(int row, int column) const {
    const bool inside = row >= 0 && row < height && column >= 0 && column < width;
    return inside ? at(row, column) > floor : ring != 0;
  }
  // This lane's bits of a row: of the columns from `first` + 32 times its number on. Beyond the map's right end all
  // are as the zeros beside it. Calls see(value) for what is looked at.
  template <typename See>
  __device__ uint32_t bits(int row, int first, const See& see) const {
    uint32_t own = ring;
    if (row < 0 || row >= height) return own;
    const int words = (width - first + 31) / 32 < 32 ? (width - first + 31) / 32 : 32;
#pragma unroll 4
    for (int word = 0; word < words; ++word) {
      const int column = first + 32 * word + lane_of_thread();
      bool hot = ring != 0;
      if (column < width) {
        const float value = at(row, column);
        see(value);
        hot = value > floor;
      }
      const uint32_t found = __ballot_sync(kAllLanes, hot);
      if (lane_of_thread() == word) own = found;
    }
    return own;
  }
};

// A lane's bits of what is kept, of those of the three rows that meet it, from the column `first` on.
template <typename T>
__device__ uint32_t spread(const WarpMap<T>& map, int row, int first, uint32_t three) {
  const int lane = lane_of_thread();
  const uint32_t before = __shfl_sync(kAllLanes, three, (lane + 31) % 32);
  const uint32_t after = __shfl_sync(kAllLanes, three, (lane + 1) % 32);
  uint32_t left = before >> 31, right = after << 31;
  if (lane == 0 || lane == 31) {
    const int beside = lane == 0 ? first - 1 : first + kColumns;
    // Behind the zeros at the right end there is nothing.
    const bool hot =
        beside <= map.width && (map.is_hot(row - 1, beside) || map.is_hot(row, beside) || map.is_hot(row + 1, beside));
    if (lane == 0) left = hot ? 1u : 0u;
    else right = hot ? 0x80000000u : 0u;
  }
  return three | three << 1 | three >> 1 | left | right;
}

// Calls visit(row, first, bits) for each row and each of its 1,024 columns, in order, all lanes together; a lane's bits
// are those of the kept cells among its columns.
template <typename T, typename See, typename Visit>
__device__ void for_kept(const WarpMap<T>& map, int64_t reach, const See& see, const Visit& visit) {
  const bool rolls = map.width <= kColumns;  // what was the row below is the next one
  uint32_t above = 0, here = 0, below = 0;
  for (int row = 0; row < map.height; ++row)
    for (int first = 0; first < map.width; first += kColumns) {
      if (rolls && row > 0) {
        above = here, here = below;
      } else {
        above = map.bits(row - 1, first, see), here = map.bits(row, first, see);
      }
      below = map.bits(row + 1, first, see);
      uint32_t kept = reach == 0 ? here : spread(map, row, first, above | here | below);
      const int left = map.width - first - 32 * lane_of_thread();  // columns from this lane's first one on
      if (left < 32) kept &= left <= 0 ? 0u : (1u << left) - 1u;
      visit(row, first, kept);
    }
}

__device__ inline int64_t map_of_warp() { return static_cast<int64_t>(blockIdx.x) * kWarps + warp_of_thread(); }

template <typename T>
__global__ void __launch_bounds__(kThreads, 5) count_hot_cells(HotCellsLaunch launch) {
  const HotCellsParams& p = launch.p;
  const int64_t number = map_of_warp();
  if (number >= p.maps.num_images * p.maps.num_units) return;
  const WarpMap<T> map(p, number);
  Worst worst{0};
  uint32_t highest = 0;
  int kept = 0;
  const auto see = [&](float value) {
    worst.add(value);
    const uint32_t key = key_of(value);
    highest = key > highest ? key : highest;
  };
  for_kept(map, p.reach, see, [&](int, int, uint32_t bits) { kept += __popc(bits); });
  for (int distance = 16; distance > 0; distance /= 2) {
    const uint32_t other = __shfl_xor_sync(kAllLanes, highest, distance);
    highest = other > highest ? other : highest;
  }
  const int count = __reduce_add_sync(kAllLanes, kept);
  if (lane_of_thread() == 0) p.peaks[number] = value_of_key(highest), p.counts[number] = count;
  worst.tell_if_bad(launch.status);
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 5) write_hot_cells(HotCellsLaunch launch) {
  const HotCellsParams& p = launch.p;
  const int64_t number = map_of_warp();
  if (number >= p.maps.num_images * p.maps.num_units) return;
  const WarpMap<T> map(p, number);
  const unsigned before = (1u << lane_of_thread()) - 1u;
  int64_t next = launch.out.starts[number];
  const auto visit = [&](int row, int first, uint32_t kept) {
    unsigned waiting = __ballot_sync(kAllLanes, kept != 0);  // words with entries
    for (; waiting != 0; waiting &= waiting - 1) {
      const int word = __ffs(waiting) - 1;
      const uint32_t bits = __shfl_sync(kAllLanes, kept, word);
      if (bits >> lane_of_thread() & 1u) {
        const int64_t entry = next + __popc(bits & before);
        const int column = first + 32 * word + lane_of_thread(), place = row * map.width + column;
        launch.out.values[entry] = map.at(row, column);
        if (launch.out.wide) static_cast<int32_t*>(launch.out.places)[entry] = place;
        else static_cast<uint16_t*>(launch.out.places)[entry] = static_cast<uint16_t>(place);
      }
      next += __popc(bits);
    }
  };
  for_kept(map, p.reach, [](float) {}, visit);
}

template <typename T>
auto kernel_of(bool writes) {
  return writes ? write_hot_cells<T> : count_hot_cells<T>;
}

auto kernel_of(DType dtype, bool writes) {
  switch (dtype) {
    case DType::kFloat16:
      return kernel_of<Float16>(writes);
    case DType::kBFloat16:
      return kernel_of<BFloat16>(writes);
    default:
      return kernel_of<float>(writes);
  }
}

}  // namespace

void cuda::hot_cells(const HotCellsParams& params, const HotEntriesOut& out, const Place& place) {
  const FeatureMaps& maps = params.maps;
  const int64_t number = maps.num_images * maps.num_units;
  if (number == 0) return;
  check_sizes("hot_cells", maps.height + 2, maps.width + 2);
  require(cudaSetDevice(place.device), "hot_cells", maps, place);
  const HotCellsLaunch kernel{params, out, place.status};
  require(launch(kernel_of(maps.dtype, out.values != nullptr), (number + kWarps - 1) / kWarps, kThreads, 0,
                 static_cast<cudaStream_t>(place.stream), kernel),
          "hot_cells", maps, place);
}

}  // namespace dissect
