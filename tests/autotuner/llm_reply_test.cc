// From what a model wrote to legal points; the map of elites; what calls may cost.
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/elite_islands.h"
#include "autotuner/llm/proposal.h"
#include "autotuner/llm/reply_text.h"

namespace attune {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

// ---- what a model wrote ----

TEST(ReplyText, JsonAsAsked) {
  const ReplyText reply =
      read_reply(R"({"proposals":[{"set":{"a":1}},{"set":{"a":2}}],"notes":"n","model":"m"})");
  EXPECT_TRUE(reply.complete);
  ASSERT_EQ(reply.proposals.size(), 2u);
  EXPECT_EQ(reply.proposals[1]["set"]["a"], 2);
  EXPECT_EQ(reply.notes, "n");
  EXPECT_EQ(reply.model, "m");
}

TEST(ReplyText, JsonInProseAndFences) {
  const ReplyText reply = read_reply(
      "Sure! Tiles [64, 128] matter (see {above}).\n```json\n{\"proposals\": [{\"set\": {\"a\": \"} "
      "]\"}}]}\n```\nGood "
      "luck [1].");
  EXPECT_TRUE(reply.complete);
  ASSERT_EQ(reply.proposals.size(), 1u);
  EXPECT_EQ(reply.proposals[0]["set"]["a"], "} ]");
}

TEST(ReplyText, WhatComesBeforeACutCounts) {
  const std::string whole = R"({"proposals":[{"set":{"a":1}},{"set":{"a":2}},{"set":{"a":3}}]})";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const ReplyText reply = read_reply(whole.substr(0, length));
    EXPECT_FALSE(reply.complete) << length;
    EXPECT_EQ(reply.proposals.size(), length < 29 ? 0u : length < 45 ? 1u : length < 61 ? 2u : 3u) << length;
  }
}

TEST(ReplyText, NoJsonAtAll) {
  for (const char* text :
       {"", "I cannot help with that.", "{", "[[[[", "[1,2,3]", "\"proposals\"", "{\"proposals\": 5}"})
    EXPECT_THAT(read_reply(text).proposals, IsEmpty()) << text;
}

TEST(ReplyText, DeepNestingAndAMegabyteOfBracketsEnd) {
  EXPECT_THAT(read_reply(std::string(5 << 20, '[')).proposals, IsEmpty());
  EXPECT_THAT(read_reply(std::string(5 << 20, '{')).proposals, IsEmpty());
  std::string pairs;
  while (pairs.size() < (2 << 20)) pairs += "{}";
  EXPECT_THAT(read_reply(pairs).proposals, IsEmpty());
}

// ---- proposals ----

SpaceDefinition tile_definition() {
  SpaceDefinition definition;
  const auto values = [](std::vector<std::int64_t> all) {
    return std::vector<AxisValue>(all.begin(), all.end());
  };
  definition.axes = {
      {.name = "block_m",
       .pointer = "/block_sizes/0",
       .values = values({32, 64, 128, 256}),
       .help = "rows of Q"},
      {.name = "block_n",
       .pointer = "/block_sizes/1",
       .values = values({16, 32, 64, 128}),
       .help = "rows of K"},
      {.name = "num_stages", .pointer = "/num_stages", .values = values({1, 2, 3, 4}), .help = "depth"},
      {.name = "order",
       .pointer = "/order",
       .values = {std::string("[0,1]"), std::string("[1,0]")},
       .help = "order"},
      {.name = "pid_type",
       .pointer = "/pid_type",
       .values = {std::string("flat"), std::string("persistent")},
       .help = "grid"},
      {.name = "multiplier",
       .pointer = "/multiplier",
       .values = values({1, 2, 3}),
       .help = "CTAs an SM",
       .depends_on = {"pid_type"},
       .active = [](const Config& config) { return config.text("pid_type") == "persistent"; }}};
  definition.rules = {{"smem", {"block_m", "block_n", "num_stages"}, [](const Config& config) {
                         const std::int64_t kib =
                             config.integer("block_m") / 4 +
                             config.integer("block_n") * config.integer("num_stages") / 2;
                         return kib <= 128 ? std::optional<std::string>()
                                           : fmt::format("needs {} KiB, the limit is 128", kib);
                       }}};
  return definition;
}

