#include "autotuner/foreign_space.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/json_text.h"
#include "base/printable.h"

namespace attune {
namespace {

using OrderedJson = nlohmann::ordered_json;  // the order of parameters is part of a cache file

constexpr const char* kAdvice = "expected a Kernel Tuner cache or T4 results";

Result<AxisValue> axis_value(const OrderedJson& value) {
  if (value.is_boolean()) return AxisValue(value.get<bool>());
  if (value.is_number_integer()) return AxisValue(value.get<std::int64_t>());
  if (value.is_string()) return AxisValue(value.get<std::string>());
  if (value.is_number() || value.is_array()) return AxisValue(value.dump());
  return fail("a parameter's value is {}", value.dump());
}

// RFC 6901.
std::string pointer_to(const std::string& key) {
  std::string pointer = "/";
  for (const char c : key) pointer += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return pointer;
}

// A parameter's name and its values in their order.
using Parameters = std::vector<std::pair<std::string, std::vector<AxisValue>>>;
using Trials = std::vector<std::pair<Config, RecordedTrial>>;

// Milliseconds of an entry, 0 where it has none.
double milliseconds(const OrderedJson& entry, const char* key) {
  return entry.contains(key) && entry[key].is_number() ? entry[key].get<double>() : 0;
}

Result<Config> config_of(const OrderedJson& entry, const std::vector<std::string>& keys) {
  Config config;
  for (const std::string& key : keys) {
    if (!entry.contains(key)) return fail("it has no '{}'", printable(key));
    auto value = axis_value(entry[key]);
    if (!value) return value.error();
    config.set(key, *std::move(value));
  }
  return config;
}

// Parameters as the trials use them, integers sorted, for files that do not list the values.
Parameters occurring(const std::vector<std::string>& keys, const Trials& trials) {
  Parameters parameters;
  for (const std::string& key : keys) {
    std::vector<AxisValue> values;
    for (const auto& [config, trial] : trials) {
      const AxisValue& value = config.values().at(key);
      if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    }
    const bool ordered = std::all_of(values.begin(), values.end(), [](const AxisValue& value) {
      return std::holds_alternative<std::int64_t>(value);
    });
    if (ordered) std::sort(values.begin(), values.end());
    parameters.emplace_back(key, std::move(values));
  }
  return parameters;
}

// What a Kernel Tuner cache says of an entry beside its parameters: exported there, no parameter can have
// such a name.
bool is_measurement(std::string_view key) {
  static const std::set<std::string_view> kNames{
      "time",           "times",         "__error__",      "compile_time", "verification_time",
      "benchmark_time", "strategy_time", "framework_time", "timestamp"};
  return kNames.contains(key);
}

Result<ReplaySpace> replay_of(const std::string& name, const std::string& device, Parameters parameters,
                              const Trials& trials) {
  SpaceDefinition definition;
  for (auto& [key, values] : parameters) {
    if (is_measurement(key))
      return fail("{}: a parameter is named '{}', which is a measurement's name", name, key);
    if (values.empty()) return fail("{}: parameter '{}' has no values", name, printable(key));
    definition.axes.push_back({key, pointer_to(key), std::move(values), "a parameter of another tuner's"});
  }
  try {
    return ReplaySpace::make(name, device, Space(std::move(definition)), trials);
  } catch (const std::logic_error& error) {  // two equal values or names
    return fail("{}: {}", name, error.what());
  }
}

// Kernel Tuner writes why a config failed in place of its objective, or beside it.
std::optional<Outcome> failure_of(const OrderedJson& entry) {
  static const std::map<std::string, Outcome> kFailures{{"ErrorConfig", Outcome::launch_fault},
                                                        {"InvalidConfig", Outcome::does_not_fit},
                                                        {"CompilationFailedConfig", Outcome::compile_error},
                                                        {"RuntimeFailedConfig", Outcome::launch_fault}};
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) continue;
    const auto found = kFailures.find(value.get<std::string>());
    if (found != kFailures.end()) return found->second;
  }
  return std::nullopt;
}

Result<RecordedTrial> trial_of_cache(const OrderedJson& entry, const std::string& objective) {
  RecordedTrial trial;
  trial.compile_seconds = milliseconds(entry, "compile_time") * 1e-3;
  trial.measure_seconds =
      (milliseconds(entry, "verification_time") + milliseconds(entry, "benchmark_time")) * 1e-3;
  if (const auto failure = failure_of(entry)) {
    trial.outcome = *failure;
    return trial;
  }
  const double time = milliseconds(entry, objective.c_str());
  if (!(time > 0) || !std::isfinite(time)) return fail("its {} is no positive number", printable(objective));
  trial.median_us = time * 1e3;
  return trial;
}

