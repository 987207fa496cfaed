// The CPU's formula_search of one unit. Formulas keep the numbers of the combinations where they hold, in rising order:
// what a step asks of a formula is a sum over these alone, and they are few.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "../formula_search.h"

namespace dissect {

// The combinations that have each label, in rising order.
class LabelRows {
 public:
  explicit LabelRows(const FormulaSearchParams& p) : starts_(p.num_labels + 1) {
    const int64_t size = p.num_combinations * p.width;
    for (int64_t i = 0; i < size; ++i)
      if (p.table[i] != 0) ++starts_[p.table[i] + 1];
    for (int64_t label = 0; label < p.num_labels; ++label) starts_[label + 1] += starts_[label];
    rows_.resize(starts_.back());
    std::vector<int64_t> next(starts_.begin(), starts_.end() - 1);
    for (int64_t i = 0; i < size; ++i)
      if (p.table[i] != 0) rows_[next[p.table[i]]++] = i / p.width;
  }

  const int64_t* begin(int64_t label) const { return rows_.data() + starts_[label]; }
  const int64_t* end(int64_t label) const { return rows_.data() + starts_[label + 1]; }

 private:
  std::vector<int64_t> starts_, rows_;
};

// Pixels that a formula shares with a unit, and its own.
struct Overlap {
  int64_t both, area;

  double iou(int64_t unit_area) const {
    return static_cast<double>(both) / static_cast<double>(std::max<int64_t>(1, unit_area + area - both));
  }
};

struct UnderWay {
  std::vector<std::pair<int64_t, Join>> labels;
  Overlap overlap;
  std::vector<int64_t> rows;  // where it holds
};

// What may go on: formula `of` of the beam, as it is (label 0) or with a label more.
struct Candidate {
  double score;
  Overlap overlap;
  int64_t of;
  int64_t label;
  Join join;
};

// The best candidates, of equal ones those that came first. Of several of the same overlap only the first, if asked.
class BestCandidates {
 public:
  BestCandidates(int64_t most, bool distinct) : most_(most), distinct_(distinct) {}

  void offer(const Candidate& candidate) {
    if (candidate.overlap.both == 0) return;
    const bool full = static_cast<int64_t>(found_.size()) == most_;
    if (full && !(candidate.score > found_.back().score)) return;
    auto place = std::upper_bound(found_.begin(), found_.end(), candidate.score,
                                  [](double score, const Candidate& other) { return score > other.score; });
    if (distinct_)
      for (auto other = place; other != found_.begin() && (--other)->score == candidate.score;)
        if (other->overlap.both == candidate.overlap.both && other->overlap.area == candidate.overlap.area) return;
    if (full) {
      const auto at = place - found_.begin();
      found_.pop_back();
      place = found_.begin() + at;
    }
    found_.insert(place, candidate);
  }

  const std::vector<Candidate>& found() const { return found_; }

 private:
  int64_t most_;
  bool distinct_;
  std::vector<Candidate> found_;
};

// The search of one unit after another; each thread has one.
class FormulaSearcher {
 public:
  FormulaSearcher(const FormulaSearchParams& p, const LabelRows& rows)
      : p_(p), rows_(rows), single_(p.num_labels), joined_(p.num_labels) {}

  void search(int64_t unit) {
    counts_ = p_.counts + unit * p_.num_combinations;
    unit_area_ = 0;
    for (int64_t k = 0; k < p_.num_combinations; ++k) unit_area_ += counts_[k];
    begin();
    for (int64_t step = 1; step < p_.length && !beam_.empty(); ++step) advance();
    write(unit);
  }

