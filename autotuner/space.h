// A configuration space that can be walked: the legal configs of a shape on a device, as points.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "templates/axis.h"
#include "templates/config.h"

namespace attune {

// One value index an axis, in the order of the axes; kInactive where the axis does not matter.
using Point = std::vector<std::int16_t>;
inline constexpr std::int16_t kInactive = -1;

using Rng = std::mt19937_64;

// Immutable after construction; thread safe.
class Space {
 public:
  explicit Space(SpaceDefinition definition);

  const SpaceDefinition& definition() const { return definition_; }
  const std::vector<Axis>& axes() const { return definition_.axes; }

  // The same space with some axes' domains narrowed: axis name -> allowed values as the CLI writes them. An
  // unknown axis, or a value outside its domain, is an error that lists what there is.
  Result<Space> restricted(const std::map<std::string, std::vector<std::string>>& allowed) const;

  // The same space with only the configs whose hashes are given (a recording's).
  Space limited_to(std::set<std::string> config_hashes) const;

  // Exact number of legal configs, by factoring out axes that no rule or condition reads.
  std::uint64_t count() const;

  // For people: how many combinations each rule rejects first (rules in order), and the legal rest.
  struct Report {
    std::uint64_t combinations = 0;  // with inactive axes folded
    std::uint64_t legal = 0;
    std::vector<std::pair<std::string, std::uint64_t>> rejected;  // rule name -> count
    std::vector<std::pair<std::string, std::string>> examples;    // rule name -> one reason in words
  };
  Report report() const;

  // Calls `visit` for every legal point in lexicographic order until it returns false.
  void for_each(const std::function<bool(const Point&)>& visit) const;

  // A legal point, uniform over the legal set. The space must not be empty.
  Point sample(Rng& rng) const;

  // Legal points that differ in one axis (axes that become active take each of their values; those that
  // become inactive are dropped).
  std::vector<Point> neighbours(const Point& point) const;

  Config config(const Point& point) const;
  Result<Point> point(const Config& config) const;  // why not, if the config is not a member
  Status check(const Point& point) const;           // why the point is not legal
  std::string canonical(const Point& point) const;  // canonical JSON of its config

 private:
  SpaceDefinition definition_;
  std::set<std::string> members_;  // config hashes; empty: all legal ones
};

}  // namespace attune