Point point_of(const Space& space, std::int64_t m, std::int64_t n, std::int64_t stages) {
  Config config;
  config.set("block_m", m);
  config.set("block_n", n);
  config.set("num_stages", stages);
  config.set("order", std::string("[0,1]"));
  config.set("pid_type", std::string("flat"));
  return *space.point(config);
}

class Proposal : public testing::Test {
 protected:
  ReadProposal read(const char* text) {
    return read_proposal(
        json::parse(text), space_, [this](std::int64_t number) { return number == 7 ? &seventh_ : nullptr; },
        base_);
  }
  json config(const ReadProposal& proposal) { return json::parse(space_.canonical(*proposal.point)); }

  Space space_{tile_definition()};
  Point base_ = point_of(space_, 64, 64, 2);
  Point seventh_ = point_of(space_, 128, 32, 1);
};

TEST_F(Proposal, ChangesOfABase) {
  const ReadProposal proposal = read(R"({"base":7,"set":{"num_stages":3,"order":[1,0]},"why":"x"})");
  ASSERT_TRUE(proposal.point);
  EXPECT_FALSE(proposal.repaired);
  EXPECT_EQ(config(proposal),
            json::parse(R"({"block_sizes":[128,32],"num_stages":3,"order":[1,0],"pid_type":"flat"})"));
}

TEST_F(Proposal, FormsThatModelsUse) {
  for (const char* text :
       {R"({"set":{"block_n":32}})", R"({"block_n":32})", R"({"config":{"block_n":"32"}})",
        R"({"changes":{"block_n":32.0}})",
        R"({"config":{"block_sizes":[64,32],"num_stages":2,"order":[0,1],"pid_type":"flat"}})"}) {
    const ReadProposal proposal = read(text);
    ASSERT_TRUE(proposal.point) << text;
    EXPECT_EQ(*proposal.point, point_of(space_, 64, 32, 2)) << text;
    EXPECT_FALSE(proposal.repaired) << text;
  }
}

TEST_F(Proposal, AnAxisThatBecomesActiveTakesItsValue) {
  const ReadProposal proposal = read(R"({"set":{"pid_type":"persistent","multiplier":3}})");
  ASSERT_TRUE(proposal.point);
  EXPECT_EQ(config(proposal)["multiplier"], 3);
}

TEST_F(Proposal, AValueOutsideTheDomainBecomesTheNearestAndIsSaid) {
  const ReadProposal proposal = read(R"({"set":{"block_n":100}})");
  ASSERT_TRUE(proposal.point);
  EXPECT_TRUE(proposal.repaired);
  EXPECT_EQ(config(proposal)["block_sizes"][1], 128);
  EXPECT_THAT(proposal.remark, HasSubstr("block_n has no value 100, only 16, 32, 64, 128"));
}

TEST_F(Proposal, AnIllegalConfigIsRepairedElsewhereAndTheReasonIsSaid) {
  const ReadProposal proposal = read(R"({"set":{"block_m":256,"block_n":128}})");  // 192 KiB
  ASSERT_TRUE(proposal.point);
  EXPECT_TRUE(proposal.repaired);
  EXPECT_EQ(config(proposal)["block_sizes"], json::parse("[256,128]"));
  EXPECT_EQ(config(proposal)["num_stages"], 1);
  EXPECT_THAT(proposal.remark, HasSubstr("needs 192 KiB"));
  EXPECT_THAT(proposal.remark, HasSubstr("num_stages 2 -> 1"));
}

TEST_F(Proposal, NonsenseIsRefusedWithAReason) {
  for (const auto& [text, reason] :
       std::map<const char*, const char*>{{R"({"set":{"warp_size":64}})", "there is no axis 'warp_size'"},
                                          {R"({"set":{"order":"sideways"}})", "order cannot be \"sideways\""},
                                          {R"({"set":{}})", "no change"},
                                          {R"({"why":"it is good"})", "no change"},
                                          {"5", "not a JSON object"}}) {
    const ReadProposal proposal = read(text);
    EXPECT_FALSE(proposal.point) << text;
    EXPECT_THAT(proposal.remark, HasSubstr(reason)) << text;
  }
}

