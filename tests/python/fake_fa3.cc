// libfa3_peer.so's interface without its kernels: writes the call's fields, as numbers, where lse would go.
#include "bench/fa3/fa3_peer.h"

#include <cstdint>
#include <initializer_list>

extern "C" const char* fa3_peer_forward(const Fa3PeerCall* call, void* stream) {
  if (call->struct_size != sizeof(Fa3PeerCall)) return "another struct_size";
  if (call->head_dim > 128) return "head_dim must be at most 128";
  auto number = [](const void* address) {
    return static_cast<double>(reinterpret_cast<std::uintptr_t>(address));
  };
  auto* next = reinterpret_cast<double*>(call->lse);
  for (const Fa3PeerTensor& tensor : {call->q, call->k, call->v, call->o}) {
    *next++ = number(tensor.data);
    for (int64_t stride : {tensor.batch_stride, tensor.head_stride, tensor.row_stride})
      *next++ = double(stride);
  }
  *next++ = number(call->semaphore);
  for (int32_t field : {call->batch, call->q_heads, call->kv_heads, call->q_len, call->kv_len, call->head_dim,
                        call->causal}) {
    *next++ = field;
  }
  *next++ = call->scale;
  *next++ = number(stream);
  return nullptr;
}

extern "C" const char* fa3_peer_about() {
  return "a fake";
}
