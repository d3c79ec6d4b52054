"""The portable kernel against FlashAttention-2 (PyTorch's FLASH backend) on one GPU, row by row of a workload file.

Needs PyTorch, NVRTC 13 and a GPU; nothing of attune but the .cuh files, so that it shows what the kernel can do apart
from the tuner. For each row a short list of configs is timed and the four fastest meet FA2 again, interleaved.

    python3 bench/portable_vs_fa2.py --workload workload.json --kernels templates --out results.txt

Timing: cold L2 (a buffer of 1 GiB is written before each sample, which also hides the host's launch latency), CUDA
events around one call, median over all rounds. Inputs are N(0, 1). A config whose output is further than 5e-3 from
FA2's (relative Frobenius) is reported and dropped.
"""

import argparse
import concurrent.futures
import ctypes
import json
import math
import multiprocessing
import os

COMMON = dict(block_m=64, block_n=64, warps=4, kv_split=1, stages=2, joint=True, q_in="smem", lazy=8)
SHORT = [  # up to 1024 tokens
    dict(block_m=32, kv_split=2, block_n=128), dict(block_m=32, kv_split=2, block_n=128, stages=1, joint=False, lazy=0),
    dict(block_m=32, kv_split=2), dict(q_in="registers"), dict(), dict(q_in="registers", lazy=0),
    dict(block_n=128, q_in="registers"), dict(block_n=128), dict(block_n=96, q_in="registers"),
    dict(block_m=64, warps=8, kv_split=2, block_n=128, q_in="registers"),
]
LONG = [
    dict(block_m=128), dict(block_m=128, lazy=0), dict(block_m=128, joint=False, lazy=0), dict(block_m=128, block_n=32),
    dict(block_m=128, block_n=96), dict(block_m=256, warps=8), dict(q_in="registers"), dict(block_n=96, q_in="registers"),
    dict(block_m=128, warps=8, block_n=128, q_in="registers"), dict(block_m=128, joint=False),
]


def prelude(config, row):
    flag = lambda value: "true" if value else "false"
    return f"""#include "portable_ptx.cuh"
#define ATTUNE_KERNEL_BOUNDS __launch_bounds__({32 * config["warps"]}, 1)
namespace config {{
enum class RowOrder {{ kAscending, kLongestFirst, kPaired }};
enum class Pid {{ kFlat, kPersistentBlocked, kPersistentInterleaved }};
using Element = ptx::Bf16;
constexpr int kHeadDim = {row["head_dim"]}, kPackedHeads = 1, kBlockM = {config["block_m"]};
constexpr int kBlockN = {config["block_n"]}, kNumWarps = {config["warps"]}, kKvSplit = {config["kv_split"]};
constexpr int kStages = {config["stages"]}, kUnroll = 1, kHeadGroup = 1;
constexpr bool kCausal = {flag(row["causal"])}, kRaggedKv = {flag(row["seq"] % config["block_n"])}, kWantLse = false;
constexpr bool kJointLoads = {flag(config["joint"])}, kQueryInShared = {flag(config["q_in"] == "smem")};
constexpr bool kHeadFastest = true;
constexpr float kLazyRescale = {config["lazy"]}.0f;
constexpr ptx::Evict kEvictQ = ptx::Evict::kNormal, kEvictK = ptx::Evict::kNormal, kEvictV = ptx::Evict::kNormal;
constexpr RowOrder kRowOrder = RowOrder::{"kLongestFirst" if row["causal"] else "kAscending"};
constexpr Pid kPid = Pid::kFlat;
}}
#include "portable_attention.cuh"
"""


def smem_bytes(config, head_dim):
    query = config["block_m"] * head_dim * 2 if config["q_in"] == "smem" else 0
    rings = 4 * config["stages"] * config["block_n"] * head_dim
    merge = (config["kv_split"] - 1) * config["block_m"] // 16 * 32 * (head_dim // 2 + 4) * 4
    return query + max(rings, merge)


def compile_kernel(job):
    source, headers, arch = job
    nvrtc = ctypes.CDLL("libnvrtc.so.13")
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    names = (ctypes.c_char_p * len(headers))(*[name.encode() for name in headers])
    texts = (ctypes.c_char_p * len(headers))(*[text.encode() for text in headers.values()])
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"bench.cu", len(headers), texts, names)
    options = [f"--gpu-architecture={arch}".encode(), b"--std=c++20", b"-default-device", b"--no-cache"]
    if nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)):
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        raise RuntimeError(log.value.decode())
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetCUBIN(program, cubin)
    return cubin.raw


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_longlong) for name in ("batch", "head", "seq")]


class Params(ctypes.Structure):  # attention_params.cuh
    _fields_ = ([(name, ctypes.c_void_p) for name in ("q", "k", "v", "o", "lse", "workspace")]
                + [(name, Strides) for name in ("q_strides", "k_strides", "v_strides", "o_strides")]
                + [(name, ctypes.c_int) for name in ("batch", "q_heads", "kv_heads", "q_len", "kv_len", "offset")]
                + [("scale", ctypes.c_float), ("reserved", ctypes.c_int)])


def checked(code):
    if code:
        raise RuntimeError(f"CUDA driver error {code}")


