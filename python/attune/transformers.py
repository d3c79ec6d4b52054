"""Hugging Face transformers: importing this module makes attn_implementation="attune" known.

    import attune.transformers
    model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.bfloat16, attn_implementation="attune")

or, for a model that is there, model.set_attn_implementation("attune").

attune answers the attention of a prompt (and of any forward without a cache) that needs no mask but the causal one.
What needs another (padding, sliding windows, packed sequences) and the steps of decoding, whose length changes with
every token, go where attn_implementation="sdpa" takes them; set_fallback("raise") makes the former an error.

Under torch.compile and while a CUDA graph is captured, transformers cannot look at its inputs, and makes a mask wherever
they might need one: where an attention_mask is given, and without a cache, since position_ids may be of packed sequences.
attn_implementation="attune_causal" is for programs that know of theirs that they are text that is neither padded nor
packed: there it makes none. Outside of compilers and captures the two are the same.
"""

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

from attune._attention import attention
from attune._fallback import Unsupported, fall_back

# What changes the result and neither this kernel nor SDPA computes: no fallback would be right.
_NOT_IN_SDPA = ("s_aux", "softcap", "position_bias")


def attune_attention_forward(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None,
                             **kwargs):
    """transformers' attention interface: query [batch, heads, length, head_dim] to ([batch, length, heads, head_dim],
    None). It is what sdpa_attention_forward computes."""
    for name in _NOT_IN_SDPA:
        if kwargs.get(name) is not None:
            raise Unsupported(f"{type(module).__name__} asks for {name}, which neither attune nor SDPA computes; use "
                              "attn_implementation='eager'")
    if query.shape[2] > 1 and attention_mask is None:
        if is_causal is None:
            is_causal = getattr(module, "is_causal", True)
        arguments = (query, key, value, None, dropout, bool(is_causal), scaling, True)
        # A model goes on with [batch, length, heads, head_dim]. Where its query lies otherwise (a rotary embedding of a
        # part of head_dim leaves it so), writing that order at once spares the copy into it, where the result is as the
        # query: not under autocast, nor for values of another head_dim (DeepSeek's).
        if (query.stride(1) > query.stride(2) and value.shape[3] == query.shape[3] and not torch.is_grad_enabled() and
                not torch.is_autocast_enabled()):
            out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
            attention(*arguments, out=out.transpose(1, 2))
            return out, None
        return attention(*arguments).transpose(1, 2).contiguous(), None
    if attention_mask is not None and query.shape[2] > 1:
        fall_back("the model needs an attention mask (padding, a sliding window or packed sequences)")
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                                  is_causal=is_causal, **kwargs)


def _no_values_to_look_at():
    """Whether the inputs have none now, so that transformers makes masks that it would else find not to be needed. Not
    under torch.export (unless strict, which is a compiler here): what is exported is for inputs of any kind."""
    return torch.compiler.is_dynamo_compiling() or (torch.cuda.is_available() and
                                                    torch.cuda.is_current_stream_capturing())


def _needs_no_mask(promised, *, q_length=None, kv_length=None, attention_mask=None, local_size=None, use_vmap=False,
                   allow_is_causal_skip=True, allow_is_bidirectional_skip=False, **others):
    """By the arguments of transformers' mask interface. promised: the program knows that nothing is padded or packed.
    use_vmap: the model has a mask of its own beside the causal one."""
    if q_length is None or q_length != kv_length or (local_size is not None and kv_length >= local_size):
        return False
    if promised and not use_vmap:
        return True
    return attention_mask is None and (allow_is_causal_skip or allow_is_bidirectional_skip)


def _mask(promised):
    make = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]

    def mask(**arguments):
        return None if _no_values_to_look_at() and _needs_no_mask(promised, **arguments) else make(**arguments)

    return mask


for _name, _promised in (("attune", False), ("attune_causal", True)):
    AttentionInterface.register(_name, attune_attention_forward)
    AttentionMaskInterface.register(_name, _mask(_promised))
