#include "autotuner/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "fake_device.h"
#include "fake_template.h"

namespace attune {
namespace {

using testing::HasSubstr;

const Shape kShape{.batch = 1, .q_heads = 4, .kv_heads = 4, .q_len = 128, .kv_len = 128, .head_dim = 64};

double by_size(const Candidate& candidate) {
  return 10.0 + std::abs(static_cast<double>(candidate.config.integer("size")) - 8);
}

class Tune : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("tune-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    auto nvrtc = Nvrtc::open();
    ASSERT_TRUE(nvrtc) << nvrtc.error().message;
    nvrtc_ = *nvrtc;
    auto store = open_sqlite_store(folder_ / "attune.db");
    ASSERT_TRUE(store) << store.error().message;
    store_ = std::move(*store);
    options_.strategy = "random";
    options_.max_trials = 100;
    device_.on_evaluate = [](const Candidate& candidate) { return FakeDevice::timed(by_size(candidate)); };
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Result<TuneResult> run(const std::function<void(const TuneProgress&)>& progress = {}) {
    CompilePool pool(nvrtc_, *CubinStore::open(folder_ / "cubins"), 2, std::chrono::seconds(30));
    const Space space(template_.space(kShape, device_.facts()));
    return tune(kShape, template_, space, device_, pool, *store_, options_, stop_, progress);
  }

  std::vector<Trial> stored() { return *store_->trials({}); }

  std::filesystem::path folder_;
  std::shared_ptr<const Nvrtc> nvrtc_;
  std::unique_ptr<TrialStore> store_;
  FakeTemplate template_;
  FakeDevice device_{*nominal_facts("sm_90a")};
  TuneOptions options_;
  std::atomic<bool> stop_{false};
};

TEST_F(Tune, FindsTheFastestAndStoresEveryTrial) {
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(nlohmann::json::parse(result->best->config_json)["size"], 8);
  EXPECT_EQ(nlohmann::json::parse(result->default_trial->config_json)["size"], 1);
  EXPECT_EQ(result->totals.trials, 6);
  std::set<std::string> configs;
  for (const Trial& trial : stored()) configs.insert(trial.config_hash);
  EXPECT_EQ(configs.size(), 6u);
  EXPECT_EQ((*store_->best({}))->config_hash, result->best->config_hash);
}

// The device answers at once: compiling is what this search waits for.
TEST_F(Tune, TellsWhatOfItsTimeItWasAtALimit) {
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->at_limit_seconds, result->gpu_busy_seconds);
  EXPECT_LE(result->at_limit_seconds, result->totals.elapsed_seconds);
}

TEST_F(Tune, ASecondRunTakesUpWhatIsStored) {
  ASSERT_TRUE(run());
  device_.evaluated.clear();
  const auto again = run();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(device_.evaluated.empty());
  EXPECT_EQ(again->totals.resumed, 6);
  EXPECT_EQ(again->compile.compiled, 0);
  EXPECT_EQ(nlohmann::json::parse(again->best->config_json)["size"], 8);
}

TEST_F(Tune, RemeasuringCompilesNothingWithAWarmStore) {
  ASSERT_TRUE(run());
  device_.evaluated.clear();
  options_.remeasure = true;
  const auto again = run();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(device_.evaluated.size(), 6u);
  EXPECT_EQ(again->compile.compiled, 0);
  EXPECT_GE(again->compile.from_store, 6);
}

TEST_F(Tune, AnInterruptedRunIsResumedWithoutMeasuringTwice) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 40; ++size) template_.sizes.push_back(size);
  options_.window = 4;
  const auto first = run([this](const TuneProgress& progress) { stop_ = progress.trials >= 10; });
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_TRUE(first->interrupted);
  std::set<std::string> before;
  for (const Trial& trial : stored()) before.insert(trial.config_hash);
  EXPECT_GE(before.size(), 10u);
  EXPECT_LT(before.size(), 40u);

  stop_ = false;
  device_.evaluated.clear();
  const auto second = run();
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->totals.trials, 40);
  EXPECT_EQ(second->totals.resumed, static_cast<std::int64_t>(before.size()));
  for (const std::string& hash : device_.evaluated) EXPECT_FALSE(before.contains(hash)) << hash;
}

TEST_F(Tune, AnEvaluationUnderWayIsKeptWhenTheRunEnds) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 40; ++size) template_.sizes.push_back(size);
  std::atomic<int> begun{0};
  device_.on_evaluate = [&](const Candidate& candidate) {
    while (++begun > 3 && !stop_) std::this_thread::yield();  // the fourth is under way when the run ends
    return FakeDevice::timed(by_size(candidate));
  };
  const auto result = run([&](const TuneProgress& progress) {
    while (progress.trials >= 3 && begun <= 3) std::this_thread::yield();
    stop_ = progress.trials >= 3;
  });
  ASSERT_TRUE(result) << result.error().message;
  std::set<std::string> kept;
  for (const Trial& trial : stored()) kept.insert(trial.config_hash);
  EXPECT_GT(device_.evaluated.size(), 3u);
  for (const std::string& hash : device_.evaluated) EXPECT_TRUE(kept.contains(hash)) << hash;
}

