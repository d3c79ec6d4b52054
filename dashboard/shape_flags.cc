#include "dashboard/shape_flags.h"

namespace attune {

std::string shape_flags(const Shape& shape) {
  std::string flags =
      fmt::format("--shape {},{},{},{}", shape.batch, shape.q_heads, shape.q_len, shape.head_dim);
  if (shape.kv_heads != shape.q_heads) flags += fmt::format(" --kv-heads {}", shape.kv_heads);
  if (shape.kv_len != shape.q_len) flags += fmt::format(" --kv-len {}", shape.kv_len);
  if (shape.mask == Mask::causal_bottom_right) flags += " --causal";
  if (shape.mask == Mask::causal_top_left) flags += " --causal=top-left";
  if (shape.dtype != DType::bf16) flags += fmt::format(" --dtype {}", to_string(shape.dtype));
  if (shape.layout != Layout::bhsd) flags += fmt::format(" --layout {}", to_string(shape.layout));
  if (shape.wants_lse) flags += " --lse";
  return flags;
}

}  // namespace attune
