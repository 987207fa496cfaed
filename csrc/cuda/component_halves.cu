// component_halves on a GPU: union and find over the runs of rows. A run is known by its first pixel, a component by
// the first pixel of all its runs. Four launches: a thread per row finds the runs; one per pixel joins its run to those
// of the row above; one per run brings its ends to the component's first pixel; one per pixel writes.
#include "../component_halves.h"
#include "device.h"

namespace dissect {
namespace {

struct HalvesLaunch {
  ComponentHalvesParams p;
  int32_t* parent;                 // [N, H * W], an earlier pixel of the component or the pixel itself
  int32_t *bottom, *left, *right;  // [N, H * W], of components, at their first pixels
  int32_t* last;                   // [N], the first pixel of the last component
  int32_t* status;
};

// The pixel that a thread is for, if any; numbers are within the image.
template <typename Label>
struct Pixel {
  int64_t image;
  int32_t number, x, y;
  const Label* labels;  // of the image
  int32_t* parent;
  bool inside;

  __device__ explicit Pixel(const HalvesLaunch& launch) {
    const int64_t area = launch.p.height * launch.p.width;
    const int64_t thread = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    inside = thread < launch.p.num_images * area;
    image = thread / area, number = static_cast<int32_t>(thread % area);
    y = static_cast<int32_t>(number / launch.p.width), x = static_cast<int32_t>(number % launch.p.width);
    labels = static_cast<const Label*>(launch.p.labels) + image * area;
    parent = launch.parent + image * area;
  }
  __device__ bool begins_run() const { return labels[number] != 0 && (x == 0 || labels[number - 1] != labels[number]); }
};

__device__ inline int32_t first_pixel(const int32_t* parent, int32_t pixel) {
  for (int32_t next = latest(parent + pixel); next != pixel; next = latest(parent + pixel)) pixel = next;
  return pixel;
}

// Others may join the same components at the same time: who finds that a first pixel was one no more goes on with what
// it was joined to.
__device__ inline void join(int32_t* parent, int32_t one, int32_t other) {
  while (true) {
    one = first_pixel(parent, one), other = first_pixel(parent, other);
    if (one == other) return;
    const int32_t later = one > other ? one : other, first = one > other ? other : one;
    const int32_t before = atomicMin(parent + later, first);
    if (before == later) return;
    one = before, other = first;
  }
}

template <typename Label>
__global__ void __launch_bounds__(kThreads) runs_kernel(HalvesLaunch launch) {
  const ComponentHalvesParams& p = launch.p;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= p.num_images * p.height) return;
  const int64_t begin_of_row = row * p.width;  // in the batch
  const Label* labels = static_cast<const Label*>(p.labels) + begin_of_row;
  const int32_t y = static_cast<int32_t>(row % p.height), width = static_cast<int32_t>(p.width);
  if (y == 0) launch.last[row / p.height] = -1;
  for (int32_t begin = 0, end; begin < width; begin = end) {
    const Label label = labels[begin];
    const int32_t first = static_cast<int32_t>(y * p.width + begin);
    for (end = begin; end < width && labels[end] == label; ++end) launch.parent[begin_of_row + end] = first;
    launch.bottom[begin_of_row + begin] = y;
    launch.left[begin_of_row + begin] = begin;
    launch.right[begin_of_row + begin] = end - 1;
    if (static_cast<int64_t>(label) < 0) tell(launch.status);
  }
}

template <typename Label>
__global__ void __launch_bounds__(kThreads) join_kernel(HalvesLaunch launch) {
  const Pixel<Label> pixel(launch);
  if (!pixel.inside || pixel.y == 0 || pixel.labels[pixel.number] == 0) return;
  const int32_t width = static_cast<int32_t>(launch.p.width), here = pixel.number, above = here - width;
  const Label label = pixel.labels[here];
  const bool after_own = pixel.x > 0 && pixel.labels[here - 1] == label;
  const bool left = pixel.x > 0 && pixel.labels[above - 1] == label, over = pixel.labels[above] == label;
  const bool right = pixel.x + 1 < width && pixel.labels[above + 1] == label;
  // What a pixel of the same run has joined already, or the run above holds together, is left out.
  if (over && !(after_own && left)) join(pixel.parent, here, above);
  if (!over && left && !after_own) join(pixel.parent, here, above - 1);
  if (!over && right) join(pixel.parent, here, above + 1);
}

template <typename Label>
__global__ void __launch_bounds__(kThreads) ends_kernel(HalvesLaunch launch) {
  const Pixel<Label> pixel(launch);
  if (!pixel.inside || !pixel.begins_run()) return;
  const int64_t images = pixel.image * launch.p.height * launch.p.width;
  const int64_t first = images + first_pixel(pixel.parent, pixel.number), own = images + pixel.number;
  if (first == own) {
    atomicMax(launch.last + pixel.image, pixel.number);
    return;
  }
  atomicMax(launch.bottom + first, launch.bottom[own]);
  atomicMin(launch.left + first, launch.left[own]);
  atomicMax(launch.right + first, launch.right[own]);
}

template <typename Label>
__global__ void __launch_bounds__(kThreads) halves_kernel(HalvesLaunch launch) {
  const Pixel<Label> pixel(launch);
  if (!pixel.inside) return;
  const int64_t area = launch.p.height * launch.p.width, images = pixel.image * area;
  uint8_t upper_or_lower = 0, left_or_right = 0;
  const int32_t first = pixel.labels[pixel.number] == 0 ? -1 : first_pixel(pixel.parent, pixel.number);
  if (first >= 0 && !(launch.p.omit_last && first == launch.last[pixel.image])) {
    const int32_t top = static_cast<int32_t>(first / launch.p.width);
    upper_or_lower = pixel.y < middle_of(top, launch.bottom[images + first]) ? 1 : 2;
    left_or_right = pixel.x < middle_of(launch.left[images + first], launch.right[images + first]) ? 1 : 2;
  }
  launch.p.halves[2 * images + pixel.number] = upper_or_lower;
  launch.p.halves[2 * images + area + pixel.number] = left_or_right;
}

template <typename Label>
void run(const HalvesLaunch& kernel, const cuda::Place& place) {
  const ComponentHalvesParams& p = kernel.p;
  const auto go = [&](void (*function)(HalvesLaunch), int64_t num_threads) {
    cuda::require(launch(function, (num_threads + kThreads - 1) / kThreads, kThreads, 0,
                         static_cast<cudaStream_t>(place.stream), kernel),
                  "component_halves",
                  "labels [" + std::to_string(p.num_images) + ", " + std::to_string(p.height) + ", " +
                      std::to_string(p.width) + "]",
                  place);
  };
  const int64_t pixels = p.num_images * p.height * p.width;
  go(runs_kernel<Label>, p.num_images * p.height);
  go(join_kernel<Label>, pixels);
  go(ends_kernel<Label>, pixels);
  go(halves_kernel<Label>, pixels);
}

}  // namespace

void cuda::component_halves(const ComponentHalvesParams& params, int32_t* memory, const Place& place) {
  if (params.num_images == 0) return;
  check_sizes("component_halves", params.height, params.width);
  require(cudaSetDevice(place.device), "component_halves", "labels", place);
  const int64_t pixels = params.num_images * params.height * params.width;
  const HalvesLaunch kernel{
      params, memory, memory + pixels, memory + 2 * pixels, memory + 3 * pixels, memory + 4 * pixels, place.status};
  switch (params.type) {
    case LabelType::kUint8:
      return run<uint8_t>(kernel, place);
    case LabelType::kInt16:
      return run<int16_t>(kernel, place);
    case LabelType::kInt32:
      return run<int32_t>(kernel, place);
    case LabelType::kInt64:
      return run<int64_t>(kernel, place);
  }
  throw std::invalid_argument("component_halves: unknown type of labels.");
}

}  // namespace dissect
