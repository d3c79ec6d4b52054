"""Jobs of the fourth round: checks of tiles shared by CTAs, packed heads and O stored by the copy engine, and decoding
beside SDPA. hopper_jobs4.py JOBS.json, then hopper_gpu.py JOBS.json OUT.jsonl"""
import json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hopper_dev import QREG, SNAKE, T3

P2 = dict(producer_warps=1, row_groups=1, kv_groups=2, block_n=64, stages_k=4, stages_v=4)
LENGTHS = [(1, 1), (1, 700), (64, 128), (239, 1), (799, 3), (113, 203), (1023, 1024), (257, 512), (512, 512), (2048, 1000), (5, 3000)]
CASES = [dict(b=2, hq=8, hk=2, sq=q, sk=k) for q, k in LENGTHS]
CASES.append(dict(b=1, hq=4, hk=1, sq=384, sk=640, bshd=True, offset=0, amplify=4.0))
CHECKS = {
    128: [dict(SNAKE, **QREG, store_q=1), dict(grid="kDynamic", block_n=96, stages_q=2, store_q=1),
          dict(SNAKE, block_n=96, stages_q=2, store_q=1, packed=4, sync="kExp"), dict(P2, packed=4, cta_split=4),
          dict(P2, packed=2, cta_split=2, producer_warps=0), dict(packed=4, cta_split=8)],
    64: [dict(T3, **SNAKE, stages_q=2, store_q=1), dict(SNAKE, **QREG, store_q=1, sync="kExp"), dict(P2, packed=4),
         dict(P2, cta_split=3, compact=1), dict(T3, packed=4, **SNAKE), dict(P2, grid="kPersistentSnake", stages_q=2, packed=2)],
    96: [dict(SNAKE, **QREG, swizzle=64, store_q=1), dict(P2, swizzle=64, packed=4, cta_split=16)],
    80: [dict(T3, grid="kDynamic", stages_q=2, block_n=96, store_q=1), dict(T3, block_n=96, packed=4, cta_split=2)],
}
DECODING = [(1, 24, 8, 4096, 128), (1, 24, 8, 32768, 128), (8, 32, 8, 8192, 128), (1, 14, 2, 8192, 64), (1, 32, 32, 4096, 96)]


def decoding_configs(group, head_dim):
    two = dict(P2, swizzle={96: 64}.get(head_dim, 128))
    one = dict(two, kv_groups=1, block_n=128, stages_k=3, stages_v=3)
    configs = [two, dict(two, packed=group)]
    for parts in (2, 4, 8, 16, 32):
        configs += [dict(c, packed=group, cta_split=parts) for c in (two, one)]
    return configs


jobs = []
for head_dim, configs in CHECKS.items():
    for config in configs:
        for causal in (0, 1):
            jobs.append(dict(kind="check", shape=dict(head_dim=head_dim, causal=causal, lse=1, ragged=1), config=config, cases=CASES))
for config in (dict(P2, packed=7), dict(P2, packed=7, cta_split=4), dict(SNAKE, stages_q=2, store_q=1, packed=7)):  # 63 rows of 64
    cases = [dict(c, hq=14) for c in CASES[:9]]
    jobs.append(dict(kind="check", shape=dict(head_dim=64, causal=1, lse=1, ragged=1), config=config, cases=cases))
for batch, q_heads, kv_heads, keys, head_dim in DECODING:
    shape = dict(batch=batch, q_heads=q_heads, kv_heads=kv_heads, seq=1, kv=keys, head_dim=head_dim, causal=0)
    jobs.append(dict(kind="bench", name=f"decoding b{batch} h{q_heads}/{kv_heads} k{keys} d{head_dim}", shape=shape,
                     configs=decoding_configs(q_heads // kv_heads, head_dim), rounds=21, show=6))
json.dump(jobs, open(sys.argv[1], "w"))
