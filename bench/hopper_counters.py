"""Launches the Hopper template once on each of a few rows, for ncu to read counters of:
ncu --clock-control none -k attention_forward --section ... python3 hopper_counters.py"""
import json, os, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hopper_dev as dev, hopper_gpu as g
from hopper_dev import QREG

SPLIT = dict(row_groups=1, producer_warps=1, kv_groups=2, block_n=64, stages_k=4, stages_v=4)
TALL = dict(row_groups=3, grid="kPersistentSnake", consumer_registers=160, producer_registers=32, stages_q=2, stages_k=3, stages_v=3)
ROWS = [("T1[2,32,1024,128]", 2, 32, 32, 1024, 128, 0, dict(QREG, grid="kDynamic", section_heads=1)),
        ("rnj-1@4096", 1, 32, 8, 4096, 128, 1, dict(QREG, grid="kPersistentSnake")),
        ("Llama-3.2-1B@4096", 1, 32, 8, 4096, 64, 1, TALL),
        ("SmolLM2-1.7B@512", 1, 32, 32, 512, 64, 1, SPLIT)]
if __name__ == "__main__":
    gpu = g.Gpu()
    os.makedirs(g.CUBINS, exist_ok=True)
    for name, b, hq, hk, s, d, causal, c in ROWS:
        shape = dict(batch=b, q_heads=hq, kv_heads=hk, seq=s, head_dim=d, causal=causal)
        cubin, info = dev.compile_config(g.shape_class(shape, c), dev.full(c))
        k = g.key(shape, c)
        open(f"{g.CUBINS}/{k}.cubin", "wb").write(cubin)
        json.dump(info, open(f"{g.CUBINS}/{k}.json", "w"))
        q, kk, v = g.tensors(gpu.torch, b, hq, hk, s, s, d, 0)
        gpu.bind(shape, c, q, kk, v, gpu.torch.empty_like(q))()
        gpu.torch.cuda.synchronize()
        print(name, g.label(c), flush=True)
    os._exit(0)