Result<ReplaySpace> from_cache(const OrderedJson& json, const std::string& name) {
  const auto keys = json.at("tune_params_keys").get<std::vector<std::string>>();
  OrderedJson objective_json = json.value("objective", OrderedJson("time"));
  if (objective_json.is_array() && !objective_json.empty()) objective_json = objective_json[0];
  const std::string objective = objective_json.is_string() ? objective_json.get<std::string>() : "time";
  Trials trials;
  for (const auto& [key, entry] : json.at("cache").items()) {
    auto config = config_of(entry, keys);
    if (!config) return fail("{}, entry {}: {}", name, printable(key), config.error().message);
    auto trial = trial_of_cache(entry, objective);
    if (!trial) return fail("{}, entry {}: {}", name, printable(key), trial.error().message);
    trials.emplace_back(*std::move(config), *trial);
  }
  if (trials.empty()) return fail("{} has no entries: tune with Kernel Tuner first", name);
  Parameters parameters;
  if (json.contains("tune_params")) {
    for (const std::string& key : keys) {
      std::vector<AxisValue> values;
      for (const OrderedJson& item : json["tune_params"].at(key)) {
        auto value = axis_value(item);
        if (!value) return fail("{}, parameter {}: {}", name, printable(key), value.error().message);
        values.push_back(*std::move(value));
      }
      parameters.emplace_back(key, std::move(values));
    }
  } else {
    parameters = occurring(keys, trials);
  }
  return replay_of(name, json.value("device_name", ""), std::move(parameters), trials);
}

Result<RecordedTrial> trial_of_t4(const OrderedJson& result, const std::string& objective, double to_us) {
  RecordedTrial trial;
  const OrderedJson times = result.value("times", OrderedJson::object());
  const double to_seconds = to_us * 1e-6;
  trial.compile_seconds =
      (milliseconds(times, "compilation") + milliseconds(times, "compilation_time")) * to_seconds;
  trial.measure_seconds = (milliseconds(times, "validation") + milliseconds(times, "benchmark")) * to_seconds;
  static const std::map<std::string, Outcome> kFailures{{"timeout", Outcome::timeout},
                                                        {"compile", Outcome::compile_error},
                                                        {"runtime", Outcome::launch_fault},
                                                        {"correctness", Outcome::wrong_answer},
                                                        {"constraints", Outcome::does_not_fit}};
  const std::string validity = result.at("invalidity");
  if (const auto failure = kFailures.find(validity); failure != kFailures.end()) {
    trial.outcome = failure->second;
    return trial;
  }
  for (const OrderedJson& measurement : result.value("measurements", OrderedJson::array())) {
    if (measurement.value("name", "") != objective || !measurement.at("value").is_number()) continue;
    const double time = measurement["value"];
    if (!(time > 0) || !std::isfinite(time)) break;
    trial.median_us = time * to_us;
    return trial;
  }
  return fail("it has no measurement '{}' that is a positive number", printable(objective));
}

Result<ReplaySpace> from_t4(const OrderedJson& json, const std::string& name) {
  const OrderedJson metadata = json.value("metadata", OrderedJson::object());
  const std::string unit = metadata.value("timeunit", "milliseconds");
  static const std::map<std::string, double> kUnits{
      {"seconds", 1e6}, {"milliseconds", 1e3}, {"microseconds", 1}, {"nanoseconds", 1e-3}};
  const auto to_us = kUnits.find(unit);
  if (to_us == kUnits.end()) return fail("{}: unknown timeunit '{}'", name, printable(unit));
  Trials trials;
  std::vector<std::string> keys;
  std::size_t number = 0;
  for (const OrderedJson& result : json.at("results")) {
    ++number;
    const OrderedJson& configuration = result.at("configuration");
    if (keys.empty()) {
      for (const auto& [key, value] : configuration.items()) keys.push_back(key);
    }
    auto config = config_of(configuration, keys);
    if (!config) return fail("{}, result {}: {}", name, number, config.error().message);
    const OrderedJson objectives = result.value("objectives", OrderedJson::array({"time"}));
    auto trial = trial_of_t4(result, objectives.at(0), to_us->second);
    if (!trial) return fail("{}, result {}: {}", name, number, trial.error().message);
    trials.emplace_back(*std::move(config), *trial);
  }
  if (trials.empty()) return fail("{} has no results", name);
  return replay_of(name, metadata.value("device", ""), occurring(keys, trials), trials);
}

OrderedJson to_ordered(const AxisValue& value) {
  return OrderedJson::parse(to_json(value).dump());
}

// Every parameter in each config; a text stays a text.
OrderedJson configuration(const ReplaySpace& replay, const Point& point) {
  OrderedJson json = OrderedJson::object();
  const auto& axes = replay.space().axes();
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const AxisValue& value = axes[i].values[point[i] == kInactive ? 0 : static_cast<std::size_t>(point[i])];
    json[axes[i].name] = std::holds_alternative<std::string>(value)
                             ? OrderedJson(std::get<std::string>(value))
                             : to_ordered(value);
  }
  return json;
}

const char* error_config(Outcome outcome) {
  if (outcome == Outcome::compile_error) return "CompilationFailedConfig";
  return outcome == Outcome::does_not_fit || outcome == Outcome::spilled ? "InvalidConfig"
                                                                         : "RuntimeFailedConfig";
}

