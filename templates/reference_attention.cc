#include "templates/reference_attention.h"

#include "templates/kernel_files.h"

namespace attune {
namespace {

constexpr std::int64_t kRows = 64;  // as in reference_attention.cuh
constexpr std::int64_t kColumns = 64;
constexpr unsigned kThreads = 256;

}  // namespace

KernelSource reference_source(const Shape& shape, bool low_precision) {
  return {.name = low_precision ? "reference_attention_low_precision.cu" : "reference_attention.cu",
          .text = fmt::format(
              "constexpr int kHeadDim = {};\nconstexpr bool kBf16 = {};\nconstexpr bool kCausal = {};\n"
              "constexpr bool kLowPrecision = {};\n#include \"reference_attention.cuh\"\n",
              shape.head_dim, shape.dtype == DType::bf16, shape.causal(), low_precision),
          .headers = kernel_files({"attention_params.cuh", "reference_attention.cuh"}),
          .options = {},
          .entry = "reference_attention"};
}

LaunchSpec reference_launch(const Shape& shape) {
  const std::int64_t padded_pairs = (shape.head_dim / 2) | 1;
  LaunchSpec spec;
  spec.grid = {static_cast<unsigned>((shape.q_len + kRows - 1) / kRows), static_cast<unsigned>(shape.q_heads),
               static_cast<unsigned>(shape.batch)};
  spec.block = {kThreads, 1, 1};
  spec.smem_bytes = 4 * ((kRows + kColumns) * padded_pairs + kRows * kColumns);
  return spec;
}

}  // namespace attune
