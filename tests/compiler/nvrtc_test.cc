#include "compiler/nvrtc.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "tests/compiler/environment.h"

namespace attune {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr milliseconds kMinute{120'000};

std::shared_ptr<const Nvrtc> nvrtc() {
  static const auto opened = Nvrtc::open();
  if (!opened) throw std::runtime_error(opened.error().message);
  return *opened;
}

KernelSource doubled() {
  return {.name = "doubled.cu",
          .text = R"(#include "factor.h"
struct Argument { float* x; int n; };
extern "C" __global__ void doubled(const __grid_constant__ Argument a) {
  __shared__ float s[256];
  s[threadIdx.x] = a.x[threadIdx.x];
  __syncthreads();
  a.x[threadIdx.x] = kFactor * s[255 - threadIdx.x];
})",
          .headers = {{"factor.h", "constexpr float kFactor = 2.0f;"}},
          .options = {"-DUNUSED=1"},
          .entry = "doubled"};
}

// 64 values live across a loop.
KernelSource register_hungry() {
  return {.name = "hungry.cu",
          .text = R"(extern "C" __global__ void hungry(float* x) {
  float v[64];
#pragma unroll
  for (int i = 0; i < 64; i++) v[i] = x[i * 1024 + threadIdx.x];
  for (int k = 0; k < 100; k++) {
#pragma unroll
    for (int i = 0; i < 64; i++) v[i] = v[i] * v[(i + 1) % 64] + k;
  }
#pragma unroll
  for (int i = 0; i < 64; i++) x[i * 1024 + threadIdx.x] = v[i];
})",
          .headers = {},
          .options = {},
          .entry = "hungry"};
}

// 2^depth template instantiations in NVRTC's front end.
KernelSource endless(int depth) {
  return {.name = "endless.cu",
          .text = R"(template <int A, int B> struct G { static __device__ int g(int x) {
  if constexpr (A == 0) return x + B; else return G<A - 1, 2 * B>::g(x) + G<A - 1, 2 * B + 1>::g(x * 3); } };
extern "C" __global__ void endless(int* x) { x[0] = G<)" +
                  std::to_string(depth) + ", 0>::g(x[0]); }",
          .headers = {},
          .options = {},
          .entry = "endless"};
}

class NvrtcArch : public testing::TestWithParam<const char*> {};

