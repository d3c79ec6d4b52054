#include "cli/restrict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Restrict, ValuesAreSplitAtCommasOutsideLists) {
  const auto allowed = parse_restrictions({"num_warps=4,8", "loop_order=[0,1],[1,0]", "evict_q=,first"});
  ASSERT_TRUE(allowed);
  EXPECT_THAT(allowed->at("num_warps"), ElementsAre("4", "8"));
  EXPECT_THAT(allowed->at("loop_order"), ElementsAre("[0,1]", "[1,0]"));
  EXPECT_THAT(allowed->at("evict_q"), ElementsAre("", "first"));
}

TEST(Restrict, WordsWithoutAxisOrValueAreRefused) {
  EXPECT_THAT(parse_restrictions({"num_warps"}).error().message, HasSubstr("must be AXIS=VALUE"));
  EXPECT_THAT(parse_restrictions({"=4"}).error().message, HasSubstr("must be AXIS=VALUE"));
}

}  // namespace
}  // namespace attune::cli
