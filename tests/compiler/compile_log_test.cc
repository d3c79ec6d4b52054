#include "compiler/compile_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// Captured from NVRTC 13.0, sm_90a; the device functions' spills are planted.
constexpr const char* kTwoKernels = R"(ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'entry' for 'sm_90a'
ptxas info    : Function properties for entry
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 1 barriers, 1024 bytes smem
ptxas info    : Compile time = 9.766 ms
ptxas info    : Function properties for _Z6helperf
ptxas         .     16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Compiling entry function 'other' for 'sm_90a'
ptxas info    : Function properties for other
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 1 barriers, 400 bytes smem, 360 bytes cmem[0]
ptxas info    : Compile time = 2.584 ms
ptxas info    : Function properties for _Z5helper2f
ptxas         .     24 bytes stack frame, 12 bytes spill stores, 12 bytes spill loads
)";

constexpr const char* kSpilled =
    R"(ptxas info    : Overriding maximum register limit 256 for 'entry' with  32 of maxrregcount option
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'entry' for 'sm_90a'
ptxas info    : Function properties for entry
ptxas         .     280 bytes stack frame, 496 bytes spill stores, 508 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 280 bytes cumulative stack size
ptxas info    : Compile time = 30.644 ms
)";

TEST(CompileLog, TakesTheEntrysFigures) {
  EXPECT_EQ(parse_resources(kTwoKernels, "entry"),
            (ResourceUsage{.registers = 10, .static_smem_bytes = 1024}));
  EXPECT_EQ(parse_resources(kTwoKernels, "other"),
            (ResourceUsage{.registers = 12, .static_smem_bytes = 400}));
  EXPECT_EQ(parse_resources(kTwoKernels, "ent"), ResourceUsage{});
}

TEST(CompileLog, SeesSpills) {
  EXPECT_EQ(parse_resources(kSpilled, "entry"),
            (ResourceUsage{
                .registers = 32, .spill_store_bytes = 496, .spill_load_bytes = 508, .stack_bytes = 280}));
}

TEST(CompileLog, NoReportMeansNoRegisters) {
  EXPECT_EQ(parse_resources("", "entry"), ResourceUsage{});
  EXPECT_EQ(parse_resources("Compiling entry function 'entry\nptxas info : Used registers", "entry"),
            ResourceUsage{});
}

TEST(CompileLog, ListsAdvisoryCodesOnceButTheHarmlessOne) {
  EXPECT_THAT(
      parse_warnings("ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to "
                     "determine register count at entry.\n"
                     "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async serialized\n"
                     "ptxas info    : (C7519) warpgroup.arrive is injected in around line 73\n"
                     "ptxas info    : (C7510) Potential Performance Loss: again\n"),
      ElementsAre("C7508", "C7510"));
  EXPECT_THAT(parse_warnings("(C75"), IsEmpty());
  EXPECT_THAT(parse_warnings("(C7x10) (C75100) C7510"), IsEmpty());
}

TEST(CompileLog, TrimmedLogsOfTwoRunsAreEqual) {
  const std::string log = trimmed_log("\n a\nptxas info    : Compile time = 9.766 ms\nb\n\n");
  EXPECT_EQ(log, "a\nb");
  EXPECT_EQ(trimmed_log(""), "");
  EXPECT_EQ(trimmed_log(std::string("a\0b", 3)), "a");
}

}  // namespace
}  // namespace attune
