// The configuration space of the portable kernel: axes, legality, and the default.
#pragma once

#include "base/device_facts.h"
#include "base/shape.h"
#include "templates/axis.h"

namespace attune {

SpaceDefinition portable_space(const Shape& shape, const DeviceFacts& device);

// Sensible without any search; legal for every shape and device that the template supports.
Config portable_default(const Shape& shape, const DeviceFacts& device);

}  // namespace attune
