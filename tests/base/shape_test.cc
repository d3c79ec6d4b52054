#include "base/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

namespace attune {
namespace {

using testing::HasSubstr;

Shape gqa() {
  return {.batch = 1,
          .q_heads = 32,
          .kv_heads = 8,
          .q_len = 512,
          .kv_len = 1024,
          .head_dim = 64,
          .dtype = DType::bf16,
          .mask = Mask::causal_top_left,
          .layout = Layout::bshd,
          .wants_lse = true};
}

TEST(Shape, SurvivesJson) {
  const auto back = shape_from_json(to_json(gqa()));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, gqa());
}

TEST(Shape, ASquareCausalMaskHasOneName) {
  Shape shape = gqa();
  shape.kv_len = shape.q_len;
  const auto square = validated(shape);
  ASSERT_TRUE(square);
  EXPECT_EQ(square->mask, Mask::causal_bottom_right);
}

struct Nonsense {
  const char* what;
  std::function<void(Shape&)> plant;
  const char* message;
};

class NonsenseShape : public testing::TestWithParam<Nonsense> {};

TEST_P(NonsenseShape, IsRefusedInOneLineThatNamesTheValue) {
  Shape shape = gqa();
  GetParam().plant(shape);
  const auto result = validated(shape);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr(GetParam().message));
  EXPECT_EQ(result.error().message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    All, NonsenseShape,
    testing::Values(Nonsense{"heads", [](Shape& s) { s.kv_heads = 5; }, "not a multiple of kv_heads 5"},
                    Nonsense{"head_dim_0", [](Shape& s) { s.head_dim = 0; }, "head_dim is 0"},
                    Nonsense{"head_dim_257", [](Shape& s) { s.head_dim = 257; }, "head_dim is 257"},
                    Nonsense{"head_dim_7", [](Shape& s) { s.head_dim = 7; }, "head_dim is 7"},
                    Nonsense{"q_len_0", [](Shape& s) { s.q_len = 0; }, "q_len is 0"},
                    Nonsense{"kv_len_negative", [](Shape& s) { s.kv_len = -1; }, "kv_len is -1"},
                    Nonsense{"batch_0", [](Shape& s) { s.batch = 0; }, "batch is 0"},
                    Nonsense{"overflow",
                             [](Shape& s) {
                               s.batch = 1 << 16;
                               s.q_len = 1 << 28;
                             },
                             "overflows"}),
    [](const auto& test) { return test.param.what; });

TEST(Shape, JsonErrorsNameTheKey) {
  auto json = to_json(gqa());
  json["head_dim"] = "64";
  EXPECT_THAT(shape_from_json(json).error().message, HasSubstr("'head_dim'"));
  json = to_json(gqa());
  json["sequence"] = 3;
  EXPECT_THAT(shape_from_json(json).error().message, HasSubstr("'sequence'"));
}

}  // namespace
}  // namespace attune
