// The strategies by name, for whoever lists or checks names without running one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace attune {

// The best of them on the recorded spaces (docs/strategies.md).
inline constexpr std::string_view kDefaultStrategy = "bayesian";

struct StrategyInfo {
  std::string name;
  std::string help;           // one line
  bool asks_a_model = false;  // does little that is its own without one
};
std::vector<StrategyInfo> strategies();

// Whether there is a strategy of that name; the error lists the names.
Status check_strategy(std::string_view name);

}  // namespace attune
