// The words in which a template describes its configuration space: axes with their values, when an axis
// matters, and the rules that say in words why a config is illegal. Walking, counting and sampling a space
// is the autotuner's work (autotuner/space.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "templates/config.h"

namespace attune {

struct Axis {
  std::string name;               // scalar name used in rules, options and reports: "block_m"
  std::string pointer;            // JSON pointer (RFC 6901) of its place in a config's JSON: "/block_sizes/1"
  std::vector<AxisValue> values;  // the domain, in an order in which neighbours are similar; never empty
  std::string help;               // one line: what it changes in the code or the launch

  // Names of *earlier* axes that `active` reads, and whether this axis matters given their values. An
  // inactive axis is absent from the config. Empty function: always active. Axes whose place is inside a JSON
  // array must be always active.
  std::vector<std::string> depends_on = {};
  std::function<bool(const Config&)> active = {};

  // For an axis younger than stored configs: the value that these mean by not having it. At this value it is
  // left out of a config's JSON, so that they keep their hash. Where the axis is active the domain contains
  // it.
  std::optional<AxisValue> unwritten = {};
};

// A legality rule. `check` sees a config in which at least the axes in `reads` (those that are active) are
// set; it returns why the config is illegal ("needs 262144 B of shared memory, the limit is 232448 B"), or
// nothing.
struct Rule {
  std::string name;                // short label for reports: "shared memory"
  std::vector<std::string> reads;  // axes that `check` looks at; counting uses this to prune early
  std::function<std::optional<std::string>(const Config&)> check;
};

struct SpaceDefinition {
  std::vector<Axis> axes;
  std::vector<Rule> rules;
};

}  // namespace attune
