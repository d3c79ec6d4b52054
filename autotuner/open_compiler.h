#pragma once

#include <memory>

#include "base/result.h"
#include "compiler/compile_pool.h"

namespace attune {

// The compilers of a search: `threads` child processes of this very program (0: one a core) over the default
// cubin store.
Result<std::unique_ptr<CompilePool>> open_compiler(int threads);

}  // namespace attune
