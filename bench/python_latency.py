#!/usr/bin/env python3
"""What a call costs on the host from Python, beside PyTorch's own: microseconds, with the GPU's queue never full.

    PYTHONPATH=build/release/python python3 bench/python_latency.py --runtime-cost build/release/bin/runtime_cost

prints one JSON document. runtime_cost (bench/runtime_cost.cc), run before and after, says what a bare cuLaunchKernel
costs on this host, which is part of each call.
"""

import argparse
import contextlib
import datetime
import json
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import attune

CALLS, ROUNDS, WARM_UP = 100, 100, 10
SHAPES = {"b1 h8/8 s128 d64": (8, 8, 128, 64), "b1 h16/2 s256 d128": (16, 2, 256, 128)}


def host_us(calls):
    """Of each call the median over rounds of the mean of a round's calls; the rounds of all, of both shapes, take turns,
    since the host's clock changes as they run. A round fits in the queue, and the next waits for it."""
    samples = {name: [] for name in calls}
    for turn in range(WARM_UP + ROUNDS):
        for name, (context, call) in calls.items():
            with context():
                start = time.perf_counter()
                for _ in range(CALLS):
                    call()
                took = time.perf_counter() - start
                torch.cuda.synchronize()
            if turn >= WARM_UP:
                samples[name].append(1e6 * took / CALLS)
    return {name: round(statistics.median(of), 3) for name, of in samples.items()}


def calls_of(heads, kv_heads, length, head_dim):
    q = torch.randn(1, heads, length, head_dim, device="cuda", dtype=torch.bfloat16)
    k, v = (torch.randn(1, kv_heads, length, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    options = {"is_causal": True, "enable_gqa": heads != kv_heads}
    operator = torch.ops.attune.attention
    out = torch.empty_like(q)

    def sdpa():
        return F.scaled_dot_product_attention(q, k, v, **options)

    calls = {"attune.attention": lambda: attune.attention(q, k, v, **options),
             "attune.attention, out=": lambda: attune.attention(q, k, v, out=out, **options),
             "torch.ops.attune.attention": lambda: operator(q, k, v, "top-left"),
             "sdpa": sdpa,
             "torch.empty_like": lambda: torch.empty_like(q),
             "nothing": lambda: None}
    calls = {name: (contextlib.nullcontext, call) for name, call in calls.items()}
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        calls[f"sdpa {backend.name}"] = (lambda backend=backend: sdpa_kernel(backend), sdpa)
    return calls


def driver():
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def bare_launch_us(program):
    run = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)["host_us"]["cuLaunchKernel"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runtime-cost", metavar="PROGRAM", help="runtime_cost of the same build")
    program = parser.parse_args().runtime_cost
    if not torch.cuda.is_available():
        sys.exit("no GPU here: PyTorch sees none")
    attune.set_fallback("raise")
    bare = [bare_launch_us(program)] if program else []
    with torch.inference_mode():
        calls = {(shape, name): call for shape, sizes in SHAPES.items() for name, call in calls_of(*sizes).items()}
        times = host_us(calls)
    bare += [bare_launch_us(program)] if program else []
    results = {shape: {name: times[shape, name] for of, name in calls if of == shape} for shape in SHAPES}
    json.dump({"utc": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
               "gpu": torch.cuda.get_device_name(0), "driver": driver(), "torch": torch.__version__,
               "python": sys.version.split()[0], "attune": attune.__version__, "calls": CALLS, "rounds": ROUNDS,
               "cuLaunchKernel_us": bare, "host_us": results}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
