#include "autotuner/strategies/moves.h"

#include <utility>

namespace attune {

std::vector<Point> steps_from(const Space& space, const Point& point) {
  std::vector<Point> steps = space.neighbours(point, Reach::adjacent);
  std::vector<std::size_t> blocks;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    const bool is_block = space.axes()[axis].pointer.starts_with("/block_sizes/");
    if (is_block && point[axis] != kInactive) blocks.push_back(axis);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    for (std::size_t j = i + 1; j < blocks.size(); ++j) {
      for (const int a : {-1, 1}) {
        for (const int b : {-1, 1}) {
          Point step = point;
          step[blocks[i]] = static_cast<std::int16_t>(step[blocks[i]] + a);
          step[blocks[j]] = static_cast<std::int16_t>(step[blocks[j]] + b);
          if (step[blocks[i]] < 0 || step[blocks[j]] < 0) continue;
          if (space.contains(step)) steps.push_back(std::move(step));
        }
      }
    }
  }
  return steps;
}

std::optional<Point> mutated(const Space& space, const Point& point, std::size_t axes, Rng& rng) {
  constexpr int kDraws = 30;
  for (int draw = 0; draw < kDraws; ++draw) {
    Point other = point;
    for (std::size_t change = 0; change < axes; ++change) {
      const std::size_t axis = uniform_below(rng, other.size());
      const std::size_t values = space.axes()[axis].values.size();
      if (other[axis] != kInactive) other[axis] = static_cast<std::int16_t>(uniform_below(rng, values));
    }
    other = space.normalized(std::move(other));
    if (other != point && space.contains(other)) return other;
  }
  return std::nullopt;
}

}  // namespace attune
