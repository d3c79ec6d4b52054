// A shape that cannot be prepared costs one attempt, and is tried again where time can mend it.
#include "runtime/failed_shapes.h"

#include <atomic>
#include <thread>

#include "c_api_fixture.h"
#include "runtime/library.h"

namespace attune {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

class FailedShapesTest : public testing::Test {
 protected:
  void fail(const Shape& shape, attune_status code, seconds took = seconds(0)) {
    const auto began = time_;
    time_ += took;
    failed_.remember(shape, {code, "no"}, began);
  }
  bool fails(const Shape& shape) const { return failed_.find(shape).has_value(); }

  std::chrono::steady_clock::time_point time_{};
  FailedShapes failed_{[this] { return time_; }};
};

TEST_F(FailedShapesTest, AnswersForTheShapeAloneWithItsStatusAndText) {
  fail(model_shape(), ATTUNE_COMPILE);
  const auto failure = failed_.find(model_shape());
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, ATTUNE_COMPILE);
  EXPECT_EQ(failure->text, "no");
  EXPECT_FALSE(fails(model_shape(4096)));
}

TEST_F(FailedShapesTest, WhatTimeCanMendIsTriedAgain) {
  fail(model_shape(), ATTUNE_COMPILE);
  time_ += seconds(29);
  EXPECT_TRUE(fails(model_shape()));
  time_ += seconds(1);
  EXPECT_FALSE(fails(model_shape()));
  EXPECT_TRUE(failed_.knows(model_shape()));
}

TEST_F(FailedShapesTest, ALongAttemptTakesATenthOfTheTimeAtMost) {
  fail(model_shape(), ATTUNE_COMPILE, seconds(120));
  time_ += seconds(1199);
  EXPECT_TRUE(fails(model_shape()));
  time_ += seconds(1);
  EXPECT_FALSE(fails(model_shape()));
}

TEST_F(FailedShapesTest, WhatIsNotSupportedStaysSo) {
  fail(model_shape(), ATTUNE_NOT_SUPPORTED);
  time_ += std::chrono::hours(10'000);
  EXPECT_TRUE(fails(model_shape()));
}

TEST_F(FailedShapesTest, MemoryMayBeFreeAgainAtOnce) {
  fail(model_shape(), ATTUNE_OUT_OF_MEMORY);
  EXPECT_FALSE(fails(model_shape()));
}

TEST_F(FailedShapesTest, IsBounded) {
  fail(model_shape(8), ATTUNE_NOT_SUPPORTED);
  for (std::size_t i = 1; i < FailedShapes::kMost; ++i)
    fail(model_shape(8 + static_cast<std::int64_t>(i)), ATTUNE_NOT_SUPPORTED);
  EXPECT_TRUE(fails(model_shape(8)));
  fail(model_shape(100'000), ATTUNE_NOT_SUPPORTED);
  EXPECT_FALSE(fails(model_shape(8)));
  EXPECT_TRUE(fails(model_shape(100'000)));
}

// The record's kernel is refused by the driver, and there is no compiler for the default's.
class UnpreparableTest : public CApiTest {
 protected:
  UnpreparableTest() {
    setenv("ATTUNE_NVRTC", "/nonexistent/libnvrtc.so", 1);
    plant();
    gpu_->module_loads_to_fail = 100;
  }
  ~UnpreparableTest() override { unsetenv("ATTUNE_NVRTC"); }

  int attempts() const { return 100 - gpu_->module_loads_to_fail; }
};

TEST_F(UnpreparableTest, CostsOneAttemptHoweverOftenItIsAsked) {
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  ASSERT_EQ(forward(), ATTUNE_COMPILE);
  const std::string first = attune_last_error();
  EXPECT_THAT(first, HasSubstr("/nonexistent/libnvrtc.so"));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(forward(), ATTUNE_COMPILE);
    EXPECT_EQ(attune_last_error(), first);
  }
  const attune_shape shape = c_shape();
  EXPECT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_COMPILE);
  EXPECT_EQ(attempts(), 1);
}

TEST_F(UnpreparableTest, ThreadsThatAskAtOncePayForOneAttempt) {
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  constexpr int kThreads = 8, kShapes = 12;
  for (int n = 0; n < kShapes; ++n) {
    std::atomic<int> waiting = kThreads, refused = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (--waiting; waiting > 0;) std::this_thread::yield();  // all awake when the first one goes
        refused += forward(2048 + 512 * n) == ATTUNE_COMPILE ? 1 : 0;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(refused, kThreads);
  }
  EXPECT_EQ(attempts(), kShapes);
}

TEST_F(UnpreparableTest, ACaptureIsToldWhyAndIsNoFailureItself) {
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  gpu_->capturing = true;
  EXPECT_EQ(forward(), ATTUNE_NOT_PREPARED);
  EXPECT_EQ(attempts(), 0);
  gpu_->capturing = false;
  EXPECT_EQ(forward(), ATTUNE_COMPILE) << "tried, not remembered";
  gpu_->capturing = true;
  EXPECT_EQ(forward(), ATTUNE_COMPILE);
}

TEST_F(UnpreparableTest, IsTriedAgainLaterAndThenServed) {
  std::chrono::steady_clock::time_point time{};
  LibraryOptions options{
      .database = database(), .cubins = cubins(), .packs = "", .now = [&] { return time; }};
  std::unique_ptr<Library> library;
  const Reply opening = Library::open(std::move(options), library);
  ASSERT_TRUE(opening.ok()) << opening.text;
  const PreparedKernel* kernel = nullptr;
  EXPECT_EQ(library->prepare(model_shape(), kernel).code, ATTUNE_COMPILE);
  gpu_->module_loads_to_fail = 0;
  time += FailedShapes::kRetryAfter - seconds(1);
  EXPECT_EQ(library->prepare(model_shape(), kernel).code, ATTUNE_COMPILE);
  EXPECT_EQ(kernel, nullptr);
  time += seconds(1);
  EXPECT_TRUE(library->prepare(model_shape(), kernel).ok());
  EXPECT_NE(kernel, nullptr);
}

TEST_F(UnpreparableTest, IsWantedOnce) {
  std::chrono::steady_clock::time_point time{};
  LibraryOptions options{
      .database = database(), .cubins = cubins(), .packs = "", .queue_misses = true, .now = [&] {
        return time;
      }};
  std::unique_ptr<Library> library;
  ASSERT_TRUE(Library::open(std::move(options), library).ok());
  const PreparedKernel* kernel = nullptr;
  Shape ragged = model_shape(1000);  // no record's code serves it
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(library->prepare(ragged, kernel).code, ATTUNE_COMPILE);
    time += FailedShapes::kRetryAfter;
  }
  library.reset();  // waits for the queue
  const auto wanted = *open_store()->wanted();
  ASSERT_EQ(wanted.size(), 1U);
  EXPECT_EQ(wanted[0].shape, ragged);
  EXPECT_EQ(wanted[0].count, 1);
}

}  // namespace
}  // namespace attune
