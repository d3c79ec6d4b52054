#include "cli/text.h"

#include <gtest/gtest.h>

namespace attune::cli {
namespace {

TEST(Text, ShowsThreeSignificantDigits) {
  EXPECT_EQ(significant(0), "0");
  EXPECT_EQ(significant(2.716), "2.72");
  EXPECT_EQ(significant(404.7), "405");
  EXPECT_EQ(significant(12345.6), "12346");
  EXPECT_EQ(significant(0.01448), "0.0145");
  EXPECT_EQ(significant(0.1448), "0.145");
  EXPECT_EQ(significant(-2.716), "-2.72");
}

TEST(Text, RoundingUpADigitKeepsThree) {
  EXPECT_EQ(significant(9.996), "10.0");
  EXPECT_EQ(significant(99.96), "100");
  EXPECT_EQ(significant(0.9996), "1.00");
}

TEST(Text, NamesUnits) {
  EXPECT_EQ(milliseconds(2716.9), "2.72 ms");
  EXPECT_EQ(byte_size(512), "512 B");
  EXPECT_EQ(byte_size(1500000), "1.50 MB");
  EXPECT_EQ(byte_size(999600), "1.00 MB");
  EXPECT_EQ(duration(0.4123), "0.412 s");
  EXPECT_EQ(duration(200), "3 min 20 s");
  EXPECT_EQ(duration(3900), "1 h 5 min");
}

TEST(Text, CountsWithNumberAndWord) {
  EXPECT_EQ(count_of(1, "trial", "trials"), "1 trial");
  EXPECT_EQ(count_of(1234567, "trial", "trials"), "1,234,567 trials");
  EXPECT_EQ(grouped(100), "100");
}

TEST(Text, TflopsAreFlopsOverTime) {
  EXPECT_DOUBLE_EQ(tflops(1e12, 1e6), 1.0);
}

TEST(Text, TableColumnsLineUp) {
  EXPECT_EQ(table({{"a", "bb"}, {"ccc", "d"}}), "a    bb\nccc  d\n");
}

}  // namespace
}  // namespace attune::cli
