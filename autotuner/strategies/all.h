// Every strategy's constructor. A new one is a line here, one in strategy.cc's table and one in
// strategy_names.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autotuner/strategy.h"

namespace attune {

// What a strategy is made of; the header autotuner/strategy.h says what each means.
struct StrategyArguments {
  const Space& space;
  std::uint64_t seed = 0;
  std::vector<Point> start;
  const LlmGuide* guide = nullptr;
};

std::unique_ptr<Strategy> make_anneal(StrategyArguments arguments);
std::unique_ptr<Strategy> make_bayesian(StrategyArguments arguments);
std::unique_ptr<Strategy> make_evolution(StrategyArguments arguments);
std::unique_ptr<Strategy> make_exhaustive(StrategyArguments arguments);
std::unique_ptr<Strategy> make_llm_evolution(StrategyArguments arguments);
std::unique_ptr<Strategy> make_pattern(StrategyArguments arguments);
std::unique_ptr<Strategy> make_portfolio(StrategyArguments arguments);
std::unique_ptr<Strategy> make_random(StrategyArguments arguments);
std::unique_ptr<Strategy> make_surrogate(StrategyArguments arguments);

}  // namespace attune
