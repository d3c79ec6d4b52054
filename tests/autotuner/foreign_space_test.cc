#include "autotuner/foreign_space.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/read_file.h"
#include "tests/autotuner/recording_fixture.h"

namespace attune {
namespace {

using namespace testing_recordings;
using testing::HasSubstr;

std::string cache(const std::string& entries, const std::string& end = "}\n}") {
  return R"({"device_name": "D", "kernel_name": "k", "problem_size": 9, "tune_params_keys": ["x", "fast"],
    "tune_params": {"x": [8, 16, 32], "fast": [true, false]}, "objective": "time", "cache": {)" +
         entries + end;
}
constexpr const char* kFirst =
    R"("8,True": {"x": 8, "fast": true, "time": 0.5, "compile_time": 250, "benchmark_time": 20, "verification_time": 5})";

ReplaySpace made_replay_space() {
  const Space space = recorded_template_space();
  return *ReplaySpace::make(
      space, *parse_recording(*to_recording(recorded_origin(), recorded_trials(space)), "small"),
      std::nullopt);
}

TEST(ForeignSpace, ReadsACache) {
  const auto replay = parse_foreign_space(
      cache(std::string(kFirst) +
            R"(, "32,False": {"x": 32, "fast": false, "time": "CompilationFailedConfig"})"),
      "c");
  ASSERT_TRUE(replay) << replay.error().message;
  EXPECT_EQ(replay->device(), "D");
  EXPECT_EQ(replay->space().count(), 2U);
  EXPECT_EQ(replay->failed(), 1U);
  EXPECT_DOUBLE_EQ(replay->optimum_us(), 500);
  const Point first{0, 0};
  EXPECT_DOUBLE_EQ(replay->trial(first).compile_seconds, 0.25);
  EXPECT_DOUBLE_EQ(replay->trial(first).measure_seconds, 0.025);
  EXPECT_EQ(replay->trial({2, 1}).outcome, Outcome::compile_error);
}

TEST(ForeignSpace, ACacheThatIsStillWrittenIsRead) {
  for (const char* end : {"", ",", ",\n", "\n"}) {
    const auto replay = parse_foreign_space(cache(kFirst, end), "c");
    ASSERT_TRUE(replay) << replay.error().message;
    EXPECT_EQ(replay->space().count(), 1U);
  }
}

TEST(ForeignSpace, ErrorsAreOneLineThatNamesTheEntry) {
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"nonsense", "c is no JSON"},
      {"[1]", "neither a \"cache\" nor \"results\""},
      {cache(""), "c has no entries"},
      {cache(R"("8": {"x": 8, "time": 1})"), "entry 8: it has no 'fast'"},
      {cache(R"("8,True": {"x": 8, "fast": true, "time": -1})"),
       "entry 8,True: its time is no positive number"},
      {cache(R"("8,True": {"x": 8, "fast": true})"), "its time is no positive number"},
      {cache(R"("8,True": {"x": 8, "fast": null, "time": 1})"), "a parameter's value is null"},
      {cache(R"("8,True": {"x": 9, "fast": true, "time": 1})"), "no config of its space"},
      {cache(R"("8,True": {"x": 8, "fast": true, "time": "RuntimeFailedConfig"})"), "no config that ran"},
      {R"({"cache": [], "tune_params_keys": 7})", "c is damaged"},
      {R"({"results": [{"configuration": {"x": 1}, "invalidity": "correct"}]})", "no measurement 'time'"},
      {R"({"results": []})", "c has no results"},
      {R"({"results": [], "metadata": {"timeunit": "fortnights"}})", "unknown timeunit 'fortnights'"},
  };
  for (const auto& [text, message] : wrong) {
    const auto replay = parse_foreign_space(text, "c");
    ASSERT_FALSE(replay) << text;
    EXPECT_THAT(replay.error().message, HasSubstr(message));
    EXPECT_EQ(replay.error().message.find('\n'), std::string::npos);
  }
}

