#!/usr/bin/env python3
"""One causal attention with the fastest kernel that is known for it, checked against PyTorch."""

import torch
import torch.nn.functional as F

import attune

q = torch.randn(1, 32, 2048, 128, device="cuda", dtype=torch.bfloat16)
k, v = (torch.randn(1, 8, 2048, 128, device="cuda", dtype=torch.bfloat16) for _ in range(2))

answer = attune.lookup(q_heads=32, kv_heads=8, q_len=2048, head_dim=128, causal=True)
print(f"{answer.provenance} record: {answer.template} {answer.config}\n{answer.reason}")

out = attune.attention(q, k, v, is_causal=True, enable_gqa=True)
expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
print(f"largest difference from PyTorch: {(out - expected).abs().max().item():.2e}")