TEST_F(Proposal, StaysInsideALimitedSpace) {
  const Space limited = space_.limited_to(std::vector<Point>{base_, seventh_});
  const ReadProposal proposal = read_proposal(
      json::parse(R"({"base":7,"set":{"block_n":64}})"), limited, [this](std::int64_t) { return &seventh_; },
      base_);
  ASSERT_TRUE(proposal.point);
  EXPECT_TRUE(limited.contains(*proposal.point));
}

// ---- the map ----

TEST(EliteIslands, KeepTheFastestOfEachCellAndMigrateInARing) {
  EliteIslands islands(3);
  const MapCell here{{1, 1, 1, 1}}, there{{2, 1, 1, 1}};
  islands.add(0, {1, {0}, 10, here});
  islands.add(0, {2, {1}, 12, here});  // slower: not kept
  islands.add(0, {3, {2}, 20, there});
  islands.add(1, {4, {3}, 9, here});
  ASSERT_EQ(islands.elites(0).size(), 2u);
  EXPECT_EQ(islands.elites(0)[0].number, 1);
  islands.migrate();
  EXPECT_EQ(islands.elites(1)[0].number, 4);  // its own is faster than the migrant
  EXPECT_EQ(islands.elites(1)[1].number, 3);
  EXPECT_EQ(islands.elites(2)[0].number, 4);
  EXPECT_EQ(islands.elites(0)[0].number, 1);  // island 2 had nothing to send
}

TEST(EliteIslands, ResidentCtasAreWhatTheHardwareAllows) {
  const DeviceFacts device = *nominal_facts("sm_90a");
  // 128 threads of 168 registers: 4 warps of 5376 registers; 65536 / 21504 = 3.
  EXPECT_EQ(
      resident_ctas(
          {.registers = 168, .spill_bytes = 0, .smem_bytes = 1 << 10, .threads = 128, .message = ""}, device),
      3);
  EXPECT_EQ(resident_ctas(
                {.registers = 32, .spill_bytes = 0, .smem_bytes = 100 << 10, .threads = 128, .message = ""},
                device),
            2);
  EXPECT_EQ(resident_ctas(
                {.registers = 16, .spill_bytes = 0, .smem_bytes = 0, .threads = 1024, .message = ""}, device),
            2);
  EXPECT_EQ(resident_ctas({}, device), 0);
}

// ---- budget ----

TEST(CallBudget, ACallWhoseWorstCaseDoesNotFitIsNotMade) {
  double now = 0;
  CallBudget budget({.max_calls = 0, .max_tokens = 1000, .max_answer_tokens = 300}, [&] { return now; });
  EXPECT_TRUE(budget.reserve("m", 200));
  EXPECT_TRUE(budget.reserve("m", 200));
  EXPECT_FALSE(budget.reserve("m", 200));  // 1500 at worst
  budget.settle("m", 200, {100, 100});
  EXPECT_TRUE(budget.reserve("m", 0));
  EXPECT_EQ(budget.used().total(), 200);
}

TEST(CallBudget, MoneyByTheModelsPrice) {
  double now = 0;
  CallBudget budget({.max_calls = 0,
                     .max_dollars = 0.02,
                     .max_answer_tokens = 1000,
                     .prices = {{"dear", {10, 20}}, {"", {0, 1}}}},
                    [&] { return now; });
  EXPECT_FALSE(budget.reserve("dear", 1000));  // 0.03
  EXPECT_TRUE(budget.reserve("cheap", 1000));
  budget.settle("cheap", 1000, {1000, 1000});
  EXPECT_NEAR(budget.dollars(), 0.001, 1e-9);
  EXPECT_THAT(budget.exhausted("dear", 1000), HasSubstr("the limit is 0.02"));
}

TEST(CallBudget, CallsAndSeconds) {
  double now = 5;
  CallBudget budget({.max_calls = 2, .max_seconds = 10}, [&] { return now; });
  EXPECT_TRUE(budget.reserve("m", 1));
  now = 14;
  EXPECT_TRUE(budget.reserve("m", 1));
  EXPECT_THAT(budget.exhausted("m", 1), HasSubstr("2 calls"));
  now = 15;
  EXPECT_LE(budget.seconds_left(), 0);
}

}  // namespace
}  // namespace attune
