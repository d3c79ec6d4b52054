#pragma once

#include <string>

#include "base/result.h"

namespace attune {

// All bytes of a file, or "cannot read PATH: why".
Result<std::string> read_file(const std::string& path);

}  // namespace attune
