// What a client asks a server to tune: the body of POST /v1/jobs. docs/serve.md and /v1/openapi.json have the
// form. Data only: configs and shapes are checked, sources are never taken.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/workload.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune::serve {

enum class JobKind { tune, sweep };

struct JobRequest {
  JobKind kind = JobKind::tune;
  std::int64_t priority = 0;
  Shape shape;                                               // of a tune
  std::string template_name;                                 // of a tune; "": the server chooses
  std::map<std::string, std::vector<std::string>> restrict;  // of a tune: axis -> allowed values
  nlohmann::json seed_configs;         // of a tune: a list of configs, the template's form or Helion's
  nlohmann::json workload;             // of a sweep, as parse_workload() takes it
  std::vector<std::string> templates;  // of a sweep; empty: all
  std::string strategy;
  std::int64_t max_trials = 200;
  double max_seconds = 0;
  std::uint64_t seed = 0;
  bool remeasure = false;
  // Of a tune whose strategy asks a language model, what it may cost; 0: what the server allows.
  std::int64_t llm_max_calls = 0;
  double llm_max_dollars = 0;
};

// The shape of a request: its six numbers must be there, the rest has defaults. Errors name 'shape'.
Result<Shape> shape_of_request(const nlohmann::json& json);

// Strict: an unknown key, a wrong type or a senseless value is an error that names the key. Whether
// templates, configs and axes exist is for check_job() (job_runner.h) to say.
Result<JobRequest> parse_job_request(std::string_view body);
Result<JobRequest> job_request_from_json(const nlohmann::json& json);

// What job_request_from_json() reads, all keys written out: equal requests are equal bytes when dumped.
nlohmann::json to_json(const JobRequest& request);

}  // namespace attune::serve
