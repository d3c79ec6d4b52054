"""As much of torch as attune._attention touches, without data: what calls go where can be tested on any machine."""

import math
import sys
import types

from torch import _exchange

bfloat16, float16, float32 = "torch.bfloat16", "torch.float16", "torch.float32"
float64, contiguous_format = "torch.float64", "torch.contiguous_format"
_AT_FIRST = dict(grad=False, compiling=False, exporting=False, capturing=False, tracing=False, stream=64, current=0,
                 modes=0, autocast=None, transform=None)
state = types.SimpleNamespace(**_AT_FIRST)
allocations, asked_streams = [], []
casts = []  # (from, to)
sdpa_calls, sdpa_result = [], "sdpa"
operator_calls, operator_results = [], []


def reset():
    """As it was imported: before each test."""
    vars(state).update(_AT_FIRST)
    for seen in (allocations, asked_streams, casts, sdpa_calls, operator_calls, operator_results, versions):
        seen.clear()


class Tensor:

    def __init__(self, *shape, dtype=bfloat16, device=0, strides=None, address=0x7f0000000000, requires_grad=False):
        self.shape, self.dtype, self.number, self.requires_grad = tuple(shape), dtype, device, requires_grad
        self.strides, self.address = strides, address
        if strides is None:
            self.strides, step = [], 1
            for size in reversed(shape):
                self.strides.insert(0, step)
                step *= size

    device = property(lambda self: types.SimpleNamespace(type="cuda" if self.number >= 0 else "cpu", index=self.number))

    is_cuda = property(lambda self: self.number >= 0)
    is_nested = False

    def __torch_dispatch__(self):
        pass

    def numel(self):
        return math.prod(self.shape)

    def is_floating_point(self):
        return True

    def to(self, dtype):
        casts.append((self.dtype, dtype))
        return Tensor(*self.shape, dtype=dtype, device=self.number, strides=self.strides, address=self.address)

    def contiguous(self):
        return Tensor(*self.shape, dtype=self.dtype, device=self.number, address=self.address)

    def clone(self):
        copy = empty_like(self)
        copy.address = (self.address + 0x50000000) // 256 * 256
        return copy

    def stride(self, dimension=None):
        return tuple(self.strides) if dimension is None else self.strides[dimension]

    def data_ptr(self):
        if getattr(self, "without_memory", False):
            raise RuntimeError("a tensor without memory")
        return self.address

    def get_device(self):
        return self.number

    def transpose(self, a, b):
        def swapped(numbers):
            numbers = list(numbers)
            numbers[a], numbers[b] = numbers[b], numbers[a]
            return numbers

        return Tensor(*swapped(self.shape), dtype=self.dtype, device=self.number, strides=swapped(self.strides),
                      address=self.address)

    def is_inference(self):
        return False

    def dim(self):
        return len(self.shape)

    def copy_(self, other):
        if isinstance(other, Tensor) and other.shape != self.shape:
            raise RuntimeError(f"{other.shape} is copied into {self.shape}")
        self.copied = [*getattr(self, "copied", []), other]
        return self


def _current_stream(device):
    asked_streams.append(device)
    return state.stream


_exchange.install(Tensor, _current_stream)


def empty(*shape, dtype):
    return Tensor(*shape, dtype=dtype, device=-1)


def empty_like(tensor, memory_format=None):
    allocations.append("empty_like")
    return Tensor(*tensor.shape, dtype=tensor.dtype, device=tensor.number,
                  strides=None if memory_format == contiguous_format else tensor.strides,
                  address=tensor.address + 0x40000000)


def is_grad_enabled():
    return state.grad


def is_autocast_enabled():
    return state.autocast is not None


def get_autocast_dtype(device):
    return state.autocast


def _sdpa(*arguments, **keywords):
    sdpa_calls.append((arguments, keywords))
    return sdpa_result


def _module(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


class _CustomOp:
    """What torch.library.custom_op makes of a function, without the dispatcher."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments):
        operator_calls.append(arguments)
        operator_results.append(self.function(*arguments))
        return operator_results[-1]

    def register_fake(self, function):
        self.fake = function

    def register_autograd(self, function):
        self.backward = function


def _custom_op(name, mutates_args, device_types):
    def register(function):
        made = _CustomOp(function)
        setattr(ops.attune, name.partition("::")[2], made)
        return made

    return register


versions = []  # tensors that were told to have changed
autograd = types.SimpleNamespace(graph=types.SimpleNamespace(increment_version=versions.append),
                                 forward_ad=_module("torch.autograd.forward_ad", _current_level=-1))
ops = types.SimpleNamespace(attune=types.SimpleNamespace())
def _empty_strided(sizes, strides, dtype):
    allocations.append("empty_strided")
    return Tensor(*sizes, dtype=dtype, device=state.current, strides=strides, address=0x7fa000000000)


_C = types.SimpleNamespace(
    _cuda_getCurrentRawStream=_current_stream,
    _len_torch_dispatch_stack=lambda: state.modes,
    _is_tracing=lambda: state.tracing,
    _functorch=types.SimpleNamespace(peek_interpreter_stack=lambda: state.transform),
    _dynamo=types.SimpleNamespace(guards=types.SimpleNamespace(_empty_strided_cuda=_empty_strided)))
functional = _module("torch.nn.functional", scaled_dot_product_attention=_sdpa)
nn = _module("torch.nn", functional=functional)
attention = _module("torch.nn.attention")
_module("torch.nn.attention.bias", causal_lower_right=lambda rows, columns: ("lower right", rows, columns))
compiler = types.SimpleNamespace(is_compiling=lambda: state.compiling,
                                 is_dynamo_compiling=lambda: state.compiling and not state.exporting)
cuda = types.SimpleNamespace(is_available=lambda: True, is_current_stream_capturing=lambda: state.capturing)
library = types.SimpleNamespace(custom_op=_custom_op)
