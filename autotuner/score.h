// How good a strategy is, by replaying recordings: the field's standard score (Willemsen et al., "A
// methodology for comparing optimization algorithms for auto-tuning", FGCS 159, 2024). 0 is as good as random
// search without replacement, 1 is the optimum at once; averaged over all budgets up to the largest.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/replay_space.h"
#include "base/result.h"

namespace attune {

// Expected time of the best of k configs drawn without replacement, for k = 1 .. max_trials, exactly.
std::vector<double> expected_best_of_random(const std::vector<double>& sorted_us, std::size_t max_trials);

struct ScoreOptions {
  std::size_t seeds = 50;
  std::size_t max_trials = 200;
  std::size_t compile_threads = kUsualCompileThreads;  // of the modelled machine
  std::size_t window = 0;   // outstanding proposals; 0: as the tune loop keeps them
  std::size_t threads = 1;  // of this machine: searches replayed at once

  std::size_t outstanding() const { return window > 0 ? window : outstanding_proposals(compile_threads); }
};

// A curve over the seeds: best so far / optimum, after each trial.
struct Quartiles {
  std::vector<double> lower;
  std::vector<double> median;
  std::vector<double> upper;
};

struct StrategyScore {
  std::string strategy;
  std::string space;
  double score = 0;          // over budgets in trials, mean over seeds
  double deviation = 0;      // standard deviation over seeds
  double score_seconds = 0;  // over budgets in modelled seconds
  double gap_after_60 = 0;   // best / optimum - 1, median over seeds; after fewer where the budget is smaller
  double gap_at_end = 0;     // after max_trials
  double seconds = 0;        // modelled, of the whole budget, median over seeds
  double own_us = 0;         // the strategy's own time a trial, on this machine
  std::vector<double> curve;  // best so far / optimum after each trial, mean over seeds
  Quartiles quartiles;
};

using ScoreProgress = std::function<void(std::size_t done, std::size_t total)>;  // in searches

// Every strategy on every space: scores strategy by strategy, in the order of the spaces. The same each time,
// whatever the number of threads (but for own_us). `progress` is called from one thread, about ten times a
// second. `stop`: gives up early with an error. `replays` must outlive the call.
Result<std::vector<StrategyScore>> score_strategies(const std::vector<std::string>& strategies,
                                                    const std::vector<ReplaySpace>& replays,
                                                    const ScoreOptions& options,
                                                    const std::atomic<bool>& stop,
                                                    const ScoreProgress& progress);

Result<StrategyScore> score_strategy(std::string_view strategy, const ReplaySpace& replay,
                                     const ScoreOptions& options);

// A strategy's means over the spaces (no curves), best score first; `space` says how many they are.
std::vector<StrategyScore> mean_scores(const std::vector<StrategyScore>& scores);

nlohmann::json to_json(const StrategyScore& score);

}  // namespace attune
