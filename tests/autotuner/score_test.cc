#include "autotuner/score.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <numeric>

#include "autotuner/modelled_clock.h"
#include "autotuner/score_plot.h"
#include "tests/autotuner/recording_fixture.h"

namespace attune {
namespace {

using namespace testing_recordings;
using testing::HasSubstr;

ReplaySpace made_replay() {
  const Space space = recorded_template_space();
  const auto bytes = to_recording(recorded_origin(), recorded_trials(space));
  return *ReplaySpace::make(space, *parse_recording(*bytes, "small"), std::nullopt);
}

// Over all orders of five configs: the mean of the best of the first k.
TEST(ExpectedBestOfRandom, IsThatOfAllOrders) {
  const std::vector<double> sorted{1, 2, 2, 5, 9};
  std::vector<double> sums(5, 0);
  int orders = 0;
  std::vector<std::size_t> index{0, 1, 2, 3, 4};
  do {
    double best = 100;
    for (std::size_t k = 0; k < 5; ++k) sums[k] += best = std::min(best, sorted[index[k]]);
    ++orders;
  } while (std::next_permutation(index.begin(), index.end()));
  const std::vector<double> expected = expected_best_of_random(sorted, 7);
  ASSERT_EQ(expected.size(), 7U);
  for (std::size_t k = 0; k < 5; ++k) EXPECT_NEAR(expected[k], sums[k] / orders, 1e-12) << k;
  EXPECT_EQ(expected[6], 1);
}

TEST(StrategyScore, RandomScoresAboutZeroAndTheOptimumFirstOne) {
  const Space space = recorded_template_space();
  const Recording recording =
      *parse_recording(*to_recording(recorded_origin(), recorded_trials(space)), "small");
  const Trial* best = nullptr;
  for (const Trial& trial : recording.trials) {
    if (trial.timing && (!best || trial.timing->median_us < best->timing->median_us)) best = &trial;
  }
  const Config optimum = *config_from_json(nlohmann::json::parse(best->config_json), space.definition());
  const ReplaySpace from_optimum = *ReplaySpace::make(space, recording, optimum);
  const ScoreOptions options{.seeds = 400, .max_trials = 60, .window = 1};
  const auto perfect = score_strategy("random", from_optimum, options);
  ASSERT_TRUE(perfect) << perfect.error().message;
  EXPECT_NEAR(perfect->score, 1, 1e-9);
  EXPECT_EQ(perfect->gap_after_60, 0);

  const auto random = score_strategy("random", made_replay(), options);
  EXPECT_NEAR(random->score, 0, 4 * random->deviation / 20);
  EXPECT_NEAR(random->curve[59],
              expected_best_of_random(made_replay().sorted_us(), 60)[59] / best->timing->median_us, 0.02);
  EXPECT_GT(random->curve[0], random->curve[59]);
}

TEST(StrategyScore, IsTheSameEachTime) {
  const ScoreOptions options{.seeds = 3, .max_trials = 40, .window = 8};
  for (const StrategyInfo& info : strategies()) {
    const auto once = score_strategy(info.name, made_replay(), options);
    const auto again = score_strategy(info.name, made_replay(), options);
    EXPECT_EQ(once->curve, again->curve) << info.name;
    EXPECT_EQ(once->score_seconds, again->score_seconds);
  }
}

TEST(StrategyScore, AnUnknownStrategyIsAnError) {
  EXPECT_THAT(score_strategy("psychic", made_replay(), {}).error().message,
              HasSubstr("unknown strategy 'psychic'"));
}

TEST(StrategyScore, MeansAreRankedBestFirst) {
  StrategyScore a{.strategy = "a", .space = "x", .score = 0.1, .curve = {}, .quartiles = {}};
  StrategyScore b{.strategy = "b", .space = "x", .score = 0.6, .curve = {}, .quartiles = {}};
  StrategyScore b2{.strategy = "b", .space = "y", .score = 0.4, .curve = {}, .quartiles = {}};
  const auto means = mean_scores({a, b, b2});
  ASSERT_EQ(means.size(), 2U);
  EXPECT_EQ(means[0].strategy, "b");
  EXPECT_DOUBLE_EQ(means[0].score, 0.5);
  EXPECT_EQ(means[0].space, "mean of 2");
  EXPECT_EQ(means[1].strategy, "a");
}

TEST(StrategyScore, DoesNotDependOnTheNumberOfThreads) {
  const std::vector<ReplaySpace> replays{made_replay()};
  const std::atomic<bool> never{false};
  ScoreOptions options{.seeds = 6, .max_trials = 40, .window = 8};
  const auto one = score_strategies({"bayesian", "random"}, replays, options, never, {});
  options.threads = 4;
  const auto four = score_strategies({"bayesian", "random"}, replays, options, never, {});
  ASSERT_TRUE(one && four);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*one)[i].curve, (*four)[i].curve);
    EXPECT_EQ((*one)[i].score_seconds, (*four)[i].score_seconds);
    EXPECT_EQ((*one)[i].quartiles.upper, (*four)[i].quartiles.upper);
  }
}

