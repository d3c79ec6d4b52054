#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace attune::cli {

// Whole or not at all: a temporary beside it, then a rename.
Status write_file(const std::string& path, std::string_view bytes);

}  // namespace attune::cli
