// Radius-1 descent: from a centre, every point one step away; the first that is faster is the next centre
// (first improvement, as results arrive; nothing waits for a neighbourhood to be complete).
#pragma once

#include <string_view>
#include <unordered_set>
#include <vector>

#include "autotuner/strategies/proposals.h"

namespace attune {

class Descent {
 public:
  Descent(Proposals& proposals, Point centre, double cost_us);

  const Point& centre() const { return centre_; }
  double cost_us() const { return cost_us_; }

  // The next step not proposed before, claimed; none: nothing left around this centre (finished once nothing
  // is outstanding either).
  std::optional<Point> next();
  bool finished() const { return steps_.empty() && outstanding_.empty(); }

  // What came of a point: not a step of this descent's, a step that is no faster than the centre, or the new
  // centre.
  enum class Effect { none, stayed, moved };
  Effect observe(const Point& point, double cost_us);

 private:
  void centre_on(const Point& point, double cost_us);

  Proposals* proposals_;
  Point centre_;
  double cost_us_ = kFailed;
  std::vector<Point> steps_;
  std::unordered_set<Point, PointHash> outstanding_;
};

// After how many proposals of a budget the final descent begins.
std::size_t final_descent_begin(std::size_t max_trials);

// Hands the last trials of a budget to a descent from the best point of `inner`.
std::unique_ptr<Strategy> with_final_descent(std::unique_ptr<Strategy> inner, const Space& space,
                                             std::uint64_t seed, std::size_t max_trials);

}  // namespace attune
