#include "component_halves.h"

#include "engine.h"
#include "share.h"

namespace dissect {

void component_halves(const ComponentHalvesParams& params, int num_threads) {
  share(params.num_images, num_threads, [&](int64_t image, int) {
    switch (params.type) {
      case LabelType::kUint8:
        return component_halves_image<uint8_t>(params, image);
      case LabelType::kInt16:
        return component_halves_image<int16_t>(params, image);
      case LabelType::kInt32:
        return component_halves_image<int32_t>(params, image);
      case LabelType::kInt64:
        return component_halves_image<int64_t>(params, image);
    }
    throw std::invalid_argument("component_halves: unknown type of labels.");
  });
}

}  // namespace dissect
