#include "templates/attention_params.h"

namespace attune {

AttentionParams attention_params(const Shape& shape, const AttentionTensors& tensors) {
  return {.q = reinterpret_cast<const void*>(tensors.q),
          .k = reinterpret_cast<const void*>(tensors.k),
          .v = reinterpret_cast<const void*>(tensors.v),
          .o = reinterpret_cast<void*>(tensors.o),
          .lse = shape.wants_lse ? reinterpret_cast<float*>(tensors.lse) : nullptr,
          .workspace = reinterpret_cast<void*>(tensors.workspace),
          .q_strides = tensors.q_strides,
          .k_strides = tensors.k_strides,
          .v_strides = tensors.v_strides,
          .o_strides = tensors.o_strides,
          .batch = static_cast<int>(shape.batch),
          .q_heads = static_cast<int>(shape.q_heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .q_len = static_cast<int>(shape.q_len),
          .kv_len = static_cast<int>(shape.kv_len),
          .causal_offset = static_cast<int>(shape.causal_offset()),
          .scale = tensors.scale,
          .reserved = 0};
}

}  // namespace attune
