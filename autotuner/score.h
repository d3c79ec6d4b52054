// How good a strategy is, by replaying recordings: the field's standard score (Willemsen et al., "A
// methodology for comparing optimization algorithms for auto-tuning", FGCS 159, 2024). 0 is as good as random
// search without replacement, 1 is the optimum at once; averaged over all budgets up to the largest.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "autotuner/recording.h"
#include "autotuner/space.h"
#include "autotuner/strategy.h"
#include "base/result.h"

namespace attune {

// A recording made ready for many replays.
class ReplaySpace {
 public:
  // `space` is the template's for the recording's shape and device; `start` (its default config) is tried
  // first where it was recorded. An error: nothing to replay, or no config that ran.
  static Result<ReplaySpace> make(const Space& space, const Recording& recording,
                                  const std::optional<Config>& start);

  const std::string& name() const { return name_; }
  const Space& space() const { return space_; }
  const std::vector<Point>& start() const { return start_; }

  Observation observe(const Point& point) const;
  double seconds(const Point& point, std::size_t compile_threads) const;  // compile and measure, as recorded

  // All configs' times, fastest first; a failed one counts as the slowest that ran.
  const std::vector<double>& sorted_us() const { return sorted_us_; }
  double mean_seconds(std::size_t compile_threads) const;

 private:
  struct Entry {
    Outcome outcome;
    std::optional<double> median_us;
    double compile_seconds;
    double measure_seconds;
  };
  explicit ReplaySpace(Space space) : space_(std::move(space)) {}

  std::string name_;
  Space space_;
  std::vector<Point> start_;
  std::unordered_map<Point, Entry, PointHash> entries_;
  std::vector<double> sorted_us_;
};

// Expected time of the best of k configs drawn without replacement, for k = 1 .. max_trials, exactly.
std::vector<double> expected_best_of_random(const std::vector<double>& sorted_us, std::size_t max_trials);

struct ScoreOptions {
  std::size_t seeds = 50;
  std::size_t max_trials = 200;
  std::size_t window = 32;           // outstanding proposals, as in TuneOptions
  std::size_t compile_threads = 16;  // that modelled seconds assume
};

struct StrategyScore {
  std::string strategy;
  std::string space;
  double score = 0;          // over budgets in trials, mean over seeds
  double deviation = 0;      // standard deviation over seeds
  double score_seconds = 0;  // over budgets in modelled seconds
  double gap_after_60 = 0;   // best / optimum - 1, median over seeds; after fewer where the budget is smaller
  double gap_at_end = 0;     // after max_trials
  double own_us = 0;         // the strategy's own time a trial
  std::vector<double> curve;  // best so far / optimum after each trial, mean over seeds
};

Result<StrategyScore> score_strategy(std::string_view strategy, const ReplaySpace& replay,
                                     const ScoreOptions& options);

nlohmann::json to_json(const StrategyScore& score);

// One line a strategy and space, then one line a strategy over all spaces, best first.
std::string score_table(const std::vector<StrategyScore>& scores);

}  // namespace attune
