// Extremely randomized trees (Geurts, Ernst and Wehenkel, "Extremely randomized trees", Machine Learning 63,
// 2006) that learn a number from a point. Axes count by value index, so an inactive axis is one below the
// first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autotuner/space.h"

namespace attune {

class Forest {
 public:
  // Points and targets of the same length, at least one. Cost: about trees * n * log n * sqrt(axes) steps.
  void fit(const std::vector<Point>& points, const std::vector<double>& targets, std::size_t trees, Rng& rng);

  bool fitted() const { return !roots_.empty(); }
  double predict(const Point& point) const;  // the trees' mean; precondition: fitted()

 private:
  struct Node {
    std::int16_t axis = -1;  // -1: a leaf
    std::int16_t limit = 0;  // index <= limit: to `below`, else to the node after it
    std::uint32_t below = 0;
    double value = 0;
  };
  struct Split;
  struct Samples;

  void grow(std::size_t node, Samples& samples, std::size_t begin, std::size_t end, Rng& rng);

  std::vector<Node> nodes_;
  std::vector<std::uint32_t> roots_;
};

}  // namespace attune
