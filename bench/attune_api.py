"""The part of attune's C API (runtime/include/attune/attune.h) that the benchmarks need, through ctypes."""

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p

PROVENANCE = ("exact", "near", "default")
LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
CURRENT_DEVICE = -1
BF16, FP16 = 0, 1
MASK_NONE, MASK_CAUSAL_TOP_LEFT, MASK_CAUSAL_BOTTOM_RIGHT = 0, 1, 2
BHSD, BSHD = 0, 1


class OpenOptions(Structure):
    _fields_ = [("struct_size", c_size_t), ("database", c_char_p), ("cubins", c_char_p), ("device", c_int32),
                ("reserved", c_int32), ("log", LOG_CALLBACK), ("log_user", c_void_p)]


class Shape(Structure):
    _fields_ = [("struct_size", c_size_t), ("batch", c_int64), ("q_heads", c_int64), ("kv_heads", c_int64),
                ("q_len", c_int64), ("kv_len", c_int64), ("head_dim", c_int64), ("dtype", c_int32), ("mask", c_int32),
                ("layout", c_int32), ("wants_lse", c_int32)]


class Tensor(Structure):
    _fields_ = [("data", c_void_p), ("batch_stride", c_int64), ("head_stride", c_int64), ("seq_stride", c_int64)]


class Tensors(Structure):
    _fields_ = [("struct_size", c_size_t), ("q", Tensor), ("k", Tensor), ("v", Tensor), ("o", Tensor),
                ("lse", c_void_p)]


class Info(Structure):
    _fields_ = [("struct_size", c_size_t), ("provenance", c_int32), ("stale", c_int32), ("expected_us", c_double),
                ("workspace_bytes", c_int64), ("template_name", c_char_p), ("config_json", c_char_p),
                ("reason", c_char_p)]


class AttuneError(RuntimeError):
    pass


def load(path):
    """Loads libattune.so and declares its functions."""
    api = ctypes.CDLL(path)
    for name, arguments in {
            "attune_open": [POINTER(OpenOptions), POINTER(c_void_p)],
            "attune_prepare": [c_void_p, POINTER(Shape), POINTER(c_void_p)],
            "attune_forward": [c_void_p, POINTER(Shape), POINTER(Tensors), c_float, c_void_p],
            "attune_kernel_forward": [c_void_p, POINTER(Tensors), c_float, c_void_p],
            "attune_explain": [c_void_p, POINTER(Info)],
    }.items():
        function = getattr(api, name)
        function.argtypes, function.restype = arguments, c_int
    api.attune_close.argtypes, api.attune_close.restype = [c_void_p], None
    api.attune_version.argtypes, api.attune_version.restype = [], c_char_p
    api.attune_last_error.argtypes, api.attune_last_error.restype = [], c_char_p
    api.attune_status_name.argtypes, api.attune_status_name.restype = [c_int], c_char_p
    return api


def shape_of(batch, q_heads, kv_heads, q_len, kv_len, head_dim, causal, dtype=BF16, layout=BHSD):
    mask = MASK_CAUSAL_TOP_LEFT if causal else MASK_NONE
    return Shape(ctypes.sizeof(Shape), batch, q_heads, kv_heads, q_len, kv_len, head_dim, dtype, mask, layout, 0)


def tensors_of(*views):
    """Each of q, k, v and o as (address, (batch stride, head stride, seq stride)) in elements."""
    q, k, v, o = (Tensor(address, *strides) for address, strides in views)
    return Tensors(ctypes.sizeof(Tensors), q, k, v, o, None)


class Library:
    """An attune_library. `log` is called with (level, text)."""

    def __init__(self, path, database=None, cubins=None, device=CURRENT_DEVICE, log=None):
        self.api = load(path)
        self.handle = c_void_p()
        self.callback = LOG_CALLBACK(lambda level, text, _: log(level, text.decode(errors="replace")) if log else None)
        encode = lambda text: text.encode() if text else None
        options = OpenOptions(ctypes.sizeof(OpenOptions), encode(database), encode(cubins), device, 0, self.callback,
                              None)
        self.check(self.api.attune_open(byref(options), byref(self.handle)))

    def check(self, status):
        if status:
            name = self.api.attune_status_name(status).decode()
            raise AttuneError(f"{name}: {self.api.attune_last_error().decode(errors='replace')}")

    def version(self):
        return self.api.attune_version().decode()

    def prepare(self, shape):
        """What serves the shape, as a dict; the shape can be launched from then on."""
        kernel, info = c_void_p(), Info(ctypes.sizeof(Info))
        self.check(self.api.attune_prepare(self.handle, byref(shape), byref(kernel)))
        self.check(self.api.attune_explain(kernel, byref(info)))
        return {"provenance": PROVENANCE[info.provenance], "stale": bool(info.stale),
                "expected_us": info.expected_us or None, "template": info.template_name.decode(),
                "config": info.config_json.decode(), "reason": info.reason.decode(errors="replace")}

    def launcher(self, shape, tensors, scale):
        """A function of a stream's address that launches the shape on the tensors."""
        forward, handle, check = self.api.attune_forward, self.handle, self.check
        shape_address, tensors_address, scale = byref(shape), byref(tensors), c_float(scale)

        def launch(stream):
            status = forward(handle, shape_address, tensors_address, scale, stream)
            if status:
                check(status)

        return launch

    def close(self):
        self.api.attune_close(self.handle)
        self.handle = c_void_p()
