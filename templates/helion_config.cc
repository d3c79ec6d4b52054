#include "templates/helion_config.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

namespace attune {
namespace {

using Json = nlohmann::json;

// The first part of an axis's place: "/block_sizes/1" -> "block_sizes".
std::string key_of(const Axis& axis) {
  return axis.pointer.substr(1, axis.pointer.find('/', 1) - 1);
}

// The part of the JSON that speaks of an axis, or null.
Json part_for(const Axis& axis, const Json& json) {
  const std::string key = key_of(axis);
  if (!json.contains(key)) return nullptr;
  const Json& value = json[key];
  if (axis.pointer == "/" + key) return value;
  if (!value.is_array()) return value;
  // A factor for each of Helion's loops, outer ones first: ours is the innermost.
  if (key == "range_unroll_factors") return value.empty() ? Json() : value.back();
  const auto index = static_cast<std::size_t>(std::stoul(axis.pointer.substr(key.size() + 2)));
  return index < value.size() ? value[index] : Json();
}

Result<std::optional<AxisValue>> value_for(const Axis& axis, const Json& part) {
  const bool numbers = std::holds_alternative<std::int64_t>(axis.values.front());
  if (numbers && part.is_number_integer()) {
    const auto distance = [wanted = static_cast<double>(part.get<std::int64_t>())](const AxisValue& value) {
      return std::abs(std::log2(1 + static_cast<double>(std::get<std::int64_t>(value))) -
                      std::log2(1 + std::max(0.0, wanted)));
    };
    return std::optional(
        *std::min_element(axis.values.begin(), axis.values.end(),
                          [&](const AxisValue& a, const AxisValue& b) { return distance(a) < distance(b); }));
  }
  if (!numbers && (part.is_string() || part.is_array() || part.is_boolean())) {
    for (const AxisValue& value : axis.values) {
      if (to_json(value) == part) return std::optional(value);
    }
    return std::optional<AxisValue>();
  }
  return fail("{} is {}, expected {}", axis.pointer, part.dump(),
              numbers ? "a whole number" : "a name or a list");
}

// `base` with some axes at other values; axes that become active have the first of theirs.
Config with_values(const SpaceDefinition& definition, const Config& base,
                   const std::map<std::string, AxisValue>& given) {
  Config config;
  for (const Axis& axis : definition.axes) {
    if (axis.active && !axis.active(config)) continue;
    const auto wanted = given.find(axis.name);
    const auto before = base.values().find(axis.name);
    config.set(axis.name, wanted != given.end()           ? wanted->second
                          : before != base.values().end() ? before->second
                                                          : axis.values.front());
  }
  return config;
}

}  // namespace

bool is_helion_config(const Json& json) {
  static const std::set<std::string> kKeys{"advanced_controls_file",
                                           "atomic_indexing",
                                           "block_sizes",
                                           "epilogue_subtile",
                                           "flatten_loops",
                                           "indexing",
                                           "l2_groupings",
                                           "load_eviction_policies",
                                           "loop_orders",
                                           "maxnreg",
                                           "num_sm_multiplier",
                                           "num_stages",
                                           "num_threads",
                                           "num_warps",
                                           "pid_type",
                                           "range_flattens",
                                           "range_multi_buffers",
                                           "range_num_stages",
                                           "range_unroll_factors",
                                           "range_warp_specializes",
                                           "reduction_loops",
                                           "static_ranges"};
  if (!json.is_object()) return false;
  return std::all_of(json.items().begin(), json.items().end(),
                     [](const auto& item) { return kKeys.contains(item.key()); });
}

Result<Config> config_from_helion(const Json& json, const SpaceDefinition& definition, const Config& base) {
  std::map<std::string, AxisValue> given;
  for (const Axis& axis : definition.axes) {
    const Json part = part_for(axis, json);
    if (part.is_null()) continue;
    auto value = value_for(axis, part);
    if (!value) return value.error();
    if (*value) given.emplace(axis.name, **value);
  }
  const Config all = with_values(definition, base, given);
  if (check_config(all, definition)) return all;
  Config config = base;  // rules that Helion does not have: as many of the values as go together
  for (const auto& [axis, value] : given) {
    const Config next = with_values(definition, config, {{axis, value}});
    if (check_config(next, definition)) config = next;
  }
  return config;
}

}  // namespace attune
