#pragma once

#include <vector>

#include "autotuner/space.h"

namespace attune {

// Legal configs that together take every value that is legal in the space, of every axis.
std::vector<Config> covering_set(const Space& space, Rng& rng);

}  // namespace attune
