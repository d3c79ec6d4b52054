// The one parameter of the portable and reference kernels, passed by value as const __grid_constant__.
// Shared by device code (NVRTC, which has no standard headers) and the host side, hence plain types only.
#pragma once

namespace attune {

// Element strides; head_dim is contiguous.
struct TensorStrides {
  long long batch;
  long long head;
  long long seq;
};

struct AttentionParams {
  const void* q;    // [batch, q_heads, q_len, head_dim] by q_strides
  const void* k;    // [batch, kv_heads, kv_len, head_dim] by k_strides
  const void* v;    // [batch, kv_heads, kv_len, head_dim] by v_strides
  void* o;          // [batch, q_heads, q_len, head_dim] by o_strides
  float* lse;       // [batch, q_heads, q_len] contiguous, natural log; null when not wanted
  void* workspace;  // zeroed before the first launch, left zeroed by every launch; null when of no size
  TensorStrides q_strides;
  TensorStrides k_strides;
  TensorStrides v_strides;
  TensorStrides o_strides;
  int batch;
  int q_heads;
  int kv_heads;
  int q_len;
  int kv_len;
  int causal_offset;  // key j is visible to query i iff j <= i + causal_offset; unused without a mask
  float scale;        // softmax(scale * Q K^T) V
  int reserved;       // keeps the size a multiple of 8; zero
};

}  // namespace attune
