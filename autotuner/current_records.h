#pragma once

#include <vector>

#include "base/result.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

// The best of each (shape, device, policy) that today's templates can serve, whichever template it is of;
// records of kernels that have changed since are left out. In the order in which shapes were first stored.
Result<std::vector<Trial>> current_records(const TrialStore& store, TrialFilter filter);

// Whether the trial's template is that of this build and its config legal for the shape on the device.
bool serves(const Trial& trial, const Shape& shape, const DeviceFacts& device);

}  // namespace attune
