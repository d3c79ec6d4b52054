// The flags that every search has, be it of one shape or of many.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace attune::cli {

// --max-seconds, --seed, --remeasure and --threads; their defaults are what the variables hold. `threads` 0:
// one a core.
void add_search_flags(CLI::App& app, double& max_seconds, std::uint64_t& seed, bool& remeasure, int& threads);

// --device, --gpus and --require-gpu of commands that work on several devices at once (sweep_target()).
void add_devices_flags(CLI::App& app, std::string& device, std::string& gpus, bool& require_gpu);

}  // namespace attune::cli
