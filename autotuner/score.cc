#include "autotuner/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "autotuner/recorded_device.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

// One search: the best time so far, and the modelled time, after each trial.
struct Run {
  std::vector<double> best_us;
  std::vector<double> seconds;
  double own_seconds = 0;
};

// The tune loop's rule: a window of outstanding proposals, observed in their order.
Run run_once(Strategy& strategy, const ReplaySpace& replay, const ScoreOptions& options) {
  using Clock = std::chrono::steady_clock;
  Run run;
  Clock::duration own{};
  std::deque<Point> outstanding;
  double best = replay.sorted_us().back();
  double seconds = 0;
  while (run.best_us.size() < options.max_trials) {
    const std::size_t left = options.max_trials - run.best_us.size();
    const auto begin = Clock::now();
    for (Point& point : strategy.propose(std::min(options.window, left) - outstanding.size())) {
      outstanding.push_back(std::move(point));
    }
    own += Clock::now() - begin;
    if (outstanding.empty()) break;
    const Observation observation = replay.observe(outstanding.front());
    best = std::min(best, cost_us(observation));
    seconds += replay.seconds(outstanding.front(), options.compile_threads);
    run.best_us.push_back(best);
    run.seconds.push_back(seconds);
    outstanding.pop_front();
    const auto told = Clock::now();
    strategy.observe(observation);
    own += Clock::now() - told;
  }
  run.own_seconds = std::chrono::duration<double>(own).count();
  run.best_us.resize(options.max_trials, best);  // a space smaller than the budget
  run.seconds.resize(options.max_trials, seconds);
  return run;
}

