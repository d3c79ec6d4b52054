// A compiled kernel without its image, as JSON: what the cubin store keeps and a compiler process answers.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "compiler/compiled_kernel.h"

namespace attune {

// The log may quote bytes of a source that are no UTF-8: dump it with error_handler_t::replace.
nlohmann::json to_json(const CompiledKernel& kernel);

// What the kernel takes of a multiprocessor, the compiler's warnings and how long it took: the part of
// to_json() that people read too.
nlohmann::json resources_json(const CompiledKernel& kernel);

// Reads what to_json() wrote; an outcome other than ok is an error. Throws nlohmann::json::exception for
// anything else.
CompiledKernel compiled_kernel_from_json(const nlohmann::json& json);

}  // namespace attune
