// The CPU's component_halves of one image. What is done per pixel is only to compare neighbours in a row and to write;
// runs of one label are joined to those of the row above (union by the run that came first).
#pragma once

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../component_halves.h"

namespace dissect {

// Columns begin..end - 1 of a row, and what is known of the component whose first run this is.
struct ComponentRun {
  int64_t label, begin, end, row;
  int64_t parent;  // an earlier run of the component, or itself
  int64_t left, right, bottom;
};

class Components {
 public:
  template <typename Label>
  void add_row(const Label* row, int64_t y, int64_t width, int64_t image) {
    const size_t above = begin_of_row_, here = runs_.size();
    for (int64_t begin = 0, end; begin < width; begin = end) {
      const Label label = row[begin];
      for (end = begin + 1; end < width && row[end] == label;) ++end;
      if (static_cast<int64_t>(label) < 0)
        throw std::invalid_argument("component_halves: labels must not be negative, but image " +
                                    std::to_string(image) + " of the batch holds " +
                                    std::to_string(static_cast<int64_t>(label)) + ".");
      if (label != 0) runs_.push_back({label, begin, end, y, static_cast<int64_t>(runs_.size()), begin, end - 1, y});
    }
    join(above, here);
    begin_of_row_ = here;
  }

  void write(const ComponentHalvesParams& p, uint8_t* upper_or_lower, uint8_t* left_or_right) {
    size_t last = runs_.size();
    for (size_t run = 0; run < runs_.size(); ++run)
      if (p.omit_last && find(run) == run) last = run;
    for (size_t run = 0; run < runs_.size(); ++run) {
      const size_t first = find(run);
      if (first == last) continue;
      const ComponentRun& own = runs_[run];
      const ComponentRun& component = runs_[first];
      const int64_t at = own.row * p.width;
      const int64_t middle = std::clamp(middle_of(component.left, component.right), own.begin, own.end);
      std::memset(upper_or_lower + at + own.begin, own.row < middle_of(component.row, component.bottom) ? 1 : 2,
                  own.end - own.begin);
      std::memset(left_or_right + at + own.begin, 1, middle - own.begin);
      std::memset(left_or_right + at + middle, 2, own.end - middle);
    }
  }

 private:
  // Joins the runs of a row to those of the row above, over corners too.
  void join(size_t above, size_t here) {
    const size_t end = runs_.size();
    for (size_t upper = above, run = here; run < end; ++run) {
      while (upper < here && runs_[upper].end < runs_[run].begin) ++upper;
      for (size_t other = upper; other < here && runs_[other].begin <= runs_[run].end; ++other)
        if (runs_[other].label == runs_[run].label) join_two(find(other), find(run));
    }
  }

  void join_two(size_t one, size_t other) {
    if (one == other) return;
    ComponentRun& first = runs_[std::min(one, other)];
    ComponentRun& later = runs_[std::max(one, other)];
    later.parent = first.parent;
    first.left = std::min(first.left, later.left);
    first.right = std::max(first.right, later.right);
    first.bottom = std::max(first.bottom, later.bottom);
  }

  size_t find(size_t run) {
    while (static_cast<size_t>(runs_[run].parent) != run) {
      runs_[run].parent = runs_[runs_[run].parent].parent;
      run = runs_[run].parent;
    }
    return run;
  }

  std::vector<ComponentRun> runs_;
  size_t begin_of_row_ = 0;
};

// Throws std::invalid_argument at a label below 0.
template <typename Label>
void component_halves_image(const ComponentHalvesParams& p, int64_t image) {
  const int64_t area = p.height * p.width;
  const Label* labels = static_cast<const Label*>(p.labels) + image * area;
  uint8_t* halves = p.halves + image * 2 * area;
  Components components;
  for (int64_t y = 0; y < p.height; ++y) components.add_row(labels + y * p.width, y, p.width, image);
  std::memset(halves, 0, 2 * area);
  components.write(p, halves, halves + area);
}

}  // namespace dissect
