#include "autotuner/point_counter.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

namespace attune {
namespace {

// Levels whose live axes can take more combinations than this are kept only where memory is won by it.
constexpr double kMaxKept = 1 << 18;

// Sets of axes that are read together: a rule's, or a conditional axis with those it depends on.
using Scope = std::vector<std::size_t>;

// Axes that are connected by scopes have the same number.
std::vector<std::size_t> components(std::size_t axes, const std::vector<Scope>& scopes) {
  std::vector<std::size_t> parent(axes);
  std::iota(parent.begin(), parent.end(), std::size_t{0});
  const auto root = [&](std::size_t axis) {
    while (parent[axis] != axis) axis = parent[axis];
    return axis;
  };
  for (const Scope& scope : scopes) {
    for (const std::size_t axis : scope) parent[root(axis)] = root(scope[0]);
  }
  std::vector<std::size_t> result(axes);
  for (std::size_t axis = 0; axis < axes; ++axis) result[axis] = root(axis);
  return result;
}

// Axes with a value that some scope reads together with one that has none yet.
std::set<std::size_t> live_axes(const std::vector<Scope>& scopes, const std::vector<bool>& placed) {
  std::set<std::size_t> live;
  for (const Scope& scope : scopes) {
    const auto is_placed = [&](std::size_t axis) { return placed[axis]; };
    if (std::all_of(scope.begin(), scope.end(), is_placed)) continue;
    std::copy_if(scope.begin(), scope.end(), std::inserter(live, live.end()), is_placed);
  }
  return live;
}

std::uint64_t checked_sum(std::uint64_t a, std::uint64_t b) {
  if (a > std::numeric_limits<std::uint64_t>::max() - b) {
    throw std::overflow_error("the configuration space has more than 2^64 configs");
  }
  return a + b;
}

}  // namespace

PointCounter::PointCounter(const Constraints& constraints, std::size_t rules, bool violate_next)
    : constraints_(constraints) {
  std::vector<Test> tests;
  for (std::size_t rule = 0; rule < rules; ++rule) tests.push_back({rule, true});
  if (violate_next) tests.push_back({rules, false});
  choose_order(tests);
  memo_.resize(levels_.size());
  Point point(levels_.size(), kInactive);
  const bool constants_pass = std::all_of(tests.begin(), tests.end(), [&](const Test& test) {
    return !constraints_.reads(test.rule).empty() || constraints_.passes(test.rule, point) == test.wanted;
  });
  if (constants_pass) count_ = completions(0, point, &memo_);
}

// Greedy: one connected component after the other, and in it always the axis that leaves the fewest
// combinations of live axes.
void PointCounter::choose_order(const std::vector<Test>& tests) {
  const std::vector<Axis>& axes = constraints_.definition().axes;
  std::vector<Scope> scopes;
  for (const Test& test : tests) {
    if (!constraints_.reads(test.rule).empty()) scopes.push_back(constraints_.reads(test.rule));
  }
  for (std::size_t axis = 0; axis < axes.size(); ++axis) {
    scopes.push_back(constraints_.depends_on(axis));
    scopes.back().push_back(axis);
  }
  const std::vector<std::size_t> component = components(axes.size(), scopes);
  std::vector<bool> placed(axes.size(), false);
  const auto ready = [&](std::size_t axis) {
    const Scope& needs = constraints_.depends_on(axis);
    return !placed[axis] &&
           std::all_of(needs.begin(), needs.end(), [&](std::size_t need) { return placed[need]; });
  };
  const auto combinations = [&](const std::set<std::size_t>& live) {
    return std::accumulate(live.begin(), live.end(), 1.0, [&](double product, std::size_t axis) {
      return product * static_cast<double>(axes[axis].values.size());
    });
  };

  std::set<std::size_t> live;
  while (levels_.size() < axes.size()) {
    std::size_t best = axes.size();
    double best_cost = 0;
    for (std::size_t axis = 0; axis < axes.size(); ++axis) {
      if (!ready(axis) || (!live.empty() && component[axis] != component[*live.begin()])) continue;
      placed[axis] = true;
      const double cost = combinations(live_axes(scopes, placed));
      placed[axis] = false;
      if (best == axes.size() || cost < best_cost) {
        best = axis;
        best_cost = cost;
      }
    }
    Level level{.axis = best, .tests = {}, .live = {live.begin(), live.end()}, .kept = false};
    level.kept = levels_.empty() || level.live.size() != levels_.back().live.size() + 1 ||
                 combinations(live) <= kMaxKept;
    placed[best] = true;
    for (const Test& test : tests) {
      const Scope& reads = constraints_.reads(test.rule);
      if (std::find(reads.begin(), reads.end(), best) != reads.end() &&
          std::all_of(reads.begin(), reads.end(), [&](std::size_t axis) { return placed[axis]; })) {
        level.tests.push_back(test);
      }
    }
    levels_.push_back(std::move(level));
    live = live_axes(scopes, placed);
  }
}

// First and last value index of the level's axis; kInactive alone where it does not matter.
std::pair<std::int16_t, std::int16_t> PointCounter::values(const Level& level, const Point& point) const {
  if (!constraints_.active(level.axis, point)) return {kInactive, kInactive};
  const std::size_t size = constraints_.definition().axes[level.axis].values.size();
  return {std::int16_t{0}, static_cast<std::int16_t>(size - 1)};
}

std::uint64_t PointCounter::completions(std::size_t level, Point& point, std::vector<Memo>* fill) const {
  if (level == levels_.size()) return 1;
  const Level& here = levels_[level];
  std::string key;
  if (here.kept) {
    for (const std::size_t axis : here.live) {
      key += static_cast<char>(point[axis] & 0xff);
      key += static_cast<char>(point[axis] >> 8);
    }
    const auto it = memo_[level].find(key);
    if (it != memo_[level].end()) return it->second;
  }
  std::uint64_t total = 0;
  const auto [first, last] = values(here, point);
  for (std::int16_t value = first; value <= last; ++value) {
    total = checked_sum(total, completions_of(level, value, point, fill));
  }
  if (here.kept && fill != nullptr) (*fill)[level].emplace(std::move(key), total);
  return total;
}

std::uint64_t PointCounter::completions_of(std::size_t level, std::int16_t value, Point& point,
                                           std::vector<Memo>* fill) const {
  const Level& here = levels_[level];
  point[here.axis] = value;
  for (const Test& test : here.tests) {
    if (constraints_.passes(test.rule, point) != test.wanted) return 0;
  }
  return completions(level + 1, point, fill);
}

Point PointCounter::at(std::uint64_t index) const {
  Point point(levels_.size(), kInactive);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    const auto [first, last] = values(levels_[level], point);
    for (std::int16_t value = first; value <= last; ++value) {
      const std::uint64_t below = completions_of(level, value, point, nullptr);
      if (index < below) break;
      index -= below;
    }
  }
  return point;
}

}  // namespace attune
