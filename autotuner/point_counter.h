// Exact counts over a constrained product, and its points by number, without walking it: dynamic programming
// over the axes, where two partial points that agree in every axis still to be read by a rule or condition
// have equally many completions (variable elimination; Dechter, "Bucket elimination", 1999).
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "autotuner/constraints.h"

namespace attune {

// Immutable after construction, which does the counting; thread safe. Throws std::overflow_error beyond 2^64.
class PointCounter {
 public:
  // Of the points that pass the first `rules` rules and, if `violate_next`, break the one after them.
  PointCounter(const Constraints& constraints, std::size_t rules, bool violate_next);

  std::uint64_t count() const { return count_; }

  // Precondition: index < count().
  Point at(std::uint64_t index) const;

 private:
  struct Test {
    std::size_t rule;
    bool wanted;
  };
  // At each level one axis gets its value.
  struct Level {
    std::size_t axis = 0;
    std::vector<Test> tests;        // decided here: this is the last axis they read
    std::vector<std::size_t> live;  // axes with a value whose tests or conditions are not all decided yet
    bool kept = false;              // completions are kept in memo_ by the values of `live`
  };
  using Memo = std::unordered_map<std::string, std::uint64_t>;

  void choose_order(const std::vector<Test>& tests);
  std::uint64_t completions(std::size_t level, Point& point, std::vector<Memo>* fill) const;
  std::uint64_t completions_of(std::size_t level, std::int16_t value, Point& point,
                               std::vector<Memo>* fill) const;
  std::pair<std::int16_t, std::int16_t> values(const Level& level, const Point& point) const;

  const Constraints& constraints_;
  std::vector<Level> levels_;
  std::vector<Memo> memo_;
  std::uint64_t count_ = 0;
};

}  // namespace attune
