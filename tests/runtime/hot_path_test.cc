// What a launch does on the host: it binds once, allocates nothing, and finds its device's context.
#include <atomic>
#include <cstring>
#include <thread>

#include "c_api_fixture.h"
#include "compiler/driver.h"
#include "counted_allocations.h"
#include "runtime/argument_cache.h"
#include "templates/hopper_params.cuh"

namespace attune {
namespace {

using testing::HasSubstr;

AttentionTensors tensors_at(std::uint64_t address) {
  const TensorStrides strides{.batch = 4096, .head = 128, .seq = 64};
  return {.q = address,
          .k = address + 16,
          .v = address + 32,
          .o = address + 48,
          .q_strides = strides,
          .k_strides = strides,
          .v_strides = strides,
          .o_strides = strides,
          .scale = 0.5F};
}

// An argument that tells of the tensors it belongs to.
KernelArgument argument_for(const AttentionTensors& tensors, std::size_t size = 512) {
  KernelArgument argument;
  argument.size = size;
  for (std::size_t i = 0; i + 8 <= size; i += 8) {
    const std::uint64_t word = tensors.q * 31 + i;
    std::memcpy(argument.bytes.data() + i, &word, 8);
  }
  return argument;
}

bool same(const KernelArgument& a, const KernelArgument& b) {
  return a.size == b.size && std::memcmp(a.bytes.data(), b.bytes.data(), a.size) == 0;
}

TEST(ArgumentCacheTest, GivesBackWhatWasStoredForTheseTensorsAlone) {
  ArgumentCache cache;
  KernelArgument read;
  EXPECT_FALSE(cache.find(tensors_at(0), read)) << "all zero is not an entry";
  EXPECT_FALSE(cache.find({}, read));
  const AttentionTensors first = tensors_at(0x1000);
  cache.store(first, argument_for(first));
  ASSERT_TRUE(cache.find(first, read));
  EXPECT_TRUE(same(read, argument_for(first)));
  const auto differs = [&](auto change) {
    AttentionTensors other = first;
    change(other);
    return !cache.find(other, read);
  };
  EXPECT_TRUE(differs([](auto& t) { t.q += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.k += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.v += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.o += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.lse += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.workspace += 16; }));
  EXPECT_TRUE(differs([](auto& t) { t.scale = 0.25F; }));
  EXPECT_TRUE(differs([](auto& t) { t.q_strides.batch += 8; }));
  EXPECT_TRUE(differs([](auto& t) { t.k_strides.head += 8; }));
  EXPECT_TRUE(differs([](auto& t) { t.v_strides.seq += 8; }));
  EXPECT_TRUE(differs([](auto& t) { t.o_strides.seq += 8; }));
}

TEST(ArgumentCacheTest, IsBoundedAndKeepsAModelsWorth) {
  ArgumentCache cache;
  int kept = 0;
  KernelArgument read;
  for (std::uint64_t i = 1; i <= 10'000; ++i)
    cache.store(tensors_at(i << 20), argument_for(tensors_at(i << 20)));
  for (std::uint64_t i = 1; i <= 10'000; ++i) {
    if (!cache.find(tensors_at(i << 20), read)) continue;
    EXPECT_TRUE(same(read, argument_for(tensors_at(i << 20))));
    ++kept;
  }
  EXPECT_GT(kept, ArgumentCache::kEntries / 2);
  EXPECT_LE(kept, ArgumentCache::kEntries);
}

// Few sets, many writers: an entry that is being replaced must never be given half old, half new.
TEST(ArgumentCacheTest, ReadersAndWritersAtOnceSeeWholeEntries) {
  ArgumentCache cache;
  std::atomic<bool> stop = false;
  std::atomic<long> torn = 0;
  std::atomic<long> hits = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      KernelArgument read;
      for (std::uint64_t n = t; !stop.load(); ++n) {
        const AttentionTensors tensors = tensors_at((n * 7 % 301 + 1) << 12);
        if (cache.find(tensors, read)) {
          ++hits;
          if (!same(read, argument_for(tensors))) ++torn;
        } else {
          cache.store(tensors, argument_for(tensors));
        }
      }
    });
  }
  while (hits.load() < 200'000) std::this_thread::yield();
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(torn.load(), 0);
}

class HotPathTest : public CApiTest {
 protected:
  void open_hopper() {
    plant(2048, /*with_cubin=*/true, "hopper");
    gpu_->argument_bytes = sizeof(HopperParams);
    ASSERT_EQ(CApiTest::open(database().c_str()), ATTUNE_OK) << attune_last_error();
  }
};

TEST_F(HotPathTest, TensorMapsAreEncodedOnceForTheSameTensors) {
  open_hopper();
  const attune_shape shape = c_shape();
  attune_tensors tensors = c_tensors(shape);
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(64)), ATTUNE_OK) << attune_last_error();
  }
  EXPECT_EQ(gpu_->maps_encoded, 3);
  tensors.k.data = reinterpret_cast<void*>(kAddress + 0x90000000);
  ASSERT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(64)), ATTUNE_OK);
  EXPECT_EQ(gpu_->maps_encoded, 6);
  ASSERT_EQ(gpu_->launches.size(), 6U);
  EXPECT_EQ(gpu_->launches[0].argument, gpu_->launches[4].argument);
  HopperParams moved{};
  std::memcpy(&moved, gpu_->launches[5].argument.data(), sizeof(moved));
  std::uint64_t k_address = 0;
  std::memcpy(&k_address, &moved.k, sizeof(k_address));
  EXPECT_EQ(k_address, kAddress + 0x90000000);
}

