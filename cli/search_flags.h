// The flags that every search has, be it of one shape or of many.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>

namespace attune::cli {

// --max-seconds, --seed, --remeasure and --threads; their defaults are what the variables hold. `threads` 0:
// one a core.
void add_search_flags(CLI::App& app, double& max_seconds, std::uint64_t& seed, bool& remeasure, int& threads);

}  // namespace attune::cli
