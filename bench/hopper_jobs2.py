import json, sys, itertools, random
sys.path.insert(0, __file__.rsplit("/", 1)[0])
random.seed(7)
jobs = []
cases = [dict(b=2, hq=6, hk=2, sq=a, sk=c) for a, c in [(1, 1), (64, 128), (239, 1), (799, 3), (113, 203), (1023, 1024), (257, 512), (512, 512), (2048, 1000)]]
cases += [dict(b=1, hq=4, hk=4, sq=384, sk=640, bshd=True, offset=0, amplify=4.0), dict(b=1, hq=3, hk=1, sq=4224, sk=4224)]
base = [
    dict(),
    dict(stages_q=2, grid="kDynamic"),
    dict(overlap=0, sync="kExp", grid="kDynamic"),
    dict(sync="kExp", grid="kPersistentSnake", stages_k=3, section_heads=2),
    dict(row_groups=1, kv_groups=2, block_n=64, producer_warps=0),
    dict(row_groups=1, kv_groups=2, block_n=32, producer_warps=0, compact=1, stages_k=4, stages_v=6),
    dict(row_groups=1, block_n=80, producer_warps=0, compact=1, overlap=0, stages_k=3),
    dict(row_groups=1, block_n=64, ctas_per_sm=2, grid="kDynamic", producer_warps=1, stages_q=2),
    dict(row_groups=1, block_n=48, ctas_per_sm=2, grid="kPersistentInterleaved", producer_warps=1, compact=1, overlap=0),
    dict(row_groups=3, block_n=80, consumer_registers=160, producer_registers=32, grid="kPersistentBlocked"),
    dict(lazy_rescale=1, emulated_exp=8, grid="kPersistentInterleaved", hint_k=2, hint_v=2, hint_q=1, longest_first=0),
]
for d in (64, 80, 96, 128):
    for causal in (0, 1):
        for i, c in enumerate(base):
            if (causal == 0 and i in (3, 8)) or (d == 128 and i == 9):
                continue
            jobs.append(dict(kind="check", shape=dict(head_dim=d, causal=causal, lse=1, ragged=1), config=c, cases=cases))

def prof(name, b, hq, hk, s, d, causal, configs):
    jobs.append(dict(kind="stamp", name=name, shape=dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal), configs=[dict(c, profile=1) for c in configs]))
DQ = dict(grid="kDynamic", stages_q=2)
prof("rnj-1@4096", 1, 32, 8, 4096, 128, 1, [DQ, dict(DQ, sync="kNone"), dict(DQ, sync="kExp"), dict(DQ, lazy_rescale=1), dict(DQ, block_n=160)])
prof("T1 4096", 4, 32, 32, 4096, 128, 0, [dict(DQ, section_heads=1), dict(DQ, block_n=176, stages_q=1, section_heads=1)])
prof("Llama-1B@4096", 1, 32, 8, 4096, 64, 1, [DQ, dict(DQ, sync="kNone"), dict(DQ, emulated_exp=4, lazy_rescale=1), dict(row_groups=3, consumer_registers=160, producer_registers=32)])
prof("Phi-3@4096", 1, 32, 32, 4096, 96, 1, [DQ])
prof("Qwen2@512", 1, 14, 2, 512, 64, 1, [dict(row_groups=1, kv_groups=2, block_n=64, compact=1, producer_warps=1, stages_k=6, stages_v=6)])


def regs(d, c):
    overlap = c.get("overlap", 1)
    return d // 2 + c["block_n"] // 2 + c["block_n"] // 4 + (28 if overlap else 20)

