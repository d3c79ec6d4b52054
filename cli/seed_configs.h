// Configs that a search tries first.
#pragma once

#include <string>
#include <vector>

#include "autotuner/space.h"
#include "base/result.h"
#include "cache/trial_store.h"
#include "cli/target.h"

namespace attune::cli {

// Each word is a config's JSON, or a file with one or an array of them: the template's form, or Helion's
// (where keys are missing, the template's default stands).
Result<std::vector<Config>> read_seed_configs(const std::vector<std::string>& words, const Target& target);

// The best configs of the nearest other shapes on this kind of device that are in the space, nearest first.
Result<std::vector<Config>> near_records(const TrialStore& store, const Target& target, const Space& space,
                                         const MeasurementPolicy& policy);

}  // namespace attune::cli
