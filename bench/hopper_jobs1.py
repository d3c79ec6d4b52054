import json, sys
jobs = []
cases = [dict(b=2, hq=6, hk=2, sq=a, sk=c) for a, c in [(1, 1), (64, 128), (239, 1), (799, 3), (113, 203), (1023, 1024), (257, 512), (512, 512), (2048, 1000)]]
cases += [dict(b=1, hq=4, hk=4, sq=384, sk=640, bshd=True, offset=0, amplify=4.0), dict(b=1, hq=3, hk=1, sq=4224, sk=4224)]
P1 = dict(producer_warps=1)
base = [
    dict(),
    dict(overlap=0, sync="kExp", grid="kDynamic"),
    dict(sync="kExp", grid="kPersistentSnake", stages_k=3, section_heads=2),
    dict(row_groups=1, kv_groups=2, block_n=64, **P1),
    dict(row_groups=1, block_n=80, ctas_per_sm=2, **P1),
    dict(row_groups=1, block_n=64, ctas_per_sm=3, grid="kDynamic", **P1),
    dict(row_groups=3, block_n=96, consumer_registers=160, producer_registers=32, grid="kPersistentBlocked"),
    dict(lazy_rescale=1, emulated_exp=8, grid="kPersistentInterleaved", hint_k=2, hint_v=2, hint_q=1, longest_first=0),
    dict(row_groups=2, kv_groups=2, block_n=32, sync="kNone", **P1),
]
for d in (64, 80, 96, 128):
    for causal in (0, 1):
        for i, c in enumerate(base):
            if d == 128 and c.get("kv_groups", 1) * c.get("row_groups", 2) == 4:
                continue
            if causal == 0 and i in (2, 5):
                continue
            jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1, fp16=int(i == 0 and d == 96)), config=c, cases=cases))
jobs.append(dict(kind="check", shape=dict(head_dim=80, causal=1, lse=1, ragged=1), config=dict(swizzle=32), cases=cases))
jobs.append(dict(kind="check", shape=dict(head_dim=96, causal=1, lse=1, ragged=1), config=dict(swizzle=64), cases=cases))

def row(name, b, hq, hk, s, d, causal, configs, rounds=15, show=14):
    shape = dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal, ragged=0)
    ok = []
    for c in configs:
        n = {**dict(block_n=128), **c}["block_n"]
        if s % n and not causal:
            continue
        ok.append(c)
    jobs.append(dict(kind="bench", name=name, shape=shape, configs=ok, rounds=rounds, show=show))

big = [dict(), dict(sync="kNone"), dict(sync="kExp"), dict(overlap=0, sync="kExp"), dict(overlap=0, sync="kNone"), dict(grid="kDynamic"), dict(grid="kPersistentInterleaved"),
       dict(grid="kPersistentSnake"), dict(grid="kDynamic", section_heads=4), dict(grid="kDynamic", section_heads=1), dict(block_n=64, stages_k=3, stages_v=3), dict(lazy_rescale=1), dict(emulated_exp=8),
       dict(hint_k=2, hint_v=2, hint_q=1, grid="kDynamic"), dict(producer_warps=1, consumer_registers=0), dict(block_n=160, grid="kDynamic")]
big64 = big + [dict(row_groups=3, block_n=128, consumer_registers=160, producer_registers=32, grid=g, sync=s) for g in ("kDynamic", "kFlat") for s in ("kGemm", "kNone")] + [
    dict(emulated_exp=4, lazy_rescale=1, grid="kDynamic"), dict(block_n=64, ctas_per_sm=2, producer_warps=1), dict(row_groups=1, block_n=128, ctas_per_sm=3, producer_warps=1), dict(row_groups=1, block_n=128, ctas_per_sm=2, producer_warps=1)]
small = []
for n in (64, 96, 128):
    for ctas in (1, 2, 3):
        small.append(dict(row_groups=1, block_n=n, ctas_per_sm=ctas, **P1))
    small.append(dict(row_groups=1, kv_groups=2, block_n=n, ctas_per_sm=1, **P1))
    small.append(dict(row_groups=1, kv_groups=2, block_n=n, ctas_per_sm=1, overlap=0, **P1))
    small.append(dict(row_groups=1, kv_groups=2, block_n=n, ctas_per_sm=1, stages_k=4, stages_v=4, **P1))
small += [dict(row_groups=1, kv_groups=2, block_n=64, ctas_per_sm=2, **P1), dict(row_groups=1, kv_groups=2, block_n=32, ctas_per_sm=2, stages_k=4, stages_v=4, **P1), dict(row_groups=2, block_n=128), dict(row_groups=2, block_n=64, **P1), dict(row_groups=2, kv_groups=2, block_n=64, sync="kNone", **P1)]
row("dense4096", 4, 32, 32, 4096, 128, 0, big)
row("Qwen2-0.5B@512", 1, 14, 2, 512, 64, 1, small)
row("Qwen3-0.6B@1024", 1, 16, 8, 1024, 128, 1, small + [dict(), dict(grid="kDynamic"), dict(row_groups=1, block_n=64, ctas_per_sm=2, grid="kDynamic", **P1)])
row("Qwen2-0.5B@4096", 1, 14, 2, 4096, 64, 1, big64)
row("Phi-2@2048", 1, 32, 32, 2048, 80, 1, big64 + [dict(swizzle=32), dict(swizzle=32, grid="kDynamic")])
row("rnj-1@2048", 1, 32, 8, 2048, 128, 1, big + small[:4])
row("Phi-3@4096", 1, 32, 32, 4096, 96, 1, big + [dict(swizzle=64), dict(swizzle=64, block_n=144, grid="kDynamic")])
json.dump(jobs, open(sys.argv[1], "w"))
print(len(jobs), sum(len(j.get("configs", [1])) for j in jobs))
