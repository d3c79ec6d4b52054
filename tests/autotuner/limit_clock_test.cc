#include "autotuner/limit_clock.h"

#include <gtest/gtest.h>

namespace attune {
namespace {

using std::chrono::seconds;

class LimitClockTest : public ::testing::Test {
 protected:
  static LimitClock::Time at(int second) { return LimitClock::Time{} + seconds(second); }
  LimitClock clock_{2, at(0)};
};

TEST_F(LimitClockTest, CountsWhileEveryThreadCompiles) {
  clock_.compile_begins(at(1));
  EXPECT_EQ(clock_.seconds(at(3)), 0) << "one of two threads is free";
  clock_.compile_begins(at(3));
  clock_.compile_begins(at(4));
  clock_.compile_ends(at(6));  // one was waiting
  EXPECT_EQ(clock_.seconds(at(7)), 4);
  clock_.compile_ends(at(8));
  EXPECT_EQ(clock_.seconds(at(20)), 5);
}

TEST_F(LimitClockTest, WhatIsAtBothLimitsCountsOnce) {
  clock_.compile_begins(at(0));
  clock_.compile_begins(at(0));
  clock_.device_is(true, at(2));
  clock_.compile_ends(at(4));
  EXPECT_EQ(clock_.device_seconds(at(6)), 4);
  clock_.device_is(false, at(7));
  EXPECT_EQ(clock_.device_seconds(at(10)), 5);
  EXPECT_EQ(clock_.seconds(at(10)), 7);
}

TEST_F(LimitClockTest, CountsNothingAfterTheEnd) {
  clock_.compile_begins(at(0));
  clock_.compile_begins(at(0));
  clock_.stop(at(3));
  clock_.compile_ends(at(5));
  clock_.compile_begins(at(6));
  EXPECT_EQ(clock_.seconds(at(9)), 3);
}

}  // namespace
}  // namespace attune
