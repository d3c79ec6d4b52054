"""Jobs: checks of every family, then all 44 rows over a hand-made list of configs. hopper_jobs3.py JOBS.json"""
import itertools, json, sys

sys.path.insert(0, __file__.rsplit("/", 1)[0])
jobs = []
cases = [dict(b=2, hq=6, hk=2, sq=a, sk=c) for a, c in [(1, 1), (64, 128), (239, 1), (799, 3), (113, 203), (1023, 1024), (257, 512), (512, 512), (2048, 1000)]]
cases += [dict(b=1, hq=4, hk=4, sq=384, sk=640, bshd=True, offset=0, amplify=4.0), dict(b=1, hq=3, hk=1, sq=4224, sk=4224), dict(b=1, hq=64, hk=8, sq=1500, sk=1500)]
P1 = dict(producer_warps=1, row_groups=1)
base = [
    dict(stages_q=2, grid="kDynamic"),
    dict(stages_q=2, grid="kPersistentSnake", sync="kExp"),
    dict(overlap=0, sync="kExp", grid="kDynamic"),
    dict(P1, kv_groups=2, block_n=64, producer_warps=0),
    dict(P1, kv_groups=2, block_n=64, grid="kPersistentSnake", stages_q=2, stages_k=4, stages_v=4),
    dict(P1, kv_groups=2, block_n=48, grid="kDynamic", overlap=0, stages_k=4, stages_v=2),
    dict(P1, block_n=64, ctas_per_sm=2, grid="kDynamic", stages_q=2),
    dict(P1, kv_groups=2, block_n=32, producer_warps=0, compact=1, stages_k=4, stages_v=6),
    dict(row_groups=3, block_n=80, consumer_registers=160, producer_registers=32, grid="kPersistentBlocked"),
    dict(lazy_rescale=1, emulated_exp=8, grid="kPersistentInterleaved", hint_k=2, hint_v=2, hint_q=1, longest_first=0, sync="kNone"),
]
for d, causal in itertools.product((64, 80, 96, 128), (0, 1)):
    for i, c in enumerate(base):
        if not (d == 128 and i == 8):
            jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1, fp16=int(i == 6)), config=c, cases=cases))
for d, n in ((16, 128), (48, 96), (112, 128), (192, 96), (256, 64)):
    for causal in (0, 1):
        jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1), config=dict(block_n=n, stages_q=1), cases=cases[:10]))


def fits(d, c):
    f = {**dict(row_groups=2, kv_groups=1, stages_q=1, stages_k=2, stages_v=2, swizzle=128, block_n=128, ctas_per_sm=1, producer_warps=4, overlap=1, grid="kFlat"), **c}
    row = f["swizzle"] * -(-2 * d // f["swizzle"])
    smem = f["row_groups"] * 64 * row * f["stages_q"] + (f["stages_k"] + f["stages_v"]) * f["block_n"] * row + 2048
    if f["kv_groups"] > 1 and f["grid"] != "kFlat":
        smem += 512 * (d // 2 + 4)
    if smem > 227 * 1024 // f["ctas_per_sm"]:
        return False
    if f["producer_warps"] == 4:
        return True
    threads = -(-(128 * f["row_groups"] * f["kv_groups"] + 32 * f["producer_warps"]) // 128) * 128
    cap = 65536 // (f["ctas_per_sm"] * threads) // 8 * 8
    need = d // 2 + f["block_n"] // 2 + f["block_n"] // 4 + 28
    above = 65536 // ((f["ctas_per_sm"] + 1) * threads) // 8 * 8
    return need <= cap and (f["grid"] != "kFlat" or need > above)


def short(d):
    out = []
    for kv, n, st, ctas in itertools.product((1, 2), (48, 64, 80, 96, 128), (2, 4), (1, 2, 3, 4)):
        b = dict(P1, kv_groups=kv, block_n=n, stages_k=st, stages_v=st, ctas_per_sm=ctas)
        out += [b, dict(b, compact=1)]
        if n >= 64:
            out.append(dict(b, grid="kPersistentSnake", stages_q=2))
            if st == 2:
                out.append(dict(b, grid="kDynamic", stages_q=2))
    return [c for c in out if fits(d, c)]


def large(d, causal):
    out = []
    for n in (96, 112, 128, 144, 160, 176):
        out += [dict(block_n=n, grid="kPersistentSnake", stages_q=2), dict(block_n=n, grid="kDynamic", stages_q=2)]
    out += [dict(), dict(grid="kDynamic", stages_q=2, sync="kNone"), dict(grid="kPersistentSnake", stages_q=2, sync="kNone"), dict(grid="kPersistentBlocked", stages_q=2)]
    if d <= 96:
        for n in (80, 96, 112, 128):
            if 3 * n // 4 + d // 2 + 28 <= 160:
                out += [dict(row_groups=3, block_n=n, grid="kPersistentSnake", consumer_registers=160, producer_registers=32, stages_q=sq) for sq in (1, 2)]
                out.append(dict(row_groups=3, block_n=n, consumer_registers=160, producer_registers=32))
    if d == 64:
        out += [dict(row_groups=1, producer_warps=0, block_n=n, ctas_per_sm=c) for n, c in ((128, 3), (96, 3), (64, 4))]
    s = {80: 32, 96: 64}.get(d)
    if s:
        out += [dict(grid="kDynamic", stages_q=2, swizzle=s), dict(grid="kPersistentSnake", stages_q=2, stages_k=3, stages_v=3, swizzle=s)]
    if not causal:
        out = [dict(c, section_heads=h) for c in out for h in (1, 4) if c.get("grid") != "kPersistentSnake" or h == 1]
    return [c for c in out if fits(d, c)]


def row(name, b, hq, hk, s, d, causal, configs, rounds=11, show=3):
    jobs.append(dict(kind="bench", name=name, shape=dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal), configs=configs, rounds=rounds, show=show))


SHORT = {d: short(d) for d in (64, 80, 96, 128)}
for b, s in ((2, 1024), (4, 2048), (4, 4096), (8, 2048)):
    row(f"T1[{b},32,{s},128]", b, 32, 32, s, 128, 0, large(128, 0), 7)
for name, hq, hk, d in [("Qwen2-0.5B", 14, 2, 64), ("Qwen3-0.6B", 16, 8, 128), ("Llama-3.2-1B", 32, 8, 64), ("Qwen2-1.5B", 12, 2, 128), ("SmolLM2-1.7B", 32, 32, 64),
                        ("Phi-2", 32, 32, 80), ("Qwen2.5-3B", 16, 2, 128), ("Llama-3.2-3B", 24, 8, 128), ("Phi-3-mini", 32, 32, 96), ("rnj-1", 32, 8, 128)]:
    for s in (512, 1024, 2048, 4096):
        row(f"{name}@{s}", 1, hq, hk, s, d, 1, (SHORT[d] if s <= 1024 else []) + (large(d, 1) if s >= 1024 else []), 11 if s < 4096 else 7)
json.dump(jobs, open(sys.argv[1], "w"))
import hopper_gpu as g
print(len(jobs), "jobs", len({g.key(j["shape"], c) for j in jobs for c in j.get("configs", [j.get("config")])}), "kernels", {d: len(v) for d, v in SHORT.items()})
