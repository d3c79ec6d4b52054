// From what a model proposes to a legal point: checked by the space's own rules, repaired where a near legal
// config exists, and with the reason in words for the model to read.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "autotuner/space.h"

namespace attune {

struct ReadProposal {
  std::optional<Point> point;  // a member of the space; none: nothing to be done with it
  bool repaired = false;
  std::string remark;  // what was changed and why, or why it was refused; "" when taken as it is
};

// The point of a trial by its number, nullptr where there is none.
using TrialPoints = std::function<const Point*(std::int64_t)>;

// Forms: {"base": 12, "set": {"block_n": 64}} (axes by name, on top of a trial's config), {"set": {...}} on
// top of `fallback`, {"config": {...}} with axes by name or a whole config as JSON, or one of these objects
// without the word around it.
ReadProposal read_proposal(const nlohmann::json& item, const Space& space, const TrialPoints& trials,
                           const Point& fallback);

// A member of the space one or two changes away, as near as possible and rather by axes that are not `kept`;
// none if there is none.
std::optional<Point> nearest_legal(const Space& space, const Point& point,
                                   const std::vector<std::size_t>& kept);

}  // namespace attune
