// Sweeps on fake GPUs: what is stored, taken up, shared out, and what a fault leaves behind.
#include "autotuner/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "autotuner/gpu_device.h"
#include "fake_device.h"
#include "fake_template.h"

namespace attune {
namespace {

using testing::HasSubstr;

Shape shape_of(std::int64_t length) {
  return {.batch = 1, .q_heads = 4, .kv_heads = 4, .q_len = length, .kv_len = length, .head_dim = 64};
}

// A device of the sweep's own that counts, in one place for all, what was measured.
class CountingDevice final : public Device {
 public:
  CountingDevice(std::vector<std::string>& log, std::mutex& mutex, Shape shape, std::optional<Error> failure)
      : log_(log), mutex_(mutex), shape_(shape), failure_(std::move(failure)) {}
  const DeviceFacts& facts() const override { return facts_; }
  bool replays() const override { return false; }
  Result<Measurement> evaluate(const Candidate& candidate, std::optional<double>) override {
    if (failure_) return *failure_;
    const std::lock_guard lock(mutex_);
    log_.push_back(to_string(shape_) + candidate.config_json);
    return FakeDevice::timed(time_of(candidate));
  }
  Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates, int) override {
    std::vector<Measurement> measurements;
    for (const Candidate& candidate : candidates)
      measurements.push_back(FakeDevice::timed(time_of(candidate)));
    return measurements;
  }
  static double time_of(const Candidate& candidate) {
    return 10.0 + std::abs(static_cast<double>(candidate.config.integer("size")) - 8);
  }

 private:
  std::vector<std::string>& log_;
  std::mutex& mutex_;
  Shape shape_;
  std::optional<Error> failure_;
  DeviceFacts facts_ = *nominal_facts("sm_90a");
};

class Sweep : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("sweep-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    auto nvrtc = Nvrtc::open();
    ASSERT_TRUE(nvrtc) << nvrtc.error().message;
    nvrtc_ = *nvrtc;
    store_ = *open_sqlite_store(folder_ / "attune.db");
    options_.strategy = "random";
    options_.schedule = {.first_trials = 4, .helping = 4, .max_trials = 6};
    template_.sizes = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    for (const std::int64_t length : {128, 256, 512}) add_arm(length);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  SweepArm& add_arm(std::int64_t length) {
    SweepArm arm;
    arm.shape_number = arms_.size();
    arm.shape = shape_of(length);
    arm.tmpl = &template_;
    arm.device = *nominal_facts("sm_90a");
    arm.space = [this, shape = arm.shape]() -> Result<Space> {
      return Space(template_.space(shape, *nominal_facts("sm_90a")));
    };
    arm.open = [this, shape = arm.shape](int worker) -> Result<std::unique_ptr<Device>> {
      const std::lock_guard lock(mutex_);
      workers_.insert(worker);
      return std::unique_ptr<Device>(
          std::make_unique<CountingDevice>(measured_, mutex_, shape, failures_[to_string(shape)]));
    };
    arms_.push_back(std::move(arm));
    return arms_.back();
  }

  Result<SweepResult> run(const std::function<void(const SweepProgress&)>& progress = {}) {
    CompilePool pool(nvrtc_, *CubinStore::open(folder_ / "cubins"), 2, std::chrono::seconds(30));
    return sweep(arms_, pool, *store_, {}, options_, stop_, progress);
  }

  void expect_nothing_twice() const {
    const std::set<std::string> once(measured_.begin(), measured_.end());
    EXPECT_EQ(once.size(), measured_.size()) << "something was measured twice";
  }

  std::filesystem::path folder_;
  std::shared_ptr<const Nvrtc> nvrtc_;
  std::unique_ptr<TrialStore> store_;
  FakeTemplate template_;
  std::vector<SweepArm> arms_;
  SweepOptions options_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::vector<std::string> measured_;  // shape and config, in order
  std::set<int> workers_;
  std::map<std::string, std::optional<Error>> failures_;  // by shape
};

TEST_F(Sweep, EveryShapeGetsItsTrialsAndItsRecord) {
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->shapes.size(), 3U);
  for (const SweptShape& swept : result->shapes) {
    ASSERT_TRUE(swept.best);
    EXPECT_EQ(swept.trials, 6);
    ASSERT_TRUE(swept.default_trial);
    EXPECT_EQ(nlohmann::json::parse(swept.default_trial->config_json)["size"], 1);
    EXPECT_TRUE(swept.best->final_round);
  }
  EXPECT_EQ(measured_.size(), 18U);
  EXPECT_EQ(result->totals.trials, 18);
  expect_nothing_twice();
}