TEST_F(HotPathTest, APreparedLaunchAllocatesNothing) {
  open_hopper();
  const attune_shape shape = c_shape();
  const attune_tensors tensors = c_tensors(shape);
  ASSERT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(64)), ATTUNE_OK) << attune_last_error();
  gpu_->note_launches = false;  // the fake's own notes allocate
  const long before = allocations_of_this_thread();
  for (int i = 0; i < 100; ++i) attune_forward(library_, &shape, &tensors, 0, stream_of(64));
  EXPECT_EQ(allocations_of_this_thread(), before);
}

// The usual recipe for a CUDA graph: eager calls on the default stream, a warm-up on a side stream, the
// capture on a third. The kernel's workspaces are large, so that few are allocated at once.
TEST_F(HotPathTest, WarmedUpOnOneStreamAndCapturedOnAnother) {
  plant(2048, /*with_cubin=*/true, "hopper");
  gpu_->argument_bytes = sizeof(HopperParams);
  attune_shape shape = c_shape(32768);
  shape.q_len = 1;
  Shape decoding = model_shape(32768);
  decoding.q_len = 1;
  const auto tmpl = find_template("hopper");
  must_add(*open_store(), trial_of(**tmpl, (*tmpl)->default_config(decoding, h100()), decoding, 30));
  ASSERT_EQ(CApiTest::open(database().c_str()), ATTUNE_OK) << attune_last_error();
  const attune_kernel* kernel = nullptr;
  ASSERT_EQ(attune_prepare(library_, &shape, &kernel), ATTUNE_OK) << attune_last_error();
  attune_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(attune_explain(kernel, &info), ATTUNE_OK);
  ASSERT_GT(info.workspace_bytes, 512 << 10);

  const attune_tensors tensors = c_tensors(shape);
  const auto forward = [&](std::uintptr_t stream) {
    return attune_forward(library_, &shape, &tensors, 0, stream_of(stream));
  };
  EXPECT_EQ(forward(0), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(forward(64), ATTUNE_OK) << attune_last_error();
  gpu_->capturing = true;
  EXPECT_EQ(forward(128), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(forward(192), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(forward(256), ATTUNE_NOT_PREPARED);
  EXPECT_THAT(attune_last_error(), HasSubstr("launch the shape on this stream once before the capture"));
  gpu_->capturing = false;
  EXPECT_EQ(forward(256), ATTUNE_OK) << attune_last_error();
  gpu_->capturing = true;
  EXPECT_EQ(forward(256), ATTUNE_OK) << attune_last_error();
}

TEST_F(HotPathTest, AThreadWithoutAContextMayLaunch) {
  open_hopper();
  const attune_shape shape = c_shape();
  const attune_tensors tensors = c_tensors(shape);
  gpu_->current = -1;
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 0, nullptr), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(64)), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(gpu_->launches.size(), 2U);
  EXPECT_EQ(gpu_->contexts_pushed, 0) << "the caller's context is as it was";
}

TEST_F(HotPathTest, EachDeviceHasItsLibraryWhateverIsCurrent) {
  gpu_->devices = 2;
  plant();
  attune_library* second = nullptr;
  ASSERT_EQ(open(database().c_str(), 0, library_), ATTUNE_OK) << attune_last_error();
  ASSERT_EQ(open(database().c_str(), 1, second), ATTUNE_OK) << attune_last_error();
  gpu_->stream_device[stream_of(64)] = 0;
  gpu_->stream_device[stream_of(128)] = 1;
  const attune_shape shape = c_shape();
  const attune_tensors tensors = c_tensors(shape);
  for (const int current : {0, 1, -1}) {
    gpu_->current = current;
    EXPECT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(64)), ATTUNE_OK) << attune_last_error();
    EXPECT_EQ(attune_forward(second, &shape, &tensors, 0, stream_of(128)), ATTUNE_OK) << attune_last_error();
    EXPECT_EQ(attune_forward(second, &shape, &tensors, 0, nullptr), ATTUNE_OK) << attune_last_error();
    EXPECT_EQ(gpu_->launches.back().device, 1) << "the default stream is that of the library's device";
  }
  EXPECT_EQ(gpu_->launches.size(), 9U);
  attune_close(second);
}

