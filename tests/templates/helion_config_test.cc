#include "templates/helion_config.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "templates/attention_template.h"

namespace attune {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

class HelionConfig : public testing::Test {
 protected:
  Result<Config> read(const char* text) {
    return config_from_helion(Json::parse(text), tmpl_.space(shape_, facts_), base_);
  }

  const AttentionTemplate& tmpl_ = **find_template("portable");
  Shape shape_{.batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
  DeviceFacts facts_ = *nominal_facts("sm_90a");
  Config base_ = tmpl_.default_config(shape_, facts_);
};

// The config of Helion's published search on a B200, but for its l2_groupings of 2.
constexpr const char* kPublished =
    R"({"block_sizes": [1, 128, 64], "indexing": ["pointer"], "l2_groupings": [1],
    "load_eviction_policies": ["first", "last", "first"], "loop_orders": [[1, 0]], "num_stages": 2, "num_warps": 4,
    "pid_type": "flat", "range_flattens": [null, true], "range_multi_buffers": [null, false],
    "range_num_stages": [0, 1], "range_unroll_factors": [0, 2], "range_warp_specializes": [null, null]})";

TEST_F(HelionConfig, EveryKeyThatMeansSomethingHereIsTaken) {
  ASSERT_TRUE(is_helion_config(Json::parse(kPublished)));
  const auto config = read(kPublished);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->integer("block_m"), 128);
  EXPECT_EQ(config->integer("block_n"), 64);
  EXPECT_EQ(config->integer("num_warps"), 4);
  EXPECT_EQ(config->integer("num_stages"), 2);
  EXPECT_EQ(config->integer("unroll"), 2);  // the inner loop's
  EXPECT_EQ(config->text("evict_q"), "first");
  EXPECT_EQ(config->text("evict_k"), "last");
  EXPECT_EQ(config->text("evict_v"), "first");
  EXPECT_EQ(config->text("loop_order"), "[1,0]");
  EXPECT_EQ(config->text("pid_type"), "flat");
  EXPECT_EQ(config->integer("kv_split"), base_.integer("kv_split"));
}

TEST_F(HelionConfig, WhatIsLeftOpenIsAsInTheBase) {
  const auto config = read(R"({"num_stages": 2})");
  ASSERT_TRUE(config) << config.error().message;
  Config expected = base_;
  expected.set("num_stages", std::int64_t{2});
  EXPECT_EQ(*config, expected);
}

TEST_F(HelionConfig, ANumberInBetweenBecomesTheNearestAndAnUnknownTextTheBases) {
  const auto config = read(R"({"num_warps": 5, "pid_type": "xyz"})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->integer("num_warps"), 4);
  EXPECT_EQ(config->text("pid_type"), base_.text("pid_type"));
}

// Heads can be grouped only where the grid goes through them first.
TEST_F(HelionConfig, OfValuesThatAreIllegalTogetherSomeAreTaken) {
  const auto config = read(R"({"l2_groupings": [2], "loop_orders": [[1, 0]], "num_stages": 2})");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(check_config(*config, tmpl_.space(shape_, facts_)));
  EXPECT_NE(config->integer("l2_grouping") == 2, config->text("loop_order") == "[1,0]");
  EXPECT_EQ(config->integer("num_stages"), 2);
}

TEST_F(HelionConfig, WrongTypesAreErrors) {
  EXPECT_THAT(read(R"({"num_warps": "four"})").error().message, HasSubstr("/num_warps is \"four\""));
  EXPECT_THAT(read(R"({"pid_type": 3})").error().message, HasSubstr("/pid_type is 3"));
}

TEST_F(HelionConfig, AWholeConfigOfATemplateIsNoneOfHelions) {
  EXPECT_FALSE(is_helion_config(config_to_json(base_, tmpl_.space(shape_, facts_))));
  EXPECT_FALSE(is_helion_config(Json::parse("[]")));
  EXPECT_FALSE(is_helion_config(Json::parse(R"({"num_wraps": 4})")));
}

}  // namespace
}  // namespace attune
