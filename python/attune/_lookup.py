"""attune.lookup: what serves a shape, and how that is known."""

import dataclasses
import json

from attune import _libraries, _shape


@dataclasses.dataclass(frozen=True)
class Answer:
    """What serves a shape."""

    # "exact": measured for this shape (in either layout) on this GPU model; "near": for another; "default": not measured
    provenance: str
    template: str  # "hopper", "portable"
    config: dict
    expected_us: float | None  # one launch with a cold L2; scaled by the work where near; None: unknown
    stale: bool  # the driver or the kernel changed since it was measured, or another NVRTC compiled it than was measured
    workspace_bytes: int  # device memory for each stream that launches it
    reason: str  # one line for people


def lookup(*, q_heads, q_len, head_dim, batch=1, kv_heads=None, kv_len=None, dtype="bf16", causal=False, layout="bhsd",
           device=0):
    """What serves a shape on a GPU, as an Answer. The shape is ready to be launched and captured from then on: a
    kernel that is not in the store is compiled now, which can take seconds. kv_heads and kv_len are q_heads and q_len
    unless given; causal as in attention(); dtype "bf16" or "fp16"; layout "bhsd" or "bshd" is the memory order.

    Raises AttuneError: no GPU, a database that cannot be read, a shape that no kernel serves."""
    mask = _shape.number(_shape.MASKS, _shape.mask_of(causal), "causal")
    found = _libraries.library_of(device).prepare(
        batch, q_heads, q_heads if kv_heads is None else kv_heads, q_len, q_len if kv_len is None else kv_len, head_dim,
        _shape.number(_shape.DTYPES, dtype, "dtype"), mask, _shape.number(_shape.LAYOUTS, layout, "layout"))
    found.update(config=json.loads(found["config"]), expected_us=found["expected_us"] or None)
    return Answer(**found)
