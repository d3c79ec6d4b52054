#include "autotuner/recorded_device.h"

#include <gmock/gmock.h>

#include "tests/autotuner/recording_fixture.h"

namespace attune {
namespace {

using namespace testing_recordings;
using testing::HasSubstr;

RecordedDevice made_device() {
  const auto bytes = to_recording(recorded_origin(), recorded_trials(recorded_template_space()));
  return RecordedDevice(*parse_recording(*bytes, "small"));
}

Candidate candidate_of(const Trial& trial) {
  Candidate candidate;
  candidate.config_json = trial.config_json;
  candidate.config_hash = trial.config_hash;
  return candidate;
}

TEST(RecordedDevice, GivesEveryTrialAsItWasRecorded) {
  RecordedDevice device = made_device();
  EXPECT_TRUE(device.replays());
  EXPECT_EQ(device.facts().name, "NVIDIA H100 80GB HBM3");
  ModelledCost cost;
  for (const Trial& trial : recorded_trials(recorded_template_space())) {
    const Result<Measurement> measurement = device.evaluate(candidate_of(trial), 1.0);
    ASSERT_TRUE(measurement) << measurement.error().message;
    EXPECT_EQ(measurement->timing.has_value(), trial.timing.has_value());
    if (trial.outcome != Outcome::slow) {
      EXPECT_EQ(measurement->outcome, trial.outcome);
      EXPECT_EQ(measurement->message, trial.message);
    }
    cost.compile_seconds += trial.compile_ms * 1e-3;
    if (trial.timing) cost.measure_seconds += trial.timing->median_us * trial.timing->samples * 1e-6;
  }
  EXPECT_NEAR(device.modelled_cost().compile_seconds, cost.compile_seconds, 1e-2 * cost.compile_seconds);
  EXPECT_NEAR(device.modelled_cost().measure_seconds, cost.measure_seconds, 1e-4 * cost.measure_seconds);
}

// Slow is said beside the best of a search, and that was another one.
TEST(RecordedDevice, WhatTheRecordedSearchDroppedAsSlowHasPassed) {
  RecordedDevice device = made_device();
  int slow = 0;
  for (const Trial& trial : recorded_trials(recorded_template_space())) {
    if (trial.outcome != Outcome::slow) continue;
    ++slow;
    for (const std::optional<double> incumbent_us : {std::optional<double>(), std::optional(1.0)}) {
      const Result<Measurement> measurement = device.evaluate(candidate_of(trial), incumbent_us);
      ASSERT_TRUE(measurement) << measurement.error().message;
      EXPECT_EQ(measurement->outcome, Outcome::ok);
      EXPECT_NEAR(measurement->timing->median_us, trial.timing->median_us, 1e-3);
      EXPECT_NEAR(*measurement->relative_error, *trial.relative_error, 1e-6);
      EXPECT_THAT(measurement->message, HasSubstr("30 samples"));
    }
  }
  EXPECT_GT(slow, 0);
}

TEST(RecordedDevice, ShootOutGivesTheRecordedTimesInOrder) {
  RecordedDevice device = made_device();
  const std::vector<Trial> trials = recorded_trials(recorded_template_space());
  const auto result = device.shoot_out({candidate_of(trials[5]), candidate_of(trials[2])}, 15);
  ASSERT_TRUE(result);
  EXPECT_NEAR((*result)[0].timing->median_us, trials[5].timing->median_us, 1e-3);
  EXPECT_NEAR((*result)[1].timing->median_us, trials[2].timing->median_us, 1e-3);
}

TEST(RecordedDevice, AConfigThatWasNotRecordedIsAnError) {
  RecordedDevice device = made_device();
  Candidate candidate;
  candidate.config_json = R"({"num_warps":16})";
  candidate.config_hash = "0000000000000000";
  EXPECT_THAT(device.evaluate(candidate, {}).error().message,
              HasSubstr(R"(recording small has no trial of config {"num_warps":16})"));
  EXPECT_FALSE(device.shoot_out({candidate}, 3));
  EXPECT_EQ(device.find("0000000000000000"), nullptr);
}

}  // namespace
}  // namespace attune
