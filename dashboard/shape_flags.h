#pragma once

#include <string>

#include "base/shape.h"

namespace attune {

// The shape as the command line takes it, as in "--shape 4,32,4096,128 --kv-heads 8 --causal". What is the
// command line's default is left out.
std::string shape_flags(const Shape& shape);

}  // namespace attune
