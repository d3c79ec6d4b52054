// What the tune process and its GPU worker say to each other: one JSON object a line on the worker's standard
// input and output. Requests are answered in order.
//
//   {"do":"setup", "gpu":0, "shape":{...}, "template":"portable", "policy":"cold-l2/eager", "cubins":{...}}
//     -> {"ready":true} | {"error":"..."}
//   {"do":"evaluate", "candidate":{...}, "incumbent_us":812.5 | null}
//     -> {"measurement":{...}, "dying":false} | {"error":"..."}
//   {"do":"shoot_out", "candidates":[...], "rounds":15}
//     -> {"measurements":[...], "dying":false} | {"error":"..."}
//
// "dying": the GPU context is lost with this candidate (a sticky fault); the worker exits after the answer.
// "error": the worker itself cannot work (no memory for the shape, an unreadable cubin); it exits too.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "autotuner/device.h"
#include "autotuner/verifier.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune {

struct WorkerSetup {
  int gpu = 0;
  Shape shape;
  std::string template_name;
  MeasurementPolicy policy;
  SupportCubins cubins;
};

nlohmann::json to_json(const WorkerSetup& setup);
nlohmann::json to_json(const Candidate& candidate);
nlohmann::json to_json(const Measurement& measurement);

// Read what the functions above write. Anything else throws nlohmann::json::exception or std::runtime_error:
// both ends are one program, so a mismatch is a surprise.
WorkerSetup setup_from_json(const nlohmann::json& json);
Candidate candidate_from_json(const nlohmann::json& json, const SpaceDefinition& definition);
Measurement measurement_from_json(const nlohmann::json& json);

}  // namespace attune
