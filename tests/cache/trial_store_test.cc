#include "cache/trial_store.h"

#include <limits>
#include <thread>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::HasSubstr;

class TrialStoreTest : public CacheTest {};

TEST_F(TrialStoreTest, GivesBackWhatWasAdded) {
  auto store = open();
  Trial trial = ok_trial(812.25);
  trial.shape.kv_heads = 8;
  trial.shape.wants_lse = true;
  trial.replayed = true;
  trial.policy = {.cold_l2 = false, .cuda_graph = true};
  trial.sm_clock_mhz = 1755;
  trial.throttle = "";
  ASSERT_TRUE(store->add(trial));
  EXPECT_GT(trial.id, 0);
  Trial failed = failed_trial(Outcome::wrong_answer);
  failed.message = std::string("two\nlines, a \0 and \xff", 20);
  failed.relative_error = std::numeric_limits<double>::infinity();
  ASSERT_TRUE(store->add(failed));

  store = open();
  const auto trials = store->trials({});
  ASSERT_TRUE(trials) << trials.error().message;
  EXPECT_THAT(*trials, testing::ElementsAre(trial, failed));
}

TEST_F(TrialStoreTest, AnErrorThatIsNotANumberIsKeptAsInfinite) {
  auto store = open();
  Trial trial = failed_trial(Outcome::wrong_answer);
  trial.relative_error = std::numeric_limits<double>::quiet_NaN();
  ASSERT_TRUE(store->add(trial));
  EXPECT_EQ((*store->trials({})).at(0).relative_error, std::numeric_limits<double>::infinity());
}

TEST_F(TrialStoreTest, FillsInTheTime) {
  auto store = open();
  Trial trial = ok_trial(1);
  trial.created_at = "";
  ASSERT_TRUE(store->add(trial));
  EXPECT_EQ(trial.created_at.size(), 20U);
}

TEST_F(TrialStoreTest, FiltersByEveryField) {
  auto store = open();
  must_add(*store, ok_trial(10));
  Trial other = ok_trial(20, 1);
  other.shape.batch = 1;
  other.template_name = "hopper";
  other.template_hash = "bbbb";
  other.device.name = "other GPU";
  other.device.arch = "sm_80";
  other.replayed = true;
  other.policy.cuda_graph = true;
  other.session = "s2";
  other.outcome = Outcome::slow;
  must_add(*store, other);

  const std::vector<TrialFilter> only_other{
      {.shape = other.shape},    {.template_name = "hopper"}, {.template_hash = "bbbb"},
      {.gpu_name = "other GPU"}, {.arch = "sm_80"},           {.replayed = true},
      {.policy = other.policy},  {.outcome = Outcome::slow},  {.session = "s2"}};
  for (std::size_t i = 0; i < only_other.size(); ++i) {
    const auto trials = store->trials(only_other[i]);
    ASSERT_TRUE(trials) << trials.error().message;
    ASSERT_EQ(trials->size(), 1U) << "filter " << i;
    EXPECT_EQ(trials->front().session, "s2") << "filter " << i;
    EXPECT_EQ(*store->count(only_other[i]), 1) << "filter " << i;
  }
  EXPECT_EQ(store->trials({.limit = 1})->size(), 1U);
  EXPECT_EQ(*store->count({}), 2);
}

// The trials of one config in the order of their measurement, and whether config 0 is still the best.
struct Claim {
  const char* what;
  std::vector<Trial> trials;
  std::optional<double> best_us;
};

Trial at(const char* time, Trial trial) {
  trial.created_at = time;
  return trial;
}

template <class Change>
Trial with(Trial trial, Change change) {
  change(trial);
  return trial;
}

class BestTrial : public CacheTest, public testing::WithParamInterface<Claim> {};

TEST_P(BestTrial, IsTheFastestThatNothingNewerContradicts) {
  auto store = open();
  for (const Trial& trial : GetParam().trials) must_add(*store, trial);
  const auto best = store->best({});
  ASSERT_TRUE(best) << best.error().message;
  const auto median = *best ? std::optional((*best)->timing->median_us) : std::nullopt;
  EXPECT_EQ(median, GetParam().best_us);
}

constexpr const char* kLater = "2026-11-23T00:00:00Z";
constexpr const char* kEarlier = "2026-11-21T00:00:00Z";

