#pragma once

#include <nlohmann/json_fwd.hpp>

#include "autotuner/target.h"
#include "cache/trial_store.h"

namespace attune {

// An answer for the target's shape as JSON: what `attune lookup --json` and a server give. Without a record
// it is the template's default config. Times are microseconds, those of another shape scaled by the work.
nlohmann::json answer_json(const Target& target, const LookupAnswer& answer);

}  // namespace attune
