// A definition's conditions and rules over points instead of configs, each answer computed once and kept in a
// table over the axes it reads: walking a space asks the same questions millions of times.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "autotuner/space.h"
#include "templates/axis.h"

namespace attune {

// A predicate over some axes, evaluated at most once a combination of their values (twice, if two threads ask
// for the same one first). Combinations beyond kMaxEntries are not kept. Thread safe.
class PredicateTable {
 public:
  static constexpr std::uint64_t kMaxEntries = std::uint64_t{1} << 22;

  PredicateTable(const SpaceDefinition& definition, std::vector<std::size_t> reads,
                 std::function<bool(const Config&)> predicate);

  const std::vector<std::size_t>& reads() const { return reads_; }

  // Looks only at the entries of `point` that are in reads(); they must be set (kInactive counts as set).
  bool operator()(const Point& point) const;

 private:
  enum Entry : std::uint8_t { kUnknown, kTrue, kFalse };

  bool evaluate(const Point& point) const;

  const SpaceDefinition* definition_;
  std::vector<std::size_t> reads_;
  std::vector<std::uint64_t> strides_;
  std::function<bool(const Config&)> predicate_;
  std::uint64_t size_ = 1;
  std::unique_ptr<std::atomic<std::uint8_t>[]> entries_;  // null when size_ > kMaxEntries
};

// The definition must outlive this. Throws std::logic_error as Space's constructor says.
class Constraints {
 public:
  explicit Constraints(const SpaceDefinition& definition);

  const SpaceDefinition& definition() const { return *definition_; }

  // Whether the axis matters, given the axes before it that it depends on.
  bool active(std::size_t axis, const Point& point) const { return active_[axis](point); }
  const std::vector<std::size_t>& depends_on(std::size_t axis) const { return active_[axis].reads(); }

  bool passes(std::size_t rule, const Point& point) const { return rules_[rule](point); }
  const std::vector<std::size_t>& reads(std::size_t rule) const { return rules_[rule].reads(); }

 private:
  const SpaceDefinition* definition_;
  std::vector<PredicateTable> active_;
  std::vector<PredicateTable> rules_;
};

// The config of a point, or of some of its axes.
Config config_of(const SpaceDefinition& definition, const Point& point);

}  // namespace attune
