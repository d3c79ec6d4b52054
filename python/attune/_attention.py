"""attune.attention and the operator torch.ops.attune.attention."""

import os
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from attune import _core
from attune._fallback import fall_back
from attune._libraries import libraries, library_of
from attune._shape import MASKS, mask_of

# Statuses after which another implementation can answer. The others (a fault of the GPU, no memory, a bug) would
# only be hidden by it.
_CAN_FALL_BACK = {
    "ATTUNE_INVALID_ARGUMENT", "ATTUNE_NO_GPU", "ATTUNE_DATABASE", "ATTUNE_NOT_SUPPORTED", "ATTUNE_COMPILE",
    "ATTUNE_NOT_PREPARED"
}

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
# What the compilers of PyTorch use themselves: an integer, a tenth of the cost of torch.cuda.current_stream().
_stream_of = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda device: torch.cuda.current_stream(device).cuda_stream)


def _member(path):
    """Of torch._C what may not be there in every version, or None."""
    found = torch._C
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


_transforms = _member("_functorch.peek_interpreter_stack")
_is_autocast_enabled = torch.is_autocast_enabled


def _set_up():
    """Tells the extension what of torch it is to call: the shorter ways through PyTorch's own C interfaces, where this
    version of it has them, unless ATTUNE_FAST_CALLS=0."""
    fast = os.environ.get("ATTUNE_FAST_CALLS") != "0"
    _core.attend_setup({
        "Tensor": Tensor,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "sample": torch.empty(2, 3, 4, 8, dtype=torch.bfloat16).transpose(1, 2) if fast else None,
        "empty_like": torch.empty_like,
        "empty_strided": _member("_dynamo.guards._empty_strided_cuda") if fast else None,  # torch.compile's own
        "is_grad_enabled": _is_grad_enabled,
        "is_tracing": _member("_is_tracing"),
        "forward_ad": vars(torch.autograd.forward_ad),
        "dispatch_modes": _member("_len_torch_dispatch_stack"),
        "current_stream": _stream_of,
        "libraries": libraries,
        "library_of": library_of,
    })


_set_up()
_attend = _core.attend


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, *,
              causal=None, fallback=None, out=None):
    """softmax(scale * Q K^T) V, as torch.nn.functional.scaled_dot_product_attention computes it, with the fastest
    kernel that is known for the shape.

    query is [batch, q_heads, q_len, head_dim], key and value [batch, kv_heads, kv_len, head_dim]; bfloat16 or float16
    on a GPU, contiguous in head_dim, strides multiples of 8 elements. The result has the query's shape and memory
    order; or it is written into out and returned, a tensor of the query's shape, dtype (under autocast: the one computed
    in) and device that keeps to the same rules, needs no gradient and shares no memory with the others.
    scale is 1/sqrt(head_dim) unless given. enable_gqa=True lets q_heads be a multiple of kv_heads. causal, if
    given, stands for is_causal and may also be "bottom-right" (see attune.lookup).

    attn_mask, dropout, gradients, other dtypes and shapes are not served: scaled_dot_product_attention answers or
    attune.Unsupported is raised, by attune.set_fallback(), or here by fallback="sdpa" or "raise".

    The first call of a shape prepares it, which can take seconds; later ones enqueue one kernel on the current stream
    and can be captured into a CUDA graph. Under torch.compile it is the operator torch.ops.attune.attention.
    """
    if causal is None:
        causal = is_causal
    if _is_autocast_enabled():
        query, key, value = (_autocast(tensor) for tensor in (query, key, value))
    answer = None
    if not _is_compiling() and attn_mask is None and dropout_p == 0.0:
        try:
            answer = _attend(query, key, value, causal if type(causal) is bool else MASKS[mask_of(causal)], scale, enable_gqa,
                             out)
        except _core.AttuneError as error:
            answer = _reason_of(error)
        if type(answer) is Tensor:
            if out is not None and not out.is_inference():
                torch.autograd.graph.increment_version(out)  # as every operator that writes into a tensor does
            return answer
    if out is not None:
        _check_out(out, query)
    if answer is None:  # torch.compile, what torch's dispatcher has to see, and what is not served
        answer = _why_not(query, key, value, attn_mask, dropout_p, scale, enable_gqa)
    if answer is None:
        result = torch.ops.attune.attention(query, key, value, mask_of(causal), scale)
    else:
        fall_back(answer, fallback)
        result = _sdpa(query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa)
    return result if out is None else out.copy_(result)


def _autocast(tensor):
    """As scaled_dot_product_attention gets it under torch.autocast."""
    dtype = torch.get_autocast_dtype("cuda")
    if tensor.device.type != "cuda" or not tensor.is_floating_point() or tensor.dtype in (dtype, torch.float64):
        return tensor
    return tensor.to(dtype)


def _check_out(out, query):
    if out.shape != query.shape or out.dtype != query.dtype or out.device != query.device:
        raise ValueError("out must have the shape, dtype and device of query")
    if out.requires_grad and _is_grad_enabled():
        raise ValueError("out must not require a gradient")


