#include "cli/shape_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune::cli {
namespace {

using ::testing::HasSubstr;

// Parses as the command line does.
Result<Shape> parse(std::vector<std::string> words) {
  CLI::App app;
  ShapeFlags flags;
  add_shape_flags(app, flags);
  std::reverse(words.begin(), words.end());
  app.parse(words);
  return parse_shape(flags);
}

std::string why_not(const std::vector<std::string>& words) {
  const auto shape = parse(words);
  return shape ? "it parsed" : shape.error().message;
}

TEST(ShapeOptions, DefaultsFollowTheFourNumbers) {
  const auto shape = parse({"--shape", "4,32,4096,128"});
  ASSERT_TRUE(shape);
  EXPECT_EQ(to_string(*shape), "b4 h32/32 s4096x4096 d128 bf16 bhsd");
}

TEST(ShapeOptions, EveryFlagReachesTheShape) {
  const auto shape = parse({"--shape=1,14,512,64", "--kv-heads", "2", "--kv-len", "2048", "--causal=top-left",
                            "--dtype", "fp16", "--layout", "bshd", "--lse"});
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->kv_heads, 2);
  EXPECT_EQ(shape->kv_len, 2048);
  EXPECT_EQ(shape->mask, Mask::causal_top_left);
  EXPECT_EQ(shape->dtype, DType::fp16);
  EXPECT_EQ(shape->layout, Layout::bshd);
  EXPECT_TRUE(shape->wants_lse);
}

TEST(ShapeOptions, CausalAloneIsBottomRightAndSwallowsNothing) {
  const auto shape = parse({"--causal", "--shape", "1,8,16,64", "--kv-len", "32"});
  ASSERT_TRUE(shape);
  EXPECT_EQ(shape->mask, Mask::causal_bottom_right);
}

TEST(ShapeOptions, SenselessShapesSayWhy) {
  EXPECT_THAT(why_not({"--shape", "1,32,512,64", "--kv-heads", "5"}),
              HasSubstr("not a multiple of kv_heads 5"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,0"}), HasSubstr("head_dim is 0"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,257"}), HasSubstr("head_dim is 257"));
  EXPECT_THAT(why_not({"--shape", "1,32,0,64"}), HasSubstr("q_len is 0"));
  EXPECT_THAT(why_not({"--shape", "1,32,-5,64"}), HasSubstr("q_len is -5"));
  EXPECT_THAT(why_not({"--shape", "-1,32,512,64"}), HasSubstr("batch is -1"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64", "--kv-len", "-1"}), HasSubstr("kv_len is -1"));
  EXPECT_THAT(why_not({"--shape", "60000,60000,268435456,256"}), HasSubstr("overflows"));
  EXPECT_THAT(why_not({"--shape", "1,32,99999999999999999999,64"}), HasSubstr("too large"));
}

TEST(ShapeOptions, MalformedTextSaysWhatWasExpected) {
  EXPECT_THAT(why_not({"--shape", "1,32,512"}), HasSubstr("four whole numbers B,H,S,D"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64,8"}), HasSubstr("four whole numbers B,H,S,D"));
  EXPECT_THAT(why_not({"--shape", "1,32,x,64"}), HasSubstr("S (q length) is 'x'"));
  EXPECT_THAT(why_not({"--shape", "1,,512,64"}), HasSubstr("H (q heads) is ''"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64.5"}), HasSubstr("'64.5'"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64", "--dtype", "fp8"}), HasSubstr("bf16 or fp16"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64", "--layout", "sbhd"}), HasSubstr("bhsd or bshd"));
  EXPECT_THAT(why_not({"--shape", "1,32,512,64", "--causal=left"}), HasSubstr("unknown mask 'left'"));
}

}  // namespace
}  // namespace attune::cli
