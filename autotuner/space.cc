#include "autotuner/space.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unordered_set>

#include "autotuner/constraints.h"
#include "autotuner/point_counter.h"

namespace attune {

struct Space::State {
  explicit State(SpaceDefinition given) : definition(std::move(given)), constraints(definition) {}

  const PointCounter& counter() const {
    std::call_once(counted_, [this] { counter_.emplace(constraints, definition.rules.size(), false); });
    return *counter_;
  }

  SpaceDefinition definition;
  Constraints constraints;

 private:
  mutable std::once_flag counted_;
  mutable std::optional<PointCounter> counter_;
};

struct Space::Members {
  std::vector<Point> points;  // sorted
  std::unordered_set<Point, PointHash> set;
};

namespace {

// Depth first in the axes' order; rules are checked as soon as all they read is set.
class Walk {
 public:
  Walk(const Constraints& constraints, const std::function<bool(const Point&)>& visit)
      : constraints_(constraints), visit_(visit), decided_(constraints.definition().axes.size() + 1) {
    for (std::size_t rule = 0; rule < constraints.definition().rules.size(); ++rule) {
      const std::vector<std::size_t>& reads = constraints.reads(rule);
      decided_[reads.empty() ? 0 : reads.back() + 1].push_back(rule);
    }
    point_.assign(constraints.definition().axes.size(), kInactive);
  }

  // False: stopped by the visitor.
  bool from(std::size_t axis) {
    for (const std::size_t rule : decided_[axis]) {
      if (!constraints_.passes(rule, point_)) return true;
    }
    if (axis == point_.size()) return visit_(point_);
    if (!constraints_.active(axis, point_)) {
      point_[axis] = kInactive;
      return from(axis + 1);
    }
    const std::size_t size = constraints_.definition().axes[axis].values.size();
    for (std::size_t value = 0; value < size; ++value) {
      point_[axis] = static_cast<std::int16_t>(value);
      if (!from(axis + 1)) return false;
    }
    return true;
  }

 private:
  const Constraints& constraints_;
  const std::function<bool(const Point&)>& visit_;
  std::vector<std::vector<std::size_t>> decided_;  // rules by how many axes must be set
  Point point_;
};

std::string value_list(const std::vector<AxisValue>& values) {
  std::vector<std::string> texts;
  for (const AxisValue& value : values) texts.push_back(to_string(value));
  return fmt::format("{}", fmt::join(texts, ", "));
}

bool ordered(const Axis& axis) {
  return std::all_of(axis.values.begin(), axis.values.end(),
                     [](const AxisValue& value) { return std::holds_alternative<std::int64_t>(value); });
}

// The axis with only the allowed values, in its own order.
Status narrow(Axis& axis, const std::vector<std::string>& allowed) {
  if (allowed.empty()) {
    return fail("axis '{}' is left without a value; it has: {}", axis.name, value_list(axis.values));
  }
  for (const std::string& text : allowed) {
    if (std::none_of(axis.values.begin(), axis.values.end(),
                     [&](const AxisValue& value) { return to_string(value) == text; })) {
      return fail("axis '{}' has no value '{}'; it has: {}", axis.name, text, value_list(axis.values));
    }
  }
  std::erase_if(axis.values, [&](const AxisValue& value) {
    return std::find(allowed.begin(), allowed.end(), to_string(value)) == allowed.end();
  });
  return {};
}

}  // namespace

std::size_t PointHash::operator()(const Point& point) const {
  std::uint64_t hash = 14695981039346656037U;
  for (const std::int16_t index : point) hash = (hash ^ static_cast<std::uint16_t>(index)) * 1099511628211U;
  return hash ^ (hash >> 32);
}

std::uint64_t uniform_below(Rng& rng, std::uint64_t bound) {
  const std::uint64_t limit = Rng::max() - Rng::max() % bound;  // a multiple of bound: no bias below it
  std::uint64_t draw = rng();
  while (draw >= limit) draw = rng();
  return draw % bound;
}

Space::Space(SpaceDefinition definition) : state_(std::make_shared<const State>(std::move(definition))) {}

const SpaceDefinition& Space::definition() const {
  return state_->definition;
}

Result<Space> Space::restricted(const std::map<std::string, std::vector<std::string>>& allowed) const {
  SpaceDefinition narrowed = definition();
  for (const auto& [name, values] : allowed) {
    const auto axis =
        std::find_if(narrowed.axes.begin(), narrowed.axes.end(),
                     [&wanted = name](const Axis& candidate) { return candidate.name == wanted; });
    if (axis == narrowed.axes.end()) {
      std::vector<std::string> names;
      for (const Axis& known : narrowed.axes) names.push_back(known.name);
      return fail("this space has no axis '{}'; it has: {}", name, fmt::join(names, ", "));
    }
    if (Status status = narrow(*axis, values); !status) return status.error();
  }
  Space result(std::move(narrowed));
  if (members_ == nullptr) return result;
  std::vector<Point> points;
  for (const Point& member : members_->points) {
    if (Result<Point> moved = result.point(config(member))) points.push_back(*std::move(moved));
  }
  return result.limited_to(std::move(points));
}

Space Space::limited_to(const std::set<std::string>& config_hashes) const {
  std::vector<Point> points;
  for_each([&](const Point& point) {
    if (config_hashes.contains(config_hash(canonical(point)))) points.push_back(point);
    return true;
  });
  return limited_to(std::move(points));
}

Space Space::limited_to(std::vector<Point> points) const {
  std::erase_if(points, [this](const Point& point) { return !contains(point); });
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  auto members = std::make_shared<Members>();
  members->set.insert(points.begin(), points.end());
  members->points = std::move(points);
  Space result = *this;
  result.members_ = std::move(members);
  return result;
}

std::uint64_t Space::count() const {
  return members_ ? members_->points.size() : state_->counter().count();
}

Space::Report Space::report() const {
  const Constraints& constraints = state_->constraints;
  Report report;
  report.combinations = PointCounter(constraints, 0, false).count();
  report.legal = count();
  for (std::size_t i = 0; i < definition().rules.size(); ++i) {
    const Rule& rule = definition().rules[i];
    const PointCounter rejected(constraints, i, true);
    report.rejected.emplace_back(rule.name, rejected.count());
    if (rejected.count() == 0) continue;
    const auto reason = rule.check(config(rejected.at(0)));
    report.examples.emplace_back(rule.name, reason.value_or(""));
  }
  const std::uint64_t all_legal = state_->counter().count();
  if (all_legal != report.legal) report.rejected.emplace_back("not recorded", all_legal - report.legal);
  return report;
}

void Space::for_each(const std::function<bool(const Point&)>& visit) const {
  if (members_ == nullptr) {
    Walk(state_->constraints, visit).from(0);
    return;
  }
  for (const Point& point : members_->points) {
    if (!visit(point)) return;
  }
}

Point Space::at(std::uint64_t index) const {
  if (index >= count()) throw std::out_of_range("Space::at: no such config");
  return members_ ? members_->points[index] : state_->counter().at(index);
}

Point Space::sample(Rng& rng) const {
  return at(uniform_below(rng, count()));
}

// Puts the activity of the axes from `axis` on right, takes each value of those that become active, and keeps
// what is a member.
void Space::activate(Point& point, std::size_t axis, std::vector<Point>& out) const {
  if (axis == point.size()) {
    if (legal(point)) out.push_back(point);
    return;
  }
  const std::int16_t before = point[axis];
  if (!state_->constraints.active(axis, point)) {
    point[axis] = kInactive;
    activate(point, axis + 1, out);
  } else if (before != kInactive) {
    activate(point, axis + 1, out);
  } else {
    for (std::size_t value = 0; value < axes()[axis].values.size(); ++value) {
      point[axis] = static_cast<std::int16_t>(value);
      activate(point, axis + 1, out);
    }
  }
  point[axis] = before;
}

std::vector<Point> Space::neighbours(const Point& point, Reach reach) const {
  std::vector<Point> out;
  Point next = point;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (point[axis] == kInactive) continue;
    const auto size = static_cast<std::int16_t>(axes()[axis].values.size());
    const bool near = reach == Reach::adjacent && ordered(axes()[axis]);
    for (std::int16_t value = 0; value < size; ++value) {
      if (value == point[axis] || (near && std::abs(value - point[axis]) != 1)) continue;
      next[axis] = value;
      activate(next, axis + 1, out);
    }
    next[axis] = point[axis];
  }
  return out;
}