// Mean over the budgets of (random - found) / (random - optimum), where random is not at the optimum itself.
double mean_score(const std::vector<double>& random, const std::vector<double>& found, double optimum) {
  constexpr double kNothingLeft = 1e-3;
  double sum = 0;
  double count = 0;
  for (std::size_t k = 0; k < random.size(); ++k) {
    if (random[k] < optimum * (1 + kNothingLeft)) break;
    sum += (random[k] - found[k]) / (random[k] - optimum);
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

// What the run had found when random search would have done its k-th trial.
std::vector<double> found_in_time(const Run& run, double seconds_a_trial, double before) {
  std::vector<double> found;
  std::size_t done = 0;
  for (std::size_t k = 1; k <= run.best_us.size(); ++k) {
    while (done < run.seconds.size() && run.seconds[done] <= static_cast<double>(k) * seconds_a_trial) ++done;
    found.push_back(done == 0 ? before : run.best_us[done - 1]);
  }
  return found;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  double sum = 0;
  for (const double value : values) sum += (value - mean(values)) * (value - mean(values));
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

}  // namespace

Result<ReplaySpace> ReplaySpace::make(const Space& space, const Recording& recording,
                                      const std::optional<Config>& start) {
  Result<Space> recorded = recorded_space(space, recording);
  if (!recorded) return recorded.error();
  ReplaySpace replay(*std::move(recorded));
  replay.name_ = recording.info.name;
  double slowest = 0;
  for (const Trial& trial : recording.trials) {
    const auto config =
        config_from_json(nlohmann::json::parse(trial.config_json), replay.space_.definition());
    const Result<Point> point = config ? replay.space_.point(*config) : config.error();
    if (!point) continue;
    const ModelledCost cost = cost_of(trial);
    Entry entry{trial.outcome, {}, cost.compile_seconds, cost.measure_seconds};
    if (trial.timing) {
      entry.median_us = trial.timing->median_us;
      slowest = std::max(slowest, trial.timing->median_us);
      replay.sorted_us_.push_back(trial.timing->median_us);
    }
    replay.entries_.emplace(*point, entry);
  }
  if (replay.sorted_us_.empty()) return fail("recording {} has no config that ran", recording.info.name);
  replay.sorted_us_.resize(replay.entries_.size(), slowest);
  std::sort(replay.sorted_us_.begin(), replay.sorted_us_.end());
  if (start) {
    if (const Result<Point> point = replay.space_.point(*start)) replay.start_.push_back(*point);
  }
  return replay;
}

Observation ReplaySpace::observe(const Point& point) const {
  const Entry& entry = entries_.at(point);
  return {point, entry.outcome, entry.median_us};
}

double ReplaySpace::seconds(const Point& point, std::size_t compile_threads) const {
  const Entry& entry = entries_.at(point);
  return entry.compile_seconds / static_cast<double>(compile_threads) + entry.measure_seconds;
}

double ReplaySpace::mean_seconds(std::size_t compile_threads) const {
  double sum = 0;
  for (const auto& [point, entry] : entries_) sum += seconds(point, compile_threads);
  return sum / static_cast<double>(entries_.size());
}

std::vector<double> expected_best_of_random(const std::vector<double>& sorted_us, std::size_t max_trials) {
  const std::size_t n = sorted_us.size();
  // at_least[i]: the chance that all draws so far are of rank i or worse.
  std::vector<double> at_least(n + 1, 1.0);
  at_least[n] = 0;
  std::vector<double> expected;
  for (std::size_t k = 0; k < max_trials; ++k) {
    if (k >= n) {
      expected.push_back(sorted_us[0]);
      continue;
    }
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      at_least[i] *= n > i + k ? static_cast<double>(n - i - k) / static_cast<double>(n - k) : 0.0;
    }
    for (std::size_t i = 0; i < n; ++i) sum += sorted_us[i] * (at_least[i] - at_least[i + 1]);
    expected.push_back(sum);
  }
  return expected;
}

Result<StrategyScore> score_strategy(std::string_view strategy, const ReplaySpace& replay,
                                     const ScoreOptions& options) {
  const std::vector<double> random = expected_best_of_random(replay.sorted_us(), options.max_trials);
  const double optimum = replay.sorted_us().front();
  StrategyScore result{.strategy = std::string(strategy), .space = replay.name(), .curve = {}};
  result.curve.assign(options.max_trials, 0);
  std::vector<double> scores;
  std::vector<double> scores_seconds;
  std::vector<double> early_gaps;
  std::vector<double> end_gaps;
  for (std::uint64_t seed = 0; seed < options.seeds; ++seed) {
    auto made = make_strategy(strategy, replay.space(), seed, replay.start(), options.max_trials);
    if (!made) return made.error();
    const Run run = run_once(**made, replay, options);
    scores.push_back(mean_score(random, run.best_us, optimum));
    scores_seconds.push_back(mean_score(
        random, found_in_time(run, replay.mean_seconds(options.compile_threads), replay.sorted_us().back()),
        optimum));
    constexpr std::size_t kEarly = 60;
    early_gaps.push_back(run.best_us[std::min(kEarly, options.max_trials) - 1] / optimum - 1);
    end_gaps.push_back(run.best_us.back() / optimum - 1);
    result.own_us += run.own_seconds * 1e6 / static_cast<double>(options.max_trials * options.seeds);
    for (std::size_t k = 0; k < options.max_trials; ++k) {
      result.curve[k] += run.best_us[k] / optimum / static_cast<double>(options.seeds);
    }
  }
  result.score = mean(scores);
  result.deviation = deviation(scores);
  result.score_seconds = mean(scores_seconds);
  result.gap_after_60 = median(early_gaps);
  result.gap_at_end = median(end_gaps);
  return result;
}

nlohmann::json to_json(const StrategyScore& score) {
  return {{"strategy", score.strategy},
          {"space", score.space},
          {"score", score.score},
          {"deviation", score.deviation},
          {"score_seconds", score.score_seconds},
          {"gap_after_60", score.gap_after_60},
          {"gap_at_end", score.gap_at_end},
          {"own_us", score.own_us},
          {"curve", score.curve}};
}

std::string score_table(const std::vector<StrategyScore>& scores) {
  std::string table = fmt::format("{:<12} {:<32} {:>7} {:>6} {:>8} {:>8} {:>8} {:>8}\n", "strategy", "space",
                                  "score", "+-", "in time", "gap 60", "gap end", "own us");
  const auto row = [&](const StrategyScore& s) {
    table += fmt::format("{:<12} {:<32} {:>7.3f} {:>6.3f} {:>8.3f} {:>7.2f}% {:>7.2f}% {:>8.1f}\n",
                         s.strategy, s.space, s.score, s.deviation, s.score_seconds, 100 * s.gap_after_60,
                         100 * s.gap_at_end, s.own_us);
  };
  std::map<std::string, std::vector<StrategyScore>> by_strategy;
  for (const StrategyScore& score : scores) {
    row(score);
    by_strategy[score.strategy].push_back(score);
  }
  std::vector<StrategyScore> totals;
  for (const auto& [strategy, all] : by_strategy) {
    const auto mean_of = [&all](double StrategyScore::*field) {
      double sum = 0;
      for (const StrategyScore& score : all) sum += score.*field;
      return sum / static_cast<double>(all.size());
    };
    StrategyScore total{.strategy = strategy, .space = fmt::format("mean of {}", all.size()), .curve = {}};
    for (const auto field :
         {&StrategyScore::score, &StrategyScore::deviation, &StrategyScore::score_seconds,
          &StrategyScore::gap_after_60, &StrategyScore::gap_at_end, &StrategyScore::own_us}) {
      total.*field = mean_of(field);
    }
    totals.push_back(std::move(total));
  }
  std::sort(totals.begin(), totals.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  table += "\n";
  for (const StrategyScore& total : totals) row(total);
  return table;
}

}  // namespace attune
