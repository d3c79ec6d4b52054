// Domains of axes, as templates write them down.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "templates/config.h"

namespace attune {

std::vector<AxisValue> integers(std::initializer_list<std::int64_t> values);
std::vector<AxisValue> texts(std::initializer_list<const char*> values);

// Of the values, those up to the first that covers `extent`: larger tiles would only hold more nothing.
std::vector<AxisValue> covering(std::initializer_list<std::int64_t> values, std::int64_t extent);

}  // namespace attune
