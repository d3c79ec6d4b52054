#!/usr/bin/env python3
"""What a call costs on the host from Python, beside PyTorch's own: microseconds, with the GPU's queue never full.

    PYTHONPATH=build/release/python python3 bench/python_latency.py > bench/results/python_latency_h100.json
"""

import datetime
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import attune

CALLS, ROUNDS, WARM_UP = 100, 60, 10


def host_us(call):
    """Median over rounds of the mean of a round's calls. A round fits in the queue, and the next waits for it."""
    samples = []
    for turn in range(ROUNDS + WARM_UP):
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        took = time.perf_counter() - start
        torch.cuda.synchronize()
        if turn >= WARM_UP:
            samples.append(1e6 * took / CALLS)
    return round(statistics.median(samples), 3)


def main():
    if not torch.cuda.is_available():
        sys.exit("no GPU here: PyTorch sees none")
    attune.set_fallback("raise")
    results = {}
    with torch.inference_mode():
        for name, heads, kv_heads, length, head_dim in (("b1 h8/8 s128 d64", 8, 8, 128, 64),
                                                        ("b1 h16/2 s256 d128", 16, 2, 256, 128)):
            q = torch.randn(1, heads, length, head_dim, device="cuda", dtype=torch.bfloat16)
            k, v = (torch.randn(1, kv_heads, length, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(2))
            shared = heads != kv_heads
            options = {"is_causal": True, "enable_gqa": shared}
            operator = torch.ops.attune.attention
            row = {"attune.attention": host_us(lambda: attune.attention(q, k, v, **options)),
                   "torch.ops.attune.attention": host_us(lambda: operator(q, k, v, "top-left")),
                   "sdpa": host_us(lambda: F.scaled_dot_product_attention(q, k, v, **options)),
                   "torch.empty_like": host_us(lambda: torch.empty_like(q))}
            for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
                with sdpa_kernel(backend):
                    row[f"sdpa {backend.name}"] = host_us(lambda: F.scaled_dot_product_attention(q, k, v, **options))
            results[name] = row
    json.dump({"utc": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
               "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "python": sys.version.split()[0],
               "attune": attune.__version__, "calls": CALLS, "rounds": ROUNDS, "host_us": results}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
