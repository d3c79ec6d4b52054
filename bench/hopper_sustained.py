"""Back-to-back launches of some configs of a row of a jobs file, in turns: time, power and SM clock of each.
hopper_sustained.py JOBS.json ROW SECONDS INDEX..."""
import json, statistics, subprocess, sys, time

import hopper_gpu

jobs, name, seconds, indices = json.load(open(sys.argv[1])), sys.argv[2], float(sys.argv[3]), [int(i) for i in sys.argv[4:]]
job = next(j for j in jobs if j.get("name") == name)
shape = job["shape"]
gpu = hopper_gpu.Gpu()
torch = gpu.torch
b, hq, hk, s, d = shape["batch"], shape["q_heads"], shape["kv_heads"], shape["seq"], shape["head_dim"]
q, k, v = hopper_gpu.tensors(torch, b, hq, hk, s, s, d, 0)
o = torch.empty_like(q)
runners = [("sdpa", lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=bool(shape["causal"]), enable_gqa=hq != hk))]
for i in indices:
    launch = gpu.bind(shape, job["configs"][i], q, k, v, o)
    if launch:
        runners.append((hopper_gpu.label(job["configs"][i]), launch))
rows = {name: [] for name, _ in runners}
for turn in range(3):
    for label, launch in runners:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        started, n = time.time(), 0
        sampler = subprocess.Popen(["nvidia-smi", "--query-gpu=power.draw,clocks.sm", "--format=csv,noheader,nounits", "-lms", "100"], stdout=subprocess.PIPE, text=True)
        begin.record()
        while time.time() - started < seconds:
            for _ in range(20):
                launch()
            n += 20
            torch.cuda.synchronize()
        end.record()
        torch.cuda.synchronize()
        sampler.terminate()
        samples = [tuple(float(x) for x in line.split(",")) for line in sampler.stdout.read().splitlines() if line.count(",") == 1]
        samples = samples[len(samples) // 3:] or [(0.0, 0.0)]
        rows[label].append((begin.elapsed_time(end) * 1e3 / n, statistics.mean(w for w, _ in samples), statistics.mean(c for _, c in samples)))
print(f"{name}: back to back, {seconds} s each, 3 turns: us a launch, W, MHz")
for label, turns in rows.items():
    print("  ".join(f"{us:7.1f} {watts:4.0f} {mhz:5.0f}" for us, watts, mhz in turns), label)
