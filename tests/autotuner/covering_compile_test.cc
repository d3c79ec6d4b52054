// What the Hopper template's rules let through compiles clean: a covering set of configs (every value of
// every axis) for sm_90a, without a GPU. Spills and serialized wgmma (C75xx) are what the rules are to keep
// from the compiler.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <iostream>

#include "compiler/compile_pool.h"
#include "templates/hopper_template.h"
#include "tests/covering_set.h"

namespace attune {
namespace {

struct Compiled {
  std::string what;
  CompiledKernel kernel;
};

TEST(CoveringCompile, NineteenOfTwentyHopperConfigsAreClean) {
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) GTEST_SKIP() << nvrtc.error().message;
  DeviceFacts device = *nominal_facts("sm_90a");
  device.sm_count = 132;
  const auto folder = std::filesystem::path(testing::TempDir()) / "attune-covering";
  CompilePool pool(*nvrtc, *CubinStore::open(folder), 2, std::chrono::minutes(5));
  std::vector<std::future<Compiled>> compiled;
  for (const std::int64_t head_dim : {64, 80, 96, 128}) {
    const Shape shape = *validated(Shape{.q_heads = 24,
                                         .kv_heads = 8,
                                         .q_len = 1024,
                                         .kv_len = 1024,
                                         .head_dim = head_dim,
                                         .mask = Mask::causal_bottom_right});
    const Space space(hopper_template().space(shape, device));
    Rng rng(static_cast<std::uint64_t>(head_dim));
    for (const Config& config : covering_set(space, rng)) {
      auto promise = std::make_shared<std::promise<Compiled>>();
      compiled.push_back(promise->get_future());
      pool.submit(hopper_template().render(shape, device, config), "sm_90a",
                  [promise, what = canonical_json(config, space.definition())](const CompiledKernel& kernel) {
                    promise->set_value({what, kernel});
                  });
    }
  }
  ASSERT_GE(compiled.size(), 40U);
  std::size_t unclean = 0;
  for (auto& future : compiled) {
    const auto [what, kernel] = future.get();
    ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << what << '\n' << kernel.log;
    if (kernel.usage.spill_store_bytes == 0 && kernel.warnings.empty()) continue;
    ++unclean;
    std::cout << fmt::format("spills {} B, warnings {}: {}\n", kernel.usage.spill_store_bytes,
                             fmt::join(kernel.warnings, " "), what);
  }
  EXPECT_LE(20 * unclean, compiled.size());
}

}  // namespace
}  // namespace attune
