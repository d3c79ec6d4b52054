#include "autotuner/sweep_schedule.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

namespace attune {
namespace {

SweepSchedule::Standing standing(std::int64_t trials, double best_us) {
  return {.trials = trials, .best_us = best_us, .compared = true};
}

TEST(SweepSchedule, EveryShapeIsServedBeforeItsSecondTemplate) {
  SweepSchedule schedule({.first_trials = 8, .helping = 8, .max_trials = 16});
  for (const std::size_t shape : {0U, 0U, 1U, 1U}) schedule.add_arm(shape, 1);
  std::vector<std::size_t> order;
  for (int i = 0; i < 4; ++i) {
    const auto helping = schedule.next(0);
    ASSERT_TRUE(helping);
    EXPECT_TRUE(helping->first);
    EXPECT_EQ(helping->trials, 8);
    order.push_back(helping->arm);
    schedule.done(helping->arm, standing(8, 100), 1, false);
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 2, 1, 3}));
  EXPECT_FALSE(schedule.next(0)) << "both shapes have had their 16 trials";
}

TEST(SweepSchedule, TheShapeThatStillGainsGetsMoreThanTheOneThatDoesNot) {
  SweepSchedule schedule({.first_trials = 10, .helping = 10, .max_trials = 0});
  schedule.add_arm(0, 1);
  schedule.add_arm(1, 1);
  std::map<std::size_t, std::int64_t> trials;
  double gaining = 1000;
  for (int i = 0; i < 12; ++i) {
    const auto helping = schedule.next(0);
    ASSERT_TRUE(helping);
    trials[helping->arm] += helping->trials;
    if (helping->arm == 1) gaining *= 0.9;
    schedule.done(helping->arm, standing(trials[helping->arm], helping->arm == 1 ? gaining : 500), 1, false);
  }
  EXPECT_GT(trials[1], 2 * trials[0]);
  EXPECT_GE(trials[0], 20) << "hope is never given up at once";
}

TEST(SweepSchedule, GainCountsPerSecondAndByWeight) {
  SweepSchedule schedule({.first_trials = 4, .helping = 4, .max_trials = 0});
  schedule.add_arm(0, 1);
  schedule.add_arm(1, 1);
  schedule.add_arm(2, 20);
  for (std::size_t i = 0; i < 3; ++i) {
    const auto helping = schedule.next(0);
    schedule.done(helping->arm, standing(4, 100), helping->arm == 0 ? 10 : 1, false);
  }
  EXPECT_EQ(schedule.next(0)->arm, 2U) << "asked for twenty times as often";
  EXPECT_EQ(schedule.next(0)->arm, 1U) << "a tenth of the seconds for the same hope";
}

TEST(SweepSchedule, AClearlySlowerTemplateGetsNoMore) {
  SweepSchedule schedule({.first_trials = 4, .helping = 4, .max_trials = 100});
  schedule.add_arm(0, 1);
  schedule.add_arm(0, 1);
  schedule.done(schedule.next(0)->arm, standing(4, 100), 1, false);
  schedule.done(schedule.next(0)->arm, standing(4, 150), 1, false);
  for (std::int64_t trials = 8; trials < 96; trials += 4) {
    const auto helping = schedule.next(0);
    ASSERT_TRUE(helping);
    ASSERT_EQ(helping->arm, 0U);
    schedule.done(0, standing(trials, 100), 1, false);
  }
}

TEST(SweepSchedule, WhatIsStoredCounts) {
  SweepSchedule schedule({.first_trials = 10, .helping = 10, .max_trials = 25});
  schedule.add_arm(0, 1);
  schedule.start(0, standing(6, 100));
  EXPECT_EQ(schedule.next(0)->trials, 4) << "the rest of its first helping";
  schedule.done(0, standing(10, 100), 1, false);
  EXPECT_EQ(schedule.next(0)->trials, 10);
  schedule.done(0, standing(20, 100), 1, false);
  EXPECT_EQ(schedule.next(0)->trials, 5) << "no shape gets more than its limit";
  schedule.done(0, standing(25, 100), 1, false);
  EXPECT_FALSE(schedule.next(0));
}

TEST(SweepSchedule, ACompletedSweepHasNothingLeftButAMissingFinalRound) {
  SweepSchedule schedule({.first_trials = 10, .helping = 10, .max_trials = 20});
  schedule.add_arm(0, 1);
  schedule.add_arm(1, 1);
  schedule.start(0, standing(20, 100));
  schedule.start(1, {.trials = 20, .best_us = 100, .compared = false});
  const auto helping = schedule.next(0);
  ASSERT_TRUE(helping);
  EXPECT_EQ(helping->arm, 1U) << "killed between the search and the final round";
  schedule.done(1, standing(21, 101), 1, false);
  EXPECT_FALSE(schedule.next(0));
}

TEST(SweepSchedule, AShapeStaysWithItsWorker) {
  SweepSchedule schedule({.first_trials = 4, .helping = 4, .max_trials = 0});
  for (const std::size_t shape : {0U, 0U, 1U}) schedule.add_arm(shape, 1);
  EXPECT_EQ(schedule.next(0)->arm, 0U);
  EXPECT_EQ(schedule.next(1)->arm, 2U);
  EXPECT_FALSE(schedule.next(0)) << "its shape is being measured";
  schedule.done(0, standing(4, 100), 1, false);
  EXPECT_EQ(schedule.next(0)->arm, 1U);
  schedule.done(2, standing(4, 100), 1, false);
  EXPECT_EQ(schedule.next(1)->arm, 2U) << "never worker 0's shape";
}

TEST(SweepSchedule, ExhaustedAndFailedArmsAreLeftOut) {
  SweepSchedule schedule({.first_trials = 4, .helping = 4, .max_trials = 0});
  schedule.add_arm(0, 1);
  schedule.add_arm(1, 1);
  schedule.done(schedule.next(0)->arm, standing(3, 100), 1, true);
  schedule.failed(schedule.next(0)->arm);
  EXPECT_FALSE(schedule.next(0));
}

}  // namespace
}  // namespace attune