 private:
  // The beam of single labels.
  void begin() {
    BestCandidates best(p_.beam, false);
    for (int64_t label = 1; label < p_.num_labels; ++label) {
      Overlap overlap{0, 0};
      for (const int64_t* row = rows_.begin(label); row != rows_.end(label); ++row) {
        overlap.both += counts_[*row];
        overlap.area += p_.areas[*row];
      }
      single_[label] = overlap;
      best.offer({overlap.iou(unit_area_), overlap, 0, label, Join::kNone});
    }
    beam_.clear();
    for (const Candidate& one : best.found())
      beam_.push_back({{{one.label, Join::kNone}},
                       one.overlap,
                       std::vector<int64_t>(rows_.begin(one.label), rows_.end(one.label))});
  }

  // The best of the beam and of its formulas with a label more.
  void advance() {
    BestCandidates best(p_.beam, true);
    const int64_t size = static_cast<int64_t>(beam_.size());
    for (int64_t of = 0; of < size; ++of) {
      const Overlap& own = beam_[of].overlap;
      best.offer({own.iou(unit_area_), own, of, 0, Join::kNone});
    }
    for (int64_t of = 0; of < size; ++of) {
      share_labels(beam_[of].rows);
      const Overlap& own = beam_[of].overlap;
      for (const Join join : {Join::kOr, Join::kAnd, Join::kAndNot})
        for (int64_t label = 1; label < p_.num_labels; ++label) {
          const Overlap& both = joined_[label];
          Overlap overlap = both;
          if (join == Join::kOr)
            overlap = {own.both + single_[label].both - both.both, own.area + single_[label].area - both.area};
          if (join == Join::kAndNot) overlap = {own.both - both.both, own.area - both.area};
          best.offer({overlap.iou(unit_area_), overlap, of, label, join});
        }
    }
    std::vector<UnderWay> next;
    next.reserve(best.found().size());
    for (const Candidate& one : best.found()) next.push_back(longer(one));
    beam_.swap(next);
  }

  // What each label shares with a formula that holds at these combinations.
  void share_labels(const std::vector<int64_t>& rows) {
    std::fill(joined_.begin(), joined_.end(), Overlap{0, 0});
    for (const int64_t row : rows) {
      const int64_t both = counts_[row], area = p_.areas[row];
      const int32_t* labels = p_.table + row * p_.width;
      for (int64_t at = 0; at < p_.width; ++at) {
        joined_[labels[at]].both += both;
        joined_[labels[at]].area += area;
      }
    }
  }

  UnderWay longer(const Candidate& one) const {
    UnderWay formula = beam_[one.of];
    if (one.label == 0) return formula;
    formula.labels.emplace_back(one.label, one.join);
    formula.overlap = one.overlap;
    const std::vector<int64_t>& had = beam_[one.of].rows;
    const int64_t *begin = rows_.begin(one.label), *end = rows_.end(one.label);
    formula.rows.clear();
    auto to = std::back_inserter(formula.rows);
    if (one.join == Join::kOr) std::set_union(had.begin(), had.end(), begin, end, to);
    else if (one.join == Join::kAnd) std::set_intersection(had.begin(), had.end(), begin, end, to);
    else std::set_difference(had.begin(), had.end(), begin, end, to);
    return formula;
  }

  void write(int64_t unit) const {
    int64_t *labels = p_.labels + unit * p_.length, *joins = p_.joins + unit * p_.length;
    std::fill(labels, labels + p_.length, 0);
    std::fill(joins, joins + p_.length, 0);
    p_.intersection[unit] = beam_.empty() ? 0 : beam_[0].overlap.both;
    p_.area[unit] = beam_.empty() ? 0 : beam_[0].overlap.area;
    if (beam_.empty()) return;
    for (size_t place = 0; place < beam_[0].labels.size(); ++place) {
      labels[place] = beam_[0].labels[place].first;
      joins[place] = static_cast<int64_t>(beam_[0].labels[place].second);
    }
  }

  const FormulaSearchParams& p_;
  const LabelRows& rows_;
  const int64_t* counts_ = nullptr;
  int64_t unit_area_ = 0;
  std::vector<Overlap> single_, joined_;  // [C], of each label, and of each with a formula
  std::vector<UnderWay> beam_;            // the best first
};

}  // namespace dissect
