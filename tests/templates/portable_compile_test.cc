// The portable kernel through NVRTC, without a GPU: configs that between them use every value of every axis
// compile for the oldest arch and for Hopper, and those near the default do not spill.
#include <gtest/gtest.h>

#include <set>

#include "compiler/nvrtc.h"
#include "templates/portable_template.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

class PortableCompile : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto opened = Nvrtc::open();
    if (!opened) GTEST_SKIP() << opened.error().message;
    nvrtc_ = *opened;
  }
  CompiledKernel compile(const KernelSource& source) const {
    return nvrtc_->compile(source, GetParam(), std::chrono::minutes(5));
  }
  std::shared_ptr<const Nvrtc> nvrtc_;
  DeviceFacts device_ = *nominal_facts(GetParam());
};

TEST_P(PortableCompile, DefaultsDoNotSpill) {
  for (const std::int64_t head_dim : {64, 80, 96, 128, 40, 256}) {
    for (const std::int64_t length : {512, 4096}) {
      const Shape shape = *validated(Shape{.q_heads = 32,
                                           .kv_heads = 8,
                                           .q_len = length,
                                           .kv_len = length,
                                           .head_dim = head_dim,
                                           .mask = Mask::causal_bottom_right});
      const Config config = portable_template().default_config(shape, device_);
      const CompiledKernel kernel = compile(portable_template().render(shape, device_, config));
      ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << to_string(shape) << '\n' << kernel.log;
      EXPECT_EQ(kernel.usage.spill_store_bytes, 0)
          << to_string(shape) << ' ' << canonical_json(config, portable_template().space(shape, device_));
      EXPECT_GT(kernel.usage.registers, 0);
    }
  }
}

TEST_P(PortableCompile, EveryAxisChangesTheMachineCode) {
  const Shape shape = *validated(Shape{.q_heads = 32,
                                       .kv_heads = 8,
                                       .q_len = 1024,
                                       .kv_len = 1024,
                                       .head_dim = 64,
                                       .mask = Mask::causal_bottom_right,
                                       .wants_lse = true});
  const SpaceDefinition space = portable_template().space(shape, device_);
  const Config base = portable_template().default_config(shape, device_);
  std::set<std::string> images;
  for (const Axis& axis : space.axes) {
    // The extremes of a domain, where legal beside the base; a persistent grid brings its multiplier along.
    for (const AxisValue& value : {axis.values.front(), axis.values.back()}) {
      Config config = base;
      config.set(axis.name, value);
      if (axis.name == "pid_type" && value != axis.values.front())
        config.set("num_sm_multiplier", std::int64_t{1});
      if (axis.name == "num_stages" && value == AxisValue(std::int64_t{1})) config.erase("load_groups");
      if (axis.name == "num_sm_multiplier" || !check_config(config, space)) continue;
      const CompiledKernel kernel = compile(portable_template().render(shape, device_, config));
      ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << canonical_json(config, space) << '\n' << kernel.log;
      if (config == base) continue;
      EXPECT_TRUE(images.insert(kernel.cubin_hash).second) << canonical_json(config, space);
    }
  }
  EXPECT_GE(images.size(), 12U);
}

TEST_P(PortableCompile, Reference) {
  for (const std::int64_t head_dim : {8, 128, 256}) {
    const Shape shape = *validated(Shape{.q_len = 77,
                                         .kv_len = 99,
                                         .head_dim = head_dim,
                                         .dtype = DType::fp16,
                                         .mask = Mask::causal_top_left,
                                         .wants_lse = true});
    for (const bool low_precision : {false, true}) {
      const CompiledKernel kernel = compile(reference_source(shape, low_precision));
      EXPECT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, PortableCompile, ::testing::Values("sm_80", "sm_90a"));

// What no machine at hand can run at least compiles, clean.
TEST(PortableCompileElsewhere, DefaultsFitTheOtherArchs) {
  const auto nvrtc = Nvrtc::open();
  if (!nvrtc) GTEST_SKIP() << nvrtc.error().message;
  for (const char* arch : {"sm_86", "sm_89", "sm_100a", "sm_120a"}) {
    const DeviceFacts device = *nominal_facts(arch);
    for (const std::int64_t head_dim : {64, 128}) {
      const Shape shape = *validated(Shape{.q_heads = 32,
                                           .kv_heads = 8,
                                           .q_len = 2048,
                                           .kv_len = 2048,
                                           .head_dim = head_dim,
                                           .mask = Mask::causal_bottom_right});
      ASSERT_TRUE(portable_template().supports(shape, device)) << arch;
      const Config config = portable_template().default_config(shape, device);
      const CompiledKernel kernel =
          (*nvrtc)->compile(portable_template().render(shape, device, config), arch, std::chrono::minutes(5));
      ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << arch << '\n' << kernel.log;
      EXPECT_EQ(kernel.usage.spill_store_bytes, 0) << arch << " d" << head_dim;
      EXPECT_LE(portable_template().launch_spec(shape, device, config).smem_bytes,
                device.smem_per_block_bytes)
          << arch;
    }
  }
}

}  // namespace
}  // namespace attune
