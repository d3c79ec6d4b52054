// A configuration space that can be walked: the legal configs of a shape on a device, as points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "templates/axis.h"
#include "templates/config.h"

namespace attune {

// One value index an axis, in the order of the axes; kInactive where the axis does not matter.
using Point = std::vector<std::int16_t>;
inline constexpr std::int16_t kInactive = -1;

struct PointHash {
  std::size_t operator()(const Point& point) const;  // FNV-1a
};

using Rng = std::mt19937_64;

// Uniform in [0, bound), bound > 0. Unlike std::uniform_int_distribution the same on every standard library.
std::uint64_t uniform_below(Rng& rng, std::uint64_t bound);

// Which values of an axis count as one step away: all others, or only those next in the domain's order
// (integers; all others where the values are strings or booleans, which have no order).
enum class Reach { all, adjacent };

// Immutable after construction; thread safe; cheap to copy.
class Space {
 public:
  // Throws std::logic_error when the definition itself is wrong: names, pointers or values given twice, a
  // condition or rule that names a later or unknown axis, a conditional axis inside a JSON list.
  explicit Space(SpaceDefinition definition);

  const SpaceDefinition& definition() const;
  const std::vector<Axis>& axes() const { return definition().axes; }

  // The same space with some axes' domains narrowed: axis name -> allowed values as the CLI writes them. An
  // unknown axis, or a value outside its domain, is an error that lists what there is.
  Result<Space> restricted(const std::map<std::string, std::vector<std::string>>& allowed) const;

  // The same space with only the configs whose hashes are given. Hashes every legal config (10 us each):
  // where the points are known, give those.
  Space limited_to(const std::set<std::string>& config_hashes) const;

  // The same space with only the given points (a recording's); points that are no members are left out.
  Space limited_to(std::vector<Point> points) const;

  // Exact number of legal configs, by factoring out axes that no rule or condition reads. Throws
  // std::overflow_error where it exceeds 2^64.
  std::uint64_t count() const;

  // For people: how many combinations each rule rejects first (rules in order), and the legal rest.
  struct Report {
    std::uint64_t combinations = 0;                               // with inactive axes folded
    std::uint64_t legal = 0;                                      // count()
    std::vector<std::pair<std::string, std::uint64_t>> rejected;  // rule name -> count
    std::vector<std::pair<std::string, std::string>> examples;    // rule name -> one reason in words
  };
  Report report() const;

  // Calls `visit` for every legal point in lexicographic order until it returns false.
  void for_each(const std::function<bool(const Point&)>& visit) const;

  // The legal points by number, 0 to count() - 1, in an order that is fixed but not lexicographic.
  Point at(std::uint64_t index) const;

  // A legal point, uniform over the legal set. The space must not be empty.
  Point sample(Rng& rng) const;

  // Legal points that differ in one axis (axes that become active take each of their values; those that
  // become inactive are dropped).
  std::vector<Point> neighbours(const Point& point, Reach reach = Reach::all) const;

  // The point with some axes set to other values, and activity put right (an axis that becomes active takes
  // its first value). May be illegal; any indices inside the domains are accepted.
  Point normalized(Point point) const;

  bool contains(const Point& point) const;

  Config config(const Point& point) const;
  Result<Point> point(const Config& config) const;  // why not, if the config is not a member
  Status check(const Point& point) const;           // why the point is not legal
  std::string canonical(const Point& point) const;  // canonical JSON of its config

 private:
  struct State;
  struct Members;

  bool legal(const Point& point) const;
  void activate(Point& point, std::size_t axis, std::vector<Point>& out) const;

  std::shared_ptr<const State> state_;
  std::shared_ptr<const Members> members_;  // null: all legal points
};

}  // namespace attune
