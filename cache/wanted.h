#pragma once

#include <vector>

#include "cache/trial_store.h"

namespace attune {

// The wanted list with one entry a shape and GPU, whoever counted; most often asked for first. Origins are
// left out.
std::vector<Wanted> joined(const std::vector<Wanted>& entries);

}  // namespace attune