// The pool of this fixture has two threads. Nothing is observed before the first evaluation has ended.
TEST_F(Tune, KeepsOneProposalMoreOutstandingThanThreadsCompile) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 40; ++size) template_.sizes.push_back(size);
  device_.on_evaluate = [&](const Candidate& candidate) {
    stop_ = true;
    return FakeDevice::timed(by_size(candidate));
  };
  ASSERT_TRUE(run());
  EXPECT_EQ(template_.rendered, 3);
}

TEST_F(Tune, ASlowCompileHoldsNobodyUp) {
  template_.sizes = {FakeTemplate::kSlowToCompile};  // the default: proposed first
  for (std::int64_t size = 1; size <= 20; ++size) template_.sizes.push_back(size);
  options_.shoot_out = 0;
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  const std::vector<Trial> trials = stored();
  ASSERT_EQ(trials.size(), 21u);
  const auto slow = std::find_if(trials.begin(), trials.end(), [](const Trial& trial) {
    return nlohmann::json::parse(trial.config_json)["size"] == FakeTemplate::kSlowToCompile;
  });
  EXPECT_GT(slow - trials.begin(), 5) << "while it compiles, the other thread goes on";
}

TEST_F(Tune, TheSameSeedProposesTheSame) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 60; ++size) template_.sizes.push_back(size);
  options_.max_trials = 20;
  options_.seed = 7;
  std::set<std::string> first, second, other;
  options_.remeasure = true;
  ASSERT_TRUE(run());
  first.insert(device_.evaluated.begin(), device_.evaluated.end());
  device_.evaluated.clear();
  ASSERT_TRUE(run());
  second.insert(device_.evaluated.begin(), device_.evaluated.end());
  device_.evaluated.clear();
  options_.seed = 8;
  ASSERT_TRUE(run());
  other.insert(device_.evaluated.begin(), device_.evaluated.end());
  EXPECT_EQ(first.size(), 20u);
  EXPECT_EQ(first, second);
  EXPECT_NE(first, other);
}

TEST_F(Tune, FailuresAreTrialsAndNeverWin) {
  template_.with_faults = true;
  device_.on_evaluate = [](const Candidate& candidate) -> Result<Measurement> {
    if (candidate.config.integer("size") == 8) {
      Measurement wrong = FakeDevice::timed(0.1);
      wrong.outcome = Outcome::wrong_answer;
      wrong.message = "planted";
      wrong.timing.reset();
      return wrong;
    }
    return FakeDevice::timed(by_size(candidate));
  };
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->totals.trials, 18);
  auto outcomes = result->totals.outcomes;
  EXPECT_EQ(outcomes[Outcome::compile_error], 6);
  EXPECT_EQ(outcomes[Outcome::spilled], 6);
  EXPECT_EQ(outcomes[Outcome::wrong_answer], 1);
  EXPECT_NE(nlohmann::json::parse(result->best->config_json)["size"], 8);
  for (const Trial& trial : stored()) {
    if (trial.outcome == Outcome::compile_error) {
      EXPECT_THAT(trial.message, HasSubstr("error"));
    }
  }
}

TEST_F(Tune, TheSameMachineCodeIsMeasuredOnce) {
  template_.with_shades = true;
  options_.shoot_out = 0;
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->totals.trials, 18);
  EXPECT_EQ(device_.evaluated.size(), 6u);
}

TEST_F(Tune, TheShootOutHasTheLastWord) {
  // In the search size 8 looks best by luck; side by side size 4 is faster.
  device_.on_evaluate = [](const Candidate& candidate) {
    return FakeDevice::timed(candidate.config.integer("size") == 8 ? 99.0 : 100.0);
  };
  device_.on_shoot_out = [](const Candidate& candidate) {
    return candidate.config.integer("size") == 4 ? 99.5 : 100.5;
  };
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(nlohmann::json::parse(result->best->config_json)["size"], 4);
  EXPECT_TRUE(result->best->final_round);
  EXPECT_EQ((*store_->best({}))->config_hash, result->best->config_hash);
}

TEST_F(Tune, LuckyTimesOfTheSearchDoNotOutrankTheFinalRound) {
  // Side by side everything is slower than it seemed, as on a GPU that has become warm: the configs that were
  // not in the final round keep their flattering times and must not win by them.
  options_.shoot_out = 2;
  device_.on_shoot_out = [](const Candidate& candidate) { return 10 * by_size(candidate); };
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(nlohmann::json::parse(result->best->config_json)["size"], 8);
  EXPECT_EQ((*store_->best({}))->config_hash, result->best->config_hash);
  EXPECT_EQ((*store_->records({}))[0].config_hash, result->best->config_hash);
}

