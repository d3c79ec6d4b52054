// Trials as JSON: one object a line in exports, one schema everywhere (CLI --json, export, recordings).
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "cache/trial.h"

namespace attune {

nlohmann::json to_json(const Trial& trial);
Result<Trial> trial_from_json(const nlohmann::json& json);

}  // namespace attune
