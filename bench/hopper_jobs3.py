"""Jobs: checks of every family, then all 44 rows over a hand-made list of configs. hopper_jobs3.py JOBS.json [ROUNDS]"""
import itertools, json, sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])
import hopper_dev
from hopper_dev import SNAKE

jobs = []
cases = [dict(b=2, hq=6, hk=2, sq=a, sk=c) for a, c in [(1, 1), (64, 128), (239, 1), (799, 3), (113, 203), (1023, 1024), (257, 512), (512, 512), (2048, 1000)]]
cases += [dict(b=1, hq=4, hk=4, sq=384, sk=640, bshd=True, offset=0, amplify=4.0), dict(b=1, hq=3, hk=1, sq=4224, sk=4224), dict(b=1, hq=64, hk=8, sq=1500, sk=1500)]
P1 = dict(producer_warps=1, row_groups=1)
P2 = dict(P1, kv_groups=2, block_n=64, stages_k=4, stages_v=4)
T3 = dict(SNAKE, **hopper_dev.T3)
QREG = dict(q_registers=1, stages_k=3, stages_v=3)
base = [
    dict(stages_q=2, grid="kDynamic"),
    dict(QREG, grid="kDynamic", pinned=1),
    dict(QREG, grid="kPersistentSnake", pinned=1, sync="kExp"),
    dict(q_registers=1, pinned=1, sync="kNone", block_n=144),
    dict(P1, kv_groups=2, block_n=64, producer_warps=0, pinned=1),
    dict(P2, grid="kPersistentSnake", stages_q=2),
    dict(P2, grid="kDynamic", q_registers=1, block_n=48, stages_v=2),
    dict(P1, block_n=64, ctas_per_sm=2, grid="kDynamic", stages_q=2, pinned=1),
    dict(P1, kv_groups=2, block_n=32, producer_warps=0, compact=1, stages_k=4, stages_v=6),
    dict(T3, block_n=64, q_registers=1),
    dict(T3, block_n=80, stages_q=2, pinned=1),
    dict(SNAKE, stages_q=2, evict_first_q=1, longest_first=0, sync="kExp"),
]
for d, causal in itertools.product((64, 80, 96, 128), (0, 1)):
    for i, c in enumerate(base):
        if not (d == 128 and c.get("row_groups") == 3):
            jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1, fp16=int(i == 6)), config=c, cases=cases))
for d, n in ((16, 128), (48, 96), (112, 128), (192, 96), (256, 64)):
    for causal in (0, 1):
        jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1), config=dict(block_n=n, pinned=causal), cases=cases[:10]))
jobs.append(dict(kind="check", shape=dict(head_dim=96, causal=1, lse=1, ragged=1), config=dict(QREG, grid="kPersistentSnake", swizzle=64, pinned=1), cases=cases))


