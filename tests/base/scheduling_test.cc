#include "base/scheduling.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <thread>

namespace attune {
namespace {

// As the kernel gives it: the length of the calling thread's turns, 0 where it knows of none.
std::uint64_t turn_ns() {
  std::array<char, 48> attributes{};
  EXPECT_EQ(syscall(SYS_sched_getattr, 0, attributes.data(), attributes.size(), 0), 0);
  std::uint64_t runtime = 0;
  std::memcpy(&runtime, attributes.data() + 24, sizeof runtime);
  return runtime;
}

TEST(Scheduling, TurnsAreOfTheThreadAndOfThoseThatItStarts) {
  const std::uint64_t before = turn_ns();
  if (before == 0) GTEST_SKIP() << "this kernel does not take wishes; Linux 6.12 does";
  std::thread([] {
    ASSERT_EQ(setpriority(PRIO_PROCESS, 0, 7), 0);
    ask_for_turns_of(std::chrono::milliseconds(20));
    EXPECT_EQ(turn_ns(), 20'000'000U);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 7) << "the share of the processor stays the same";
    std::thread([] { EXPECT_EQ(turn_ns(), 20'000'000U); }).join();
  }).join();
  EXPECT_EQ(turn_ns(), before);
}

}  // namespace
}  // namespace attune
