#include "compiler/compile_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <future>
#include <mutex>
#include <semaphore>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/compiler/environment.h"

namespace attune {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kLong{120'000};

KernelSource source(int number) {
  return {
      .name = "kernel.cu",
      .text = "extern \"C\" __global__ void k(int* x) { x[threadIdx.x] = " + std::to_string(number) + "; }",
      .headers = {},
      .options = {},
      .entry = "k"};
}

// An NVRTC whose compiles take as long as the test wants: each waits for a permit.
class HeldNvrtc : public Nvrtc {
 public:
  std::string version() const override { return "13.0"; }
  std::string path() const override { return ""; }
  std::string key(const KernelSource& source, const std::string& arch) const override {
    return kernel_key(source, arch, version());
  }
  CompiledKernel compile(const KernelSource& source, const std::string& arch, milliseconds) const override {
    started.release();
    permits.acquire();
    const std::lock_guard lock(mutex);
    order.push_back(source.text);
    CompiledKernel made;
    made.outcome = CompileOutcome::ok;
    made.key = key(source, arch);
    made.entry = source.entry;
    made.arch = arch;
    made.compile_ms = 1000;
    return made;
  }
  mutable std::counting_semaphore<> started{0};
  mutable std::counting_semaphore<> permits{0};
  mutable std::mutex mutex;
  mutable std::vector<std::string> order;
};

class CompilePoolTest : public testing::Test {
 protected:
  CubinStore store() {
    auto opened = CubinStore::open(folder_.path());
    if (!opened) throw std::runtime_error(opened.error().message);
    return *opened;
  }
  static std::shared_ptr<const Nvrtc> nvrtc() {
    auto opened = Nvrtc::open();
    if (!opened) throw std::runtime_error(opened.error().message);
    return *opened;
  }
  // Submits all and waits for all, in order of submission.
  static std::vector<CompiledKernel> compile_all(CompilePool& pool,
                                                 const std::vector<KernelSource>& sources) {
    std::vector<std::promise<CompiledKernel>> promises(sources.size());
    for (std::size_t i = 0; i < sources.size(); ++i) {
      pool.submit(sources[i], "sm_80",
                  [&promise = promises[i]](CompiledKernel done) { promise.set_value(std::move(done)); });
    }
    std::vector<CompiledKernel> done;
    for (auto& promise : promises) done.push_back(promise.get_future().get());
    return done;
  }
  ScopedFolder folder_;
};

TEST_F(CompilePoolTest, GoesOnAfterFailuresAndCompilesNothingTwice) {
  std::vector<KernelSource> sources;
  for (int i = 0; i < 12; ++i) {
    sources.push_back(source(i));
    if (i % 3 == 0) sources.back().text += " syntax error";
  }
  std::vector<CompiledKernel> first;
  {
    CompilePool pool(nvrtc(), store(), 3, kLong);
    EXPECT_EQ(pool.threads(), 3);
    first = compile_all(pool, sources);
    EXPECT_EQ(pool.stats().compiled, 12);
    EXPECT_EQ(pool.stats().from_store, 0);
    EXPECT_GT(pool.stats().compile_seconds, 0);
  }
  CompilePool pool(nvrtc(), store(), 3, kLong);
  const auto second = compile_all(pool, sources);
  EXPECT_EQ(pool.stats().compiled, 0);
  EXPECT_EQ(pool.stats().from_store, 12);
  for (std::size_t i = 0; i < sources.size(); ++i) {
    EXPECT_EQ(first[i].outcome, i % 3 == 0 ? CompileOutcome::error : CompileOutcome::ok) << first[i].log;
    EXPECT_EQ(second[i].outcome, first[i].outcome);
    EXPECT_EQ(second[i].cubin, first[i].cubin);
    EXPECT_EQ(second[i].usage, first[i].usage);
    EXPECT_TRUE(second[i].from_store);
    EXPECT_EQ(first[i].store_error, "");
  }
}

TEST_F(CompilePoolTest, CompilesOnTheCallersThreadToo) {
  CompilePool pool(nvrtc(), store(), 1, kLong);
  EXPECT_EQ(pool.compile(source(1), "sm_90a").outcome, CompileOutcome::ok);
  EXPECT_TRUE(pool.compile(source(1), "sm_90a").from_store);
  EXPECT_EQ(pool.stats().compiled, 1);
}

TEST_F(CompilePoolTest, IsFirstInFirstOut) {
  const auto held = std::make_shared<HeldNvrtc>();
  CompilePool pool(held, store(), 1, kLong);
  held->permits.release(5);
  const std::vector<KernelSource> sources{source(3), source(1), source(2), source(5), source(4)};
  compile_all(pool, sources);
  std::vector<std::string> texts;
  for (const auto& source : sources) texts.push_back(source.text);
  EXPECT_EQ(held->order, texts);
}

TEST_F(CompilePoolTest, SameKernelAtTheSameTimeIsCompiledOnce) {
  const auto held = std::make_shared<HeldNvrtc>();
  CompilePool pool(held, store(), 2, kLong);
  std::vector<std::promise<CompiledKernel>> promises(3);
  const auto submit = [&](int number, int slot) {
    pool.submit(source(number), "sm_80", [&promises, slot](CompiledKernel done) {
      promises[static_cast<std::size_t>(slot)].set_value(std::move(done));
    });
  };
  submit(1, 0);
  held->started.acquire();
  submit(1, 1);  // taken by the second thread, which finds it running and goes on to the next
  submit(2, 2);
  held->started.acquire();
  held->permits.release(2);
  std::vector<CompiledKernel> done;
  for (auto& promise : promises) done.push_back(promise.get_future().get());
  EXPECT_EQ(held->order.size(), 2U);
  EXPECT_FALSE(done[0].from_store);
  EXPECT_TRUE(done[1].from_store);
  EXPECT_EQ(pool.stats().compiled, 2);
  EXPECT_EQ(pool.stats().from_store, 1);
  EXPECT_DOUBLE_EQ(pool.stats().compile_seconds, 2.0);
}

TEST_F(CompilePoolTest, DestructorDropsTheQueueAndWaitsForWhatRuns) {
  const auto held = std::make_shared<HeldNvrtc>();
  std::atomic<int> done{0};
  std::binary_semaphore dropped{0};
  auto pool = std::make_unique<CompilePool>(held, store(), 1, kLong);
  pool->submit(source(0), "sm_80", [&](CompiledKernel) { ++done; });
  held->started.acquire();
  pool->submit(source(1), "sm_80", [&, token = std::shared_ptr<void>(nullptr, [&](void*) {
                                         dropped.release();
                                       })](CompiledKernel) { ++done; });
  std::thread destroyer([&] { pool.reset(); });
  const bool was_dropped = dropped.try_acquire_for(std::chrono::seconds(60));
  held->permits.release(2);
  destroyer.join();
  EXPECT_TRUE(was_dropped);
  EXPECT_EQ(done, 1);
}

TEST_F(CompilePoolTest, WithoutNvrtcGivesWhatTheStoreHas) {
  { CompilePool(nvrtc(), store(), 1, kLong).compile(source(1), "sm_80"); }
  CompilePool pool(nullptr, store(), 1, kLong);
  EXPECT_EQ(pool.compile(source(1), "sm_80").outcome, CompileOutcome::ok);
  const auto missing = pool.compile(source(2), "sm_80");
  EXPECT_EQ(missing.outcome, CompileOutcome::error);
  EXPECT_THAT(missing.log, HasSubstr("no NVRTC"));
  EXPECT_EQ(pool.stats().compiled, 0);
  EXPECT_EQ(compile_all(pool, {source(1)})[0].outcome, CompileOutcome::ok);
}

TEST_F(CompilePoolTest, FullStoreDoesNotLoseTheCompile) {
  const auto full = [](int, const void*, std::size_t size) -> ssize_t {
    if (size == 0) return 0;
    errno = ENOSPC;
    return -1;
  };
  const auto opened = CubinStore::open(folder_.path(), {.write = full, .fsync = ::fsync});
  ASSERT_TRUE(opened);
  CompilePool pool(nvrtc(), *opened, 1, kLong);
  const auto kernel_without_home = pool.compile(source(1), "sm_80");
  EXPECT_EQ(kernel_without_home.outcome, CompileOutcome::ok);
  EXPECT_FALSE(kernel_without_home.cubin.empty());
  EXPECT_THAT(kernel_without_home.store_error, HasSubstr("No space left"));
}

}  // namespace
}  // namespace attune
