#include "compiler/nvrtc_processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "tests/compiler/environment.h"

namespace attune {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr milliseconds kPatient{120'000};

std::shared_ptr<const Nvrtc> loaded() {
  static const auto opened = Nvrtc::open();
  if (!opened) throw std::runtime_error(opened.error().message);
  return *opened;
}

std::shared_ptr<const Nvrtc> in_processes() {
  return nvrtc_in_processes(loaded(), {beside_test("compile_worker")});
}

std::shared_ptr<const Nvrtc> in_shells(const std::string& script) {
  return nvrtc_in_processes(loaded(), {"/bin/sh", "-c", script});
}

KernelSource scaled(int factor) {
  return {.name = "scaled.cu",
          .text =
              "#include \"factor.h\"\n"
              "extern \"C\" __global__ void scaled(float* x) { x[threadIdx.x] *= kFactor; }",
          .headers = {{"factor.h", fmt::format("constexpr float kFactor = {};", factor)}},
          .options = {"-DUNUSED=1"},
          .entry = "scaled"};
}

TEST(NvrtcProcesses, MakesTheSameKernelAsInThisProcess) {
  const auto here = loaded()->compile(scaled(3), "sm_90a", kPatient);
  const auto there = in_processes()->compile(scaled(3), "sm_90a", kPatient);
  ASSERT_EQ(there.outcome, CompileOutcome::ok) << there.log;
  EXPECT_EQ(there.cubin, here.cubin);
  EXPECT_EQ(there.cubin_hash, here.cubin_hash);
  EXPECT_EQ(there.key, here.key);
  EXPECT_EQ(there.entry, here.entry);
  EXPECT_EQ(there.arch, here.arch);
  EXPECT_EQ(there.usage, here.usage);
  EXPECT_EQ(there.log, here.log);
  EXPECT_GT(there.compile_ms, 0);
}

TEST(NvrtcProcesses, TellsWhatIsWrongWithASource) {
  KernelSource source = scaled(3);
  source.text += "\nint broken = ;";
  const auto nvrtc = in_processes();
  const auto kernel = nvrtc->compile(source, "sm_90a", kPatient);
  EXPECT_EQ(kernel.outcome, CompileOutcome::error);
  EXPECT_THAT(kernel.log, HasSubstr("scaled.cu(3)"));
  EXPECT_EQ(nvrtc->compile(scaled(3), "sm_90a", kPatient).outcome, CompileOutcome::ok);
}

TEST(NvrtcProcesses, CompilesSeveralAtOnce) {
  const auto nvrtc = in_processes();
  std::vector<CompiledKernel> kernels(4);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        kernels[static_cast<std::size_t>(i)] = nvrtc->compile(scaled(i + 2), "sm_90a", kPatient);
      });
    }
  }
  for (const auto& kernel : kernels) EXPECT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
  EXPECT_NE(kernels[0].cubin_hash, kernels[1].cubin_hash);
}

TEST(NvrtcProcesses, ACompilerThatCrashesCostsOneKernel) {
  const auto nvrtc = in_shells("read -r line; kill -SEGV $$");
  for (int i = 0; i < 2; ++i) {  // the second has a process of its own
    const auto kernel = nvrtc->compile(scaled(3), "sm_90a", kPatient);
    EXPECT_EQ(kernel.outcome, CompileOutcome::error);
    EXPECT_THAT(kernel.log, HasSubstr("signal 11"));
  }
}

TEST(NvrtcProcesses, ACompileWithoutEndIsKilled) {
  const auto kernel =
      in_shells("read -r line; exec sleep 1000")->compile(scaled(3), "sm_90a", milliseconds(50));
  EXPECT_EQ(kernel.outcome, CompileOutcome::timeout);
  EXPECT_THAT(kernel.log, HasSubstr("given up after 50 ms"));
}

TEST(NvrtcProcesses, AnAnswerThatIsNoneIsAnError) {
  for (const char* answer : {"hello", R"({"cubin": 7})", "[]"}) {
    const auto kernel = in_shells(fmt::format("read -r line; echo '{}'; read -r line", answer))
                            ->compile(scaled(3), "sm_90a", kPatient);
    EXPECT_EQ(kernel.outcome, CompileOutcome::error);
    EXPECT_THAT(kernel.log, HasSubstr("unreadable"));
  }
}

TEST(NvrtcProcesses, AProgramThatIsNotThereIsNamed) {
  const auto kernel =
      nvrtc_in_processes(loaded(), {"/nowhere/attune"})->compile(scaled(3), "sm_90a", kPatient);
  EXPECT_EQ(kernel.outcome, CompileOutcome::error);
  EXPECT_THAT(kernel.log, HasSubstr("/nowhere/attune"));
}

}  // namespace
}  // namespace attune
