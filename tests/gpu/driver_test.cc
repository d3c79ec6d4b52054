// The driver on a GPU: kernels compiled by NVRTC for the GPU at hand, loaded, launched, timed, captured.
#include "compiler/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "compiler/nvml.h"
#include "compiler/nvrtc.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kScaleText = R"(
struct Argument { const float* in; float* out; int n; float scale; };
extern "C" __global__ void scaled(const __grid_constant__ Argument a) {
  extern __shared__ float staged[];
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  staged[threadIdx.x] = i < a.n ? a.in[i] : 0.0f;
  __syncthreads();
  if (i < a.n) a.out[i] = a.scale * staged[threadIdx.x];
}
extern "C" __global__ void fault(const __grid_constant__ Argument a) {
  *reinterpret_cast<volatile int*>(8ull << 40) = a.n;
}
extern "C" __global__ void two_parameters(float* x, int n) { x[n] = 1.0f; }
extern "C" __global__ void no_parameter() {}
)";

struct Argument {
  std::uint64_t in = 0;
  std::uint64_t out = 0;
  int n = 0;
  float scale = 0;
};

template <class T>
T take(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
void check(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}
std::span<const std::byte> bytes_of(const Argument& argument) {
  return std::as_bytes(std::span(&argument, 1));
}

class GpuDriver : public testing::Test {
 protected:
  static constexpr int kCount = 10'000;

  void SetUp() override {
    const auto opened = Driver::open();
    if (!opened) GTEST_SKIP() << "no GPU: " << opened.error().message;
    driver_ = *opened;
    const auto count = driver_->device_count();
    if (!count || *count == 0) GTEST_SKIP() << "no GPU: the driver counts none";
    context_.emplace(take(Context::retain(*driver_, 0)));
    check(context_->make_current());
  }

  static std::string cubin(const char* arch_of_device, const std::string& text, const std::string& entry) {
    const auto nvrtc = take(Nvrtc::open());
    const auto kernel =
        nvrtc->compile({.name = "test.cu", .text = text, .headers = {}, .options = {}, .entry = entry},
                       arch_of_device, std::chrono::milliseconds(120'000));
    if (kernel.outcome != CompileOutcome::ok) throw std::runtime_error(kernel.log);
    return kernel.cubin;
  }

  Module module() {
    return take(
        Module::load(*context_, cubin(take(driver_->device_facts(0)).arch.c_str(), kScaleText, "scaled")));
  }

  static KernelLaunch launch_for(int count) {
    return {
        .grid = {static_cast<unsigned>((count + 255) / 256), 1, 1}, .block = {256, 1, 1}, .smem_bytes = 1024};
  }

  struct Data {
    DeviceBuffer in;
    DeviceBuffer out;
    std::vector<float> host;
    Argument argument(float scale) const {
      return {.in = in.address(), .out = out.address(), .n = kCount, .scale = scale};
    }
  };
  Data data(const Stream& stream) {
    Data made{take(DeviceBuffer::allocate(*context_, kCount * 4)),
              take(DeviceBuffer::allocate(*context_, kCount * 4)), std::vector<float>(kCount)};
    std::iota(made.host.begin(), made.host.end(), 1.0F);
    check(made.in.upload(bytes_of(made.host), stream));
    check(made.out.fill_words(0x7fc00000, stream));  // NaN
    return made;
  }
  static void expect_scaled(const Data& data, float scale, const Stream& stream) {
    std::vector<float> result(kCount);
    check(data.out.download(std::as_writable_bytes(std::span(result)), stream));
    check(stream.synchronize());
    for (std::size_t i = 0; i < result.size(); ++i) ASSERT_EQ(result[i], scale * data.host[i]) << i;
  }

  const Driver* driver_ = nullptr;
  std::optional<Context> context_;
};

TEST_F(GpuDriver, FactsArePlausible) {
  const auto facts = take(driver_->device_facts(0));
  EXPECT_FALSE(facts.name.empty());
  EXPECT_EQ(facts.arch, arch_for(facts.compute_major, facts.compute_minor));
  EXPECT_GE(facts.compute_major, 8);
  EXPECT_GT(facts.sm_count, 0);
  EXPECT_GE(facts.smem_per_block_bytes, 99 * 1024);
  EXPECT_GT(facts.smem_per_sm_bytes, facts.smem_per_block_bytes);
  EXPECT_EQ(facts.registers_per_sm, 65536);
  EXPECT_GE(facts.threads_per_sm, 1536);
  EXPECT_GT(facts.l2_bytes, 1 << 20);
  EXPECT_GT(facts.memory_bytes, std::int64_t{1} << 32);
  EXPECT_GE(facts.driver_version, 12040);
  EXPECT_FALSE(facts.driver.empty());
  EXPECT_FALSE(driver_->device_facts(1000));
  EXPECT_EQ(take(Driver::open()), driver_);
}

TEST_F(GpuDriver, LaunchesAndKnowsItsKernel) {
  const auto loaded = module();
  const auto kernel = take(loaded.kernel("scaled"));
  EXPECT_GT(kernel.attributes().registers, 0);
  EXPECT_EQ(kernel.attributes().local_bytes, 0);
  EXPECT_EQ(kernel.attributes().argument_bytes, static_cast<std::int64_t>(sizeof(Argument)));
  EXPECT_GE(take(kernel.ctas_per_sm(256, 1024)), 4);
  const auto stream = take(Stream::create(*context_));
  const auto buffers = data(stream);
  check(kernel.launch(launch_for(kCount), bytes_of(buffers.argument(3.0F)), stream));
  expect_scaled(buffers, 3.0F, stream);
  EXPECT_TRUE(take(stream.idle()));
}

TEST_F(GpuDriver, RefusesArgumentsOfAnotherSize) {
  const auto loaded = module();
  const auto kernel = take(loaded.kernel("scaled"));
  const auto stream = take(Stream::create(*context_));
  const std::vector<std::byte> short_argument(8);
  EXPECT_THAT(kernel.launch(launch_for(1), short_argument, stream).error().message,
              HasSubstr("24 bytes, but 8"));
  EXPECT_THAT(loaded.kernel("two_parameters").error().message, HasSubstr("more than one parameter"));
  const auto without = take(loaded.kernel("no_parameter"));
  check(without.launch({}, {}, stream));
  check(stream.synchronize());
}

TEST_F(GpuDriver, ErrorsTellTheCallAndTheCode) {
  const auto loaded = module();
  const auto missing = loaded.kernel("nobody");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().device_code, 500);
  EXPECT_THAT(missing.error().message,
              AllOf(HasSubstr("cuModuleGetFunction of 'nobody'"), HasSubstr("CUDA_ERROR_NOT_FOUND (500)"),
                    HasSubstr("compiler/driver")));
  EXPECT_FALSE(is_sticky(missing.error()));
  EXPECT_FALSE(Module::load(*context_, "not a cubin"));
  const auto huge = DeviceBuffer::allocate(*context_, std::int64_t{1} << 50);
  ASSERT_FALSE(huge);
  EXPECT_THAT(huge.error().message, AllOf(HasSubstr("1125899906842624 bytes"), HasSubstr("OUT_OF_MEMORY")));
  auto kernel = take(loaded.kernel("scaled"));
  EXPECT_FALSE(kernel.set_max_dynamic_smem(std::int64_t{10} << 20));
  check(kernel.set_max_dynamic_smem(take(driver_->device_facts(0)).smem_per_block_bytes));
}

TEST_F(GpuDriver, LaunchesClustersWithDependentLaunchAndLargeSmem) {
  if (take(driver_->device_facts(0)).compute_major < 9) GTEST_SKIP() << "clusters need sm_90";
  const auto loaded = module();
  auto kernel = take(loaded.kernel("scaled"));
  const auto stream = take(Stream::create(*context_));
  const auto buffers = data(stream);
  auto launch = launch_for(kCount);
  launch.grid[0] = 40;
  launch.cluster = {2, 1, 1};
  launch.smem_bytes = 100 * 1024;
  launch.programmatic_dependent_launch = true;
  EXPECT_FALSE(kernel.launch(launch, bytes_of(buffers.argument(2.0F)), stream));  // not opted in
  check(kernel.set_max_dynamic_smem(launch.smem_bytes));
  EXPECT_GT(take(kernel.max_active_clusters(launch)), 0);
  check(kernel.launch(launch, bytes_of(buffers.argument(2.0F)), stream));
  expect_scaled(buffers, 2.0F, stream);
}

TEST_F(GpuDriver, EventsMeasureAndGraphsReplay) {
  const auto loaded = module();
  const auto kernel = take(loaded.kernel("scaled"));
  const auto stream = take(Stream::create(*context_));
  const auto buffers = data(stream);
  const auto graph = take(Graph::capture(stream, [&]() -> Status {
    EXPECT_TRUE(take(stream.capturing()));
    for (int i = 0; i < 10; ++i) {
      if (auto status = kernel.launch(launch_for(kCount), bytes_of(buffers.argument(5.0F)), stream);
          !status) {
        return status;
      }
    }
    return {};
  }));
  EXPECT_FALSE(take(stream.capturing()));
  const auto start = take(Event::create(*context_));
  const auto end = take(Event::create(*context_));
  check(start.record(stream));
  check(graph.launch(stream));
  check(end.record(stream));
  check(end.synchronize());
  EXPECT_TRUE(take(end.done()));
  const double us = take(Event::elapsed_us(start, end));
  EXPECT_GT(us, 1.0);
  EXPECT_LT(us, 1e6);
  expect_scaled(buffers, 5.0F, stream);
  const auto failed = Graph::capture(stream, []() -> Status { return fail("no"); });
  EXPECT_EQ(failed.error().message, "no");
  EXPECT_FALSE(take(stream.capturing()));
}

TEST_F(GpuDriver, BuffersKeepTheirBounds) {
  const auto stream = take(Stream::create(*context_));
  const auto buffer = take(DeviceBuffer::allocate(*context_, 100));
  std::vector<std::byte> host(100);
  EXPECT_FALSE(buffer.upload(host, stream, 1));
  EXPECT_FALSE(buffer.download(host, stream, -1));
  check(buffer.fill(0xab, stream));
  check(buffer.upload(std::span(host).first(10), stream, 90));
  const auto copy = take(DeviceBuffer::allocate(*context_, 100));
  check(copy.copy_from(buffer, stream));
  auto pinned = take(PinnedBuffer::allocate(*context_, 100));
  check(copy.download(pinned.bytes(), stream));
  check(stream.synchronize());
  EXPECT_EQ(pinned.bytes()[89], std::byte{0xab});
  EXPECT_EQ(pinned.bytes()[90], std::byte{0});
  EXPECT_EQ(take(DeviceBuffer::allocate(*context_, 0)).address(), 0U);
}

TEST_F(GpuDriver, TensorMapsAreEncoded) {
  if (take(driver_->device_facts(0)).compute_major < 9) GTEST_SKIP() << "TMA needs sm_90";
  const auto buffer = take(DeviceBuffer::allocate(*context_, 1 << 20));
  TensorMapSpec spec{.address = buffer.address(),
                     .element = TensorElement::bf16,
                     .rank = 2,
                     .sizes = {128, 512},
                     .stride_bytes = {256},
                     .box = {64, 64},
                     .swizzle = TensorSwizzle::b128};
  const auto map = take(encode_tensor_map(*driver_, spec));
  EXPECT_NE(map.bytes, TensorMap{}.bytes);
  spec.address += 8;  // not a multiple of 16
  EXPECT_FALSE(encode_tensor_map(*driver_, spec));
  spec.rank = 6;
  EXPECT_THAT(encode_tensor_map(*driver_, spec).error().message, HasSubstr("rank 1 to 5"));
}

TEST_F(GpuDriver, ScopeRestoresTheFormerContext) {
  {
    const Context::Scope scope(*context_);
    ASSERT_TRUE(scope.status());
    EXPECT_TRUE(context_->synchronize());
  }
  EXPECT_TRUE(context_->synchronize());  // still current, as before the scope
}

TEST_F(GpuDriver, NvmlTellsTheClock) {
  const auto nvml = Nvml::open(take(driver_->pci_bus_id(0)));
  if (!nvml) GTEST_SKIP() << nvml.error().message;
  const auto state = nvml->sample();
  EXPECT_GT(state.sm_clock_mhz, 0);
  EXPECT_GE(state.max_sm_clock_mhz, state.sm_clock_mhz);
  EXPECT_GT(state.power_w, 0);
}

// In a process of its own, which it poisons.
TEST_F(GpuDriver, FaultIsStickyAndNamed) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [this] {
    const auto loaded = module();
    const auto kernel = take(loaded.kernel("fault"));
    const auto stream = take(Stream::create(*context_));
    check(kernel.launch({}, bytes_of(Argument{}), stream));
    const auto status = stream.synchronize();
    if (status) std::_Exit(1);
    if (!is_sticky(status.error()) || !is_sticky(context_->synchronize().error())) std::_Exit(2);
    if (status.error().message.find(
            "cuStreamSynchronize(handle_) failed: CUDA_ERROR_ILLEGAL_ADDRESS (700)") != 0) {
      std::_Exit(3);
    }
    std::exit(0);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace attune
