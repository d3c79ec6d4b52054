#pragma once

#include <string>

#include "base/result.h"

namespace attune {

// The file of this very program, which starts itself for its workers.
Result<std::string> own_path();

}  // namespace attune
