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
    labels_.resize(std::min(p.num_labels, end - begin + 1) + 16);
    for (int64_t label = 0; label < p.num_labels; ++label) {
      // Written always, kept only if the image has it: a branch here would be mispredicted.
      labels_[num_labels_] = static_cast<int32_t>(label);
      const int32_t has = place_of[label];
      place_of[label] = static_cast<int32_t>(num_labels_);
      num_labels_ += has;
    }
    places_.resize(end - begin);
    for (int64_t i = 0; i < end - begin; ++i) places_[i] = place_of[begin[i]];
  }
  ImageLabels view() const { return {labels_.data(), num_labels_, places_.data()}; }

 private:
  std::vector<int32_t> labels_, places_;
  int64_t num_labels_ = 0;
};

// A LabelCounts and its memory, which is not touched before it is written.
class OwnedLabelCounts {
 public:
  OwnedLabelCounts() : list_{nullptr, nullptr, 0, 0, reserve} {}
  OwnedLabelCounts(const OwnedLabelCounts&) = delete;
  ~OwnedLabelCounts() {
    std::free(list_.labels);
    std::free(list_.pixels);
  }
  LabelCounts& list() { return list_; }
  const LabelCounts& list() const { return list_; }

 private:
  static void reserve(LabelCounts& list, int64_t more) {
    list.capacity = 2 * list.capacity + more + 4096;
    for (int32_t** part : {&list.labels, &list.pixels}) {
      void* moved = std::realloc(*part, list.capacity * sizeof(int32_t));
      if (moved == nullptr) throw std::bad_alloc();
      *part = static_cast<int32_t*>(moved);
    }
  }

  LabelCounts list_;
};

// The counts of all images, sorted by image, then unit, then label, until the caller has memory for them.
struct ImageCounts {
  // What was noted of the units [begin, end): of one image after the other.
  struct Slice {
    int64_t begin, end;
    OwnedLabelCounts noted;
  };

  int64_t num_images, num_units;
  std::vector<int32_t> per_map;                // [N, U], how many labels each map meets
  std::vector<std::unique_ptr<Slice>> slices;  // in any order

  int64_t size() const {
    int64_t size = 0;
    for (const auto& slice : slices) size += slice->noted.list().size;
    return size;
  }

  // Where each map's counts begin, and the end.
  std::vector<int64_t> starts() const {
    std::vector<int64_t> starts(per_map.size() + 1);
    for (size_t map = 0; map < per_map.size(); ++map) starts[map + 1] = starts[map] + per_map[map];
    return starts;
  }

  // Writes those of a slice to [4, size].
  void write(const Slice& slice, const std::vector<int64_t>& starts, int32_t* to) const {
    int32_t *images = to, *units = images + starts.back(), *labels = units + starts.back();
    int32_t* pixels = labels + starts.back();
    const LabelCounts& noted = slice.noted.list();
    int64_t next = 0;
    for (int64_t image = 0; image < num_images; ++image) {
      const int64_t* start = &starts[image * num_units];
      const int64_t begin = start[slice.begin], size = start[slice.end] - begin;
      std::fill_n(images + begin, size, static_cast<int32_t>(image));
      for (int64_t unit = slice.begin; unit < slice.end; ++unit)
        std::fill(units + start[unit], units + start[unit + 1], static_cast<int32_t>(unit));
      std::copy_n(noted.labels + next, size, labels + begin);
      std::copy_n(noted.pixels + next, size, pixels + begin);
      next += size;
    }
  }
};

}  // namespace dissect
