#include "serve/job_request.h"

#include <gmock/gmock.h>

namespace attune::serve {
namespace {

using nlohmann::json;

json tune_body() {
  return json::parse(R"({"shape": {"batch": 1, "q_heads": 2, "kv_heads": 2, "q_len": 128, "kv_len": 128,
    "head_dim": 64, "dtype": "bf16", "mask": "none", "layout": "bhsd", "lse": false}})");
}

std::string error_of(const json& body) {
  const auto request = parse_job_request(body.dump());
  return request ? "" : request.error().message;
}

TEST(JobRequest, DefaultsAreWrittenOutAndReadBack) {
  const auto request = parse_job_request(tune_body().dump());
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->kind, JobKind::tune);
  EXPECT_EQ(request->max_trials, 200);
  const json written = to_json(*request);
  const auto again = job_request_from_json(written);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(to_json(*again).dump(), written.dump());
}

TEST(JobRequest, TheOrderOfKeysAndAliasesOfAShapeMakeNoDifference) {
  json square = tune_body();
  square["shape"]["mask"] = "top-left";
  json same = tune_body();
  same["shape"]["mask"] = "bottom-right";
  same["max_trials"] = 200;
  EXPECT_EQ(to_json(*parse_job_request(square.dump())).dump(),
            to_json(*parse_job_request(same.dump())).dump());
}

TEST(JobRequest, ASweepKeepsItsWorkload) {
  const json body = {{"kind", "sweep"},
                     {"templates", {"portable"}},
                     {"workload", {{{"batch", 1}, {"q_heads", 2}, {"seq", 128}, {"head_dim", 64}}}}};
  const auto request = parse_job_request(body.dump());
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->workload, body["workload"]);
  EXPECT_THAT(request->templates, testing::ElementsAre("portable"));
  EXPECT_TRUE(job_request_from_json(to_json(*request)));
}

TEST(JobRequest, WhatMakesNoSenseNamesItsKey) {
  for (const auto& [key, value, word] : std::vector<std::tuple<std::string, json, std::string>>{
           {"max_trials", 0, "max_trials"},
           {"max_trials", "many", "max_trials"},
           {"max_trials", 18446744073709551615U, "max_trials"},
           {"max_seconds", -1, "max_seconds"},
           {"max_seconds", 1e300, "max_seconds"},
           {"seed", -1, "seed"},
           {"seed", 1.5, "seed"},
           {"priority", 101, "priority"},
           {"remeasure", 1, "remeasure"},
           {"strategy", "magic", "strategy"},
           {"kind", "dance", "kind"},
           {"template", 7, "template"},
           {"restrict", json::array(), "restrict"},
           {"restrict", {{"num_warps", 4}}, "restrict/num_warps"},
           {"seed_configs", "none", "seed_configs"},
           {"shape", json::object(), "shape"},
           {"workload", json::array(), "workload"},
           {"max_trails", 5, "max_trails"}}) {
    json body = tune_body();
    body[key] = value;
    EXPECT_THAT(error_of(body), testing::HasSubstr(word)) << key << " " << value;
  }
}

TEST(JobRequest, WhatAnErrorQuotesStaysOneLine) {
  json body = tune_body();
  body["strategy"] = "pat\nr:\te";
  EXPECT_THAT(error_of(body), testing::HasSubstr(R"(unknown strategy 'pat\x0ar:\x09e')"));
}

TEST(JobRequest, WhatIsNoRequestAtAllIsAnError) {
  for (const std::string& body :
       std::vector<std::string>{"", "{", "[]", "null", "7", "\"tune\"", "{\"shape\": \xff}", "{}"})
    EXPECT_FALSE(parse_job_request(body)) << body;
  const std::string deep = R"({"seed_configs":)" + std::string(100'000, '[');
  const auto refused = parse_job_request(deep);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("nests deeper"));
}

}  // namespace
}  // namespace attune::serve