TEST(ForeignSpace, AParameterWithTheNameOfAMeasurementIsRefused) {
  const std::string text = R"({"results": [{"configuration": {"tile": 16, "time": 1}, "objectives": ["time"],
      "invalidity": "correct", "measurements": [{"name": "time", "value": 0.02, "unit": "ms"}]}],
      "schema_version": "1.0.0", "metadata": {"timeunit": "milliseconds"}})";
  const auto space = parse_foreign_space(text, "t4");
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().message, "t4: a parameter is named 'time', which is a measurement's name");

  const std::string cache = R"({"device_name": "", "kernel_name": "k", "problem_size": 1,
      "tune_params_keys": ["tile", "time"], "cache": {"16": {"tile": 16, "time": 0.02}}})";
  const auto cached = parse_foreign_space(cache, "cache");
  ASSERT_FALSE(cached);
  EXPECT_EQ(cached.error().message, "cache: a parameter is named 'time', which is a measurement's name");
}

TEST(ForeignSpace, WhatWasExportedIsReadBackWithTheSameTimes) {
  const ReplaySpace ours = made_replay_space();
  for (const ForeignFormat format : {ForeignFormat::kernel_tuner, ForeignFormat::t4}) {
    const auto back =
        parse_foreign_space(to_foreign(ours, format, "portable", "2026-01-01T00:00:00Z"), "back");
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(back->device(), ours.device());
    EXPECT_EQ(back->failed(), ours.failed());
    ASSERT_EQ(back->sorted_us().size(), ours.sorted_us().size());
    for (std::size_t i = 0; i < ours.sorted_us().size(); ++i) {
      EXPECT_NEAR(back->sorted_us()[i], ours.sorted_us()[i], 1e-9 * ours.sorted_us()[i]);
    }
  }
}

// How Kernel Tuner knows a closed cache, and finds a config in it.
TEST(ForeignSpace, TheCacheIsWrittenAsKernelTunerReadsIt) {
  const std::string text =
      to_foreign(made_replay_space(), ForeignFormat::kernel_tuner, "portable", "2026-01-01T00:00:00Z");
  EXPECT_TRUE(text.ends_with("}\n}\n")) << text.substr(text.size() - 20);
  const auto json = nlohmann::ordered_json::parse(text);
  for (const auto& [key, entry] : json["cache"].items()) {
    std::string expected;
    for (const std::string name : json["tune_params_keys"]) {
      const auto& value = entry[name];
      expected +=
          (expected.empty() ? "" : ",") + (value.is_string() ? value.get<std::string>() : value.dump());
    }
    EXPECT_EQ(key, expected);
  }
}

// Files that Kernel Tuner 1.4.0 wrote (tests/autotuner/fixtures/kernel_tuner/README.md says how).
TEST(ForeignSpace, ReadsWhatKernelTunerWrote) {
  const std::string folder = KERNEL_TUNER_FIXTURES;
  const auto text = read_file(folder + "/cache.json");
  ASSERT_TRUE(text) << text.error().message;
  const auto replay = parse_foreign_space(*text, "cache");
  ASSERT_TRUE(replay) << replay.error().message;
  const auto t4_text = read_file(folder + "/t4.json");
  const auto t4 = parse_foreign_space(*t4_text, "t4");
  ASSERT_TRUE(t4) << t4.error().message;
  EXPECT_EQ(replay->space().axes().size(), 4U);
  EXPECT_EQ(replay->space().count(), 24U);
  EXPECT_EQ(replay->failed(), 4U);
  EXPECT_EQ(t4->sorted_us().size(), 24U);
  EXPECT_EQ(t4->failed(), 4U);
  EXPECT_NEAR(t4->optimum_us(), replay->optimum_us(), 1e-9);
  EXPECT_GT(replay->trial(replay->space().at(0)).compile_seconds, 0);
}

}  // namespace
}  // namespace attune