def small(d):
    out = []
    for kv, n, compact, overlap, feed, st, ctas in itertools.product((1, 2), (48, 64, 80, 96, 128), (0, 1), (0, 1), (0, 1), (2, 4, 6), (1, 2, 3, 4)):
        if not overlap and not compact or not feed and st == 2 and kv == 2:
            continue
        c = dict(row_groups=1, kv_groups=kv, block_n=n, compact=compact, overlap=overlap, producer_warps=feed, stages_k=st, stages_v=st, ctas_per_sm=ctas)
        threads = 128 * kv + 128 * feed
        cap = 65536 // (ctas * threads) // 8 * 8
        need = regs(d, c)
        if need > cap or need > 232:
            continue
        if 65536 // ((ctas + 1) * threads) // 8 * 8 >= need:
            continue  # a higher value leaves enough
        chunk = 128 * (-(-d // 64))
        if 64 * chunk + 2 * st * n * chunk > 226 * 1024 // ctas:
            continue
        out.append(c)
    random.shuffle(out)
    return out

def large(d, causal):
    out = []
    ns = (96, 112, 128, 144, 160, 176, 192) if d <= 64 else (96, 112, 128, 144, 160, 176) if not causal else (80, 96, 112, 128, 144, 160)
    for n in ns:
        for g, sq in (("kFlat", 1), ("kDynamic", 1), ("kDynamic", 2), ("kPersistentSnake", 2)):
            if n not in (128, 160, 176) and g != "kDynamic":
                continue
            out.append(dict(block_n=n, grid=g, stages_q=sq))
    for extra in (dict(sync="kNone"), dict(sync="kExp"), dict(hint_k=2, hint_v=2, hint_q=1), dict(lazy_rescale=1), dict(emulated_exp=8, lazy_rescale=1), dict(emulated_exp=4, lazy_rescale=1), dict(emulated_exp=8), dict(emulated_exp=4),
                  dict(section_heads=16), dict(section_heads=8), dict(overlap=0, sync="kNone"), dict(overlap=0, sync="kExp")):
        out.append({**dict(grid="kDynamic", stages_q=2), **extra})
    for n in (64, 80, 96, 112, 128, 144):
        for g in ("kFlat", "kDynamic", "kPersistentSnake"):
            if d <= 96 and n >= (96 if d == 64 else 80) and n * d <= 128 * 80:
                out.append(dict(row_groups=3, block_n=n, grid=g, consumer_registers=160, producer_registers=32))
                out.append(dict(row_groups=3, block_n=n, grid=g, consumer_registers=160, producer_registers=32, sync="kNone"))
        for ctas in (2, 3) if n in (64, 96, 128) else ():
            out.append(dict(row_groups=1, block_n=n, producer_warps=0, ctas_per_sm=ctas))
            out.append(dict(row_groups=1, block_n=n, producer_warps=0, ctas_per_sm=ctas, lazy_rescale=1, emulated_exp=4 if d <= 80 else 8))
    if d == 80:
        out += [dict(grid="kDynamic", swizzle=32), dict(grid="kDynamic", swizzle=32, stages_q=2, stages_k=3, stages_v=3)]
    if d == 96:
        out += [dict(grid="kDynamic", swizzle=64, stages_q=2), dict(grid="kDynamic", swizzle=64, stages_q=2, stages_k=3, stages_v=3)]
    fit = []
    for c in out:
        f = {**dict(row_groups=2, stages_q=1, stages_k=2, stages_v=2, swizzle=128, block_n=128, ctas_per_sm=1), **c}
        chunk = f["swizzle"] * (-(-d * 2 // f["swizzle"]))
        if f["row_groups"] * 64 * chunk * f["stages_q"] + (f["stages_k"] + f["stages_v"]) * f["block_n"] * chunk + 512 > 227 * 1024 // f["ctas_per_sm"]:
            continue
        if not causal and f.get("section_heads", 0) == 0:
            c = dict(c, section_heads=random.choice((1, 1, 2)) if f["grid" if "grid" in f else "block_n"] else 1)
        fit.append(c)
    return fit

SM = {d: small(d) for d in (64, 80, 96, 128)}
LG = {(d, c): large(d, c) for d, c in ((64, 1), (80, 1), (96, 1), (128, 1), (128, 0))}
def row(name, b, hq, hk, s, d, causal, configs, rounds=11, show=12):
    jobs.append(dict(kind="bench", name=name, shape=dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal), configs=configs, rounds=rounds, show=show))

row("T1[4,32,4096,128]", 4, 32, 32, 4096, 128, 0, LG[128, 0], 7)
row("T1[2,32,1024,128]", 2, 32, 32, 1024, 128, 0, LG[128, 0])
models = [("Qwen2-0.5B", 14, 2, 64), ("Qwen3-0.6B", 16, 8, 128), ("Llama-3.2-1B", 32, 8, 64), ("Phi-2", 32, 32, 80), ("Llama-3.2-3B", 24, 8, 128), ("Phi-3-mini", 32, 32, 96), ("rnj-1", 32, 8, 128)]
for name, hq, hk, d in models:
    for s in (512, 1024, 2048, 4096):
        if s <= 1024:
            c = SM[d][:70 if s == 512 else 50] + (LG[d, 1] if s == 1024 else [])
        else:
            c = LG[d, 1] + (SM[d][:20] if s == 2048 else [])
        row(f"{name}@{s}", 1, hq, hk, s, d, 1, c, 11 if s < 4096 else 7)
json.dump(jobs, open(sys.argv[1], "w"))
import hopper_gpu as g
allk = {g.key(j["shape"], c) for j in jobs for c in j.get("configs", [j.get("config")])}
print(len(jobs), "jobs", len(allk), "kernels", {d: len(v) for d, v in SM.items()}, {k: len(v) for k, v in LG.items()})
