import json, sys, random
sys.path.insert(0, __file__.rsplit("/", 1)[0])
jobs = []
def shape(hq, hk, s, d, causal=1, b=1): return dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal)
D = dict(grid="kDynamic", stages_q=2)
jobs.append(dict(kind="stamp", name="rnj-1@4096", shape=shape(32, 8, 4096, 128), configs=[dict(D, profile=1), dict(profile=1), dict(D, profile=1, sync="kNone"), dict(D, profile=1, lazy_rescale=1), dict(D, profile=1, block_n=160), dict(row_groups=1, profile=1, producer_warps=1)]))
jobs.append(dict(kind="stamp", name="T1 4096", shape=shape(32, 32, 4096, 128, 0, 4), configs=[dict(D, profile=1, section_heads=1), dict(D, profile=1, block_n=176, stages_q=1, section_heads=1)]))
jobs.append(dict(kind="stamp", name="Llama-1B@4096", shape=shape(32, 8, 4096, 64), configs=[dict(D, profile=1), dict(profile=1), dict(D, profile=1, sync="kNone"), dict(D, emulated_exp=4, lazy_rescale=1, profile=1), dict(row_groups=3, consumer_registers=160, producer_registers=32, profile=1)]))
jobs.append(dict(kind="stamp", name="Phi-3@4096", shape=shape(32, 32, 4096, 96), configs=[dict(D, profile=1)]))
jobs.append(dict(kind="stamp", name="Qwen2@512", shape=shape(14, 2, 512, 64), configs=[dict(row_groups=1, kv_groups=g, block_n=n, compact=1, producer_warps=1, stages_k=st, stages_v=st, overlap=o, profile=1) for g, n, st, o in ((2, 64, 2, 1), (2, 64, 6, 1), (2, 64, 6, 0), (1, 128, 4, 1))]))
jobs.append(dict(kind="bench", name="rnj-1@4096", shape=shape(32, 8, 4096, 128), rounds=7, configs=[dict(D, promotion=p) for p in range(4)] + [dict(D), dict(D, block_n=160), dict(D, section_heads=16), dict(D, section_heads=12)]))
small = []
for g, n, st, o, cp in [(g, n, st, o, cp) for g in (1, 2) for n in (64, 96, 128) for st in (2, 4, 6, 8) for o in (0, 1) for cp in (0, 1)]:
    if o or cp:
        small.append(dict(row_groups=1, kv_groups=g, block_n=n, producer_warps=1, stages_k=st, stages_v=st, overlap=o, compact=cp))
for name, hq, hk, d in (("Qwen2-0.5B", 14, 2, 64), ("Llama-3.2-1B", 32, 8, 64), ("Qwen3-0.6B", 16, 8, 128), ("Phi-3-mini", 32, 32, 96)):
    fit = [c for c in small if 64 * 128 * -(-d // 64) + 2 * c["stages_k"] * c["block_n"] * 128 * -(-d // 64) < 226 * 1024 and (d < 96 or c["block_n"] * c["kv_groups"] < 256)]
    jobs.append(dict(kind="bench", name=name + "@512", shape=shape(hq, hk, 512, d), configs=fit, rounds=15, show=8))
json.dump(jobs, open(sys.argv[1], "w"))
import hopper_gpu as g
print(len(jobs), len({g.key(j["shape"], c) for j in jobs for c in j.get("configs", [])}))
