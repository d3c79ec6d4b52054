#pragma once

#include <nlohmann/json_fwd.hpp>

#include "autotuner/target.h"
#include "compiler/compiled_kernel.h"

namespace attune {

// What the compiler made of a config: resources, launch, warnings, log, and the cubin's key and hash (not its
// bytes). What `attune compile --json` and a server give.
nlohmann::json compile_report(const Target& target, const Config& config, const CompiledKernel& kernel);

}  // namespace attune
