// A C function over FlashAttention-3's own forward kernels, for timing them beside attune without PyTorch's
// extension: it fills their parameter struct as their flash_attn_func would with its defaults (one split,
// packing of grouped heads by their heuristic, no sm_margin) and calls their dispatch. build.sh compiles it
// against a checkout.
//
// bf16, forward, compute capability 9.0, head dims up to 128, queries and keys of any strides with a
// contiguous last dimension. The causal mask is theirs, aligned to the bottom right; with as many queries as
// keys it is everyone's.

#include <cuda_runtime.h>

#include <tuple>

#include "cutlass/numeric_types.h"
#include "fa3_peer.h"
#include "flash.h"
#include "heuristics.h"
#include "tile_size.h"

#ifndef FA3_PEER_ABOUT
#define FA3_PEER_ABOUT "unknown build"
#endif

namespace {

using Dispatch = void (*)(Flash_fwd_params&, cudaStream_t);

// Their head dims are padded up to the next that they compile.
template <bool kPackGqa>
Dispatch dispatch_for(int padded_head_dim) {
  switch (padded_head_dim) {
    case 64:
      return run_mha_fwd_<90, cutlass::bfloat16_t, 64, 64, false, false, false, kPackGqa>;
    case 96:
      return run_mha_fwd_<90, cutlass::bfloat16_t, 96, 96, false, false, false, kPackGqa>;
    default:
      return run_mha_fwd_<90, cutlass::bfloat16_t, 128, 128, false, false, false, kPackGqa>;
  }
}

int padded(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 96 ? 96 : 128;
}

bool packs_grouped_heads(const Flash_fwd_params& params) {
  if (params.h == params.h_k) return false;
  int block_m = std::get<0>(tile_size_fwd_sm90(params.d_rounded, params.dv_rounded, params.is_causal, false));
  return should_pack_gqa(false, params.seqlen_q, params.h / params.h_k, block_m);
}

int rounded_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

Flash_fwd_params params_of(const Fa3PeerCall& call, int sm_count) {
  Flash_fwd_params params{};
  params.is_bf16 = true;
  params.q_ptr = call.q.data;
  params.k_ptr = call.k.data;
  params.v_ptr = call.v.data;
  params.o_ptr = call.o.data;
  params.q_batch_stride = call.q.batch_stride;
  params.k_batch_stride = call.k.batch_stride;
  params.v_batch_stride = call.v.batch_stride;
  params.o_batch_stride = call.o.batch_stride;
  params.q_head_stride = call.q.head_stride;
  params.k_head_stride = call.k.head_stride;
  params.v_head_stride = call.v.head_stride;
  params.o_head_stride = call.o.head_stride;
  params.q_row_stride = call.q.row_stride;
  params.k_row_stride = call.k.row_stride;
  params.v_row_stride = call.v.row_stride;
  params.o_row_stride = call.o.row_stride;
  params.v_dim_stride = 1;
  params.softmax_lse_ptr = call.lse;

  params.b = params.b_k = call.batch;
  params.h = call.q_heads;
  params.h_k = call.kv_heads;
  params.seqlen_q = call.q_len;
  params.seqlen_k = call.kv_len;
  params.seqlen_q_rounded = rounded_up(call.q_len, 128);
  params.seqlen_k_rounded = rounded_up(call.kv_len, 128);
  params.total_q = call.batch * call.q_len;
  params.total_k = call.batch * call.kv_len;
  params.d = params.dv = call.head_dim;
  params.d_rounded = params.dv_rounded = padded(call.head_dim);
  params.page_size = 1;

  params.scale_softmax = call.scale;
  params.p_dropout = 1.f;  // the share that is kept
  params.p_dropout_in_uint8_t = 255;
  params.rp_dropout = 1.f;

  // One query sees all keys: their host code takes the kernel without a mask then.
  params.is_causal = call.causal && call.q_len > 1;
  params.window_size_left = call.kv_len - 1;
  params.window_size_right = params.is_causal ? 0 : call.q_len - 1;

  params.arch = 90;
  params.num_sm = sm_count;
  params.num_splits = 1;
  params.varlen_sort_batches = true;
  params.head_swizzle = params.is_causal;
  params.pack_gqa = packs_grouped_heads(params);
  params.tile_count_semaphore = params.is_causal ? call.semaphore : nullptr;
  return params;
}

const char* trouble_with(const Fa3PeerCall& call) {
  if (call.struct_size != sizeof(Fa3PeerCall)) return "another struct_size than this library's";
  if (call.batch < 1 || call.q_len < 1 || call.kv_len < 1) return "batch and lengths must be at least 1";
  if (call.kv_heads < 1 || call.q_heads < 1 || call.q_heads % call.kv_heads)
    return "kv_heads must divide q_heads";
  if (call.head_dim < 8 || call.head_dim > 128 || call.head_dim % 8)
    return "head_dim must be a multiple of 8, at most 128";
  if (!call.lse) return "lse is missing";
  if (call.causal && !call.semaphore) return "a causal call needs a semaphore";
  return nullptr;
}

}  // namespace

extern "C" const char* fa3_peer_forward(const Fa3PeerCall* call, void* stream) {
  if (const char* trouble = trouble_with(*call)) return trouble;
  int device = 0, major = 0, sm_count = 0;
  cudaError_t status = cudaGetDevice(&device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, device);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  if (major != 9) return "these kernels need compute capability 9.0";

  Flash_fwd_params params = params_of(*call, sm_count);
  auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (params.tile_count_semaphore) {  // the dynamic tile scheduler of the causal kernels counts from zero
    status = cudaMemsetAsync(params.tile_count_semaphore, 0, sizeof(int), cuda_stream);
    if (status != cudaSuccess) return cudaGetErrorString(status);
  }
  Dispatch run =
      params.pack_gqa ? dispatch_for<true>(params.d_rounded) : dispatch_for<false>(params.d_rounded);
  run(params, cuda_stream);
  return nullptr;
}

extern "C" const char* fa3_peer_about() {
  return FA3_PEER_ABOUT;
}
