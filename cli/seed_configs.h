// Configs that a search tries first.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/target.h"

namespace attune::cli {

// Each word is a config's JSON, or a file with one or an array of them: the template's form, or Helion's
// (where keys are missing, the template's default stands).
Result<std::vector<Config>> read_seed_configs(const std::vector<std::string>& words, const Target& target);

}  // namespace attune::cli
