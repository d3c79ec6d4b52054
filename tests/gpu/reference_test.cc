// The fp32 reference kernel, by which all others are judged, against fp64 on the CPU.
#include "templates/reference_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "attention_harness.h"
#include "templates/attention_params.h"

namespace attune {
namespace {

std::uint16_t exact_bf16(float x) {  // exact for what is used here: multiples of 1/64 below 4
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
      bits.push_back(exact_bf16(x));
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

TEST(ReferenceOnGpu, MatchesTheCpu) {
  const auto on = machine();
  if (!on) GTEST_SKIP() << "no GPU: " << on.error().message;
  check_reference(**on, {.batch = 2,
                         .q_heads = 4,
                         .kv_heads = 2,
                         .q_len = 113,
                         .kv_len = 203,
                         .head_dim = 64,
                         .mask = Mask::causal_bottom_right});
  check_reference(**on, {.q_heads = 2,
                         .kv_heads = 1,
                         .q_len = 130,
                         .kv_len = 67,
                         .head_dim = 80,
                         .mask = Mask::causal_bottom_right,
                         .layout = Layout::bshd});
  check_reference(**on, {.q_heads = 2, .kv_heads = 2, .q_len = 65, .kv_len = 129, .head_dim = 256});
  check_reference(
      **on,
      {.q_heads = 1, .kv_heads = 1, .q_len = 5, .kv_len = 3, .head_dim = 8, .mask = Mask::causal_top_left});
}

}  // namespace
}  // namespace attune
