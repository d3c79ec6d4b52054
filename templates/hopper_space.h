// The configuration space of the Hopper kernel: axes, legality, and the default.
#pragma once

#include "base/device_facts.h"
#include "base/shape.h"
#include "templates/axis.h"

namespace attune {

SpaceDefinition hopper_space(const Shape& shape, const DeviceFacts& device);

// Sensible without any search; legal for every shape and device that the template supports.
Config hopper_default(const Shape& shape, const DeviceFacts& device);

}  // namespace attune
