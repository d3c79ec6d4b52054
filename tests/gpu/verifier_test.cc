// The verifier in this process: what the planted kernels of gpu_device_test.cc cannot show.
#include "autotuner/verifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "autotuner/gpu_device.h"
#include "gpu_fixture.h"
#include "templates/attention_params.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

using testing::HasSubstr;

class VerifierTest : public GpuFixture {
 protected:
  void SetUp() override {
    GpuFixture::SetUp();
    if (IsSkipped()) return;
    context_ = *Context::retain(*driver_, 0);
    ASSERT_TRUE(context_->make_current());
    stream_ = *Stream::create(*context_);
  }

  Module load(const std::string& path) {
    auto module = Module::load_file(*context_, path);
    EXPECT_TRUE(module) << module.error().message;
    return std::move(*module);
  }

  // Launches the portable template's default on the verifier's tensors.
  std::function<Status()> default_kernel(const Shape& shape, Verifier& verifier, Inputs inputs) {
    const AttentionTemplate* tmpl = *find_template("portable");
    const DeviceFacts facts = *gpu_facts(0);
    const Config config = tmpl->default_config(shape, facts);
    const CompiledKernel compiled = pool_->compile(tmpl->render(shape, facts, config), facts.arch);
    EXPECT_EQ(compiled.outcome, CompileOutcome::ok) << compiled.log;
    module_ = *Module::load(*context_, compiled.cubin);
    kernel_ = *module_->kernel(compiled.entry);
    const LaunchSpec spec = tmpl->launch_spec(shape, facts, config);
    EXPECT_TRUE(kernel_->set_max_dynamic_smem(spec.smem_bytes));
    argument_ = *tmpl->bind(shape, config, spec, *verifier.tensors(inputs));
    const KernelLaunch launch{.grid = spec.grid, .block = spec.block, .smem_bytes = spec.smem_bytes};
    return [this, launch] {
      return kernel_->launch(launch, std::span(argument_->bytes).first(argument_->size), *stream_);
    };
  }

  std::optional<Context> context_;
  std::optional<Stream> stream_;
  std::optional<Module> module_;
  std::optional<Kernel> kernel_;
  std::optional<KernelArgument> argument_;
};

TEST_F(VerifierTest, ARightAnswerThatWritesOutsideFails) {
  const Shape shape{.batch = 1, .q_heads = 2, .kv_heads = 2, .q_len = 100, .kv_len = 100, .head_dim = 64};
  const auto cubins = compile_support(shape, gpu_facts(0)->arch, *pool_);
  ASSERT_TRUE(cubins) << cubins.error().message;
  const Module support = load(cubins->support);
  auto verifier = Verifier::create(*context_, *stream_, shape, *cubins, support);
  ASSERT_TRUE(verifier) << verifier.error().message;
  const auto kernel = default_kernel(shape, *verifier, Inputs::normal);
  auto verdict = verifier->verify(Inputs::normal, kernel);
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->right()) << verdict->message;

  const KernelSource stray{.name = "stray.cu",
                           .text = "extern \"C\" __global__ void stray(unsigned short* p) { *p = 1; }",
                           .headers = {},
                           .options = {},
                           .entry = "stray"};
  const Module module = *Module::load(*context_, pool_->compile(stray, gpu_facts(0)->arch).cubin);
  const Kernel stray_kernel = *module.kernel("stray");
  const std::uint64_t output = verifier->tensors(Inputs::normal)->o;
  for (const std::uint64_t address : {output - 2, output + 2 * 2 * 100 * 64}) {
    verdict = verifier->verify(Inputs::normal, [&]() -> Status {
      if (auto status = kernel(); !status) return status;
      return stray_kernel.launch({}, std::as_bytes(std::span(&address, 1)), *stream_);
    });
    ASSERT_TRUE(verdict) << verdict.error().message;
    EXPECT_THAT(verdict->message, HasSubstr("wrote outside"));
  }
}

TEST_F(VerifierTest, AWrongLogSumExpFails) {
  Shape shape{.batch = 1, .q_heads = 2, .kv_heads = 1, .q_len = 70, .kv_len = 200, .head_dim = 128};
  shape.mask = Mask::causal_bottom_right;
  shape.wants_lse = true;
  const auto cubins = compile_support(shape, gpu_facts(0)->arch, *pool_);
  ASSERT_TRUE(cubins) << cubins.error().message;
  const Module support = load(cubins->support);
  auto verifier = Verifier::create(*context_, *stream_, shape, *cubins, support);
  ASSERT_TRUE(verifier) << verifier.error().message;
  const auto kernel = default_kernel(shape, *verifier, Inputs::large_logits);
  auto verdict = verifier->verify(Inputs::large_logits, kernel);
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_TRUE(verdict->right()) << verdict->message;

  const KernelSource nudge{.name = "nudge.cu",
                           .text = "extern \"C\" __global__ void nudge(float* p) { *p += 0.1f; }",
                           .headers = {},
                           .options = {},
                           .entry = "nudge"};
  const Module module = *Module::load(*context_, pool_->compile(nudge, gpu_facts(0)->arch).cubin);
  const Kernel nudge_kernel = *module.kernel("nudge");
  const std::uint64_t lse = verifier->tensors(Inputs::large_logits)->lse;
  verdict = verifier->verify(Inputs::large_logits, [&]() -> Status {
    if (auto status = kernel(); !status) return status;
    return nudge_kernel.launch({}, std::as_bytes(std::span(&lse, 1)), *stream_);
  });
  ASSERT_TRUE(verdict) << verdict.error().message;
  EXPECT_THAT(verdict->message, HasSubstr("LSE"));
}

}  // namespace
}  // namespace attune
