"""The words of a shape, as the command line has them, and their numbers in the C API."""

DTYPES = {"bf16": 0, "fp16": 1}
LAYOUTS = {"bhsd": 0, "bshd": 1}
MASKS = {"none": 0, "top-left": 1, "bottom-right": 2}


def mask_of(causal):
    """False: no mask. True or "top-left": query 0 sees key 0 alone, as PyTorch's is_causal. "bottom-right": the last
    query sees every key, as FlashAttention. They differ only where the lengths do."""
    if causal is True or causal is False:
        return "top-left" if causal else "none"
    if causal not in MASKS:
        raise ValueError(f"causal is {causal!r}, must be True, False, 'top-left' or 'bottom-right'")
    return causal


def number(table, word, name):
    if word not in table:
        raise ValueError(f"{name} is {word!r}, must be one of {', '.join(map(repr, table))}")
    return table[word]
