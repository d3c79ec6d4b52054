// The portable and the reference kernel on a GPU: FlashAttention's list of lengths, head groupings, masks and
// head_dims under the default config, and random configs of a few spaces. Correct means what the tuner's
// verifier says (autotuner/verifier.h); the fp32 reference itself is compared with fp64 on the CPU.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <random>
#include <sstream>
#include <thread>

#include "autotuner/gpu_device.h"
#include "autotuner/space.h"
#include "autotuner/verifier.h"
#include "compiler/compile_pool.h"
#include "compiler/driver.h"
#include "templates/attention_params.h"
#include "templates/portable_template.h"
#include "templates/reference_attention.h"

namespace attune {
namespace {

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}
void need(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message);
}

struct Machine {
  Context context;
  Stream stream;
  DeviceFacts facts;
  std::unique_ptr<CompilePool> pool;
};

// The GPU, opened once, or why there is none.
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

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Case {
  Shape shape;
  Config config;
};

// Compiles everything on all cores first, so that the checks below find it in the store.
void compile_all(Machine& on, const std::vector<Case>& cases) {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t left = 0;
  const auto submit = [&](KernelSource source) {
    on.pool->submit(std::move(source), on.facts.arch, [&](const CompiledKernel&) {
      const std::lock_guard lock(mutex);
      --left;
      changed.notify_one();
    });
  };
  {
    const std::lock_guard lock(mutex);
    left = 3 * cases.size();
  }
  for (const Case& c : cases) {
    submit(portable_template().render(c.shape, on.facts, c.config));
    submit(reference_source(c.shape, false));
    submit(reference_source(c.shape, true));
  }
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return left == 0; });
}

void check(Machine& on, const Case& c, bool large_logits) {
  const SpaceDefinition space = portable_template().space(c.shape, on.facts);
  SCOPED_TRACE(to_string(c.shape) + " " + canonical_json(c.config, space));
  const SupportCubins cubins = need(compile_support(c.shape, on.facts.arch, *on.pool));
  const Module support = need(Module::load(on.context, contents(cubins.support)));
  Verifier verifier = need(Verifier::create(on.context, on.stream, c.shape, cubins, support));

  const CompiledKernel compiled =
      on.pool->compile(portable_template().render(c.shape, on.facts, c.config), on.facts.arch);
  ASSERT_EQ(compiled.outcome, CompileOutcome::ok) << compiled.log;
  const Module module = need(Module::load(on.context, compiled.cubin));
  Kernel kernel = need(module.kernel(compiled.entry));
  const LaunchSpec spec = portable_template().launch_spec(c.shape, on.facts, c.config);
  need(kernel.set_max_dynamic_smem(spec.smem_bytes));
  for (const Inputs inputs : {Inputs::normal, Inputs::large_logits}) {
    if (inputs == Inputs::large_logits && !large_logits) continue;
    const AttentionTensors tensors = need(verifier.tensors(inputs));
    const KernelArgument argument = need(portable_template().bind(c.shape, c.config, tensors));
    const auto launch = [&] {
      return kernel.launch({.grid = spec.grid, .block = spec.block, .smem_bytes = spec.smem_bytes},
                           std::span(argument.bytes).first(argument.size), on.stream);
    };
    const Verdict verdict = need(verifier.verify(inputs, launch));
    EXPECT_TRUE(verdict.right()) << verdict.message;
    EXPECT_EQ(need(verifier.count_unstable(inputs, 2, launch)), 0);
  }
}

class PortableOnGpu : public ::testing::Test {
 protected:
  void SetUp() override {
    auto found = machine();
    if (!found) GTEST_SKIP() << "no GPU: " << found.error().message;
    on_ = *found;
  }
  void check_all(const std::vector<Case>& cases, bool large_logits = false) {
    compile_all(*on_, cases);
    for (const Case& c : cases) check(*on_, c, large_logits);
  }
  Case default_case(const Shape& shape) const {
    const Shape valid = need(validated(shape));
    return {valid, portable_template().default_config(valid, on_->facts)};
  }
  Machine* on_ = nullptr;
};

// (q_len, kv_len) of FlashAttention's tests/test_flash_attn.py.
const std::vector<std::pair<int, int>> kLengths{
    {1, 1},     {239, 1},   {799, 3},     {113, 203},   {113, 128},   {128, 217},   {113, 211},  {108, 256},
    {256, 512}, {512, 256}, {1024, 1024}, {1023, 1024}, {1024, 1023}, {2048, 2048}, {4224, 4224}};
const std::vector<std::pair<int, int>> kHeads{{6, 6}, {6, 2}, {6, 1}};

