#include "base/json_text.h"

#include <gtest/gtest.h>

namespace attune {
namespace {

std::string nested(std::size_t depth, const std::string& inner = "") {
  return std::string(depth, '[') + inner + std::string(depth, ']');
}

TEST(JsonText, ReadsWhatIsSensiblyDeep) {
  EXPECT_EQ(parse_outside_json(R"({"a":[1,{"b":"]["}]})")["a"][1]["b"], "][");
  EXPECT_TRUE(parse_outside_json(nested(kDeepestJson)).is_array());
  EXPECT_TRUE(parse_outside_json<nlohmann::ordered_json>(nested(kDeepestJson)).is_array());
}

TEST(JsonText, WhatIsDeeperIsNoJson) {
  EXPECT_TRUE(parse_outside_json(nested(kDeepestJson + 1)).is_discarded());
  EXPECT_TRUE(parse_outside_json<nlohmann::ordered_json>(nested(1000000)).is_discarded());
  EXPECT_TRUE(parse_outside_json(std::string(1000000, '[')).is_discarded());
}

TEST(JsonText, ManyBesideEachOtherAreNotDeep) {
  std::string text = "[";
  for (int i = 0; i < 1000; ++i) text += "[{}],";
  EXPECT_EQ(parse_outside_json(text + "0]").size(), 1001U);
}

TEST(JsonText, BracketsInStringsDoNotCount) {
  const std::string brackets(1000, '[');
  EXPECT_EQ(parse_outside_json("[\"\\\"" + brackets + "\"]")[0], "\"" + brackets);
}

TEST(JsonText, WhatIsNoJsonIsDiscarded) {
  for (const char* text : {"", "{", "]", "{\"a\":1}}", "\"\\"})
    EXPECT_TRUE(parse_outside_json(text).is_discarded());
}

}  // namespace
}  // namespace attune
