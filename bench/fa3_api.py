"""FlashAttention-3's forward through libfa3_peer.so (bench/fa3), by ctypes."""

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_int32, c_int64, c_uint64, c_void_p


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("batch_stride", c_int64), ("head_stride", c_int64), ("row_stride", c_int64)]


class Call(Structure):
    _fields_ = [("struct_size", c_uint64), ("q", Tensor), ("k", Tensor), ("v", Tensor), ("o", Tensor),
                ("lse", c_void_p), ("semaphore", c_void_p), ("batch", c_int32), ("q_heads", c_int32),
                ("kv_heads", c_int32), ("q_len", c_int32), ("kv_len", c_int32), ("head_dim", c_int32),
                ("causal", c_int32), ("scale", c_float)]


class Fa3Error(RuntimeError):
    pass


def view(tensor):
    return Tensor(tensor.data_ptr(), *tensor.stride()[:3])


class Library:
    def __init__(self, path):
        api = ctypes.CDLL(path)
        api.fa3_peer_forward.argtypes, api.fa3_peer_forward.restype = [POINTER(Call), c_void_p], c_char_p
        api.fa3_peer_about.argtypes, api.fa3_peer_about.restype = [], c_char_p
        self.api = api

    def about(self):
        """Which sources and which compiler made the library."""
        return self.api.fa3_peer_about().decode(errors="replace")

    def launcher(self, q, k, v, o, lse, semaphore, causal, scale):
        """A function of a stream's address that enqueues one forward on these tensors, [B,H,S,D] in bf16 by strides,
        `lse` [B,H,S] in fp32 and contiguous, `semaphore` an int32. It keeps the tensors alive."""
        kept = (q, k, v, o, lse, semaphore)
        batch, q_heads, q_len, head_dim = q.shape
        call = Call(ctypes.sizeof(Call), view(q), view(k), view(v), view(o), lse.data_ptr(), semaphore.data_ptr(),
                    batch, q_heads, k.shape[1], q_len, k.shape[2], head_dim, causal, scale)
        forward, address = self.api.fa3_peer_forward, byref(call)

        def launch(stream, kept=kept):
            trouble = forward(address, stream)
            if trouble:
                raise Fa3Error(trouble.decode(errors="replace"))

        return launch