def fits(d, c):
    f = {**dict(row_groups=2, kv_groups=1, stages_q=1, stages_k=2, stages_v=2, swizzle=128, block_n=128, ctas_per_sm=1, producer_warps=4, q_registers=0, pinned=0, grid="kFlat"), **c}
    row = f["swizzle"] * -(-2 * d // f["swizzle"])
    smem = f["row_groups"] * 64 * row * f["stages_q"] + (f["stages_k"] + f["stages_v"]) * f["block_n"] * row + 2048
    if f["kv_groups"] > 1 and f["grid"] != "kFlat":
        smem += 512 * (d // 2 + 4)
    if smem > 227 * 1024 // f["ctas_per_sm"]:
        return False
    need = d // 2 + f["block_n"] // 2 + f["block_n"] // 4 + 28 + (d // 4 + 4 if f["q_registers"] else 0) + 4 * f["pinned"]
    if f["producer_warps"] == 4:
        return need <= (160 if f["row_groups"] == 3 else 240)
    threads = -(-(128 * f["row_groups"] * f["kv_groups"] + 32 * f["producer_warps"]) // 128) * 128
    return need <= min(255, 65536 // (f["ctas_per_sm"] * threads) // 8 * 8)


def short(d):
    out = []
    for n in (48, 64):
        out += [dict(P2, block_n=n), dict(P2, block_n=n, q_registers=1), dict(P2, block_n=n, grid="kPersistentSnake", stages_q=2), dict(P2, block_n=n, compact=1)]
    for ctas in (1, 2):
        out += [dict(P1, block_n=64, ctas_per_sm=ctas, **k) for k in ({}, dict(pinned=1), dict(stages_k=4, stages_v=4))]
    for n in (64, 96):
        out += [dict(block_n=n), dict(block_n=n, q_registers=1, pinned=1)]
    return [c for c in out if fits(d, c)]


def large(d, causal):
    s = {96: 64}.get(d, 128)
    snake, dynamic = (dict(grid=g, swizzle=s) for g in ("kPersistentSnake", "kDynamic"))
    out = [dict(dynamic, stages_q=2), dict(dynamic, stages_q=2, block_n=160), dict(dynamic, **QREG, pinned=1), dict(dynamic, **QREG, pinned=1, sync="kNone")]
    if not causal:
        out += [dict(dynamic, **QREG, pinned=1, evict_first_q=1), dict(dynamic, **QREG), dict(dynamic, q_registers=1, block_n=144, pinned=1)]
        return [dict(c, section_heads=h) for c in out for h in (1, 4)]
    out += [dict(snake, stages_q=2), dict(snake, **QREG), dict(snake, q_registers=1, pinned=1), dict(snake, **QREG, pinned=1, evict_first_q=1)]
    out += [dict(snake, **QREG, pinned=1, sync=y) for y in ("kGemm", "kNone", "kExp")]
    if d < 128:
        out += [dict(snake, q_registers=1, stages_k=4, stages_v=4, pinned=1, sync=y) for y in ("kGemm", "kExp")]
        out += [dict(T3, block_n=n, stages_k=st, stages_v=st, swizzle=s, stages_q=2) for n in (96, 112, 128) for st in (2, 3)]
        out += [dict(T3, block_n=80, stages_k=3, stages_v=3, swizzle=s, stages_q=2)]
    return [c for c in out if fits(d, c)]


def row(name, b, hq, hk, s, d, causal, configs):
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    jobs.append(dict(kind="bench", name=name, shape=dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal), configs=configs, rounds=max(5, rounds // 2) if s >= 4096 else rounds, show=3))


SHORT = {d: short(d) for d in (64, 80, 96, 128)}
for b, s in ((2, 1024), (4, 2048), (4, 4096), (8, 2048)):
    row(f"T1[{b},32,{s},128]", b, 32, 32, s, 128, 0, large(128, 0))
for name, hq, hk, d in [("Qwen2-0.5B", 14, 2, 64), ("Qwen3-0.6B", 16, 8, 128), ("Llama-3.2-1B", 32, 8, 64), ("Qwen2-1.5B", 12, 2, 128), ("SmolLM2-1.7B", 32, 32, 64),
                        ("Phi-2", 32, 32, 80), ("Qwen2.5-3B", 16, 2, 128), ("Llama-3.2-3B", 24, 8, 128), ("Phi-3-mini", 32, 32, 96), ("rnj-1", 32, 8, 128)]:
    for s in (512, 1024, 2048, 4096):
        row(f"{name}@{s}", 1, hq, hk, s, d, 1, (SHORT[d] if s <= 1024 else []) + (large(d, 1) if s >= 1024 else []))
json.dump(jobs, open(sys.argv[1], "w"))
if __name__ == "__main__":
    import hopper_gpu as g
    print(len(jobs), "jobs", len({g.key(j["shape"], c) for j in jobs for c in j.get("configs", [j.get("config")])}), "kernels", {d: len(v) for d, v in SHORT.items()})