INSTANTIATE_TEST_SUITE_P(
    All, BestTrial,
    testing::Values(
        Claim{"fastest", {ok_trial(20), ok_trial(10, 1), ok_trial(30, 2)}, 10},
        Claim{"none_ok", {failed_trial(Outcome::timeout)}, std::nullopt},
        Claim{"slow_is_no_claim",
              {ok_trial(20), with(ok_trial(10, 1), [](Trial& it) { it.outcome = Outcome::slow; })},
              20},
        Claim{"wrong_answer_later", {ok_trial(10), ok_trial(20, 1), failed_trial(Outcome::wrong_answer)}, 20},
        Claim{"fault_later", {ok_trial(10), failed_trial(Outcome::launch_fault)}, std::nullopt},
        Claim{"measured_again_slower", {ok_trial(10), ok_trial(20, 1), ok_trial(30)}, 20},
        Claim{"measured_again_right", {failed_trial(Outcome::timeout), ok_trial(10)}, 10},
        Claim{"older_measurement_added_later",
              {ok_trial(20), at(kEarlier, ok_trial(10)), at(kEarlier, failed_trial(Outcome::wrong_answer))},
              20},
        Claim{"newer_measurement_added_first", {at(kLater, ok_trial(20)), ok_trial(10)}, 20},
        Claim{"another_driver_is_newer",
              {ok_trial(10), with(ok_trial(20), [](Trial& it) { it.device.driver_version = 13010; })},
              20},
        Claim{
            "another_shape",
            {ok_trial(10), with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.shape.batch = 1; })},
            10},
        Claim{"another_gpu",
              {ok_trial(10),
               with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.device.name = "x"; })},
              10},
        Claim{"another_template",
              {ok_trial(10),
               with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.template_hash = "b"; })},
              10},
        Claim{"another_policy",
              {ok_trial(10),
               with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.policy.cold_l2 = false; })},
              10},
        Claim{
            "a_replay_says_nothing_of_the_gpu",
            {ok_trial(10), with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.replayed = true; })},
            10}),
    [](const auto& test) { return test.param.what; });

TEST_F(TrialStoreTest, ANewerTrialOfAnotherSessionCountsAgainstTheBestOfASession) {
  auto store = open();
  must_add(*store, ok_trial(10));
  must_add(*store, with(failed_trial(Outcome::wrong_answer), [](Trial& it) { it.session = "s2"; }));
  EXPECT_FALSE(*store->best({.session = "s1"}));
}

TEST_F(TrialStoreTest, RecordsAreOneForEachShapeDevicePolicyAndOrigin) {
  auto store = open();
  for (int config = 0; config < 3; ++config) {
    const double us = 10 + config;
    must_add(*store, ok_trial(us, config));
    must_add(*store, with(ok_trial(us + 100, config), [](Trial& it) { it.shape.batch = 1; }));
    must_add(*store, with(ok_trial(us + 200, config), [](Trial& it) { it.device.name = "other"; }));
    must_add(*store, with(ok_trial(us + 300, config), [](Trial& it) { it.policy.cuda_graph = true; }));
    must_add(*store, with(ok_trial(us + 400, config), [](Trial& it) { it.replayed = true; }));
  }
  must_add(*store, failed_trial(Outcome::wrong_answer, 0));
  const auto records = store->records({});
  ASSERT_TRUE(records) << records.error().message;
  std::vector<double> medians;
  for (const Trial& trial : *records) medians.push_back(trial.timing->median_us);
  EXPECT_THAT(medians, testing::UnorderedElementsAre(11, 110, 210, 310, 410));
  EXPECT_EQ(store->records({.replayed = true})->size(), 1U);
}

struct Unfit {
  const char* what;
  void (*plant)(Trial&);
  const char* message;
};
class UnfitTrial : public CacheTest, public testing::WithParamInterface<Unfit> {};

TEST_P(UnfitTrial, IsRefusedInOneLine) {
  auto store = open();
  Trial trial = ok_trial(10);
  GetParam().plant(trial);
  const auto status = store->add(trial);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("the trial was not stored"));
  EXPECT_THAT(status.error().message, HasSubstr(GetParam().message));
  EXPECT_EQ(*store->count({}), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, UnfitTrial,
    testing::Values(
        Unfit{"ok_without_timing", [](Trial& it) { it.timing.reset(); }, "must have a timing"},
        Unfit{"failure_with_timing", [](Trial& it) { it.outcome = Outcome::timeout; }, "must not have"},
        Unfit{"nan_time", [](Trial& it) { it.timing->median_us = std::nan(""); }, "finite"},
        Unfit{"zero_time", [](Trial& it) { it.timing->median_us = 0; }, "positive"},
        Unfit{"no_samples", [](Trial& it) { it.timing->samples = 0; }, "at least one sample"},
        Unfit{"bad_shape", [](Trial& it) { it.shape.kv_heads = 5; }, "kv_heads 5"},
        Unfit{"config_text", [](Trial& it) { it.config_json = "warps=4"; }, "JSON object"},
        Unfit{"config_order", [](Trial& it) { it.config_json = R"({"b":1,"a":2})"; }, "canonical"},
        Unfit{"no_template", [](Trial& it) { it.template_name = ""; }, "template"},
        Unfit{"no_device", [](Trial& it) { it.device.name = ""; }, "device"},
        Unfit{"local_time", [](Trial& it) { it.created_at = "22 Nov 2026"; }, "created_at"}),
    [](const auto& test) { return test.param.what; });

TEST_F(TrialStoreTest, ThreadsMayShareAStore) {
  auto store = open();
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&store, thread] {
      for (int i = 0; i < 25; ++i) {
        must_add(*store, ok_trial(10 + i, 100 * thread + i));
        EXPECT_TRUE(store->best({}));
      }
    });
  }
  threads.clear();
  EXPECT_EQ(*store->count({}), 100);
}

}  // namespace
}  // namespace attune
