#include "autotuner/strategy.h"

#include <algorithm>
#include <array>

#include "autotuner/strategies/all.h"
#include "autotuner/strategies/descent.h"

namespace attune {
namespace {

// How each of strategies() is made: every name there has a row here (test EveryStrategy).
struct Entry {
  std::string_view name;
  std::unique_ptr<Strategy> (*make)(StrategyArguments);
  bool ends_in_descent;  // whether the last trials of a budget go to a descent
};

constexpr std::array kStrategies = {
    Entry{"bayesian", make_bayesian, true},      Entry{"portfolio", make_portfolio, true},
    Entry{"pattern", make_pattern, true},        Entry{"surrogate", make_surrogate, true},
    Entry{"evolution", make_evolution, true},    Entry{"anneal", make_anneal, true},
    Entry{"llm", make_llm_evolution, true},      Entry{"random", make_random, false},
    Entry{"exhaustive", make_exhaustive, false},
};

}  // namespace

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
