#include "autotuner/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <thread>

#include "autotuner/modelled_clock.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

// One search: the best time so far, and the modelled time, after each trial.
struct Run {
  std::vector<double> best_us;
  std::vector<double> seconds;
  double own_seconds = 0;
};

// The tune loop's rule: a window of outstanding proposals, each observed when it would have ended.
Run run_once(Strategy& strategy, const ReplaySpace& replay, const ScoreOptions& options) {
  using Clock = std::chrono::steady_clock;
  Run run;
  Clock::duration own{};
  std::map<std::size_t, Point> outstanding;  // by the clock's number
  ModelledClock clock(options.compile_threads);
  double best = replay.sorted_us().back();
  while (run.best_us.size() < options.max_trials) {
    const std::size_t left = options.max_trials - run.best_us.size();
    const auto begin = Clock::now();
    std::vector<Point> points = strategy.propose(std::min(options.outstanding(), left) - outstanding.size());
    own += Clock::now() - begin;
    for (Point& point : points) {
      const RecordedTrial& trial = replay.trial(point);
      outstanding.emplace(clock.submit(trial.compile_seconds, trial.measure_seconds), std::move(point));
    }
    if (outstanding.empty()) break;
    const auto ended = outstanding.find(clock.wait());
    const Observation observation = replay.observe(ended->second);
    best = std::min(best, cost_us(observation));
    run.best_us.push_back(best);
    run.seconds.push_back(clock.now());
    outstanding.erase(ended);
    const auto told = Clock::now();
    strategy.observe(observation);
    own += Clock::now() - told;
  }
  run.own_seconds = std::chrono::duration<double>(own).count();
  run.best_us.resize(options.max_trials, best);  // a space smaller than the budget
  run.seconds.resize(options.max_trials, clock.now());
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

// What the run had found when random search would have done its k-th trial, at `random_seconds[k - 1]`.
std::vector<double> found_in_time(const Run& run, const std::vector<double>& random_seconds, double before) {
  std::vector<double> found;
  std::size_t done = 0;
  for (const double seconds : random_seconds) {
    while (done < run.seconds.size() && run.seconds[done] <= seconds) ++done;
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

// Between the nearest two, in proportion.
double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

// What all strategies on one space are held against: random search, expected.
struct Baseline {
  std::vector<double> best_us;  // after each trial
  std::vector<double> seconds;  // modelled, when each trial ends
};

Baseline baseline_of(const ReplaySpace& replay, const ScoreOptions& options) {
  Baseline baseline{expected_best_of_random(replay.sorted_us(), options.max_trials),
                    std::vector<double>(options.max_trials, 0.0)};
  ScoreOptions busy = options;  // random search loses nothing by keeping every compile thread busy
  busy.window = std::max(options.outstanding(), outstanding_proposals(options.compile_threads));
  for (std::uint64_t seed = 0; seed < options.seeds; ++seed) {
    const auto random = make_random({.space = replay.space(), .seed = seed, .start = {}});
    const Run run = run_once(*random, replay, busy);
    for (std::size_t k = 0; k < options.max_trials; ++k) {
      baseline.seconds[k] += run.seconds[k] / static_cast<double>(options.seeds);
    }
  }
  return baseline;
}

StrategyScore summed_up(const std::string& strategy, const ReplaySpace& replay, const Baseline& baseline,
                        std::span<const Run> runs) {
  const double optimum = replay.optimum_us();
  const std::size_t trials = baseline.best_us.size();
  StrategyScore result{.strategy = strategy, .space = replay.name(), .curve = {}, .quartiles = {}};
  std::vector<double> scores;
  std::vector<double> seconds;
  const auto count = static_cast<double>(runs.size());
  for (const Run& run : runs) {
    scores.push_back(mean_score(baseline.best_us, run.best_us, optimum));
    const auto in_time = found_in_time(run, baseline.seconds, replay.sorted_us().back());
    result.score_seconds += mean_score(baseline.best_us, in_time, optimum) / count;
    result.own_us += run.own_seconds * 1e6 / static_cast<double>(trials) / count;
    seconds.push_back(run.seconds.back());
  }
  for (std::size_t k = 0; k < trials; ++k) {
    std::vector<double> ratios;
    for (const Run& run : runs) ratios.push_back(run.best_us[k] / optimum);
    result.curve.push_back(mean(ratios));
    result.quartiles.lower.push_back(quantile(ratios, 0.25));
    result.quartiles.median.push_back(quantile(ratios, 0.5));
    result.quartiles.upper.push_back(quantile(ratios, 0.75));
  }
  constexpr std::size_t kEarly = 60;
  result.score = mean(scores);
  result.deviation = deviation(scores);
  result.gap_after_60 = result.quartiles.median[std::min(kEarly, trials) - 1] - 1;
  result.gap_at_end = result.quartiles.median.back() - 1;
  result.seconds = quantile(seconds, 0.5);
  return result;
}

}  // namespace

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

Result<std::vector<StrategyScore>> score_strategies(const std::vector<std::string>& strategies,
                                                    const std::vector<ReplaySpace>& replays,
                                                    const ScoreOptions& options,
                                                    const std::atomic<bool>& stop,
                                                    const ScoreProgress& progress) {
  if (options.seeds == 0 || options.max_trials == 0 || options.compile_threads == 0) {
    return fail("a score needs at least one seed, trial and compile thread");
  }
  for (const std::string& strategy : strategies) {
    if (const Status known = check_strategy(strategy); !known) return known.error();
  }
  // A job a search, the seeds of a strategy and space side by side.
  const std::size_t pairs = strategies.size() * replays.size();
  std::vector<Run> runs(pairs * options.seeds);
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> done{0};
  const auto work = [&] {
    for (std::size_t job = next++; job < runs.size() && !stop; job = next++) {
      const std::size_t pair = job / options.seeds;
      const ReplaySpace& replay = replays[pair % replays.size()];
      const auto strategy = make_strategy(strategies[pair / replays.size()], replay.space(),
                                          job % options.seeds, replay.start(), options.max_trials);
      runs[job] = run_once(**strategy, replay, options);
      ++done;
    }
  };
  {
    std::vector<std::jthread> workers;
    for (std::size_t i = 0; i < std::max<std::size_t>(1, options.threads); ++i) workers.emplace_back(work);
    if (progress) progress(0, runs.size());
    while (done < runs.size() && !stop) {
      std::this_thread::sleep_for(std::chrono::milliseconds(runs.size() > 500 ? 100 : 10));
      if (progress) progress(done, runs.size());
    }
  }
  if (stop) return fail("interrupted after {} of {} searches", done.load(), runs.size());
  std::vector<Baseline> baselines;
  for (const ReplaySpace& replay : replays) baselines.push_back(baseline_of(replay, options));
  std::vector<StrategyScore> scores;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    const std::size_t space = pair % replays.size();
    scores.push_back(summed_up(strategies[pair / replays.size()], replays[space], baselines[space],
                               std::span(runs).subspan(pair * options.seeds, options.seeds)));
  }
  return scores;
}

Result<StrategyScore> score_strategy(std::string_view strategy, const ReplaySpace& replay,
                                     const ScoreOptions& options) {
  const std::atomic<bool> never{false};
  auto scores = score_strategies({std::string(strategy)}, {replay}, options, never, {});
  if (!scores) return scores.error();
  return std::move(scores->front());
}

std::vector<StrategyScore> mean_scores(const std::vector<StrategyScore>& scores) {
  std::map<std::string, std::vector<const StrategyScore*>> by_strategy;
  for (const StrategyScore& score : scores) by_strategy[score.strategy].push_back(&score);
  std::vector<StrategyScore> means;
  for (const auto& [strategy, all] : by_strategy) {
    StrategyScore total{
        .strategy = strategy, .space = fmt::format("mean of {}", all.size()), .curve = {}, .quartiles = {}};
    for (const auto field : {&StrategyScore::score, &StrategyScore::deviation, &StrategyScore::score_seconds,
                             &StrategyScore::gap_after_60, &StrategyScore::gap_at_end,
                             &StrategyScore::seconds, &StrategyScore::own_us}) {
      for (const StrategyScore* score : all) total.*field += score->*field / static_cast<double>(all.size());
    }
    means.push_back(std::move(total));
  }
  std::sort(means.begin(), means.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  return means;
}

nlohmann::json to_json(const StrategyScore& score) {
  return {{"strategy", score.strategy},
          {"space", score.space},
          {"score", score.score},
          {"deviation", score.deviation},
          {"score_seconds", score.score_seconds},
          {"gap_after_60", score.gap_after_60},
          {"gap_at_end", score.gap_at_end},
          {"seconds", score.seconds},
          {"own_us", score.own_us},
          {"curve", score.curve},
          {"lower_quartile", score.quartiles.lower},
          {"median", score.quartiles.median},
          {"upper_quartile", score.quartiles.upper}};
}

}  // namespace attune
