// observe on a GPU: one read of the feature maps, 16 bytes per load where their layout allows, by one of two kernels.
#include "observe.cuh"

namespace dissect {
namespace {

bool is_spatial(const Operand& operand) { return operand.stride_row != 0 || operand.stride_column != 0; }

}  // namespace

void cuda::observe(const ObserveParams& params, const Place& place) {
  const FeatureMaps& maps = params.maps;
  if (maps.num_images == 0 || maps.num_units == 0) return;
  check_sizes("observe", maps.height, maps.width);
  require(cudaSetDevice(place.device), "observe", maps, place);
  const int multiprocessors = attribute(cudaDevAttrMultiProcessorCount, "observe", maps, place);
  const ObserveLaunch launch{params, place.status, params.out == maps.data,
                             is_spatial(params.value) || is_spatial(params.mask), Divisor::of(maps.width)};
  const auto stream = static_cast<cudaStream_t>(place.stream);
  const bool units_are_neighbours = maps.stride_unit == 1 && maps.stride_column >= maps.num_units &&
                                    maps.stride_row == maps.width * maps.stride_column;
  require((units_are_neighbours ? observe_pixels : observe_planes)(launch, multiprocessors, stream), "observe", maps,
          place);
}

}  // namespace dissect
