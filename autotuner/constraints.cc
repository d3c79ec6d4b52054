#include "autotuner/constraints.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace attune {
namespace {

[[noreturn]] void reject(const std::string& what) {
  throw std::logic_error("space definition: " + what);
}

std::size_t axis_index(const SpaceDefinition& definition, const std::string& name, std::size_t before,
                       const std::string& who) {
  for (std::size_t i = 0; i < before; ++i) {
    if (definition.axes[i].name == name) return i;
  }
  reject(fmt::format("{} reads '{}', which is not an axis before it", who, name));
}

std::vector<std::size_t> axis_indices(const SpaceDefinition& definition,
                                      const std::vector<std::string>& names, std::size_t before,
                                      const std::string& who) {
  std::set<std::size_t> indices;
  for (const std::string& name : names) indices.insert(axis_index(definition, name, before, who));
  return {indices.begin(), indices.end()};
}

bool inside_list(const std::string& pointer) {
  for (std::size_t i = 0; i + 1 < pointer.size(); ++i) {
    if (pointer[i] == '/' && pointer[i + 1] >= '0' && pointer[i + 1] <= '9') return true;
  }
  return false;
}

// What guarantees that no two points have the same canonical JSON.
void check_definition(const SpaceDefinition& definition) {
  constexpr std::size_t kMaxValues = 32767;  // indices are 16 bits
  std::set<std::string> names;
  std::set<std::string> pointers;
  for (const Axis& axis : definition.axes) {
    if (!names.insert(axis.name).second) reject(fmt::format("two axes are named '{}'", axis.name));
    if (!pointers.insert(axis.pointer + "/").second) reject(fmt::format("two axes are at {}", axis.pointer));
    if (axis.values.empty()) reject(fmt::format("axis '{}' has no values", axis.name));
    if (axis.values.size() > kMaxValues) reject(fmt::format("axis '{}' has too many values", axis.name));
    std::set<std::string> values;
    for (const AxisValue& value : axis.values) {
      if (!values.insert(to_json(value).dump()).second) {
        reject(fmt::format("axis '{}' has {} twice", axis.name, to_string(value)));
      }
    }
    if (axis.active && inside_list(axis.pointer)) {
      reject(fmt::format("axis '{}' is inside a list and so must be always active", axis.name));
    }
  }
  for (auto it = pointers.begin(); it != pointers.end() && std::next(it) != pointers.end(); ++it) {
    if (std::next(it)->starts_with(*it)) reject(fmt::format("{} is inside {}", *std::next(it), *it));
  }
}

}  // namespace

PredicateTable::PredicateTable(const SpaceDefinition& definition, std::vector<std::size_t> reads,
                               std::function<bool(const Config&)> predicate)
    : definition_(&definition), reads_(std::move(reads)), predicate_(std::move(predicate)) {
  if (!predicate_) return;
  for (const std::size_t axis : reads_) {
    strides_.push_back(size_);
    size_ *= definition.axes[axis].values.size() + 1;  // one more for kInactive
    if (size_ > kMaxEntries) return;
  }
  entries_ = std::make_unique<std::atomic<std::uint8_t>[]>(size_);
}

bool PredicateTable::operator()(const Point& point) const {
  if (!predicate_) return true;
  if (entries_ == nullptr) return evaluate(point);
  std::uint64_t index = 0;
  for (std::size_t i = 0; i < reads_.size(); ++i) {
    index += strides_[i] * static_cast<std::uint64_t>(point[reads_[i]] + 1);
  }
  std::uint8_t entry = entries_[index].load(std::memory_order_relaxed);
  if (entry == kUnknown) {
    entry = evaluate(point) ? kTrue : kFalse;
    entries_[index].store(entry, std::memory_order_relaxed);
  }
  return entry == kTrue;
}

bool PredicateTable::evaluate(const Point& point) const {
  Config config;
  for (const std::size_t axis : reads_) {
    if (point[axis] == kInactive) continue;
    const Axis& definition = definition_->axes[axis];
    config.set(definition.name, definition.values[static_cast<std::size_t>(point[axis])]);
  }
  return predicate_(config);
}

Constraints::Constraints(const SpaceDefinition& definition) : definition_(&definition) {
  check_definition(definition);
  for (std::size_t i = 0; i < definition.axes.size(); ++i) {
    const Axis& axis = definition.axes[i];
    active_.emplace_back(definition,
                         axis_indices(definition, axis.depends_on, i, fmt::format("axis '{}'", axis.name)),
                         axis.active);
  }
  for (const Rule& rule : definition.rules) {
    rules_.emplace_back(
        definition,
        axis_indices(definition, rule.reads, definition.axes.size(), fmt::format("rule '{}'", rule.name)),
        [&rule](const Config& config) { return !rule.check(config).has_value(); });
  }
}

Config config_of(const SpaceDefinition& definition, const Point& point) {
  Config config;
  for (std::size_t i = 0; i < definition.axes.size(); ++i) {
    if (point[i] == kInactive) continue;
    const Axis& axis = definition.axes[i];
    config.set(axis.name, axis.values.at(static_cast<std::size_t>(point[i])));
  }
  return config;
}

}  // namespace attune
