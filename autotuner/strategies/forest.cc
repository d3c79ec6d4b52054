#include "autotuner/strategies/forest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace attune {

struct Forest::Samples {
  const std::vector<Point>& points;
  const std::vector<double>& targets;
  std::vector<std::uint32_t> order;  // a node owns a range of it
};

struct Forest::Split {
  std::int16_t axis = -1;
  std::int16_t limit = 0;
  double gain = -1;
};

void Forest::fit(const std::vector<Point>& points, const std::vector<double>& targets, std::size_t trees,
                 Rng& rng) {
  nodes_.clear();
  roots_.clear();
  Samples samples{points, targets, std::vector<std::uint32_t>(points.size())};
  std::iota(samples.order.begin(), samples.order.end(), 0U);
  for (std::size_t tree = 0; tree < trees; ++tree) {
    roots_.push_back(static_cast<std::uint32_t>(nodes_.size()));
    nodes_.emplace_back();
    grow(roots_.back(), samples, 0, points.size(), rng);
  }
}

void Forest::grow(std::size_t node, Samples& samples, std::size_t begin, std::size_t end, Rng& rng) {
  const auto target = [&](std::size_t i) { return samples.targets[samples.order[i]]; };
  const auto index = [&](std::size_t i, std::size_t axis) { return samples.points[samples.order[i]][axis]; };
  double sum = 0;
  for (std::size_t i = begin; i < end; ++i) sum += target(i);
  nodes_[node].value = sum / static_cast<double>(end - begin);
  const bool pure = std::all_of(samples.order.begin() + static_cast<std::ptrdiff_t>(begin),
                                samples.order.begin() + static_cast<std::ptrdiff_t>(end),
                                [&](std::uint32_t i) { return samples.targets[i] == target(begin); });
  if (pure) return;

  // Of sqrt(axes) axes that vary here, each cut at random, the cut that lowers the variance most.
  const std::size_t axes = samples.points[0].size();
  const auto wanted = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(axes))));
  std::vector<std::int16_t> candidates(axes);
  std::iota(candidates.begin(), candidates.end(), std::int16_t{0});
  Split best;
  for (std::size_t tried = 0; tried < wanted && !candidates.empty();) {
    const std::size_t pick = uniform_below(rng, candidates.size());
    const std::int16_t axis = candidates[pick];
    candidates[pick] = candidates.back();
    candidates.pop_back();
    std::int16_t low = index(begin, static_cast<std::size_t>(axis));
    std::int16_t high = low;
    for (std::size_t i = begin; i < end; ++i) {
      low = std::min(low, index(i, static_cast<std::size_t>(axis)));
      high = std::max(high, index(i, static_cast<std::size_t>(axis)));
    }
    if (low == high) continue;
    ++tried;
    Split split{axis,
                static_cast<std::int16_t>(
                    low + static_cast<int>(uniform_below(rng, static_cast<std::uint64_t>(high - low)))),
                0};
    double below_sum = 0;
    double below = 0;
    for (std::size_t i = begin; i < end; ++i) {
      if (index(i, static_cast<std::size_t>(axis)) > split.limit) continue;
      below_sum += target(i);
      ++below;
    }
    // The sum of squares explained; what does not depend on the cut is left out.
    const double above = static_cast<double>(end - begin) - below;
    split.gain = below_sum * below_sum / below + (sum - below_sum) * (sum - below_sum) / above;
    if (best.axis < 0 || split.gain > best.gain) best = split;
  }
  if (best.axis < 0) return;

  const auto middle = std::partition(
      samples.order.begin() + static_cast<std::ptrdiff_t>(begin),
      samples.order.begin() + static_cast<std::ptrdiff_t>(end),
      [&](std::uint32_t i) { return samples.points[i][static_cast<std::size_t>(best.axis)] <= best.limit; });
  const auto cut = static_cast<std::size_t>(middle - samples.order.begin());
  const std::size_t below = nodes_.size();
  nodes_.resize(below + 2);
  nodes_[node].axis = best.axis;
  nodes_[node].limit = best.limit;
  nodes_[node].below = static_cast<std::uint32_t>(below);
  grow(below, samples, begin, cut, rng);
  grow(below + 1, samples, cut, end, rng);
}

double Forest::predict(const Point& point) const {
  double sum = 0;
  for (const std::uint32_t root : roots_) {
    const Node* node = &nodes_[root];
    while (node->axis >= 0) {
      node = &nodes_[node->below + (point[static_cast<std::size_t>(node->axis)] > node->limit ? 1 : 0)];
    }
    sum += node->value;
  }
  return sum / static_cast<double>(roots_.size());
}

}  // namespace attune
