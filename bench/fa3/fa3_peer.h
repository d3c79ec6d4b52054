// The C interface of libfa3_peer.so (fa3_peer.cu, built by build.sh); bench/fa3_api.py is its Python side.

#ifndef ATTUNE_BENCH_FA3_PEER_H_
#define ATTUNE_BENCH_FA3_PEER_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// [batch, heads, length, head_dim]; strides in elements, that of the last dimension is 1.
struct Fa3PeerTensor {
  void* data;
  int64_t batch_stride, head_stride, row_stride;
};

// One forward in bf16. All pointers are the caller's device memory and stay its own. `lse` takes
// batch * q_heads * q_len floats, which the kernels write in any case. `semaphore` is an int, used by causal
// calls alone and zeroed before each, so that calls in flight at once need one each.
struct Fa3PeerCall {
  uint64_t struct_size;  // sizeof(Fa3PeerCall)
  struct Fa3PeerTensor q, k, v, o;
  float* lse;
  int32_t* semaphore;
  int32_t batch, q_heads, kv_heads, q_len, kv_len, head_dim;
  int32_t causal;  // aligned to the bottom right
  float scale;     // of the scores, before the softmax
};

// Enqueues the call on `stream` of the current device. Null, or what is wrong with the call, a static text. A
// failed launch is reported by FlashAttention's own code, which prints and ends the process.
__attribute__((visibility("default"))) const char* fa3_peer_forward(const struct Fa3PeerCall* call,
                                                                    void* stream);

// Which sources and which compiler made the library; a static text.
__attribute__((visibility("default"))) const char* fa3_peer_about(void);

#ifdef __cplusplus
}
#endif

#endif  // ATTUNE_BENCH_FA3_PEER_H_