def _reason_of(error):
    """Why another implementation is to answer. Faults of the GPU are raised."""
    if getattr(error, "status", None) not in _CAN_FALL_BACK:
        raise error
    return f"{error.status}: {error}"


def _launch(query, key, value, out, mask, scale, enable_gqa):
    """None once it is enqueued, else why it cannot be served. Faults of the GPU are raised."""
    device = query.get_device()
    if device < 0:
        return "query is not on a GPU"
    try:
        library = libraries.get(device) or library_of(device)
        return library.forward(query, key, value, out, mask, scale, enable_gqa, _stream_of(device))
    except _core.AttuneError as error:
        return _reason_of(error)


def _aligned(tensor):
    """SDPA's cuDNN backend has answered wrongly for tensors that begin at odd addresses (PyTorch 2.11): a copy."""
    try:
        misaligned = type(tensor) is Tensor and tensor.is_cuda and tensor.data_ptr() % 16 != 0
    except RuntimeError:  # it has no memory of its own: nested, or of a transform of torch.func
        return tensor
    return tensor.clone() if misaligned else tensor


def _sdpa(query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa):
    mask = mask_of(causal)
    if not _is_compiling():
        query, key, value = _aligned(query), _aligned(key), _aligned(value)
    if mask == "bottom-right":
        if query.shape[-2] == key.shape[-2]:
            mask = "top-left"
        else:
            if attn_mask is not None:
                raise ValueError("causal='bottom-right' and an attn_mask cannot be combined")
            from torch.nn.attention.bias import causal_lower_right
            return F.scaled_dot_product_attention(query, key, value, causal_lower_right(query.shape[-2], key.shape[-2]),
                                                  dropout_p, scale=scale, enable_gqa=enable_gqa)
    return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, mask == "top-left", scale=scale,
                                          enable_gqa=enable_gqa)


def _dispatches_itself(tensor):
    """Whether it is of a class that answers operators by itself, and so does not know attune's: DTensor and the like.
    The classes of torch's own compilers do know it."""
    return (type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__ and
            not type(tensor).__module__.startswith("torch._subclasses"))


def _seen_by_torch(tensors):
    """What torch does around the call that the operator has no rule for, or None."""
    for tensor in tensors:
        if _dispatches_itself(tensor):
            return f"a tensor is a {type(tensor).__name__}, which computes by itself"
    if getattr(torch.autograd.forward_ad, "_current_level", -1) >= 0:
        return "a forward-mode gradient is recorded"
    if _transforms is not None and _transforms() is not None:
        return "it is inside a transform of torch.func"
    return None


def _why_not(query, key, value, attn_mask, dropout_p, scale, enable_gqa):
    """What can be told of a call without data: it may be one under torch.compile."""
    if query.is_nested or key.is_nested or value.is_nested:
        return "a tensor is nested"
    if not _is_compiling():
        why = _seen_by_torch((query, key, value))
        if why is not None:
            return why
    if attn_mask is not None:
        return "an attn_mask is given"
    if dropout_p != 0.0:
        return "dropout_p is not 0"
    if _is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return "a gradient is asked for; the kernels have no backward (torch.no_grad() or inference_mode())"
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        return "query, key and value must have 4 dimensions: batch, heads, length, head_dim"
    if query.dtype not in (torch.bfloat16, torch.float16) or key.dtype != query.dtype or value.dtype != query.dtype:
        return "query, key and value must be all bfloat16 or all float16"
    if query.device.type != "cuda" or key.device != query.device or value.device != query.device:
        return "query, key and value must be on one GPU"
    if query.shape[3] % 8 != 0 or query.shape[3] > 256 or key.shape[3] != query.shape[3] or value.shape != key.shape:
        return "head_dim must be a multiple of 8, at most 256, and the same of query, key and value"
    if query.shape[0] != key.shape[0]:
        return "query and key differ in batch"
    if query.numel() == 0 or key.numel() == 0:
        return "a tensor is empty"
    if query.shape[1] % key.shape[1] != 0 or (query.shape[1] != key.shape[1] and not enable_gqa):
        return "query heads must be those of key, or with enable_gqa=True a multiple"
    if scale is not None and not scale > 0:
        return "the scale is not a finite number above 0"
    return None


@torch.library.custom_op("attune::attention", mutates_args=(), device_types="cuda")
def _operator(query: Tensor, key: Tensor, value: Tensor, mask: str = "none", scale: Optional[float] = None) -> Tensor:
    """The operator. mask: "none", "top-left" or "bottom-right". Fewer key than query heads are shared."""
    out = torch.empty_like(query)
    why = _launch(query, key, value, out, MASKS[mask_of(mask)], scale, True)
    if why is not None:
        fall_back(why)
        out.copy_(_sdpa(query, key, value, None, 0.0, mask, scale, query.shape[1] != key.shape[1]))
    return out


@_operator.register_fake
def _(query, key, value, mask="none", scale=None):
    return torch.empty_like(query)


def _backward(context, gradient):
    raise NotImplementedError("torch.ops.attune.attention has no backward; attune.attention() falls back to "
                              "scaled_dot_product_attention where a gradient is asked for")


_operator.register_autograd(_backward)