TEST_F(Sweep, WhatWonOnAShapeIsTriedFirstOnTheNext) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 60; ++size) template_.sizes.push_back(size);
  Trial winner;
  winner.shape = shape_of(128);
  winner.template_name = "fake";
  winner.template_hash = "an older kernel's";  // as good a start as any
  winner.config_json = R"({"size":8})";
  winner.config_hash = config_hash(winner.config_json);
  winner.device = *nominal_facts("sm_90a");
  winner.outcome = Outcome::ok;
  winner.timing = Timing{.median_us = 10, .min_us = 10, .spread_us = 0, .samples = 9};
  ASSERT_TRUE(store_->add(winner));
  arms_.erase(arms_.begin(), arms_.begin() + 2);  // 512 alone
  arms_[0].shape_number = 0;
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(measured_, testing::Contains(HasSubstr("{\"size\":8}")));
  EXPECT_EQ(result->shapes[0].best->config_json, R"({"size":8})");
}

TEST_F(Sweep, AStoppedSweepGoesOnAndMeasuresNothingTwice) {
  const auto first = run([this](const SweepProgress& progress) { stop_ = progress.trials >= 4; });
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->interrupted);
  const std::size_t before = measured_.size();
  EXPECT_LT(before, 18U);
  stop_ = false;
  const auto second = run();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->totals.stored, static_cast<std::int64_t>(before));
  EXPECT_EQ(measured_.size(), 18U);
  expect_nothing_twice();
}

TEST_F(Sweep, ACompletedSweepMeasuresNothingMore) {
  ASSERT_TRUE(run());
  measured_.clear();
  const auto again = run();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(measured_.empty());
  EXPECT_EQ(again->totals.shapes_served, 3U);
  EXPECT_TRUE(again->shapes[2].best);
}

TEST_F(Sweep, WorkersShareTheShapesAndNoneIsMeasuredTwice) {
  options_.workers = 2;
  for (const std::int64_t length : {1024, 2048, 4096, 8192}) add_arm(length);
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->totals.trials, 7 * 6);
  expect_nothing_twice();
}

TEST_F(Sweep, AShapeThatFailsCostsThatShape) {
  failures_[to_string(shape_of(256))] = fail("no memory for the shape");
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->shapes[1].best);
  EXPECT_TRUE(result->shapes[2].best);
  ASSERT_EQ(result->failures.size(), 1U);
  EXPECT_THAT(result->failures[0], HasSubstr("no memory for the shape"));
}

TEST_F(Sweep, AGpuThatIsLostEndsTheSweepAndKeepsWhatWasMeasured) {
  for (const std::int64_t length : {256, 512})
    failures_[to_string(shape_of(length))] = fail("the GPU fell off the bus");
  failures_[to_string(shape_of(1024))] = fail("the GPU fell off the bus");
  add_arm(1024);
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("fell off the bus"));
  EXPECT_GE(*store_->count({.shape = shape_of(128)}), 4);
}

TEST_F(Sweep, ADatabaseThatIsDeletedEndsTheSweepAtOnce) {
  const auto result = run([this](const SweepProgress&) { std::filesystem::remove(folder_ / "attune.db"); });
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("deleted or replaced"));
}

TEST_F(Sweep, ATimeLimitEndsIt) {
  options_.max_seconds = 1e-9;
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->out_of_time);
  EXPECT_TRUE(measured_.empty());
}

// A worker process that answers one candidate and is killed by SIGKILL at the next, again and again.
TEST_F(Sweep, AKilledWorkerCostsATrialNotTheSweep) {
  const std::string script =
      "read setup; echo '{\"ready\":true}'; read candidate; case $candidate in *shoot_out*) kill -9 $$;; "
      "esac; "
      "echo '{\"measurement\":{\"outcome\":\"ok\",\"message\":\"\",\"timing\":{\"median_us\":10,\"min_us\":9,"
      "\"spread_us\":1,\"samples\":9},\"relative_error\":0.002,\"max_abs_error\":0.001,\"sm_clock_mhz\":null,"
      "\"throttle\":null},\"dying\":false}'; read candidate; kill -9 $$";
  for (SweepArm& arm : arms_) {
    arm.open = [&arm, script](int) -> Result<std::unique_ptr<Device>> {
      GpuDeviceOptions options;
      options.worker_command = {"/bin/sh", "-c", script};
      WorkerSetup setup;
      setup.shape = arm.shape;
      setup.template_name = "fake";
      return std::unique_ptr<Device>(std::make_unique<GpuDevice>(arm.device, setup, options));
    };
  }
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(result->failures, testing::IsEmpty());
  for (const SweptShape& swept : result->shapes) {
    EXPECT_TRUE(swept.best);
    EXPECT_EQ(swept.trials, 6);
  }
  TrialFilter faults;
  faults.outcome = Outcome::launch_fault;
  const auto killed = store_->trials(faults);
  ASSERT_FALSE(killed->empty());
  EXPECT_THAT(killed->front().message, HasSubstr("signal 9"));
}

}  // namespace
}  // namespace attune
