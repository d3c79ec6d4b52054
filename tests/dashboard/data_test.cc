#include "dashboard/data.h"

#include <nlohmann/json.hpp>

#include "dashboard/trial_columns.h"
#include "templates/attention_template.h"
#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using nlohmann::json;

const AttentionTemplate& portable() {
  return **find_template("portable");
}

// A trial of a config that today's template has: its default, with num_stages changed.
Trial real_trial(double median_us, std::int64_t stages = 0) {
  Trial trial = ok_trial(median_us);
  const auto definition = portable().space(trial.shape, trial.device);
  Config config = portable().default_config(trial.shape, trial.device);
  if (stages) config.set("num_stages", stages);
  trial.template_hash = portable().hash();
  trial.config_json = canonical_json(config, definition);
  trial.config_hash = config_hash(trial.config_json);
  return trial;
}

class DashboardData : public CacheTest {
 protected:
  json data(const TrialFilter& filter = {}) {
    const auto result = dashboard_data(*store_, filter);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : json();
  }
  void add(const Trial& trial) { must_add(*store_, trial); }

  std::unique_ptr<TrialStore> store_ = open();
};

std::string word(const json& data, const char* name, std::size_t row) {
  const json& column = data["trials"]["words"][name];
  return column["values"][column["at"][row].get<std::size_t>()];
}

const json& axis(const json& data, const std::string& name) {
  for (const json& one : data["trials"]["axes"]) {
    if (one["name"] == name) return one;
  }
  throw std::logic_error("no axis " + name);
}

TEST_F(DashboardData, ColumnsHoldWhatTheTrialsHold) {
  add(real_trial(800));
  add(failed_trial(Outcome::spilled, 3));
  const json found = data();
  EXPECT_EQ(found["trials"]["count"], 2);
  EXPECT_EQ(found["trials"]["numbers"]["median_us"], json({800, nullptr}));
  EXPECT_EQ(found["trials"]["numbers"]["is_default"], json({1, 0}));
  EXPECT_EQ(word(found, "outcome", 1), "spilled");
  EXPECT_EQ(word(found, "message", 1), "planted");
  EXPECT_EQ(found["trials"]["words"]["shape"]["values"][0]["flags"], "--shape 4,32,4096,128");
}

TEST_F(DashboardData, AxesAreNamedByTheTemplateAndHaveItsOrder) {
  add(real_trial(800));
  const json block_m = axis(data(), "block_m");
  EXPECT_EQ(block_m["pointer"], "/block_sizes/1");
  EXPECT_EQ(block_m["domain"], json({16, 32, 64, 128, 256}));
  EXPECT_EQ(axis(data(), "loop_order")["values"]["values"][0].size(), 2U) << "a list is one value";
}

TEST_F(DashboardData, WhatNoTemplateKnowsIsShownByItsPlace) {
  Trial foreign = ok_trial(900);
  foreign.template_name = "elsewhere";
  foreign.config_json = R"({"a":{"b~/c":[1,"x"]},"empty":[]})";
  add(foreign);
  const json found = data();
  EXPECT_EQ(axis(found, "a/b~0~1c/1")["values"]["values"], json({"x"}));
  EXPECT_EQ(axis(found, "empty")["values"]["values"], json::array({json::array()}));
}

TEST_F(DashboardData, AnAxisThatATrialLacksHasNoValueThere) {
  Trial first = ok_trial(900), second = ok_trial(901, 1), third = ok_trial(902, 2);
  first.config_json = R"({"a":1})";
  second.config_json = R"({"b":2})";
  third.config_json = R"({"a":1,"b":3})";
  for (const Trial& trial : {first, second, third}) add(trial);
  const json found = data();
  EXPECT_EQ(axis(found, "a")["values"]["at"], json({0, -1, 0}));
  EXPECT_EQ(axis(found, "b")["values"]["at"], json({-1, 0, 1}));
}

TEST_F(DashboardData, ARecordIsComparedWithTheDefaultOfItsOwnFinalRound) {
  add(real_trial(1000));
  add(real_trial(700, 1));
  Trial standard = real_trial(1100), best = real_trial(750, 1);
  standard.final_round = best.final_round = true;
  standard.created_at = best.created_at = "2026-11-22T01:30:00Z";
  add(standard);
  add(best);
  Trial elsewhere = real_trial(500);  // on another GPU: says nothing here
  elsewhere.device.name = "another";
  add(elsewhere);
  const json found = data();
  const auto record = std::find_if(found["records"].begin(), found["records"].end(),
                                   [](const json& row) { return row["id"] == 4; });
  ASSERT_NE(record, found["records"].end()) << found["records"];
  EXPECT_EQ((*record)["default_us"], 1100);
  EXPECT_EQ((*record)["current"], true);
  EXPECT_EQ((*record)["overall"], true);
}

TEST_F(DashboardData, ARecordOfAChangedKernelSaysSoAndHasNoDefault) {
  Trial old = real_trial(700);
  old.template_hash = "aaaa";
  add(old);
  const json record = data()["records"].at(0);
  EXPECT_EQ(record["current"], false);
  EXPECT_EQ(record["default_us"], nullptr);
}

TEST_F(DashboardData, EachTemplateHasItsOwnRecordBesideTheBestOfAll) {
  add(real_trial(700));
  Trial hopper = ok_trial(600);
  hopper.template_name = "hopper";
  add(hopper);
  const json found = data();
  ASSERT_EQ(found["records"].size(), 2U);
  EXPECT_EQ(found["records"][0]["id"], 2);
  EXPECT_EQ(found["records"][0]["overall"], true);
  EXPECT_EQ(found["records"][1]["id"], 1);
  EXPECT_EQ(found["records"][1]["overall"], false);
}

TEST_F(DashboardData, LaterTrialsComeAloneAndTheRecordsWhole) {
  add(real_trial(700));
  add(real_trial(900, 1));
  const json later = data({.after_id = 1});
  EXPECT_EQ(later["trials"]["numbers"]["id"], json({2}));
  EXPECT_EQ(later["records"][0]["id"], 1);
  const json nothing = data({.after_id = 2});
  EXPECT_EQ(nothing["trials"]["count"], 0);
}

TEST_F(DashboardData, AnInfiniteErrorIsAWord) {
  Trial wrong = failed_trial(Outcome::wrong_answer);
  wrong.relative_error = std::numeric_limits<double>::infinity();
  add(wrong);
  EXPECT_EQ(data()["trials"]["numbers"]["relative_error"], json({"inf"}));
}

}  // namespace
}  // namespace attune
