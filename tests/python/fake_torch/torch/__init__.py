"""As much of torch as attune._attention touches, without data: what calls go where can be tested on any machine."""

import sys
import types

from torch import _exchange

bfloat16, float16, float32 = "torch.bfloat16", "torch.float16", "torch.float32"
state = types.SimpleNamespace(grad=False, compiling=False, stream=64, current=0, modes=0)
allocations, asked_streams = [], []
sdpa_calls = []
operator_calls, operator_results = [], []


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

    def clone(self):
        copy = empty_like(self)
        copy.address = (self.address + 0x50000000) // 256 * 256
        return copy

    def stride(self):
        return tuple(self.strides)

    def data_ptr(self):
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
        self.copied = [*getattr(self, "copied", []), other]
        return self


_exchange.install(Tensor)


def empty(*shape, dtype):
    return Tensor(*shape, dtype=dtype, device=-1)


def empty_like(tensor):
    allocations.append("empty_like")
    return Tensor(*tensor.shape, dtype=tensor.dtype, device=tensor.number, strides=tensor.strides,
                  address=tensor.address + 0x40000000)


def is_grad_enabled():
    return state.grad


def _sdpa(*arguments, **keywords):
    sdpa_calls.append((arguments, keywords))
    return "sdpa"


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
autograd = types.SimpleNamespace(graph=types.SimpleNamespace(increment_version=versions.append))
ops = types.SimpleNamespace(attune=types.SimpleNamespace())
def _empty_strided(sizes, strides, dtype):
    allocations.append("empty_strided")
    return Tensor(*sizes, dtype=dtype, device=state.current, strides=strides, address=0x7fa000000000)


def _current_stream(device):
    asked_streams.append(device)
    return state.stream


_C = types.SimpleNamespace(
    _cuda_getCurrentRawStream=_current_stream,
    _len_torch_dispatch_stack=lambda: state.modes,
    _dynamo=types.SimpleNamespace(guards=types.SimpleNamespace(_empty_strided_cuda=_empty_strided)))
functional = _module("torch.nn.functional", scaled_dot_product_attention=_sdpa)
nn = _module("torch.nn", functional=functional)
attention = _module("torch.nn.attention")
_module("torch.nn.attention.bias", causal_lower_right=lambda rows, columns: ("lower right", rows, columns))
compiler = types.SimpleNamespace(is_compiling=lambda: state.compiling)
library = types.SimpleNamespace(custom_op=_custom_op)
