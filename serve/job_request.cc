#include "serve/job_request.h"

#include <cmath>
#include <set>

#include "autotuner/strategy_names.h"
#include "base/json_text.h"

namespace attune::serve {
namespace {

using nlohmann::json;

constexpr std::int64_t kMostTrials = 1'000'000;
constexpr std::int64_t kMostCalls = 100'000;
constexpr double kMostDollars = 100'000;
constexpr double kMostSeconds = 30.0 * 24 * 3600;
constexpr std::int64_t kMostPriority = 100;
constexpr std::size_t kMostSeedConfigs = 256;

// As it may stand in an error: one line, whatever was sent.
std::string quoted(const std::string& text) {
  return json(text.substr(0, 100)).dump(-1, ' ', true, json::error_handler_t::replace);
}

Status check_keys(const json& object, const std::set<std::string>& known) {
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key)) {
      std::string names;
      for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
      return fail("unknown key {}; there are: {}", quoted(key), names);
    }
  }
  return {};
}

Result<std::int64_t> integer(const json& object, const char* key, std::int64_t fallback, std::int64_t least,
                             std::int64_t most) {
  const auto found = object.find(key);
  if (found == object.end()) return fallback;
  const bool fits = found->is_number_integer() &&
                    !(found->is_number_unsigned() && found->get<std::uint64_t>() > std::uint64_t(most));
  const std::int64_t value = fits ? found->get<std::int64_t>() : 0;
  if (!fits || value < least || value > most)
    return fail("'{}' must be a whole number from {} to {}", key, least, most);
  return value;
}

Result<double> amount(const json& object, const char* key, double most) {
  const auto found = object.find(key);
  if (found == object.end()) return 0.0;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!std::isfinite(value) || value < 0 || value > most)
    return fail("'{}' must be a number from 0 to {}", key, most);
  return value;
}

Result<std::string> text(const json& object, const char* key, const std::string& fallback) {
  const auto found = object.find(key);
  if (found == object.end()) return fallback;
  if (!found->is_string()) return fail("'{}' must be a string", key);
  return found->get<std::string>();
}

Result<bool> flag(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if (!found->is_boolean()) return fail("'{}' must be true or false", key);
  return found->get<bool>();
}

Result<std::vector<std::string>> texts(const json& list, const std::string& key) {
  if (!list.is_array()) return fail("{} must be a list of strings", key);
  std::vector<std::string> words;
  for (const json& word : list) {
    if (!word.is_string()) return fail("{} must be a list of strings", key);
    words.push_back(word.get<std::string>());
  }
  return words;
}

Status read_tune(const json& object, JobRequest& request) {
  if (auto status = check_keys(object, {"kind", "priority", "strategy", "max_trials", "max_seconds", "seed",
                                        "remeasure", "shape", "template", "restrict", "seed_configs", "llm"});
      !status)
    return status;
  const auto shape = shape_of_request(object.value("shape", json()));
  if (!shape) return shape.error();
  request.shape = *shape;
  auto name = text(object, "template", "");
  if (!name) return name.error();
  request.template_name = *std::move(name);
  if (const auto found = object.find("restrict"); found != object.end()) {
    if (!found->is_object()) return fail("'restrict' must be an object of axis: [values]");
    for (const auto& [axis, values] : found->items()) {
      auto words = texts(values, quoted("restrict/" + axis));
      if (!words) return words.error();
      request.restrict[axis] = *std::move(words);
    }
  }
  if (const auto found = object.find("llm"); found != object.end()) {
    if (!found->is_object()) return fail("'llm' must be an object of limits");
    if (auto status = check_keys(*found, {"max_calls", "max_dollars"}); !status) return status;
    const auto calls = integer(*found, "max_calls", 0, 0, kMostCalls);
    if (!calls) return fail("'llm': {}", calls.error().message);
    const auto dollars = amount(*found, "max_dollars", kMostDollars);
    if (!dollars) return fail("'llm': {}", dollars.error().message);
    request.llm_max_calls = *calls;
    request.llm_max_dollars = *dollars;
  }
  request.seed_configs = object.value("seed_configs", json::array());
  if (!request.seed_configs.is_array() || request.seed_configs.size() > kMostSeedConfigs)
    return fail("'seed_configs' must be a list of at most {} configs", kMostSeedConfigs);
  return {};
}

