// The driver without a GPU. With one: tests/gpu/driver_test.cc.
#include "compiler/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/compiler/environment.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

TEST(DriverWithoutGpu, SaysThatThereIsNoDriver) {
  if (Driver::open()) GTEST_SKIP() << "this machine has a CUDA driver";
  const auto opened = Driver::open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, AllOf(HasSubstr("libcuda.so.1"), Not(HasSubstr("\n"))));
}

TEST(DriverWithoutGpu, NamesTheFileThatIsMissing) {
  if (Driver::open()) GTEST_SKIP() << "this machine has a CUDA driver";
  const ScopedVariable variable("ATTUNE_CUDA_DRIVER", "/nonexistent/libcuda.so.1");
  EXPECT_THAT(Driver::open().error().message,
              AllOf(HasSubstr("no CUDA driver"), HasSubstr("/nonexistent/libcuda.so.1")));
}

TEST(DriverWithoutGpu, RefusesAnotherLibrary) {
  if (Driver::open()) GTEST_SKIP() << "this machine has a CUDA driver";
  const ScopedVariable variable("ATTUNE_CUDA_DRIVER", beside_test("libfake_nvrtc12.so"));
  EXPECT_THAT(Driver::open().error().message, HasSubstr("is no CUDA driver"));
}

TEST(DriverWithoutGpu, ErrorsHaveCallNameNumberDescriptionAndPlace) {
  if (Driver::open()) GTEST_SKIP() << "this machine has a CUDA driver";
  const ScopedVariable variable("ATTUNE_CUDA_DRIVER", beside_test("libfake_cuda_driver.so"));
  const auto opened = Driver::open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message,
              MatchesRegex(
                  "cuInit\\(0\\) failed: CUDA_ERROR_NO_DEVICE \\(100\\), no CUDA-capable device is detected, "
                  "at compiler/driver_api.cc:[0-9]+"));
  EXPECT_EQ(opened.error().device_code, 100);
  EXPECT_FALSE(is_sticky(opened.error()));
}

TEST(DriverError, FaultsAreSticky) {
  for (const int code : {700, 702, 714, 715, 716, 717, 718, 719}) EXPECT_TRUE(is_sticky(code)) << code;
  for (const int code : {0, 1, 2, 100, 200, 209, 600, 701}) EXPECT_FALSE(is_sticky(code)) << code;
  EXPECT_FALSE(is_sticky(fail("no driver involved")));
}

}  // namespace
}  // namespace attune
