#include "runtime/stream_workspaces.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <set>
#include <thread>

namespace attune {
namespace {

CUstream_st* stream_of(std::uintptr_t value) {
  return reinterpret_cast<CUstream_st*>(value);
}

// On the fake GPU, whose device memory is the host's.
class StreamWorkspacesTest : public testing::Test {
 protected:
  StreamWorkspacesTest() {
    setenv("ATTUNE_CUDA_DRIVER", ATTUNE_FAKE_GPU, 1);
    const auto driver = Driver::open();
    EXPECT_TRUE(driver);
    context_.emplace(*Context::retain(**driver, 0));
    setup_.emplace(*Stream::create(*context_));
  }
  std::optional<Context> context_;
  std::optional<Stream> setup_;
};

TEST_F(StreamWorkspacesTest, EachStreamHasItsOwnAndKeepsIt) {
  StreamWorkspaces workspaces(*context_, *setup_, 300);
  EXPECT_EQ(workspaces.find(stream_of(64)), 0U) << "nothing is allocated yet";
  std::set<std::uint64_t> seen;
  for (std::uintptr_t stream = 0; stream < 50; ++stream) {
    std::uint64_t address = workspaces.find(stream_of(64 * stream));
    if (address == 0) {
      ASSERT_TRUE(workspaces.extend());
      address = workspaces.find(stream_of(64 * stream));
    }
    ASSERT_NE(address, 0U);
    EXPECT_EQ(address % 256, 0U);
    for (int i = 0; i < 300; ++i) EXPECT_EQ(reinterpret_cast<const char*>(address)[i], 0);
    EXPECT_TRUE(seen.insert(address).second) << "stream " << stream;
    EXPECT_TRUE(seen.lower_bound(address + 1) == seen.end() ||
                *seen.lower_bound(address + 1) >= address + 300);
  }
  for (std::uintptr_t stream = 0; stream < 50; ++stream) {
    EXPECT_EQ(seen.count(workspaces.find(stream_of(64 * stream))), 1U);
  }
}

TEST_F(StreamWorkspacesTest, TheDefaultStreamsNamesAreOneAndPerThreadOnesAreNot) {
  StreamWorkspaces workspaces(*context_, *setup_, 4096);
  ASSERT_TRUE(workspaces.extend());
  EXPECT_EQ(workspaces.find(nullptr), workspaces.find(stream_of(1)));
  std::uint64_t other = 0;
  std::thread([&] { other = workspaces.find(stream_of(2)); }).join();
  EXPECT_NE(workspaces.find(nullptr), other);
}

TEST_F(StreamWorkspacesTest, LargeWorkspacesAreAllocatedFourAtATime) {
  StreamWorkspaces workspaces(*context_, *setup_, std::int64_t{3} << 20);
  ASSERT_TRUE(workspaces.extend());
  for (const std::uintptr_t stream : {64, 128, 192, 256}) EXPECT_NE(workspaces.find(stream_of(stream)), 0U);
  EXPECT_EQ(workspaces.find(stream_of(320)), 0U);
}

}  // namespace
}  // namespace attune
