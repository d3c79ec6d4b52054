#include "templates/reference_attention.h"

#include "templates/kernel_files.h"
#include "templates/portable_config.h"

namespace attune {
namespace {

// Mirrors kRows of reference_attention.cuh.
std::int64_t rows_per_block(std::int64_t head_dim) { return head_dim <= 128 ? 64 : 32; }

}  // namespace

KernelSource reference_source(const Shape& shape, bool low_precision) {
  std::string text = fmt::format(
      "#include \"portable_ptx.cuh\"\n"
      "namespace config {{\n"
      "using Element = ptx::{};\n"
      "constexpr int kHeadDim = {};\n"
      "constexpr bool kCausal = {};\n"
      "constexpr bool kWantLse = {};\n"
      "constexpr bool kLowPrecision = {};\n"
      "}}  // namespace config\n"
      "#include \"reference_attention.cuh\"\n",
      shape.dtype == DType::bf16 ? "Bf16" : "Fp16", shape.head_dim, masks_scores(shape), shape.wants_lse,
      low_precision);
  return {.name = "reference_attention.cu",
          .text = std::move(text),
          .headers = kernel_files({"attention_params.cuh", "portable_ptx.cuh", "reference_attention.cuh"}),
          .options = {},
          .entry = reference_entry()};
}

const char* reference_entry() { return "reference_attention"; }

LaunchSpec reference_launch(const Shape& shape) {
  const std::int64_t rows = rows_per_block(shape.head_dim);
  LaunchSpec spec;
  spec.grid[0] = static_cast<unsigned>((shape.q_len + rows - 1) / rows * shape.q_heads * shape.batch);
  spec.block[0] = 256;
  spec.smem_bytes = 4 * (2 * rows * (shape.head_dim + 4) + rows * (rows + 1));
  return spec;
}

AttentionParams attention_params(const Shape& shape, const AttentionTensors& tensors) {
  AttentionParams params{};
  params.q = reinterpret_cast<const void*>(tensors.q);
  params.k = reinterpret_cast<const void*>(tensors.k);
  params.v = reinterpret_cast<const void*>(tensors.v);
  params.o = reinterpret_cast<void*>(tensors.o);
  params.lse = shape.wants_lse ? reinterpret_cast<float*>(tensors.lse) : nullptr;
  params.workspace = reinterpret_cast<void*>(tensors.workspace);
  params.q_strides = tensors.q_strides;
  params.k_strides = tensors.k_strides;
  params.v_strides = tensors.v_strides;
  params.o_strides = tensors.o_strides;
  params.batch = static_cast<int>(shape.batch);
  params.q_heads = static_cast<int>(shape.q_heads);
  params.kv_heads = static_cast<int>(shape.kv_heads);
  params.q_len = static_cast<int>(shape.q_len);
  params.kv_len = static_cast<int>(shape.kv_len);
  params.causal_offset = static_cast<int>(shape.causal_offset());
  params.scale = tensors.scale;
  return params;
}

}  // namespace attune
