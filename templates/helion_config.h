// Configs in the words of Helion, another attention tuner, as seeds for ours.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "templates/axis.h"
#include "templates/config.h"

namespace attune {

// Whether all its keys are those of a helion.Config. A whole config of a template's has others too.
bool is_helion_config(const nlohmann::json& json);

// A config from the keys of a helion.Config, as few or many as there are: where they leave an axis open, the
// value of `base` stands, and what is no choice of a template (indexing, range_flattens) is passed over. A
// number between an axis's values becomes the nearest, a text it does not know the value of `base`; of values
// that our rules do not allow together, as many as go together are taken. Wrong types are errors.
// Preconditions: is_helion_config(), and `base` is legal.
Result<Config> config_from_helion(const nlohmann::json& json, const SpaceDefinition& definition,
                                  const Config& base);

}  // namespace attune