TEST_F(Tune, AnAdaptiveSearchResumesAlongTheSamePath) {
  // Measurements of the final round differ from those of the search; the second run must follow the first all
  // the same, and so find every proposal already measured.
  template_.with_shades = true;
  template_.sizes = {FakeTemplate::kSlowToCompile};  // the default: proposed first, and not the first to end
  for (std::int64_t size = 1; size <= 200; ++size) template_.sizes.push_back(size);
  options_.strategy = "pattern";
  options_.max_trials = 60;
  options_.window = 5;
  device_.on_shoot_out = [](const Candidate& candidate) { return 10000 - by_size(candidate); };
  ASSERT_TRUE(run());
  ASSERT_NE(nlohmann::json::parse(stored().front().config_json)["size"], FakeTemplate::kSlowToCompile);
  const auto again = run();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->totals.resumed, 60);
  EXPECT_EQ(again->compile.compiled, 0);
}

TEST_F(Tune, AHelpingIsOfNewConfigsOnly) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 40; ++size) template_.sizes.push_back(size);
  options_.tell_stored = true;
  options_.max_trials = 10;
  for (int helping = 0; helping < 3; ++helping) {
    options_.seed = static_cast<std::uint64_t>(helping);
    const auto result = run();
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->totals.resumed, 10 * helping);
    EXPECT_EQ(result->totals.trials, 10 * (helping + 1));
  }
  const std::set<std::string> once(device_.evaluated.begin(), device_.evaluated.end());
  EXPECT_EQ(once.size(), 30U) << "three helpings of ten, none measured twice";
  EXPECT_EQ(device_.evaluated.size(), 30U);
}

// The record of an older driver is served until a tune has measured it again: here it has become slow.
TEST_F(Tune, ARecordOfAnotherDriverIsMeasuredAgainFirst) {
  template_.sizes.clear();
  for (std::int64_t size = 1; size <= 40; ++size) template_.sizes.push_back(size);
  options_.max_trials = 0;
  options_.shoot_out = 0;
  DeviceFacts older = device_.facts();
  older.driver = "550.1";
  FakeDevice before(older);
  before.on_evaluate = device_.on_evaluate;
  {
    CompilePool pool(nvrtc_, *CubinStore::open(folder_ / "cubins"), 2, std::chrono::seconds(30));
    const Space space(template_.space(kShape, older));
    ASSERT_TRUE(tune(kShape, template_, space, before, pool, *store_, options_, stop_, {}));
  }
  DeviceFacts newer = older;
  newer.driver = "580.159";
  FakeDevice after(newer);
  after.on_evaluate = [](const Candidate& candidate) {
    return FakeDevice::timed(candidate.config.integer("size") == 8 ? 500.0 : by_size(candidate));
  };
  options_.max_trials = 4;
  CompilePool pool(nvrtc_, *CubinStore::open(folder_ / "cubins"), 2, std::chrono::seconds(30));
  const Space space(template_.space(kShape, newer));
  const auto result = tune(kShape, template_, space, after, pool, *store_, options_, stop_, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->totals.resumed, 0) << "another driver's times are no answers";
  ASSERT_EQ(after.evaluated.size(), 4U);
  EXPECT_THAT(after.evaluated, testing::Contains(config_hash(R"({"size":8})")))
      << "the record, measured again";
  EXPECT_NE((*store_->best({}))->config_json, R"({"size":8})") << "and no longer the record";
}

TEST_F(Tune, ALostDeviceEndsTheRunAndKeepsWhatWasMeasured) {
  int left = 3;
  device_.on_evaluate = [&left](const Candidate& candidate) -> Result<Measurement> {
    if (left-- == 0) return fail("the GPU fell off the bus");
    return FakeDevice::timed(by_size(candidate));
  };
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("fell off the bus"));
  EXPECT_EQ(stored().size(), 3u);
}

TEST_F(Tune, AStartConfigOutsideTheSpaceIsRefused) {
  Config config;
  config.set("size", std::int64_t{5});
  options_.start = {config};
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("start config"));
}

TEST_F(Tune, AnUnknownStrategyIsRefused) {
  options_.strategy = "clairvoyant";
  const auto result = run();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("clairvoyant"));
}

TEST_F(Tune, ATimeLimitEndsTheRun) {
  options_.max_seconds = 1e-9;
  const auto result = run();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->interrupted);
  EXPECT_EQ(result->totals.trials, 0);
}

}  // namespace
}  // namespace attune