def launcher(cuda, cubin, config, row, tensors, stream):
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    checked(cuda.cuModuleLoadData(ctypes.byref(module), cubin))
    checked(cuda.cuModuleGetFunction(ctypes.byref(function), module, b"attention_forward"))
    smem = smem_bytes(config, row["head_dim"])
    checked(cuda.cuFuncSetAttribute(function, 8, smem))  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    strides = [Strides(*tensor.stride()[:3]) for tensor in tensors]
    params = Params(*[tensor.data_ptr() for tensor in tensors], None, None, *strides, row["batch"], row["q_heads"],
                    row["kv_heads"], row["seq"], row["seq"], 0, 1 / math.sqrt(row["head_dim"]), 0)
    grid = -(-row["seq"] // config["block_m"]) * row["q_heads"] * row["batch"]
    argument = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.pointer(params), ctypes.c_void_p))

    def launch():
        checked(cuda.cuLaunchKernel(function, grid, 1, 1, 32 * config["warps"], 1, 1, smem, stream, argument, None))

    launch.keep = params
    return launch


def rows_of(workload):
    rows = [dict(row, name=f"[{row['batch']},{row['q_heads']},{row['seq']},{row['head_dim']}]")
            for row in workload["dense"]]
    for model in workload["models"]:
        for seq in (512, 1024, 2048, 4096):
            rows.append(dict(name=f"{model['name']}@{seq}", batch=1, q_heads=model["q_heads"], seq=seq,
                             kv_heads=model["kv_heads"], head_dim=model["head_dim"], causal=True))
    return rows


def configs_of(row):
    configs = [dict(COMMON, **change) for change in (SHORT if row["seq"] <= 1024 and row["causal"] else LONG)]
    return [config for config in configs if smem_bytes(config, row["head_dim"]) <= 232448]


def main():
    import torch
    import torch.nn.functional as functional
    from torch.nn.attention import SDPBackend, sdpa_kernel

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workload", required=True)
    parser.add_argument("--kernels", required=True, help="folder with the .cuh files")
    parser.add_argument("--out", required=True)
    parser.add_argument("--arch", default="sm_90a")
    options = parser.parse_args()
    with open(options.workload) as file:
        rows = rows_of(json.load(file))
    headers = {name: open(os.path.join(options.kernels, name)).read()
               for name in ("attention_params.cuh", "portable_ptx.cuh", "portable_attention.cuh")}

    sources = list(dict.fromkeys(prelude(config, row) for row in rows for config in configs_of(row)))
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        cubins = dict(zip(sources, pool.map(compile_kernel, [(s, headers, options.arch) for s in sources])))

    torch.manual_seed(1)
    scratch = torch.empty(1 << 28, device="cuda", dtype=torch.int32)
    cuda = ctypes.CDLL("libcuda.so.1")
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def samples(call, count):
        events = []
        for _ in range(count):
            scratch.zero_()
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            call()
            end.record()
            events.append((start, end))
        torch.cuda.synchronize()
        return [start.elapsed_time(end) * 1e3 for start, end in events]

    median = lambda values: sorted(values)[len(values) // 2]
    ratios, out = [], open(options.out, "w")

    def say(line):
        print(line, flush=True)
        out.write(line + "\n")

    say(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {len(sources)} kernels")
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        for row in rows:
            make = lambda heads: torch.randn(row["batch"], heads, row["seq"], row["head_dim"], device="cuda",
                                             dtype=torch.bfloat16)
            q, k, v = make(row["q_heads"]), make(row["kv_heads"]), make(row["kv_heads"])
            o = torch.empty_like(q)
            fa2 = lambda: functional.scaled_dot_product_attention(q, k, v, is_causal=row["causal"],
                                                                  enable_gqa=row["q_heads"] != row["kv_heads"])
            expected = fa2().float()
            tried = []
            for config in configs_of(row):
                launch = launcher(cuda, cubins[prelude(config, row)], config, row, (q, k, v, o), stream)
                o.fill_(float("nan"))
                launch()
                error = ((o.float() - expected).norm() / expected.norm()).item()
                if not error <= 5e-3:
                    say(f"WRONG {row['name']} {error} {config}")
                    continue
                tried.append((min(samples(launch, 3)), len(tried), config, launch))
            finalists = [(config, launch, []) for _, _, config, launch in sorted(tried)[:4]]
            theirs = []
            for _ in range(5):
                theirs += samples(fa2, 5)[1:]
                for _, launch, times in finalists:
                    times += samples(launch, 5)[1:]
            config, _, times = min(finalists, key=lambda finalist: median(finalist[2]))
            flops = 4 * row["batch"] * row["q_heads"] * row["seq"] ** 2 * row["head_dim"] / (2 if row["causal"] else 1)
            ours, fa2_us = median(times), median(theirs)
            ratios.append(fa2_us / ours)
            short = {key: value for key, value in config.items() if value != COMMON[key]}
            say(f"{row['name']:20s} FA2 {fa2_us:7.1f} us ({flops / fa2_us / 1e6:3.0f})  portable {ours:7.1f} us "
                f"({flops / ours / 1e6:3.0f})  {ratios[-1]:.2f}x  {short}")
    say(f"geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}x, "
        f"smallest {min(ratios):.2f}x, {len(ratios)} rows")


if __name__ == "__main__":
    main()