Point Space::normalized(Point point) const {
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (!state_->constraints.active(axis, point)) {
      point[axis] = kInactive;
    } else if (point[axis] == kInactive) {
      point[axis] = 0;
    }
  }
  return point;
}

bool Space::contains(const Point& point) const {
  if (point.size() != axes().size()) return false;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (point[axis] < kInactive || point[axis] >= static_cast<std::int16_t>(axes()[axis].values.size())) {
      return false;
    }
    if (state_->constraints.active(axis, point) != (point[axis] != kInactive)) return false;
  }
  return legal(point);
}

// Precondition: indices are in the domains and activity is right.
bool Space::legal(const Point& point) const {
  if (members_ != nullptr) return members_->set.contains(point);
  for (std::size_t rule = 0; rule < definition().rules.size(); ++rule) {
    if (!state_->constraints.passes(rule, point)) return false;
  }
  return true;
}

Config Space::config(const Point& point) const {
  return config_of(definition(), point);
}

Result<Point> Space::point(const Config& config) const {
  if (Status status = check_config(config, definition()); !status) return status.error();
  Point point(axes().size(), kInactive);
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    const auto value = config.values().find(axes()[axis].name);
    if (value == config.values().end()) continue;
    const std::vector<AxisValue>& values = axes()[axis].values;
    point[axis] =
        static_cast<std::int16_t>(std::find(values.begin(), values.end(), value->second) - values.begin());
  }
  if (!legal(point)) return fail("the config {} is not in the recording", canonical(point));
  return point;
}

Status Space::check(const Point& point) const {
  if (point.size() != axes().size())
    return fail("the point has {} axes, not {}", point.size(), axes().size());
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (point[axis] < kInactive || point[axis] >= static_cast<std::int16_t>(axes()[axis].values.size())) {
      return fail("axis '{}' has no value number {}", axes()[axis].name, point[axis]);
    }
  }
  const Result<Point> result = this->point(config(point));
  return result ? Status{} : Status{result.error()};
}

std::string Space::canonical(const Point& point) const {
  return canonical_json(config(point), definition());
}

}  // namespace attune
