// A config: one choice for every active axis of a space. Values by axis name; its JSON form follows Helion's
// keys and is canonical (same config, same bytes), so that its hash names it everywhere.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"

namespace attune {

struct SpaceDefinition;

// A string that is a JSON list ("[1,0]", a loop order) stands in a config's JSON as that list.
using AxisValue = std::variant<bool, std::int64_t, std::string>;

class Config {
 public:
  void set(std::string axis, AxisValue value) { values_.insert_or_assign(std::move(axis), std::move(value)); }
  void erase(std::string_view axis);
  bool has(std::string_view axis) const { return values_.find(axis) != values_.end(); }

  // The value of an active axis. An absent axis or another type is a programming error and throws
  // std::logic_error.
  std::int64_t integer(std::string_view axis) const;
  const std::string& text(std::string_view axis) const;
  bool flag(std::string_view axis) const;

  const std::map<std::string, AxisValue, std::less<>>& values() const { return values_; }
  bool operator==(const Config&) const = default;

 private:
  std::map<std::string, AxisValue, std::less<>> values_;
};

std::string to_string(const AxisValue& value);
nlohmann::json to_json(const AxisValue& value);

// Places each value at its axis's JSON pointer. A token of digits is an index into a list, whose gaps are
// null.
nlohmann::json config_to_json(const Config& config, const SpaceDefinition& definition);

// The compact dump with sorted keys: stored, hashed and compared.
std::string canonical_json(const Config& config, const SpaceDefinition& definition);

// First 16 hexadecimal digits of the SHA-256 of the canonical JSON.
std::string config_hash(std::string_view canonical_json);

// Reads a config and checks it whole: wrong types, unknown keys, values outside an axis's domain, missing or
// inactive axes and broken rules are errors that name the key, the reason and what would be accepted.
Result<Config> config_from_json(const nlohmann::json& json, const SpaceDefinition& definition);

// Why the config is not a legal member of the space (domain, activity, then rules in order), or nothing.
Status check_config(const Config& config, const SpaceDefinition& definition);

}  // namespace attune
