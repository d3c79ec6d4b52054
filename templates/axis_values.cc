#include "templates/axis_values.h"

#include <string>

namespace attune {

std::vector<AxisValue> integers(std::initializer_list<std::int64_t> values) {
  std::vector<AxisValue> all;
  for (std::int64_t value : values) all.emplace_back(value);
  return all;
}

std::vector<AxisValue> texts(std::initializer_list<const char*> values) {
  std::vector<AxisValue> all;
  for (const char* value : values) all.emplace_back(std::string(value));
  return all;
}

std::vector<AxisValue> covering(std::initializer_list<std::int64_t> values, std::int64_t extent) {
  std::vector<AxisValue> kept;
  for (std::int64_t value : values) {
    kept.emplace_back(value);
    if (value >= extent) break;
  }
  return kept;
}

}  // namespace attune
