#include "autotuner/strategy.h"

#include <algorithm>
#include <array>

#include "autotuner/strategies/all.h"
#include "autotuner/strategies/descent.h"
#include "base/printable.h"

namespace attune {
namespace {

struct Entry {
  std::string_view name;
  std::string_view help;
  std::unique_ptr<Strategy> (*make)(StrategyArguments);
  bool ends_in_descent;  // whether the last trials of a budget go to a descent
  bool asks_a_model = false;
};

constexpr std::array kStrategies = {
    Entry{"bayesian", "a Gaussian process learns the times, expected improvement chooses", make_bayesian,
          true},
    Entry{"portfolio", "bayesian, surrogate, anneal and pattern, credited by gain per second", make_portfolio,
          true},
    Entry{"pattern", "several starts, then one step at a time from the best (Hooke and Jeeves)", make_pattern,
          true},
    Entry{"surrogate", "a forest learns where the best tenth lies and ranks candidates (LFBO)",
          make_surrogate, true},
    Entry{"evolution", "differential evolution (Storn and Price)", make_evolution, true},
    Entry{"anneal", "simulated annealing with kicks (Kirkpatrick et al.)", make_anneal, true},
    Entry{"llm", "a language model proposes, evolution on islands fills the time (MAP-Elites)",
          make_llm_evolution, true, true},
    Entry{"random", "uniform, without replacement: the baseline", make_random, false},
    Entry{"exhaustive", "every legal config once", make_exhaustive, false},
};

}  // namespace

std::vector<StrategyInfo> strategies() {
  std::vector<StrategyInfo> infos;
  for (const Entry& entry : kStrategies) {
    infos.push_back({std::string(entry.name), std::string(entry.help), entry.asks_a_model});
  }
  return infos;
}

Status check_strategy(std::string_view name) {
  std::string names;
  for (const Entry& entry : kStrategies) {
    if (entry.name == name) return {};
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  return fail("unknown strategy '{}': there are {}", printable(name), names);
}

Result<std::unique_ptr<Strategy>> make_strategy(std::string_view name, const Space& space, std::uint64_t seed,
                                                std::vector<Point> start, std::size_t max_trials,
                                                const LlmGuide* guide) {
  if (const Status known = check_strategy(name); !known) return known.error();
  const Entry& entry = *std::find_if(kStrategies.begin(), kStrategies.end(),
                                     [name](const Entry& candidate) { return candidate.name == name; });
  std::unique_ptr<Strategy> strategy =
      entry.make({.space = space, .seed = seed, .start = std::move(start), .guide = guide});
  if (!entry.ends_in_descent || max_trials == 0) return strategy;
  return with_final_descent(std::move(strategy), space, seed, max_trials);
}

}  // namespace attune
