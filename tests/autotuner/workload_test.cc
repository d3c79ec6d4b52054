#include "autotuner/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace attune {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

Workload must_parse(const char* text) {
  const auto workload = parse_workload(Json::parse(text));
  EXPECT_TRUE(workload) << workload.error().message;
  return *workload;
}

std::string refused(const char* text) {
  const auto workload = parse_workload(Json::parse(text));
  return workload ? "" : workload.error().message;
}

TEST(Workload, ModelsAreRowsAtEachLength) {
  const auto workload = must_parse(R"({"models": [{"name": "A", "q_heads": 8, "kv_heads": 2, "head_dim": 64}],
      "dense": [{"batch": 2, "q_heads": 4, "seq": 256, "head_dim": 128}], "model_sequence_lengths": [512, 1024]})");
  ASSERT_EQ(workload.rows.size(), 3U);
  EXPECT_EQ(workload.rows[0].name, "dense[2,4,256,128]");
  EXPECT_FALSE(workload.rows[0].shape.causal());
  EXPECT_EQ(workload.rows[2].name, "A@1024");
  EXPECT_EQ(workload.rows[2].shape.kv_len, 1024);
  EXPECT_EQ(workload.rows[2].shape.kv_heads, 2);
  EXPECT_TRUE(workload.rows[2].shape.causal());
}

TEST(Workload, AListOfShapesSaysAllThatAShapeHas) {
  const auto workload =
      must_parse(R"([{"q_heads": 8, "q_len": 1, "kv_len": 4096, "head_dim": 96, "dtype": "fp16",
      "layout": "bshd", "lse": true, "mask": "causal", "weight": 30, "name": "decode"}])");
  const Shape& shape = workload.rows[0].shape;
  EXPECT_EQ(workload.rows[0].name, "decode");
  EXPECT_EQ(workload.rows[0].weight, 30);
  EXPECT_EQ(shape.kv_len, 4096);
  EXPECT_EQ(shape.dtype, DType::fp16);
  EXPECT_EQ(shape.layout, Layout::bshd);
  EXPECT_TRUE(shape.wants_lse);
  EXPECT_EQ(shape.mask, Mask::causal_bottom_right);
}

TEST(Workload, WhatMakesNoSenseIsNamed) {
  EXPECT_THAT(refused("[]"), HasSubstr("no shapes"));
  EXPECT_THAT(refused("{}"), HasSubstr("no shapes"));
  EXPECT_THAT(refused("3"), HasSubstr("must be an object"));
  EXPECT_THAT(refused(R"([{"seq": 64, "head_dim": 64}])"), HasSubstr("shapes[0]: 'q_heads' is missing"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": 64, "head_dim": 64, "heads": 8}])"),
              HasSubstr("unknown key 'heads'"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": "64", "head_dim": 64}])"), HasSubstr("'seq'"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": 6.5, "head_dim": 64}])"), HasSubstr("'seq'"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": 64, "head_dim": 7}])"), HasSubstr("head_dim is 7"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": 64, "head_dim": 64, "weight": 0}])"), HasSubstr("weight"));
  EXPECT_THAT(refused(R"([{"q_heads": 8, "seq": 64, "head_dim": 64, "dtype": "fp8"}])"), HasSubstr("fp8"));
  EXPECT_THAT(refused(R"({"models": [{"name": "A", "q_heads": 8, "head_dim": 64}]})"),
              HasSubstr("model_sequence_lengths"));
  EXPECT_THAT(refused(R"({"shape": []})"), HasSubstr("unknown key 'shape'"));
}

TEST(Workload, ShardsAreAllOfItAndShareNothing) {
  Workload workload;
  for (std::int64_t i = 0; i < 10; ++i) {
    const Shape shape = *validated({.q_len = 64 * (i % 7 + 1), .kv_len = 64 * (i % 7 + 1)});
    workload.rows.push_back({std::to_string(i), "", shape, 1});
  }
  std::vector<std::string> names;
  for (std::size_t i = 1; i <= 3; ++i) {
    for (const WorkloadRow& row : shard_of(workload, i, 3).rows) names.push_back(row.name);
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"));
  const auto first = shard_of(workload, 1, 3);
  EXPECT_EQ(first.rows.front().shape, first.rows[3].shape) << "rows 0 and 7 are of one shape: one shard";
}

TEST(Workload, WantedShapesAreWeightedByHowOftenTheyWereAskedFor) {
  const Wanted often{{.q_heads = 8}, "H100", "sm_90a", 5, "", "", "a"};
  Wanted elsewhere = often, again = often;
  elsewhere.gpu_name = "A100";
  again.origin = "b";
  const auto workload = wanted_workload({often, elsewhere, again}, "H100");
  ASSERT_EQ(workload.rows.size(), 1U);
  EXPECT_EQ(workload.rows[0].weight, 10);
}

}  // namespace
}  // namespace attune