TEST_P(NvrtcArch, CompilesAndReportsResources) {
  const auto kernel = nvrtc()->compile(doubled(), GetParam(), kMinute);
  ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
  EXPECT_EQ(kernel.cubin.substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_EQ(kernel.usage.static_smem_bytes, 1024);
  EXPECT_GT(kernel.usage.registers, 0);
  EXPECT_EQ(kernel.usage.spill_store_bytes, 0);
  EXPECT_THAT(kernel.warnings, IsEmpty());
  EXPECT_EQ(kernel.entry, "doubled");
  EXPECT_EQ(kernel.arch, GetParam());
  EXPECT_EQ(kernel.key, nvrtc()->key(doubled(), GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, NvrtcArch,
                         testing::Values("sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"),
                         [](const auto& test) { return std::string(test.param); });

TEST(Nvrtc, TellsItsVersionAndFile) {
  EXPECT_THAT(nvrtc()->version(), testing::StartsWith("13."));
  EXPECT_TRUE(std::filesystem::exists(nvrtc()->path())) << nvrtc()->path();
}

TEST(Nvrtc, SameSourceTwiceIsTheSameCubinAndLog) {
  const auto first = nvrtc()->compile(doubled(), "sm_90a", kMinute);
  const auto second = nvrtc()->compile(doubled(), "sm_90a", kMinute);
  ASSERT_EQ(first.outcome, CompileOutcome::ok);
  EXPECT_EQ(first.cubin_hash, second.cubin_hash);
  EXPECT_EQ(first.log, second.log);
}

TEST(Nvrtc, SyntaxErrorNamesTheLine) {
  auto source = doubled();
  source.text = "\nextern \"C\" __global__ void doubled(float* x) {\n  x[0] = 1.0f +;\n}\n";
  const auto kernel = nvrtc()->compile(source, "sm_80", kMinute);
  EXPECT_EQ(kernel.outcome, CompileOutcome::error);
  EXPECT_THAT(kernel.log, HasSubstr("doubled.cu(3): error"));
  EXPECT_THAT(kernel.cubin, IsEmpty());
}

TEST(Nvrtc, RefusesWhatHasNoSuchKernel) {
  auto source = doubled();
  source.entry = "double";  // a prefix of the real name is another name
  const auto kernel = nvrtc()->compile(source, "sm_80", kMinute);
  EXPECT_EQ(kernel.outcome, CompileOutcome::error);
  EXPECT_THAT(kernel.log, HasSubstr("no extern \"C\" __global__ function 'double'"));
}

TEST(Nvrtc, BadInputIsAnOutcome) {
  EXPECT_EQ(nvrtc()->compile(doubled(), "sm_1", kMinute).outcome, CompileOutcome::error);
  auto source = doubled();
  source.options = {"--no-such-option"};
  EXPECT_THAT(nvrtc()->compile(source, "sm_80", kMinute).log, HasSubstr("--no-such-option"));
  source = doubled();
  source.headers.clear();
  EXPECT_THAT(nvrtc()->compile(source, "sm_80", kMinute).log, HasSubstr("factor.h"));
  source = doubled();
  source.text += std::string("\0hidden", 7);
  EXPECT_THAT(nvrtc()->compile(source, "sm_80", kMinute).log, HasSubstr("NUL"));
  source.text = "";
  EXPECT_EQ(nvrtc()->compile(source, "sm_80", kMinute).outcome, CompileOutcome::error);
}

TEST(Nvrtc, SpillsAreReported) {
  auto source = register_hungry();
  EXPECT_EQ(nvrtc()->compile(source, "sm_90a", kMinute).usage.spill_store_bytes, 0);
  source.options = {"--maxrregcount=32"};
  const auto kernel = nvrtc()->compile(source, "sm_90a", kMinute);
  ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
  EXPECT_EQ(kernel.usage.registers, 32);
  EXPECT_GT(kernel.usage.spill_store_bytes, 0);
  EXPECT_GT(kernel.usage.spill_load_bytes, 0);
  EXPECT_GT(kernel.usage.stack_bytes, 0);
}

TEST(Nvrtc, IgnoredSetmaxnregIsAWarning) {
  auto source = doubled();
  source.text = R"(extern "C" __global__ void doubled(int* x) {
  if (threadIdx.x < 128) asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
  else asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
  x[threadIdx.x] = 1;
})";
  const auto kernel = nvrtc()->compile(source, "sm_90a", kMinute);
  ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
  EXPECT_THAT(kernel.warnings, ElementsAre("C7508"));
}

// The compile goes on behind our back: it is inside the front end, which cannot be interrupted and which
// NVRTC enters once at a time. The next one is told so, and the process must end in good order all the same.
TEST(NvrtcDeathTest, GivesUpInTimeAndExitsCleanly) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto run = [] {
    const auto kernel = nvrtc()->compile(endless(20), "sm_80", milliseconds(100));
    const bool given_up = kernel.outcome == CompileOutcome::timeout && kernel.cubin.empty() &&
                          nvrtc()->abandoned() == 1 && kernel.compile_ms >= 100 && kernel.compile_ms < 10'000;
    const auto next = nvrtc()->compile(doubled(), "sm_80", milliseconds(100));
    const bool explained = next.outcome == CompileOutcome::ok ||  // a later NVRTC may parse in parallel
                           next.log.find("perhaps not its own fault: 1 given up before") != std::string::npos;
    std::exit(given_up && explained ? 0 : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

// A thread that is still on its way out when the process ends meets an NVRTC that is being torn down.
TEST(Nvrtc, ACompileThatIsDoneLeavesNoThreadBehind) {
  const std::string fake = beside_test("libfake_nvrtc13.so");
  const ScopedVariable variable("ATTUNE_NVRTC", fake);
  const auto opened = Nvrtc::open();
  ASSERT_TRUE(opened) << opened.error().message;
  void* library = dlopen(fake.c_str(), RTLD_NOW | RTLD_NOLOAD);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto threads_ended = reinterpret_cast<int (*)()>(dlsym(library, "fake_nvrtc13_threads_ended"));
  ASSERT_NE(threads_ended, nullptr) << dlerror();
  for (const int compiles : {1, 2}) {
    const auto kernel = (*opened)->compile(doubled(), "sm_80", kMinute);
    EXPECT_THAT(kernel.log, HasSubstr("this one compiles nothing"));
    EXPECT_EQ(threads_ended(), compiles);
  }
  dlclose(library);
}

TEST(Nvrtc, KeyChangesWithEachIngredient) {
  std::vector<std::string> keys{kernel_key(doubled(), "sm_80", "13.0"),
                                kernel_key(doubled(), "sm_86", "13.0"),
                                kernel_key(doubled(), "sm_80", "13.1")};
  const auto with = [&](auto change) {
    auto source = doubled();
    change(source);
    keys.push_back(kernel_key(source, "sm_80", "13.0"));
  };
  with([](KernelSource& s) { s.name = "other.cu"; });
  with([](KernelSource& s) { s.text += ' '; });
  with([](KernelSource& s) { s.entry = "other"; });
  with([](KernelSource& s) { s.options = {}; });
  with([](KernelSource& s) { s.options = {"-DUNUSED=2"}; });
  with([](KernelSource& s) { s.options = {"-DUNUSED", "=1"}; });
  with([](KernelSource& s) { s.headers = {}; });
  with([](KernelSource& s) { s.headers[0].first = "factors.h"; });
  with([](KernelSource& s) { s.headers[0].second += ' '; });
  const std::set<std::string> distinct(keys.begin(), keys.end());
  EXPECT_EQ(distinct.size(), keys.size());
  EXPECT_EQ(keys[0], kernel_key(doubled(), "sm_80", "13.0"));
  EXPECT_EQ(keys[0].size(), 64U);
}

TEST(NvrtcOpen, MissingFileIsNamed) {
  const ScopedVariable variable("ATTUNE_NVRTC", "/nonexistent/libnvrtc.so.13");
  const auto opened = Nvrtc::open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, AllOf(HasSubstr("ATTUNE_NVRTC"),
                                            HasSubstr("/nonexistent/libnvrtc.so.13"), Not(HasSubstr("\n"))));
}

TEST(NvrtcOpen, AnotherMajorVersionIsRefused) {
  const ScopedVariable variable("ATTUNE_NVRTC", beside_test("libfake_nvrtc12.so"));
  const auto opened = Nvrtc::open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message,
              AllOf(HasSubstr("NVRTC 12.6"), HasSubstr("attune needs 13.x"), Not(HasSubstr("\n"))));
}

TEST(NvrtcOpen, AnotherLibraryIsRefused) {
  const ScopedVariable variable("ATTUNE_NVRTC", beside_test("libfake_cuda_driver.so"));
  const auto opened = Nvrtc::open();
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, HasSubstr("is not NVRTC"));
}

}  // namespace
}  // namespace attune
