#include "base/printable.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/shape.h"

namespace attune {
namespace {

TEST(Printable, TextStaysAsItIsAndControlCharactersAreNamed) {
  EXPECT_EQ(printable("dtype 'bf16', größer"), "dtype 'bf16', größer");
  EXPECT_EQ(printable(std::string("a\nb\0\x1b[31m\x7f", 10)), "a\\x0ab\\x00\\x1b[31m\\x7f");
}

// What fuzzing found: a key or a word of a file broke the line of the error that quoted it.
TEST(Printable, AnErrorThatQuotesAShapesKeyOrWordIsOneLine) {
  for (const char* text :
       {R"({"ba\ntch":1})", R"({"dtype":"bf\n16"})", R"({"mask":"\u001b[2J"})", R"({"layout":"\u0001"})"}) {
    const auto shape = shape_from_json(nlohmann::json::parse(text));
    ASSERT_FALSE(shape);
    for (const char c : shape.error().message) EXPECT_GE(static_cast<unsigned char>(c), ' ') << text;
  }
}

}  // namespace
}  // namespace attune
