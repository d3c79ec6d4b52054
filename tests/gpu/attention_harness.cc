#include "attention_harness.h"

#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "autotuner/gpu_device.h"
#include "autotuner/verifier.h"
#include "base/read_file.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

// Compiles everything on all cores first, so that the checks find it in the store.
void compile_all(Machine& on, const std::vector<Case>& cases) {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t left = 3 * cases.size();
  const auto submit = [&](KernelSource source) {
    on.pool->submit(std::move(source), on.facts.arch, [&](const CompiledKernel&) {
      const std::lock_guard lock(mutex);
      --left;
      changed.notify_one();
    });
  };
  for (const Case& c : cases) {
    submit(c.from->render(c.shape, on.facts, c.config));
    submit(reference_source(c.shape, false));
    submit(reference_source(c.shape, true));
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return left == 0; });
}

void check(Machine& on, const Case& c, const CheckOptions& options) {
  const SpaceDefinition space = c.from->space(c.shape, on.facts);
  SCOPED_TRACE(std::string(c.from->name()) + " " + to_string(c.shape) + " " +
               canonical_json(c.config, space));
  const SupportCubins cubins = need(compile_support(c.shape, on.facts.arch, *on.pool));
  const Module support = need(Module::load(on.context, need(read_file(cubins.support))));
  Verifier verifier = need(Verifier::create(on.context, on.stream, c.shape, cubins, support));

  const CompiledKernel compiled =
      on.pool->compile(c.from->render(c.shape, on.facts, c.config), on.facts.arch);
  ASSERT_EQ(compiled.outcome, CompileOutcome::ok) << compiled.log;
  const Module module = need(Module::load(on.context, compiled.cubin));
  Kernel kernel = need(module.kernel(compiled.entry));
  const LaunchSpec spec = c.from->launch_spec(c.shape, on.facts, c.config);
  need(kernel.set_max_dynamic_smem(spec.smem_bytes));
  const DeviceBuffer workspace = need(DeviceBuffer::allocate(on.context, spec.workspace_bytes));
  if (workspace.bytes() > 0) need(workspace.fill(0, on.stream));
  for (const Inputs inputs : {Inputs::normal, Inputs::large_logits}) {
    if (inputs == Inputs::large_logits && !options.large_logits) continue;
    AttentionTensors tensors = need(verifier.tensors(inputs));
    tensors.workspace = workspace.address();
    const KernelArgument argument = need(c.from->bind(c.shape, c.config, spec, tensors));
    const auto launch = [&] {
      return kernel.launch({.grid = spec.grid,
                            .block = spec.block,
                            .cluster = spec.cluster,
                            .smem_bytes = spec.smem_bytes,
                            .programmatic_dependent_launch = spec.programmatic_dependent_launch},
                           std::span(argument.bytes).first(argument.size), on.stream);
    };
    const Verdict verdict = need(verifier.verify(inputs, launch));
    EXPECT_TRUE(verdict.right()) << verdict.message;
    EXPECT_EQ(need(verifier.count_unstable(inputs, options.repeats, launch)), 0);
  }
}

}  // namespace

Result<Machine*> machine() {
  static const Result<std::shared_ptr<Machine>> opened = []() -> Result<std::shared_ptr<Machine>> {
    auto driver = Driver::open();
    if (!driver) return driver.error();
    auto nvrtc = Nvrtc::open();
    if (!nvrtc) return nvrtc.error();
    auto context = Context::retain(**driver, 0);
    if (!context) return context.error();
    need(context->make_current());
    Stream stream = need(Stream::create(*context));
    const DeviceFacts facts = need((*driver)->device_facts(0));
    const auto folder = std::filesystem::temp_directory_path() / fmt::format("attune-gpu-test-{}", getpid());
    auto pool = std::make_unique<CompilePool>(*nvrtc, need(CubinStore::open(folder)),
                                              static_cast<int>(std::thread::hardware_concurrency()),
                                              std::chrono::seconds(120));
    return std::make_shared<Machine>(Machine{std::move(*context), std::move(stream), facts, std::move(pool)});
  }();
  if (!opened) return opened.error();
  return opened->get();
}

void check_all(Machine& on, const std::vector<Case>& cases, const CheckOptions& options) {
  compile_all(on, cases);
  for (const Case& c : cases) check(on, c, options);
}

}  // namespace attune
