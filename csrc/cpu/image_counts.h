// Counts per image, sparse: what iou_counts notes of them, and how it becomes one sorted list.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "../iou_counts.h"

namespace dissect {

// The labels of one image, and what an ImageLabels points to.
class OwnedImageLabels {
 public:
  OwnedImageLabels(const IouCountsParams& p, int64_t image) {
    const int32_t* begin = p.table + p.offsets[image] * p.num_planes;
    const int32_t* end = p.table + p.offsets[image + 1] * p.num_planes;
    std::vector<int32_t> place_of(p.num_labels, 0);
    for (const int32_t* label = begin; label != end; ++label) place_of[*label] = 1;
    place_of[0] = 1;
    for (int64_t label = 0; label < p.num_labels; ++label)
      if (place_of[label]) {
        place_of[label] = static_cast<int32_t>(labels_.size());
        labels_.push_back(static_cast<int32_t>(label));
      }
    places_.reserve(end - begin);
    for (const int32_t* label = begin; label != end; ++label) places_.push_back(place_of[*label]);
  }
  ImageLabels view() const { return {labels_.data(), static_cast<int64_t>(labels_.size()), places_.data()}; }

 private:
  std::vector<int32_t> labels_, places_;
};

// A LabelCounts and its memory, which is not touched before it is written.
class OwnedLabelCounts {
 public:
  OwnedLabelCounts() : counts_{nullptr, 0, 0, reserve} {}
  OwnedLabelCounts(const OwnedLabelCounts&) = delete;
  ~OwnedLabelCounts() { std::free(counts_.data); }
  LabelCounts& list() { return counts_; }
  const LabelCounts& list() const { return counts_; }

 private:
  static void reserve(LabelCounts& counts, int64_t more) {
    const int64_t capacity = 2 * counts.capacity + more + 4096;
    void* data = std::realloc(counts.data, capacity * sizeof(LabelCount));
    if (data == nullptr) throw std::bad_alloc();
    counts.data = static_cast<LabelCount*>(data), counts.capacity = capacity;
  }

  LabelCounts counts_;
};

// The counts of all images, sorted by image, then unit, then label, until the caller has memory for them.
class ImageCounts {
 public:
  // What was noted of the units [begin, end): of one image after the other.
  struct Slice {
    int64_t begin, end;
    OwnedLabelCounts noted;
  };

  ImageCounts(int64_t num_images, int64_t num_units)
      : num_images_(num_images), num_units_(num_units), per_map(num_images * num_units) {}

  int64_t size() const {
    int64_t size = 0;
    for (const auto& slice : slices) size += slice->noted.list().size;
    return size;
  }

  // To [4, size]: the images, the units, the labels, the pixels.
  void write(int32_t* to) const {
    std::vector<int64_t> starts(per_map.size() + 1);  // where a map's counts begin, and the end
    for (size_t map = 0; map < per_map.size(); ++map) starts[map + 1] = starts[map] + per_map[map];
    const int64_t total = starts.back();
    for (const auto& slice : slices) {
      const LabelCount* next = slice->noted.list().data;
      for (int64_t image = 0; image < num_images_; ++image) {
        const int64_t* start = &starts[image * num_units_];
        const int64_t begin = start[slice->begin], end = start[slice->end];
        std::fill(to + begin, to + end, static_cast<int32_t>(image));
        for (int64_t unit = slice->begin; unit < slice->end; ++unit)
          std::fill(to + total + start[unit], to + total + start[unit + 1], static_cast<int32_t>(unit));
        int32_t *labels = to + 2 * total, *pixels = to + 3 * total;
        for (int64_t i = begin; i < end; ++i, ++next) labels[i] = next->label, pixels[i] = next->pixels;
      }
    }
  }

 private:
  int64_t num_images_, num_units_;

 public:
  // To be filled; the slices in any order.
  std::vector<int32_t> per_map;  // [N, U], how many labels each map meets
  std::vector<std::unique_ptr<Slice>> slices;
};

}  // namespace dissect
