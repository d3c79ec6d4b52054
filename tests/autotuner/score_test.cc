#include "autotuner/score.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <numeric>

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
              HasSubstr("no strategy 'psychic'"));
}

TEST(StrategyScore, TheTableRanksTheMeans) {
  StrategyScore a{.strategy = "a", .space = "x", .score = 0.1, .curve = {}};
  StrategyScore b{.strategy = "b", .space = "x", .score = 0.6, .curve = {}};
  StrategyScore b2{.strategy = "b", .space = "y", .score = 0.4, .curve = {}};
  const std::string table = score_table({a, b, b2});
  EXPECT_THAT(table, HasSubstr("mean of 2"));
  EXPECT_LT(table.rfind("\nb "), table.rfind("\na "));
  EXPECT_EQ(to_json(a)["strategy"], "a");
}

}  // namespace
}  // namespace attune