Status read_sweep(const json& object, JobRequest& request) {
  if (auto status = check_keys(object, {"kind", "priority", "strategy", "max_trials", "max_seconds", "seed",
                                        "remeasure", "workload", "templates"});
      !status)
    return status;
  const auto workload = object.find("workload");
  if (workload == object.end()) return fail("'workload' is missing");
  if (const auto read = parse_workload(*workload); !read) return fail("'workload': {}", read.error().message);
  request.workload = *workload;
  if (const auto found = object.find("templates"); found != object.end()) {
    auto names = texts(*found, "'templates'");
    if (!names) return names.error();
    request.templates = *std::move(names);
  }
  return {};
}

Status read_common(const json& object, JobRequest& request) {
  const auto priority = integer(object, "priority", 0, -kMostPriority, kMostPriority);
  if (!priority) return priority.error();
  const auto strategy = text(object, "strategy", std::string(kDefaultStrategy));
  if (!strategy) return strategy.error();
  if (auto known = check_strategy(*strategy); !known) return fail("'strategy': {}", known.error().message);
  const auto trials = integer(object, "max_trials", 200, 1, kMostTrials);
  if (!trials) return trials.error();
  const auto longest = amount(object, "max_seconds", kMostSeconds);
  if (!longest) return longest.error();
  const auto seed = integer(object, "seed", 0, 0, INT64_MAX);
  if (!seed) return seed.error();
  const auto remeasure = flag(object, "remeasure");
  if (!remeasure) return remeasure.error();
  request.priority = *priority;
  request.strategy = *strategy;
  request.max_trials = *trials;
  request.max_seconds = *longest;
  request.seed = static_cast<std::uint64_t>(*seed);
  request.remeasure = *remeasure;
  return {};
}

}  // namespace

Result<Shape> shape_of_request(const json& object) {
  if (!object.is_object()) return fail("'shape' must be an object");
  for (const char* key : {"batch", "q_heads", "kv_heads", "q_len", "kv_len", "head_dim"}) {
    if (!object.contains(key)) return fail("'shape': {} is missing", key);
  }
  const auto shape = shape_from_json(object);
  if (!shape) return fail("'shape': {}", shape.error().message);
  auto valid = validated(*shape);
  if (!valid) return fail("'shape': {}", valid.error().message);
  return valid;
}

Result<JobRequest> parse_job_request(std::string_view body) {
  if (nested_too_deep(body)) return fail("the body nests deeper than {} levels", kDeepestJson);
  const json object = json::parse(body, nullptr, false);
  if (object.is_discarded()) return fail("the body is not JSON");
  return job_request_from_json(object);
}

Result<JobRequest> job_request_from_json(const json& object) {
  if (!object.is_object()) return fail("the body must be a JSON object");
  const auto kind = text(object, "kind", "tune");
  if (!kind) return kind.error();
  JobRequest request;
  if (*kind != "tune" && *kind != "sweep") return fail("'kind' must be tune or sweep");
  request.kind = *kind == "tune" ? JobKind::tune : JobKind::sweep;
  auto status = request.kind == JobKind::tune ? read_tune(object, request) : read_sweep(object, request);
  if (!status) return status.error();
  if (auto common = read_common(object, request); !common) return common.error();
  return request;
}

json to_json(const JobRequest& request) {
  json object = {{"strategy", request.strategy},       {"max_trials", request.max_trials},
                 {"max_seconds", request.max_seconds}, {"seed", request.seed},
                 {"priority", request.priority},       {"remeasure", request.remeasure}};
  if (request.kind == JobKind::sweep) {
    object["kind"] = "sweep";
    object["workload"] = request.workload;
    object["templates"] = request.templates;
    return object;
  }
  object["kind"] = "tune";
  object["shape"] = attune::to_json(request.shape);
  object["template"] = request.template_name;
  object["restrict"] = json::object();
  for (const auto& [axis, values] : request.restrict) object["restrict"][axis] = values;
  object["seed_configs"] = request.seed_configs;
  object["llm"] = {{"max_calls", request.llm_max_calls}, {"max_dollars", request.llm_max_dollars}};
  return object;
}

}  // namespace attune::serve
