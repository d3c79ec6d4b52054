#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "templates/attention_template.h"

namespace attune {

nlohmann::json to_json(const LaunchSpec& spec);
Result<LaunchSpec> launch_spec_from_json(const nlohmann::json& json);

}  // namespace attune