const char* invalidity(Outcome outcome) {
  switch (outcome) {
    case Outcome::compile_error:
      return "compile";
    case Outcome::timeout:
      return "timeout";
    case Outcome::wrong_answer:
      return "correctness";
    case Outcome::does_not_fit:
    case Outcome::spilled:
      return "constraints";
    default:
      return "runtime";
  }
}

// As Python prints a value: a cache's keys are made of that.
std::string python_text(const OrderedJson& value) {
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

OrderedJson cache_entry(OrderedJson entry, const RecordedTrial& trial, const std::string& recorded_at) {
  if (trial.median_us) {
    entry["time"] = *trial.median_us * 1e-3;
  } else {
    entry["__error__"] = error_config(trial.outcome);
  }
  entry["compile_time"] = trial.compile_seconds * 1e3;
  entry["verification_time"] = 0;
  entry["benchmark_time"] = trial.measure_seconds * 1e3;
  entry["strategy_time"] = 0;
  entry["framework_time"] = 0;
  entry["timestamp"] = recorded_at;
  return entry;
}

OrderedJson t4_result(OrderedJson parameters, const RecordedTrial& trial, const std::string& recorded_at) {
  OrderedJson measurements = OrderedJson::array();
  if (trial.median_us) {
    measurements.push_back({{"name", "time"}, {"value", *trial.median_us * 1e-3}, {"unit", "ms"}});
  }
  return {{"timestamp", recorded_at},
          {"configuration", std::move(parameters)},
          {"times",
           {{"compilation", trial.compile_seconds * 1e3},
            {"benchmark", trial.measure_seconds * 1e3},
            {"framework", 0},
            {"search_algorithm", 0},
            {"validation", 0},
            {"runtimes", OrderedJson::array()}}},
          {"invalidity", trial.median_us ? "correct" : invalidity(trial.outcome)},
          {"correctness", trial.outcome == Outcome::wrong_answer ? 0 : 1},
          {"measurements", std::move(measurements)},
          {"objectives", {"time"}}};
}

}  // namespace

Result<ReplaySpace> parse_foreign_space(std::string_view text, const std::string& name) {
  OrderedJson json = parse_outside_json<OrderedJson>(text);
  if (json.is_discarded()) {  // a cache that is still being written ends after an entry
    std::string closed(text.substr(0, text.find_last_not_of(" \t\r\n") + 1));
    if (closed.ends_with(',')) closed.pop_back();
    json = parse_outside_json<OrderedJson>(closed + "}}");
  }
  if (json.is_discarded()) return fail("{} is no JSON: {}", name, kAdvice);
  try {
    if (json.is_object() && json.contains("cache") && json.contains("tune_params_keys")) {
      return from_cache(json, name);
    }
    if (json.is_object() && json.contains("results")) return from_t4(json, name);
  } catch (const OrderedJson::exception& error) {
    return fail("{} is damaged ({}): {}", name, error.what(), kAdvice);
  }
  return fail("{} has neither a \"cache\" nor \"results\": {}", name, kAdvice);
}

std::string to_foreign(const ReplaySpace& replay, ForeignFormat format, const std::string& kernel_name,
                       const std::string& recorded_at) {
  OrderedJson cache = OrderedJson::object();
  OrderedJson results = OrderedJson::array();
  replay.space().for_each([&](const Point& point) {
    OrderedJson parameters = configuration(replay, point);
    const RecordedTrial& trial = replay.trial(point);
    if (format == ForeignFormat::t4) {
      results.push_back(t4_result(std::move(parameters), trial, recorded_at));
      return true;
    }
    std::string key;
    for (const auto& [name, value] : parameters.items()) key += (key.empty() ? "" : ",") + python_text(value);
    cache[key] = cache_entry(std::move(parameters), trial, recorded_at);
    return true;
  });
  if (format == ForeignFormat::t4) {
    const OrderedJson json = {{"results", std::move(results)},
                              {"schema_version", "1.0.0"},
                              {"metadata", {{"timeunit", "milliseconds"}, {"device", replay.device()}}}};
    return json.dump(1) + "\n";
  }
  OrderedJson keys = OrderedJson::array();
  OrderedJson values = OrderedJson::object();
  for (const Axis& axis : replay.space().axes()) {
    keys.push_back(axis.name);
    for (const AxisValue& value : axis.values) {
      values[axis.name].push_back(std::holds_alternative<std::string>(value)
                                      ? OrderedJson(std::get<std::string>(value))
                                      : to_ordered(value));
    }
  }
  const OrderedJson json = {{"device_name", replay.device()},   {"kernel_name", kernel_name},
                            {"problem_size", replay.name()},    {"tune_params_keys", std::move(keys)},
                            {"tune_params", std::move(values)}, {"objective", OrderedJson::array({"time"})},
                            {"cache", std::move(cache)}};
  return json.dump(0) + "\n";  // Kernel Tuner knows a closed cache by a line break between its last braces
}

}  // namespace attune
