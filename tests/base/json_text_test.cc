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

TEST(WholeNumber, IsReadAsItIs) {
  EXPECT_EQ(whole_number<int>(nlohmann::json{{"n", -7}}, "n"), -7);
  EXPECT_EQ(whole_number<std::uint64_t>(nlohmann::json{{"n", UINT64_MAX}}, "n"), UINT64_MAX);
}

TEST(WholeNumber, WhatIsNoneOrTooLargeIsRefused) {
  for (const char* text : {"1e30", "1.5", "1.0", "true", "\"7\"", "null", "[7]", "4294967296", "-2147483649",
                           "18446744073709551615"}) {
    const nlohmann::json object = {{"n", nlohmann::json::parse(text)}};
    EXPECT_THROW((void)whole_number<int>(object, "n"), nlohmann::json::exception) << text;
  }
  const nlohmann::json object = {{"n", -1}};
  EXPECT_THROW((void)whole_number<unsigned>(object, "n"), nlohmann::json::exception);
  EXPECT_THROW((void)whole_number<int>(object, "m"), nlohmann::json::exception);
}

}  // namespace
}  // namespace attune