// Each thread has a current context of its own, the library's device's or the other's, and meets new shapes
// too.
TEST_F(HotPathTest, TwoDevicesServeManyThreadsAtOnce) {
  constexpr int kThreads = 8, kRounds = 50;
  gpu_->devices = 2;
  plant();
  attune_library* libraries[2] = {};
  for (int device : {0, 1}) {
    ASSERT_EQ(open(database().c_str(), device, libraries[device]), ATTUNE_OK) << attune_last_error();
  }
  const auto stream_in = [](int thread) { return stream_of(64 * (static_cast<std::uintptr_t>(thread) + 1)); };
  for (int t = 0; t < kThreads; ++t) gpu_->stream_device[stream_in(t)] = t % 2;
  std::vector<std::string> failures(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto context = Context::retain(**Driver::open(), t / 2 % 2);
      if (!context || !context->make_current()) failures[t] = "no context";
      for (int i = 0; i < kRounds && failures[t].empty(); ++i) {
        const attune_shape shape = c_shape(2048 << i % 3);
        const attune_tensors tensors = c_tensors(shape);
        CUstream_st* stream = i % 2 == 0 ? stream_in(t) : nullptr;
        if (attune_forward(libraries[t % 2], &shape, &tensors, 0, stream) != ATTUNE_OK)
          failures[t] = attune_last_error();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  int launches[2] = {};
  for (const FakeLaunch& launch : gpu_->launches) {
    ++launches[launch.device];
    if (launch.stream == nullptr) continue;
    EXPECT_EQ(launch.device, gpu_->stream_device[launch.stream]);
  }
  for (const int of_device : launches) EXPECT_EQ(of_device, kThreads / 2 * kRounds);
  EXPECT_EQ(gpu_->modules, 2) << "the lengths share their code, the devices do not";
  for (attune_library* library : libraries) attune_close(library);
}

TEST_F(HotPathTest, AStreamOfAnotherDeviceIsRefused) {
  gpu_->devices = 2;
  open_planted();
  gpu_->stream_device[stream_of(128)] = 1;
  const attune_shape shape = c_shape();
  const attune_tensors tensors = c_tensors(shape);
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 0, stream_of(128)), ATTUNE_CUDA);
  EXPECT_THAT(attune_last_error(), HasSubstr("must be one of GPU 0"));
  EXPECT_TRUE(gpu_->launches.empty());
  EXPECT_EQ(gpu_->contexts_pushed, 0);
}

}  // namespace
}  // namespace attune
