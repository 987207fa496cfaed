// The CPU's encode_labels of one image. Neighbours in a row with the same labels in all planes form a run; what is
// done per pixel is only to compare neighbours.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../encode_labels.h"

namespace dissect {

// The combinations of labels of one image: rows of K labels, no label twice in a row, row 0 without any.
class Combinations {
 public:
  explicit Combinations(int64_t num_planes) : num_planes_(num_planes), buckets_(1024, -1) {
    given_.resize(num_planes, 0);
    find(given_.data());
  }

  // The number of a combination as the planes give it; new ones are numbered as they come.
  int32_t find(const int32_t* labels) {
    size_t bucket = hash(labels) & (buckets_.size() - 1);
    for (; buckets_[bucket] >= 0; bucket = (bucket + 1) & (buckets_.size() - 1))
      if (std::memcmp(&given_[buckets_[bucket] * num_planes_], labels, num_planes_ * sizeof(int32_t)) == 0)
        return buckets_[bucket];
    const int32_t number = size_++;
    buckets_[bucket] = number;
    if (number > 0) given_.insert(given_.end(), labels, labels + num_planes_);
    if (static_cast<size_t>(size_) * 2 > buckets_.size()) grow();
    return number;
  }

  int32_t size() const { return size_; }

  // Labels that an earlier plane already says become 0.
  std::vector<int32_t> rows() const {
    std::vector<int32_t> rows = given_;
    for (int64_t row = 0; row < size_; ++row)
      for (int64_t k = 1; k < num_planes_; ++k)
        for (int64_t earlier = 0; earlier < k; ++earlier)
          if (given_[row * num_planes_ + earlier] == given_[row * num_planes_ + k]) rows[row * num_planes_ + k] = 0;
    return rows;
  }

 private:
  size_t hash(const int32_t* labels) const {
    uint64_t hash = 0;
    for (int64_t k = 0; k < num_planes_; ++k) hash = (hash ^ static_cast<uint32_t>(labels[k])) * 0x9e3779b97f4a7c15ull;
    return static_cast<size_t>(hash >> 32);
  }

  void grow() {
    buckets_.assign(buckets_.size() * 2, -1);
    for (int32_t row = 0; row < size_; ++row) {
      size_t bucket = hash(&given_[row * num_planes_]) & (buckets_.size() - 1);
      while (buckets_[bucket] >= 0) bucket = (bucket + 1) & (buckets_.size() - 1);
      buckets_[bucket] = row;
    }
  }

  int64_t num_planes_;
  int32_t size_ = 0;
  std::vector<int32_t> given_, buckets_;
};

// Writes the runs of one row, right to left. `changes[x]` tells whether column x differs from column x - 1.
template <typename Label, typename Word>
void encode_row(const EncodeLabelsParams& p, const Label* row, const uint8_t* changes, Word* runs,
                const Word* runs_above, std::vector<int32_t>& labels, Combinations& combinations) {
  for (int64_t begin = 0; begin < p.width;) {
    int64_t end = begin + 1;
    while (end < p.width && !changes[end]) ++end;
    bool as_above = runs_above != nullptr;
    for (int64_t k = 0; k < p.num_planes; ++k) {
      const Label* here = row + k * p.stride_plane + begin * p.stride_column;
      labels[k] = static_cast<int32_t>(*here);
      as_above = as_above && *here == *(here - p.stride_row);
    }
    const int64_t number = as_above ? combination_of(runs_above[begin]) : combinations.find(labels.data());
    const Word run = run_of<Word>(number, end);
    for (int64_t x = begin; x < end; ++x) runs[x] = run;
    begin = end;
  }
}

template <typename Label>
void check_range(const EncodeLabelsParams& p, const Label* row, int64_t image) {
  for (int64_t k = 0; k < p.num_planes; ++k) {
    bool bad = false;
    for (int64_t x = 0; x < p.width; ++x) {
      const int64_t label = static_cast<int64_t>(row[k * p.stride_plane + x * p.stride_column]);
      bad |= static_cast<uint64_t>(label) >= static_cast<uint64_t>(p.num_labels);
    }
    for (int64_t x = 0; bad && x < p.width; ++x) {
      const int64_t label = static_cast<int64_t>(row[k * p.stride_plane + x * p.stride_column]);
      if (label < 0 || label >= p.num_labels)
        throw std::invalid_argument("encode_labels: labels must lie in [0, " + std::to_string(p.num_labels) +
                                    "), but image " + std::to_string(image) + " of the batch holds " +
                                    std::to_string(label) + ".");
    }
  }
}

// Returns the image's table of combinations. Throws std::invalid_argument at a label out of range.
template <typename Label, typename Word>
std::vector<int32_t> encode_labels_image(const EncodeLabelsParams& p, int64_t image) {
  const Label* planes = static_cast<const Label*>(p.planes) + image * p.stride_image;
  Word* runs = static_cast<Word*>(p.runs) + image * p.height * p.width;
  Combinations combinations(p.num_planes);
  std::vector<uint8_t> changes(p.width);
  std::vector<int32_t> labels(p.num_planes);
  for (int64_t y = 0; y < p.height; ++y) {
    const Label* row = planes + y * p.stride_row;
    check_range(p, row, image);
    std::memset(changes.data(), 0, changes.size());
    for (int64_t k = 0; k < p.num_planes; ++k) {
      const Label* plane = row + k * p.stride_plane;
      for (int64_t x = 1; x < p.width; ++x)
        changes[x] |= plane[x * p.stride_column] != plane[(x - 1) * p.stride_column];
    }
    Word* runs_of_row = runs + y * p.width;
    const Word* runs_above = y > 0 ? runs_of_row - p.width : nullptr;
    encode_row<Label, Word>(p, row, changes.data(), runs_of_row, runs_above, labels, combinations);
  }

  const std::vector<int32_t> rows = combinations.rows();
  std::vector<int64_t> areas(combinations.size());
  for (int64_t i = 0; i < p.height * p.width; i = end_of(runs[i]) + i / p.width * p.width)
    areas[combination_of(runs[i])] += end_of(runs[i]) - i % p.width;
  int64_t* label_area = p.label_area + image * p.num_labels;
  for (size_t i = 0; i < rows.size(); ++i) label_area[rows[i]] += areas[i / p.num_planes];
  label_area[0] = 0;
  return rows;
}

}  // namespace dissect
