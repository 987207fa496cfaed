// What hot_cells keeps of each image, until the caller has memory for it.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace dissect {

class KeptCells {
 public:
  // `wide`: places need more than 16 bits.
  KeptCells(int64_t num_images, bool wide) : wide_(wide), images_(num_images) {}

  // Adds one map's entries; the images may be different threads'.
  void add(int64_t image, const int32_t* places, const float* values, int64_t count) {
    Image& to = images_[image];
    if (wide_) to.wide.insert(to.wide.end(), places, places + count);
    else to.places.insert(to.places.end(), places, places + count);
    to.values.insert(to.values.end(), values, values + count);
  }

  int64_t size() const {
    int64_t size = 0;
    for (const Image& image : images_) size += static_cast<int64_t>(image.values.size());
    return size;
  }

  // To `size` places, int32_t or uint16_t, and values: image after image.
  void write(void* places, float* values) const {
    char* to = static_cast<char*>(places);
    for (const Image& image : images_) {
      to = wide_ ? copy(image.wide, to) : copy(image.places, to);
      values = reinterpret_cast<float*>(copy(image.values, reinterpret_cast<char*>(values)));
    }
  }

 private:
  struct Image {
    std::vector<uint16_t> places;
    std::vector<int32_t> wide;
    std::vector<float> values;
  };

  template <typename T>
  static char* copy(const std::vector<T>& from, char* to) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size() * sizeof(T));
    return to + from.size() * sizeof(T);
  }

  bool wide_;
  std::vector<Image> images_;
};

}  // namespace dissect
