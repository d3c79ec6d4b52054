// What every strategy needs: which points were proposed, the start points in order, and random points without
// replacement.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "autotuner/strategies/all.h"

namespace attune {

// A failed trial is infinitely slow.
inline constexpr double kFailed = std::numeric_limits<double>::infinity();
double cost_us(const Observation& observation);

// 0 .. size-1 in random order, each once, in memory of the size drawn so far (Fisher and Yates' shuffle with
// only its moved entries kept).
class RandomOrder {
 public:
  explicit RandomOrder(std::uint64_t size) : left_(size) {}
  std::optional<std::uint64_t> next(Rng& rng);  // none: all were drawn

 private:
  std::uint64_t left_;
  std::unordered_map<std::uint64_t, std::uint64_t> moved_;
};

class Proposals {
 public:
  explicit Proposals(StrategyArguments arguments);

  const Space& space() const { return space_; }
  Rng& rng() { return rng_; }

  // True once for each member of the space: from now on it counts as proposed.
  bool claim(const Point& point);

  // Told elsewhere: counts as proposed.
  void mark(const Point& point) { proposed_.insert(point); }
  bool proposed(const Point& point) const { return proposed_.contains(point); }

  std::optional<Point> next_start();   // claimed; none: no more start points
  std::optional<Point> next_random();  // claimed, uniform over those left; none: all were proposed

 private:
  const Space& space_;
  Rng rng_;
  std::deque<Point> start_;
  std::unordered_set<Point, PointHash> proposed_;
  RandomOrder order_;
};

// Up to n points from `next`, which gives none when there is nothing to propose for now.
template <class Next>
std::vector<Point> up_to(std::size_t n, Next next) {
  std::vector<Point> points;
  while (points.size() < n) {
    std::optional<Point> point = next();
    if (!point) break;
    points.push_back(*std::move(point));
  }
  return points;
}

// In-place shuffle that is the same on every standard library.
template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[uniform_below(rng, i)]);
}

}  // namespace attune