TEST_F(PortableOnGpu, DefaultConfigOnFlashAttentionsCases) {
  std::vector<Case> cases;
  int turn = 0;
  for (const auto& [q_len, kv_len] : kLengths) {
    for (const Mask mask : {Mask::none, Mask::causal_bottom_right, Mask::causal_top_left}) {
      for (const int head_dim : {64, 80, 96, 128}) {
        const auto [q_heads, kv_heads] = kHeads[static_cast<std::size_t>(turn++) % kHeads.size()];
        cases.push_back(default_case({.batch = 1 + turn % 2,
                                      .q_heads = q_heads,
                                      .kv_heads = kv_heads,
                                      .q_len = q_len,
                                      .kv_len = kv_len,
                                      .head_dim = head_dim,
                                      .mask = mask,
                                      .wants_lse = turn % 3 != 0}));
      }
    }
  }
  check_all(cases);
}

TEST_F(PortableOnGpu, OddHeadDimsAndFp16AndStridedLayouts) {
  std::vector<Case> cases;
  int turn = 0;
  for (const int head_dim : {8, 16, 24, 40, 72, 104, 160, 192, 256}) {
    for (const auto& [q_len, kv_len] : {std::pair{113, 203}, {256, 256}, {1, 777}}) {
      ++turn;
      cases.push_back(default_case({.batch = 2,
                                    .q_heads = 8,
                                    .kv_heads = 2,
                                    .q_len = q_len,
                                    .kv_len = kv_len,
                                    .head_dim = head_dim,
                                    .dtype = turn % 2 == 0 ? DType::bf16 : DType::fp16,
                                    .mask = turn % 3 == 0 ? Mask::none : Mask::causal_bottom_right,
                                    .layout = turn % 4 < 2 ? Layout::bshd : Layout::bhsd,
                                    .wants_lse = true}));
    }
  }
  check_all(cases, /*large_logits=*/true);
}

TEST_F(PortableOnGpu, RowsWithoutAKeyAreZeroAndMinusInfinity) {
  std::vector<Case> cases;
  for (const int head_dim : {64, 72}) {
    cases.push_back(default_case({.q_heads = 4,
                                  .kv_heads = 2,
                                  .q_len = 700,
                                  .kv_len = 99,
                                  .head_dim = head_dim,
                                  .mask = Mask::causal_bottom_right,
                                  .wants_lse = true}));
  }
  check_all(cases);
}

TEST_F(PortableOnGpu, RandomConfigs) {
  constexpr int kConfigsPerShape = 40;
  std::vector<Case> cases;
  Rng rng(20261122);
  for (const Shape& shape :
       {Shape{.batch = 2,
       .q_heads = 8,
       .kv_heads = 2,
       .q_len = 500,
       .kv_len = 700,
       .head_dim = 64,
       .mask = Mask::causal_bottom_right,
       .wants_lse = true},
        Shape{.batch = 2, .q_heads = 6, .kv_heads = 6, .q_len = 512, .kv_len = 512, .head_dim = 128},
        Shape{
            .q_heads = 8, .kv_heads = 1, .q_len = 3, .kv_len = 1500, .head_dim = 96, .layout = Layout::bshd},
        Shape{.q_heads = 6,
        .kv_heads = 3,
        .q_len = 640,
        .kv_len = 640,
        .head_dim = 80,
        .dtype = DType::fp16,
        .mask = Mask::causal_top_left}}) {
    const Shape valid = need(validated(shape));
    const Space space(portable_template().space(valid, on_->facts));
    for (int i = 0; i < kConfigsPerShape; ++i) cases.push_back({valid, space.config(space.sample(rng))});
  }
  check_all(cases);
}

// ---- the reference against fp64
// ----------------------------------------------------------------------------------------

std::uint16_t to_bf16(float x) {  // exact for what is used here: multiples of 1/64 below 4
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
}

struct Tensor {
  std::vector<float> values;
  DeviceBuffer buffer;
  Tensor(Machine& on, std::int64_t count, std::mt19937& rng) : values(static_cast<std::size_t>(count)) {
    std::uniform_int_distribution<int> draw(-127, 127);
    std::vector<std::uint16_t> bits;
    for (float& x : values) {
      x = static_cast<float>(draw(rng)) / 64;
      bits.push_back(to_bf16(x));
    }
    buffer = need(DeviceBuffer::allocate(on.context, 2 * count));
    need(buffer.upload(std::as_bytes(std::span(bits)), on.stream));
    need(on.stream.synchronize());
  }
};

