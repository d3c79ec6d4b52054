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
_MASK_OF_BOOL = {False: MASKS["none"], True: MASKS["top-left"]}


def _member(path):
    """Of torch._C what may not be there in every version, or None."""
    found = torch._C
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


_dispatch_modes = _member("_len_torch_dispatch_stack")


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
        "dispatch_modes": _dispatch_modes,
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
    order; or it is written into out and returned, a tensor of the query's shape, dtype and device that keeps to the same
    rules, needs no gradient and shares no memory with the others.
    scale is 1/sqrt(head_dim) unless given. enable_gqa=True lets q_heads be a multiple of kv_heads. causal, if
    given, stands for is_causal and may also be "bottom-right" (see attune.lookup).

    attn_mask, dropout, gradients, other dtypes and shapes are not served: scaled_dot_product_attention answers or
    attune.Unsupported is raised, by attune.set_fallback(), or here by fallback="sdpa" or "raise".

    The first call of a shape prepares it, which can take seconds; later ones enqueue one kernel on the current stream
    and can be captured into a CUDA graph. Under torch.compile it is the operator torch.ops.attune.attention.
    """
    if causal is None:
        causal = is_causal
    if out is not None:
        return _attention_into(out, query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa, fallback)
    why = None
    if not _is_compiling() and attn_mask is None and dropout_p == 0.0:
        mask = _MASK_OF_BOOL[causal] if type(causal) is bool else MASKS[mask_of(causal)]
        try:
            out = _attend(query, key, value, mask, scale, enable_gqa)
        except _core.AttuneError as error:
            out = _reason_of(error)
        if type(out) is Tensor:
            return out
        why = out
    if why is None:  # torch.compile, modes of the dispatcher, subclasses of Tensor, and what is not served
        why = _why_not(query, key, value, attn_mask, dropout_p, scale, enable_gqa)
        if why is None:
            return torch.ops.attune.attention(query, key, value, mask_of(causal), scale)
    fall_back(why, fallback)
    return _sdpa(query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa)


def _attention_into(out, query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa, fallback):
    if out.shape != query.shape or out.dtype != query.dtype or out.device != query.device:
        raise ValueError("out must have the shape, dtype and device of query")
    if out.requires_grad and _is_grad_enabled():
        raise ValueError("out must not require a gradient")
    why = _why_not(query, key, value, attn_mask, dropout_p, scale, enable_gqa)
    if why is None and (_is_compiling() or _is_watched(query, key, value, out)):
        return out.copy_(torch.ops.attune.attention(query, key, value, mask_of(causal), scale))
    if why is None:
        why = _launch(query, key, value, out, MASKS[mask_of(causal)], scale, enable_gqa)
        if why is None:
            if not out.is_inference():
                torch.autograd.graph.increment_version(out)  # as every operator that writes into a tensor does
            return out
    fall_back(why, fallback)
    return out.copy_(_sdpa(query, key, value, attn_mask, dropout_p, causal, scale, enable_gqa))


def _is_watched(*tensors):
    """Whether what happens to these tensors is for a mode of the dispatcher, or a subclass of Tensor, to see."""
    return (_dispatch_modes is not None and _dispatch_modes() > 0) or any(type(tensor) is not Tensor for tensor in tensors)


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
    if type(tensor) is Tensor and tensor.is_cuda and tensor.data_ptr() % 16 != 0:
        return tensor.clone()
    return tensor


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


def _why_not(query, key, value, attn_mask, dropout_p, scale, enable_gqa):
    """What can be told of a call without data: it may be one under torch.compile."""
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
