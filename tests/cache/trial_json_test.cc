#include "cache/trial_json.h"

#include <nlohmann/json.hpp>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Trial full_trial() {
  Trial trial = ok_trial(812.25);
  trial.id = 7;
  trial.sm_clock_mhz = 1755;
  trial.throttle = "";
  return trial;
}

TEST(TrialJson, SurvivesARoundTrip) {
  for (const Trial& trial : {full_trial(), failed_trial(Outcome::compile_error)}) {
    const auto back = trial_from_json(json::parse(to_json_line(trial)));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, trial);
  }
}

TEST(TrialJson, EveryOutcomeAndPolicyHasAName) {
  for (int i = 0; i <= static_cast<int>(Outcome::wrong_answer); ++i) {
    const auto outcome = static_cast<Outcome>(i);
    EXPECT_EQ(*parse_outcome(to_string(outcome)), outcome);
  }
  for (const bool cold : {false, true}) {
    for (const bool graph : {false, true}) {
      const MeasurementPolicy policy{cold, graph};
      EXPECT_EQ(*parse_policy(to_string(policy)), policy);
    }
  }
}

TEST(TrialJson, AnInfiniteErrorSurvives) {
  Trial trial = failed_trial(Outcome::wrong_answer);
  trial.max_abs_error = std::numeric_limits<double>::infinity();
  EXPECT_EQ(trial_from_json(json::parse(to_json_line(trial)))->max_abs_error, trial.max_abs_error);
}

TEST(TrialJson, BytesThatAreNotUtf8AreReplaced) {
  Trial trial = failed_trial(Outcome::compile_error);
  trial.message = "bad \xff byte\nsecond line";
  const std::string line = to_json_line(trial);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(trial_from_json(json::parse(line))->message, "bad \xef\xbf\xbd byte\nsecond line");
}

// The hash is part of the database's format: a change here orphans the hashes of every file there is.
TEST(TrialJson, TheContentHashIsFixed) {
  EXPECT_EQ(content_hash(full_trial()), "ca831c97bf27337386944d4e45a4befee20ec35a92e8a65f269fea68ea4b8367");
  Trial renumbered = full_trial();
  renumbered.id = 8;
  EXPECT_EQ(content_hash(renumbered), content_hash(full_trial()));
  renumbered.session = "other";
  EXPECT_NE(content_hash(renumbered), content_hash(full_trial()));
}

struct BadJson {
  const char* what;
  void (*plant)(json&);
  const char* message;
};
class BadTrialJson : public testing::TestWithParam<BadJson> {};

TEST_P(BadTrialJson, IsRefusedWithTheKey) {
  json value = to_json(full_trial());
  GetParam().plant(value);
  const auto trial = trial_from_json(value);
  ASSERT_FALSE(trial);
  EXPECT_THAT(trial.error().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadTrialJson,
    testing::Values(
        BadJson{"not_an_object", [](json& v) { v = 3; }, "trial must be a JSON object"},
        BadJson{"unknown_key", [](json& v) { v["colour"] = 1; }, "unknown key 'colour'"},
        BadJson{"missing_key", [](json& v) { v.erase("registers"); }, "no key 'registers'"},
        BadJson{"registers_text", [](json& v) { v["registers"] = "168"; }, "'registers' must be an integer"},
        BadJson{"registers_fraction", [](json& v) { v["registers"] = 168.5; },
                "'registers' must be an integer"},
        BadJson{"registers_huge", [](json& v) { v["registers"] = 10'000'000'000; }, "in range"},
        BadJson{"smem_beyond_64_bits", [](json& v) { v["smem_bytes"] = ~std::uint64_t{0}; }, "in range"},
        BadJson{"replayed_number", [](json& v) { v["replayed"] = 1; }, "'replayed' must be true or false"},
        BadJson{"policy", [](json& v) { v["policy"] = "lukewarm"; }, "'policy': unknown"},
        BadJson{"timing_key", [](json& v) { v["timing"]["p99_us"] = 1; },
                "timing has an unknown key 'p99_us'"},
        BadJson{"timing_null", [](json& v) { v["timing"]["median_us"] = nullptr; },
                "'median_us' must be a number"},
        BadJson{"no_timing", [](json& v) { v.erase("timing"); }, "must have a timing"},
        BadJson{"error_word", [](json& v) { v["relative_error"] = "big"; },
                "'relative_error' must be a number"},
        BadJson{"device_key", [](json& v) { v["device"]["price"] = 1; }, "device"},
        BadJson{"device_type", [](json& v) { v["device"]["sm_count"] = 132.5; }, "device"},
        BadJson{"config_list", [](json& v) { v["config"] = json::array(); }, "config"},
        BadJson{"throttle_number", [](json& v) { v["throttle"] = 0; }, "'throttle' must be a string"}),
    [](const auto& test) { return test.param.what; });

}  // namespace
}  // namespace attune
