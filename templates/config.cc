#include "templates/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/printable.h"
#include "templates/axis.h"

namespace attune {
namespace {

using Json = nlohmann::json;

// A definition's JSON pointers as a tree: which keys a config may have, and where its lists are.
struct KeyTree {
  std::map<std::string, KeyTree, std::less<>> children;
  const Axis* axis = nullptr;

  bool list() const {
    return !children.empty() && std::all_of(children.begin(), children.end(),
                                            [](const auto& child) { return is_index(child.first); });
  }

  static bool is_index(std::string_view token) {
    return !token.empty() && token.size() <= 3 && (token == "0" || token[0] != '0') &&
           std::all_of(token.begin(), token.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
};

// Reference tokens of a JSON pointer (RFC 6901, section 4).
std::vector<std::string> pointer_tokens(std::string_view pointer) {
  if (pointer.empty() || pointer[0] != '/') {
    throw std::logic_error(fmt::format("axis pointer \"{}\" must start with '/'", pointer));
  }
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < pointer.size(); ++i) {
    if (pointer[i] == '/') {
      tokens.emplace_back();
    } else if (pointer[i] == '~' && i + 1 < pointer.size()) {
      tokens.back() += pointer[++i] == '1' ? '/' : '~';
    } else {
      tokens.back() += pointer[i];
    }
  }
  return tokens;
}

KeyTree key_tree(const SpaceDefinition& definition) {
  KeyTree root;
  for (const Axis& axis : definition.axes) {
    KeyTree* node = &root;
    for (std::string& token : pointer_tokens(axis.pointer)) node = &node->children[std::move(token)];
    node->axis = &axis;
  }
  return root;
}

void place(Json& root, std::string_view pointer, Json value) {
  Json* node = &root;
  for (const std::string& token : pointer_tokens(pointer)) {
    if (!KeyTree::is_index(token)) {
      node = &(*node)[token];
      continue;
    }
    if (node->is_null()) *node = Json::array();
    node = &(*node)[static_cast<std::size_t>(std::stoul(token))];  // fills a gap with nulls
  }
  *node = std::move(value);
}

const Json* find(const Json& root, std::string_view pointer) {
  const Json* node = &root;
  for (const std::string& token : pointer_tokens(pointer)) {
    if (node->is_array()) {
      const std::size_t index = KeyTree::is_index(token) ? std::stoul(token) : node->size();
      if (index >= node->size()) return nullptr;
      node = &(*node)[index];
    } else {
      const auto it = node->find(token);
      if (it == node->end()) return nullptr;
      node = &*it;
    }
  }
  return node;
}

std::string shown(const Json& json) {
  constexpr std::size_t kLongest = 60;
  std::string text = json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

std::string accepted_values(const Axis& axis) {
  std::string text;
  for (const AxisValue& value : axis.values) text += (text.empty() ? "" : ", ") + shown(to_json(value));
  return text;
}

std::string accepted_keys(const KeyTree& node) {
  std::string text;
  for (const auto& [key, child] : node.children) text += (text.empty() ? "" : ", ") + key;
  return text;
}

std::string key_name(const Axis& axis) {
  const std::string_view key = std::string_view(axis.pointer).substr(1);
  return key == axis.name ? fmt::format("'{}'", key) : fmt::format("'{}' ({})", key, axis.name);
}

Status check_keys(const Json& json, const KeyTree& node, const std::string& path) {
  if (node.axis != nullptr) return {};
  const std::string where =
      path.empty() ? "the config" : fmt::format("config key '{}'", printable(path.substr(1)));
  if (!node.list()) {
    if (!json.is_object()) return fail("{} must be a JSON object, got {}", where, shown(json));
    for (const auto& [key, value] : json.items()) {
      const auto child = node.children.find(key);
      if (child == node.children.end()) {
        return fail("{} has the unknown key {}; accepted: {}", where, shown(key), accepted_keys(node));
      }
      if (Status status = check_keys(value, child->second, path + "/" + key); !status) return status;
    }
    return {};
  }
  if (!json.is_array()) return fail("{} must be a list, got {}", where, shown(json));
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string index = std::to_string(i);
    const auto child = node.children.find(index);
    if (child != node.children.end()) {
      if (Status status = check_keys(json[i], child->second, path + "/" + index); !status) return status;
    } else if (!json[i].is_null()) {
      return fail("{} has the unknown element {} ({}); accepted: {}", where, index, shown(json[i]),
                  accepted_keys(node));
    }
  }
  return {};
}

std::string expected_types(const Axis& axis) {
  constexpr std::string_view kNames[] = {"a boolean", "an integer", "a string"};
  std::string text;
  for (const AxisValue& value : axis.values) {
    const std::string_view name = to_json(value).is_array() ? "a list" : kNames[value.index()];
    if (text.find(name) == std::string::npos) text += (text.empty() ? "" : " or ") + std::string(name);
  }
  return text;
}

// nlohmann compares 4 and 4.0 as equal; here a float is never a value.
bool is_value(const Json& json, const AxisValue& value) {
  return !json.is_number_float() && json == to_json(value);
}

Result<AxisValue> read_value(const Json& json, const Axis& axis) {
  for (const AxisValue& value : axis.values) {
    if (is_value(json, value)) return value;
  }
  const bool same_type = std::any_of(axis.values.begin(), axis.values.end(), [&](const AxisValue& value) {
    const Json domain = to_json(value);
    return domain.type() == json.type() || (domain.is_number_integer() && json.is_number_integer());
  });
  if (!same_type) {
    return fail("config key {} must be {}, got {}; accepted: {}", key_name(axis), expected_types(axis),
                shown(json), accepted_values(axis));
  }
  return fail("config key {} cannot be {}; accepted: {}", key_name(axis), shown(json), accepted_values(axis));
}

bool is_active(const Axis& axis, const Config& config) {
  return !axis.active || axis.active(config);
}

std::string condition(const Axis& axis, const Config& config) {
  std::string text;
  for (const std::string& name : axis.depends_on) {
    const auto it = config.values().find(name);
    const std::string value = it == config.values().end() ? "absent" : shown(to_json(it->second));
    text += (text.empty() ? "" : ", ") + name + " = " + value;
  }
  return text;
}

Error inactive_error(const Axis& axis, const Config& config) {
  return fail("config key {} does nothing with {}; leave it out", key_name(axis), condition(axis, config));
}

Error missing_error(const Axis& axis) {
  return fail("config key {} is missing; accepted: {}", key_name(axis), accepted_values(axis));
}

Status check_rules(const Config& config, const SpaceDefinition& definition) {
  for (const Rule& rule : definition.rules) {
    if (auto reason = rule.check(config)) return fail("config is illegal ({}): {}", rule.name, *reason);
  }
  return {};
}

[[noreturn]] void throw_absent(std::string_view axis, std::string_view type) {
  throw std::logic_error(fmt::format("config has no {} axis '{}'", type, axis));
}

template <class T>
const T& value_as(const Config& config, std::string_view axis, std::string_view type) {
  const auto it = config.values().find(axis);
  if (it == config.values().end()) throw_absent(axis, type);
  const T* value = std::get_if<T>(&it->second);
  if (value == nullptr) throw_absent(axis, type);
  return *value;
}

}  // namespace

void Config::erase(std::string_view axis) {
  if (const auto it = values_.find(axis); it != values_.end()) values_.erase(it);
}

std::int64_t Config::integer(std::string_view axis) const {
  return value_as<std::int64_t>(*this, axis, "integer");
}
const std::string& Config::text(std::string_view axis) const {
  return value_as<std::string>(*this, axis, "text");
}
bool Config::flag(std::string_view axis) const {
  return value_as<bool>(*this, axis, "boolean");
}

std::string to_string(const AxisValue& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  return std::get<std::string>(value);
}

Json to_json(const AxisValue& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  const auto& text = std::get<std::string>(value);
  if (!text.empty() && text[0] == '[') {
    Json list = parse_outside_json(text);
    if (!list.is_discarded()) return list;
  }
  return text;
}

Json config_to_json(const Config& config, const SpaceDefinition& definition) {
  Json json = Json::object();
  for (const Axis& axis : definition.axes) {
    const auto it = config.values().find(axis.name);
    if (it == config.values().end() || it->second == axis.unwritten) continue;
    place(json, axis.pointer, to_json(it->second));
  }
  return json;
}

std::string canonical_json(const Config& config, const SpaceDefinition& definition) {
  return config_to_json(config, definition).dump();  // nlohmann's objects are sorted by key
}

std::string config_hash(std::string_view canonical_json) {
  return sha256_hex(canonical_json).substr(0, 16);
}

Result<Config> config_from_json(const Json& json, const SpaceDefinition& definition) {
  if (Status status = check_keys(json, key_tree(definition), ""); !status) return status.error();
  Config config;
  for (const Axis& axis : definition.axes) {
    const Json* value = find(json, axis.pointer);
    if (!is_active(axis, config)) {
      if (value != nullptr) return inactive_error(axis, config);
      continue;
    }
    if (value == nullptr && axis.unwritten) {
      config.set(axis.name, *axis.unwritten);
      continue;
    }
    if (value == nullptr) return missing_error(axis);
    Result<AxisValue> read = read_value(*value, axis);
    if (!read) return read.error();
    config.set(axis.name, *std::move(read));
  }
  if (Status status = check_rules(config, definition); !status) return status.error();
  return config;
}

Status check_config(const Config& config, const SpaceDefinition& definition) {
  std::size_t known = 0;
  for (const Axis& axis : definition.axes) {
    const auto it = config.values().find(axis.name);
    const bool present = it != config.values().end();
    known += present ? 1 : 0;
    if (!is_active(axis, config)) {
      if (present) return inactive_error(axis, config);
      continue;
    }
    if (!present) return missing_error(axis);
    if (std::find(axis.values.begin(), axis.values.end(), it->second) == axis.values.end()) {
      return fail("config key {} cannot be {}; accepted: {}", key_name(axis), shown(to_json(it->second)),
                  accepted_values(axis));
    }
  }
  if (known != config.values().size()) {
    for (const auto& [name, value] : config.values()) {
      const bool found = std::any_of(definition.axes.begin(), definition.axes.end(),
                                     [&wanted = name](const Axis& axis) { return axis.name == wanted; });
      if (!found) return fail("the config has the unknown axis '{}'", printable(name));
    }
  }
  return check_rules(config, definition);
}

}  // namespace attune