void check_reference(Machine& on, Shape shape) {
  shape.wants_lse = true;
  shape = need(validated(shape));
  SCOPED_TRACE(to_string(shape));
  std::mt19937 rng(7);
  const std::int64_t d = shape.head_dim, rows = shape.batch * shape.q_heads * shape.q_len;
  const Tensor q(on, rows * d, rng), k(on, shape.batch * shape.kv_heads * shape.kv_len * d, rng),
      v(on, shape.batch * shape.kv_heads * shape.kv_len * d, rng);
  const DeviceBuffer o = need(DeviceBuffer::allocate(on.context, 4 * rows * d));
  const DeviceBuffer lse = need(DeviceBuffer::allocate(on.context, 4 * rows));
  need(o.fill(0xFF, on.stream));
  const TensorStrides q_strides = contiguous_strides(shape.layout, shape.q_heads, shape.q_len, d);
  const TensorStrides kv_strides = contiguous_strides(shape.layout, shape.kv_heads, shape.kv_len, d);
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  const AttentionParams params = attention_params(shape, {.q = q.buffer.address(),
                                                          .k = k.buffer.address(),
                                                          .v = v.buffer.address(),
                                                          .o = o.address(),
                                                          .lse = lse.address(),
                                                          .q_strides = q_strides,
                                                          .k_strides = kv_strides,
                                                          .v_strides = kv_strides,
                                                          .o_strides = q_strides,
                                                          .scale = scale});
  const CompiledKernel compiled = on.pool->compile(reference_source(shape, false), on.facts.arch);
  ASSERT_EQ(compiled.outcome, CompileOutcome::ok) << compiled.log;
  const Module module = need(Module::load(on.context, compiled.cubin));
  Kernel kernel = need(module.kernel(compiled.entry));
  const LaunchSpec spec = reference_launch(shape);
  need(kernel.set_max_dynamic_smem(spec.smem_bytes));
  need(kernel.launch({.grid = spec.grid, .block = spec.block, .smem_bytes = spec.smem_bytes},
                     std::as_bytes(std::span(&params, 1)), on.stream));
  std::vector<float> out(static_cast<std::size_t>(rows * d)), out_lse(static_cast<std::size_t>(rows));
  need(o.download(std::as_writable_bytes(std::span(out)), on.stream));
  need(lse.download(std::as_writable_bytes(std::span(out_lse)), on.stream));
  need(on.stream.synchronize());

  const auto at = [d](const TensorStrides& s, std::int64_t b, std::int64_t h, std::int64_t i,
                      std::int64_t e) {
    return static_cast<std::size_t>(b * s.batch + h * s.head + i * s.seq + e % d);
  };
  double error = 0, norm = 0, lse_error = 0;
  for (std::int64_t b = 0; b < shape.batch; ++b) {
    for (std::int64_t h = 0; h < shape.q_heads; ++h) {
      const std::int64_t g = h / (shape.q_heads / shape.kv_heads);
      for (std::int64_t i = 0; i < shape.q_len; ++i) {
        const std::int64_t keys =
            shape.causal() ? std::clamp<std::int64_t>(i + shape.causal_offset() + 1, 0, shape.kv_len)
                           : shape.kv_len;
        std::vector<double> s(static_cast<std::size_t>(keys)), expected(static_cast<std::size_t>(d));
        double max = -std::numeric_limits<double>::infinity(), sum = 0;
        for (std::int64_t j = 0; j < keys; ++j) {
          double dot = 0;
          for (std::int64_t e = 0; e < d; ++e) {
            dot += double{q.values[at(q_strides, b, h, i, e)]} * double{k.values[at(kv_strides, b, g, j, e)]};
          }
          s[static_cast<std::size_t>(j)] = dot * double{scale};
          max = std::max(max, dot * double{scale});
        }
        for (double& x : s) sum += x = std::exp(x - max);
        for (std::int64_t j = 0; j < keys; ++j) {
          for (std::int64_t e = 0; e < d; ++e) {
            expected[static_cast<std::size_t>(e)] +=
                s[static_cast<std::size_t>(j)] / sum * double{v.values[at(kv_strides, b, g, j, e)]};
          }
        }
        for (std::int64_t e = 0; e < d; ++e) {
          const double wanted = expected[static_cast<std::size_t>(e)];
          error += std::pow(double{out[at(q_strides, b, h, i, e)]} - wanted, 2);
          norm += wanted * wanted;
        }
        const double got =
            double{out_lse[static_cast<std::size_t>((b * shape.q_heads + h) * shape.q_len + i)]};
        if (keys == 0) {
          EXPECT_EQ(got, -std::numeric_limits<double>::infinity());
        } else {
          lse_error = std::max(lse_error, std::abs(got - max - std::log(sum)));
        }
      }
    }
  }
  EXPECT_LE(std::sqrt(error), 2e-6 * std::sqrt(norm));
  EXPECT_LE(lse_error, 1e-5);
}

TEST_F(PortableOnGpu, ReferenceMatchesTheCpu) {
  check_reference(*on_, {.batch = 2,
                         .q_heads = 4,
                         .kv_heads = 2,
                         .q_len = 113,
                         .kv_len = 203,
                         .head_dim = 64,
                         .mask = Mask::causal_bottom_right});
  check_reference(*on_, {.q_heads = 2,
                         .kv_heads = 1,
                         .q_len = 130,
                         .kv_len = 67,
                         .head_dim = 80,
                         .mask = Mask::causal_bottom_right,
                         .layout = Layout::bshd});
  check_reference(*on_, {.q_heads = 2, .kv_heads = 2, .q_len = 65, .kv_len = 129, .head_dim = 256});
  check_reference(
      *on_,
      {.q_heads = 1, .kv_heads = 1, .q_len = 5, .kv_len = 3, .head_dim = 8, .mask = Mask::causal_top_left});
}

}  // namespace
}  // namespace attune