TEST(StrategyScore, QuartilesEncloseTheMedian) {
  const auto score = score_strategy("random", made_replay(), {.seeds = 9, .max_trials = 30});
  for (std::size_t k = 0; k < 30; ++k) {
    EXPECT_LE(score->quartiles.lower[k], score->quartiles.median[k]);
    EXPECT_LE(score->quartiles.median[k], score->quartiles.upper[k]);
    EXPECT_GE(score->quartiles.lower[k], 1);
  }
  EXPECT_LT(score->quartiles.lower[5], score->quartiles.upper[5]);
}

TEST(StrategyScore, StopsWhenAsked) {
  const std::atomic<bool> stop{true};
  const auto score = score_strategies({"random"}, {made_replay()}, {}, stop, {});
  EXPECT_THAT(score.error().message, HasSubstr("interrupted"));
}

// Two threads, one GPU: the third compile waits for a thread, a measurement for the one before.
TEST(ModelledClock, CompilesInThreadsAndMeasuresOneByOne) {
  ModelledClock clock(2);
  EXPECT_EQ(clock.submit(10, 1), 0U);
  EXPECT_EQ(clock.submit(4, 3), 1U);
  EXPECT_EQ(clock.submit(5, 4), 2U);  // compiled at 9, measured until 13
  EXPECT_EQ(clock.wait(), 1U);
  EXPECT_DOUBLE_EQ(clock.now(), 7);
  EXPECT_EQ(clock.wait(), 2U);
  EXPECT_DOUBLE_EQ(clock.now(), 13);
  EXPECT_EQ(clock.submit(3, 1), 3U);  // a thread is free since 9, but it is proposed only now
  EXPECT_EQ(clock.wait(), 0U);        // compiled at 10, when the GPU was busy
  EXPECT_DOUBLE_EQ(clock.now(), 14);
  EXPECT_EQ(clock.wait(), 3U);
  EXPECT_DOUBLE_EQ(clock.now(), 17);
}

std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ScorePlot, HasAPanelASpaceAndACurveEach) {
  Quartiles quartiles{{1.2, 1.0, 1.0}, {1.5, 1.1, 1.0}, {2.0, 1.3, 1.1}};
  StrategyScore a{.strategy = "a", .space = "x<y", .curve = {}, .quartiles = quartiles};
  StrategyScore b{.strategy = "b", .space = "x<y", .curve = {}, .quartiles = quartiles};
  StrategyScore c{.strategy = "a", .space = "z", .curve = {}, .quartiles = quartiles};
  const std::string svg = score_plot("a & b", {a, b, c});
  EXPECT_EQ(count_of(svg, "class=\"band\""), 3U);
  EXPECT_EQ(count_of(svg, ">optimum<"), 2U);
  EXPECT_THAT(svg, HasSubstr("x&lt;y"));
  EXPECT_THAT(svg, HasSubstr("a &amp; b"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(ScorePlot, OfManyStrategiesTheBestAreFirstAndShaded) {
  const Quartiles quartiles{{1.2, 1.0}, {1.5, 1.1}, {2.0, 1.3}};
  std::vector<StrategyScore> scores;
  for (const char* name : {"h", "g", "f", "e", "d", "c", "b", "a"}) {
    scores.push_back({.strategy = name, .space = "s", .curve = {}, .quartiles = quartiles});
    scores.back().score = 0.1 * static_cast<double>(scores.size());
  }
  const std::string svg = score_plot("many", scores);
  EXPECT_LT(svg.find(">a<"), svg.find(">h<")) << "the legend begins with the best";
  EXPECT_EQ(count_of(svg, "class=\"band\""), 3U);
  EXPECT_EQ(count_of(svg, "class=\"line\""), 16U) << "in the legend and in the panel";
  EXPECT_EQ(count_of(svg, "stroke-dasharray"), 2U) << "the eighth, which has no colour of its own";
}

}  // namespace
}  // namespace attune
