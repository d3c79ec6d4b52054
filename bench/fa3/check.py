#!/usr/bin/env python3
"""Compares libfa3_peer.so with fp32 math on this machine's GPU: a line a shape with the error and the time.

  python3 bench/fa3/check.py libfa3_peer.so
"""

import argparse
import os
import statistics
import sys

import torch

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import fa3_api

MAX_ERROR = 5e-3  # relative Frobenius, bf16
# name, batch, q heads, kv heads, q length, kv length, head dim, causal, as [B,S,H,D] in memory
CASES = [
    ("D=64, 7 heads a kv head, causal", 1, 14, 2, 1024, 1024, 64, True, False),
    ("D=80, causal", 1, 32, 32, 1024, 1024, 80, True, False),
    ("D=96, causal", 1, 32, 32, 1024, 1024, 96, True, False),
    ("D=128, dense", 2, 32, 32, 1024, 1024, 128, False, False),
    ("D=128, causal, [B,S,H,D], odd lengths", 2, 16, 8, 777, 777, 128, True, True),
    ("D=128, short queries, packed heads", 2, 32, 8, 16, 1000, 128, True, False),
    ("D=64, dense, short queries, packed heads", 1, 14, 2, 40, 600, 64, False, False),
]


def reference(q, k, v, causal):
    group = q.shape[1] // k.shape[1]
    k, v = (t.float().repeat_interleave(group, dim=1) for t in (k, v))
    scores = q.float() @ k.transpose(-1, -2) * q.shape[-1]**-0.5
    if causal:
        rows, columns = scores.shape[-2:]
        hidden = torch.ones(rows, columns, dtype=torch.bool, device=q.device).triu_(1 + columns - rows)
        scores.masked_fill_(hidden, float("-inf"))
    return torch.softmax(scores, dim=-1) @ v, torch.logsumexp(scores, dim=-1)


def make(batch, heads, length, head_dim, rows_first):
    if rows_first:
        return torch.randn(batch, length, heads, head_dim, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
    return torch.randn(batch, heads, length, head_dim, device="cuda", dtype=torch.bfloat16)


def times_us(launch, stream, count=20):
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * count)]
    torch.cuda._sleep(2_000_000)
    for start, end in zip(events[::2], events[1::2]):
        start.record()
        launch(stream)
        end.record()
    torch.cuda.synchronize()
    return [1000 * start.elapsed_time(end) for start, end in zip(events[::2], events[1::2])]


def run(library, batch, q_heads, kv_heads, q_len, kv_len, head_dim, causal, rows_first):
    q = make(batch, q_heads, q_len, head_dim, rows_first)
    k, v = (make(batch, kv_heads, kv_len, head_dim, rows_first) for _ in range(2))
    o = torch.empty_like(q).fill_(float("nan"))
    lse = torch.full((batch, q_heads, q_len), float("nan"), device="cuda")
    semaphore = torch.full((1,), 12345, device="cuda", dtype=torch.int32)  # the library's to zero
    stream = torch.cuda.current_stream().cuda_stream
    launch = library.launcher(q, k, v, o, lse, semaphore, causal, head_dim**-0.5)
    expected, expected_lse = reference(q, k, v, causal)
    times = times_us(launch, stream)
    o.fill_(float("nan"))
    launch(stream)
    torch.cuda.synchronize()
    error = torch.linalg.vector_norm(o.float() - expected) / torch.linalg.vector_norm(expected)
    return float(error), float((lse - expected_lse).abs().max()), statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="libfa3_peer.so, of bench/fa3/build.sh")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(1234)
    torch.zeros(1, device="cuda")  # makes the primary context current
    library = fa3_api.Library(os.path.abspath(options.library))
    print(library.about())
    wrong = 0
    for name, *case in CASES:
        error, lse_error, us = run(library, *case)
        good = error <= MAX_ERROR and lse_error <= 1e-2
        wrong += not good
        print(f"{'ok   ' if good else 'WRONG'} {name:40} error {error:.2e}, of the lse {lse_error:.1e}, {us:.1f} us "
              "(warm)", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
