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

// As the kernel gives it: the calling thread's time slice, 0 where it tells of none.
std::uint64_t time_slice_ns() {
  std::array<char, 48> attributes{};
  if (syscall(SYS_sched_getattr, 0, attributes.data(), attributes.size(), 0) != 0) return 0;
  std::uint64_t runtime = 0;
  std::memcpy(&runtime, attributes.data() + 24, sizeof runtime);
  return runtime;
}

TEST(Scheduling, ATimeSliceIsOfTheThreadAndOfThoseThatItStarts) {
  const std::uint64_t before = time_slice_ns();
  if (before == 0) GTEST_SKIP() << "this kernel takes no requests; Linux 6.12 does";
  std::thread([] {
    ASSERT_EQ(setpriority(PRIO_PROCESS, 0, 7), 0);
    request_time_slice(std::chrono::milliseconds(20));
    EXPECT_EQ(time_slice_ns(), 20'000'000U);
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 7) << "the share of the processor stays the same";
    std::thread([] { EXPECT_EQ(time_slice_ns(), 20'000'000U); }).join();
  }).join();
  EXPECT_EQ(time_slice_ns(), before);
}

}  // namespace
}  // namespace attune
