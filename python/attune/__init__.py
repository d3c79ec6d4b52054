"""attune: the fastest known attention kernel for a shape, in PyTorch.

    import attune
    out = attune.attention(q, k, v, is_causal=True)        # as torch.nn.functional.scaled_dot_product_attention

    import attune.transformers                             # then: attn_implementation="attune"

`attention` and the operator torch.ops.attune.attention need PyTorch; where it is not imported yet, that happens at
attention's first use. `lookup`, `tune` and `configure` do without.
"""

import sys

from attune._core import AttuneError, version as __version__
from attune._fallback import FallbackWarning, Unsupported, get_fallback, set_fallback
from attune._libraries import configure, reload
from attune._lookup import Answer, lookup
from attune._tune import TuneError, tune

__all__ = [
    "Answer", "AttuneError", "FallbackWarning", "TuneError", "Unsupported", "attention", "configure", "get_fallback",
    "lookup", "reload", "set_fallback", "tune"
]


def __getattr__(name):
    if name != "attention":
        raise AttributeError(f"module 'attune' has no attribute {name!r}")
    from attune._attention import attention  # imports torch
    globals()["attention"] = attention
    return attention


def __dir__():
    return sorted([*globals(), "attention"])


if "torch" in sys.modules:
    from attune._attention import attention
