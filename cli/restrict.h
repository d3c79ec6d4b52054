#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace attune::cli {

// --restrict axis=v1,v2 ...: searches only these values of an axis.
void add_restrict_flag(CLI::App& app, std::vector<std::string>& words);

// Axis -> allowed values, not yet checked against a space.
Result<std::map<std::string, std::vector<std::string>>> parse_restrictions(
    const std::vector<std::string>& words);

}  // namespace attune::cli
