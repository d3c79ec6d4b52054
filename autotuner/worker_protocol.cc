#include "autotuner/worker_protocol.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "templates/launch_spec_json.h"

namespace attune {
namespace {

using nlohmann::json;

template <class T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

template <class T>
std::optional<T> optional_at(const json& object, const char* key) {
  const json& value = object.at(key);
  if (value.is_null()) return {};
  return value.get<T>();
}

// A value that a checked reader refused: the two ends disagree.
template <class T>
T expect(Result<T> result) {
  if (!result) throw std::runtime_error("worker protocol: " + result.error().message);
  return std::move(*result);
}

}  // namespace

json to_json(const WorkerSetup& setup) {
  return {{"do", "setup"},
          {"gpu", setup.gpu},
          {"shape", to_json(setup.shape)},
          {"template", setup.template_name},
          {"policy", to_string(setup.policy)},
          {"cubins",
           {{"reference", setup.cubins.reference},
            {"low_precision", setup.cubins.low_precision},
            {"support", setup.cubins.support}}}};
}

WorkerSetup setup_from_json(const json& object) {
  const json& cubins = object.at("cubins");
  return {.gpu = object.at("gpu").get<int>(),
          .shape = expect(shape_from_json(object.at("shape"))),
          .template_name = object.at("template").get<std::string>(),
          .policy = expect(parse_policy(object.at("policy").get<std::string>())),
          .cubins = {.reference = cubins.at("reference").get<std::string>(),
                     .low_precision = cubins.at("low_precision").get<std::string>(),
                     .support = cubins.at("support").get<std::string>()}};
}

json to_json(const Candidate& candidate) {
  return {{"config", json::parse(candidate.config_json)},
          {"config_hash", candidate.config_hash},
          {"cubin_path", candidate.cubin_path},
          {"cubin_hash", candidate.cubin_hash},
          {"entry", candidate.entry},
          {"launch", to_json(candidate.launch)}};
}

Candidate candidate_from_json(const json& object, const SpaceDefinition& definition) {
  return {.config_json = object.at("config").dump(),
          .config_hash = object.at("config_hash").get<std::string>(),
          .config = expect(config_from_json(object.at("config"), definition)),
          .cubin_path = object.at("cubin_path").get<std::string>(),
          .cubin_hash = object.at("cubin_hash").get<std::string>(),
          .entry = object.at("entry").get<std::string>(),
          .launch = expect(launch_spec_from_json(object.at("launch")))};
}

json to_json(const Measurement& measurement) {
  json timing = nullptr;
  if (measurement.timing) {
    timing = {{"median_us", measurement.timing->median_us},
              {"min_us", measurement.timing->min_us},
              {"spread_us", measurement.timing->spread_us},
              {"samples", measurement.timing->samples}};
  }
  return {{"outcome", to_string(measurement.outcome)},
          {"message", measurement.message},
          {"timing", timing},
          {"relative_error", or_null(measurement.relative_error)},
          {"max_abs_error", or_null(measurement.max_abs_error)},
          {"sm_clock_mhz", or_null(measurement.sm_clock_mhz)},
          {"throttle", or_null(measurement.throttle)}};
}

Measurement measurement_from_json(const json& object) {
  Measurement measurement;
  measurement.outcome = expect(parse_outcome(object.at("outcome").get<std::string>()));
  measurement.message = object.at("message").get<std::string>();
  if (const json& timing = object.at("timing"); !timing.is_null()) {
    measurement.timing = Timing{.median_us = timing.at("median_us").get<double>(),
                                .min_us = timing.at("min_us").get<double>(),
                                .spread_us = timing.at("spread_us").get<double>(),
                                .samples = timing.at("samples").get<int>()};
  }
  measurement.relative_error = optional_at<double>(object, "relative_error");
  measurement.max_abs_error = optional_at<double>(object, "max_abs_error");
  measurement.sm_clock_mhz = optional_at<int>(object, "sm_clock_mhz");
  measurement.throttle = optional_at<std::string>(object, "throttle");
  return measurement;
}

}  // namespace attune
