#include "templates/hopper_gemm.h"

#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace attune {
namespace {

// D[64, columns] (+)= A[64, 16 steps] B[16 steps, columns].
struct Product {
  std::string_view name;
  std::int64_t columns, steps;
  bool a_in_registers;
  bool b_transposed;  // stored with the columns contiguous
};

// "%first, %first+1, ...": operands of an asm statement.
std::string operands(std::int64_t first, std::int64_t count) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < count; ++i) names.push_back(fmt::format("%{}", first + i));
  return fmt::format("{}", fmt::join(names, ", "));
}

// "constraint"(array[0]), "constraint"(array[1]), ...: what they are bound to.
std::string bindings(std::string_view constraint, std::string_view array, std::int64_t count) {
  std::vector<std::string> bound;
  for (std::int64_t i = 0; i < count; ++i)
    bound.push_back(fmt::format("\"{}\"({}[{}])", constraint, array, i));
  return fmt::format("{}", fmt::join(bound, ", "));
}

// All steps are one statement: each names every accumulator as an operand that it reads and writes, and the
// compiler's time goes by their number.
std::string render(const Product& product, std::string_view type) {
  const std::int64_t accumulators = product.columns / 2;
  const std::int64_t a_step = product.a_in_registers ? 4 : 1;  // operands
  const std::int64_t a = accumulators, b = a + a_step * product.steps, accumulate = b + product.steps;
  std::string text = fmt::format(
      R"cuda(__device__ __forceinline__ void {}(float (&d)[{}], const {}* a, const unsigned long long* b, bool accumulate) {{
  asm volatile(R"({{
.reg .pred p;
setp.ne.b32 p, %{}, 0;
)cuda",
      product.name, accumulators, product.a_in_registers ? "unsigned" : "unsigned long long", accumulate);
  const std::string d_operand = operands(0, accumulators);
  for (std::int64_t step = 0; step < product.steps; ++step) {
    const std::string a_operand = operands(a + a_step * step, a_step);
    text += fmt::format(
        "wgmma.mma_async.sync.aligned.m64n{0}k16.f32.{1}.{1} {{{2}}}, {3}, %{4}, {5}, 1, 1, {6}{7};\n",
        product.columns, type, d_operand, product.a_in_registers ? "{" + a_operand + "}" : a_operand,
        b + step, step == 0 ? "p" : "1", product.a_in_registers ? "" : "0, ", product.b_transposed ? 1 : 0);
  }
  text += fmt::format(R"cuda(}})"
      : {}
      : {}, {}, "r"(accumulate ? 1 : 0));
}}
)cuda",
                      bindings("+f", "d", accumulators),
                      bindings(product.a_in_registers ? "r" : "l", "a", a_step * product.steps),
                      bindings("l", "b", product.steps));
  return text;
}

}  // namespace

std::string render_hopper_gemm(DType dtype, std::int64_t head_dim, std::int64_t block_n) {
  const std::string_view type = dtype == DType::fp16 ? "f16" : "bf16";
  std::string text = "namespace ptx {\n";
  for (const bool q_in_registers : {false, true}) {
    text += render({.name = "wgmma_scores",
                    .columns = block_n,
                    .steps = head_dim / 16,
                    .a_in_registers = q_in_registers,
                    .b_transposed = false},
                   type);
  }
  text += render({.name = "wgmma_output",
                  .columns = head_dim,
                  .steps = block_n / 16,
                  .a_in_registers = true,
                  .b_transposed = true},
                 type);
  return text + "}  // namespace ptx\n";
}

}  // namespace attune
