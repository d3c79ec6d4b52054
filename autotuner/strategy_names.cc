#include "autotuner/strategy_names.h"

#include "base/printable.h"

namespace attune {

std::vector<StrategyInfo> strategies() {
  return {
      {"bayesian", "a Gaussian process learns the times, expected improvement chooses"},
      {"portfolio", "bayesian, surrogate, anneal and pattern, credited by gain per second"},
      {"pattern", "several starts, then one step at a time from the best (Hooke and Jeeves)"},
      {"surrogate", "a forest learns where the best tenth lies and ranks candidates (LFBO)"},
      {"evolution", "differential evolution (Storn and Price)"},
      {"anneal", "simulated annealing with kicks (Kirkpatrick et al.)"},
      {"llm", "a language model proposes, evolution on islands fills the time (MAP-Elites)", true},
      {"random", "uniform, without replacement: the baseline"},
      {"exhaustive", "every legal config once"},
  };
}

Status check_strategy(std::string_view name) {
  std::string names;
  for (const StrategyInfo& info : strategies()) {
    if (info.name == name) return {};
    names += (names.empty() ? "" : ", ") + info.name;
  }
  return fail("unknown strategy '{}': there are {}", printable(name), names);
}

}  // namespace attune
