"""Compiles, checks and times the Hopper attention template without the C++ host side.

Uses NVRTC and the CUDA driver through ctypes. On a machine without a GPU only `compile_config` works.
"""
import ctypes, functools, os, re, sys, time
from concurrent.futures import ThreadPoolExecutor

TEMPLATES = os.environ.get("HOPPER_TEMPLATES", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "templates"))
FILES = ["hopper_ptx.cuh", "hopper_pipeline.cuh", "hopper_softmax.cuh", "hopper_attention.cuh"]

DEFAULTS = dict(
    row_groups=2, kv_groups=1, block_n=128, stages_q=1, stages_k=2, stages_v=2, producer_warps=4, consumer_registers=240,
    producer_registers=24, ctas_per_sm=1, sync="kGemm", compact=0, swizzle=128, grid="kFlat", longest_first=1,
    section_heads=0, evict_first_q=0, evict_first_k=0, evict_first_v=0, num_sm_multiplier=1, promotion=2, q_registers=0, pinned=0,
    packed=1, cta_split=1, store_q=0)

# Choices that many configs share.
SNAKE, DYNAMIC = dict(grid="kPersistentSnake"), dict(grid="kDynamic")
QREG = dict(q_registers=1, stages_k=3, stages_v=3, pinned=1)
T3 = dict(row_groups=3, consumer_registers=160, producer_registers=32)

_nvrtc = None


def nvrtc():
    global _nvrtc
    if _nvrtc is None:
        for name in ("libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so.13", "/usr/local/cuda/lib64/libnvrtc.so"):
            try:
                _nvrtc = ctypes.CDLL(name)
                break
            except OSError:
                pass
    return _nvrtc


def expand(name, seen, templates=TEMPLATES):
    if name in seen:
        return ""
    seen.add(name)
    out = []
    for line in open(os.path.join(templates, name)):
        m = re.match(r'#include "(.*)"', line)
        if m:
            out.append(expand(m.group(1), seen, templates))
        elif line.startswith("#pragma once"):
            pass
        else:
            out.append(line)
    return "".join(out)


def prelude(shape, c):
    b = lambda v: "true" if v else "false"
    return f"""#define ATTUNE_FP16 {int(shape.get('fp16', 0))}
constexpr int kHeadDim = {shape['head_dim']};
constexpr bool kCausal = {b(shape['causal'])};
constexpr bool kRaggedQ = {b(shape.get('ragged_q', 1))};
constexpr bool kRaggedKv = {b(shape.get('ragged', 1))};
constexpr bool kWantsLse = {b(shape.get('lse', 0))};
enum class Grid {{ kFlat, kPersistentSnake, kDynamic }};
enum class Sync {{ kNone, kGemm, kExp }};
constexpr bool kQInRegisters = {b(c['q_registers'])};
constexpr bool kSoftmaxInBatches = {b(c['pinned'])};
constexpr int kPackedHeads = {c['packed']};
constexpr int kCtaSplit = {c['cta_split']};
constexpr bool kStoreThroughQ = {b(c['store_q'])};
constexpr int kRowGroups = {c['row_groups']};
constexpr int kKvGroups = {c['kv_groups']};
constexpr int kBlockN = {c['block_n']};
constexpr int kStagesQ = {c['stages_q']};
constexpr int kStagesK = {c['stages_k']};
constexpr int kStagesV = {c['stages_v']};
constexpr int kProducerWarps = {c['producer_warps']};
constexpr int kConsumerRegisters = {c['consumer_registers'] if c['producer_warps'] == 4 else 0};
constexpr int kProducerRegisters = {c['producer_registers'] if c['producer_warps'] == 4 else 0};
constexpr int kCtasPerSm = {c['ctas_per_sm']};
constexpr Sync kSync = Sync::{c['sync']};
constexpr bool kCompact = {b(c['compact'])};
constexpr int kSwizzleBytes = {c['swizzle']};
constexpr Grid kGrid = Grid::{c['grid']};
constexpr bool kLongestFirst = {b(c['longest_first'])};
constexpr bool kEvictFirstQ = {b(c['evict_first_q'])};
constexpr bool kEvictFirstK = {b(c['evict_first_k'])};
constexpr bool kEvictFirstV = {b(c['evict_first_v'])};
""" + gemm(shape, c)


def gemm(shape, c):
    """The same text as templates/hopper_gemm.cc renders."""
    kind = "f16" if shape.get("fp16", 0) else "bf16"

    def operands(first, count):
        return ", ".join(f"%{first + i}" for i in range(count))

    def bindings(constraint, array, count):
        return ", ".join(f'"{constraint}"({array}[{i}])' for i in range(count))

    def product(name, columns, steps, a_in_registers, b_transposed):
        accumulators = columns // 2
        a_step = 4 if a_in_registers else 1
        a, b, accumulate = accumulators, accumulators + a_step * steps, accumulators + (a_step + 1) * steps
        text = f"""__device__ __forceinline__ void {name}(float (&d)[{accumulators}], const {
            "unsigned" if a_in_registers else "unsigned long long"}* a, const unsigned long long* b, bool accumulate) {{
  asm volatile(R"({{
.reg .pred p;
setp.ne.b32 p, %{accumulate}, 0;
"""
        for step in range(steps):
            a_operand = operands(a + a_step * step, a_step)
            if a_in_registers:
                a_operand = "{" + a_operand + "}"
            text += (f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.{kind}.{kind} {{{operands(0, accumulators)}}}, {a_operand}, "
                     f"%{b + step}, {'1' if step else 'p'}, 1, 1, {'' if a_in_registers else '0, '}{int(b_transposed)};\n")
        return text + f"""}})"
      : {bindings("+f", "d", accumulators)}
      : {bindings("r" if a_in_registers else "l", "a", a_step * steps)}, {bindings("l", "b", steps)}, "r"(accumulate ? 1 : 0));
}}
"""

    d, n = shape["head_dim"], c["block_n"]
    return ("namespace ptx {\n" + product("wgmma_scores", n, d // 16, False, False) +
            product("wgmma_scores", n, d // 16, True, False) + product("wgmma_output", d, n // 16, True, True) +
            "}  // namespace ptx\n")


def add_stamps(text):
    """Writes clock readings of thread 0 where lse would go: words 0..7 clocks at the places below, 8 and 9 start and end in ns."""
    def after(anchor, code, which=0):
        nonlocal text
        parts = text.split(anchor)
        assert len(parts) > 1, anchor
        text = anchor.join(parts[:which + 1]) + anchor + code + anchor.join(parts[which + 1:])

    def before(anchor, code):
        nonlocal text
        assert anchor in text, anchor
        text = text.replace(anchor, code + anchor, 1)
    stamp = lambda i: f"\n if (threadIdx.x == 0) reinterpret_cast<long long*>(params.lse)[blockIdx.x * 16 + {i}] = clock64();\n"
    time_ns = lambda i: (f'\n if (threadIdx.x == 0) {{ long long ns; asm volatile("mov.u64 %0, %globaltimer;" : "=l"(ns)); '
                         f"reinterpret_cast<long long*>(params.lse)[blockIdx.x * 16 + {i}] = ns; }}\n")
    after("const u32 smem = ptx::smem_address(shared);", time_ns(8) + stamp(0))
    before("  const Loader loader{smem, params};", stamp(1))
    after("const RowState previous_rows = rows;\n    take_q();", stamp(2))
    before("    if constexpr (kPending) store(", stamp(3))
    after("      begin_overlapped<false>(tile, tile);\n      go_on_overlapped(tile);", stamp(4))
    before("        finish(tile);\n        if (kGrid == Grid::kFlat) break;", stamp(5))
    after("consumer.run();", stamp(6) + time_ns(9))
    return text


def add_profile(text):
    """Adds up the clocks that thread 0 of each warpgroup spends in the parts of a block, of a softmax in batches; written where
    lse would go."""
    begin = text.index("  template <bool kOutput, bool kFirst, bool kMasked>\n  __device__ __forceinline__ void next_scores")
    end = text.index("  // The part of O that goes with a batch")
    body = text[begin:end]
    marks = [("    if constexpr (kSync == Sync::kGemm) take_turn();\n", "k, turn"), ("    ptx::wgmma_commit();\n    if constexpr (kOutput) {\n      wait_v();\n", "issue qk, wait v"),
             ("    if constexpr (kSync == Sync::kGemm) pass_turn();\n", "issue pv"), ("    ptx::pin(s);\n    release_k(block);\n", "wait qk"), ("    softmax.find_maximum(0);\n", "max 0"),
             ("    if (zero != 0) ptx::mbarrier_wait(smem + Layout::kKFull, 0);\n", "exp 0, max 1"), ("      release_v(block + kKvGroups);\n", "wait pv"),
             ("      if constexpr (kOutput) rescale_output<Softmax::kBatches>(batch, softmax.rescale);\n    }\n", "rest")]
    for i, (anchor, name) in enumerate(marks):
        assert body.count(anchor) == 1, (anchor, body.count(anchor))
        body = body.replace(anchor, anchor + ("    ptx::pin(p);" if name == "rest" else "") + f"    lap({i});\n", 1)
    body = body.replace("    wait_k();\n", "    last = clock();\n    wait_k();\n", 1)
    decl = "  int last; int laps[8] = {};\n  __device__ __forceinline__ void lap(int i) { int now = clock(); laps[i] += now - last; last = now; }\n"
    text = text[:begin] + decl + body + text[end:]
    text = text.replace("    consumer.run();", """    consumer.run();
    if (threadIdx.x % 128 == 0)
      for (int i = 0; i < 8; ++i) reinterpret_cast<long long*>(params.lse)[(blockIdx.x * 4 + threadIdx.x / 128) * 16 + i] = consumer.laps[i];""")
    return text, [n for _, n in marks]


def add_clocks(text):
    """The clocks that thread 0 of each warpgroup spends in all; written where lse would go."""
    return text.replace("    consumer.run();", """    const long long begin = clock64();
    consumer.run();
    if (threadIdx.x % 128 == 0) reinterpret_cast<long long*>(params.lse)[(blockIdx.x * 4 + threadIdx.x / 128) * 16] = clock64() - begin;""")


def full(c):
    out = dict(DEFAULTS)
    out.update(c)
    if out["row_groups"] * out["kv_groups"] == 1 or out["kv_groups"] > 1:
        out["sync"] = "kNone"
    return out


@functools.cache
def template(folder):
    return expand("hopper_attention.cuh", set(), folder)


def source(shape, c):
    """What NVRTC gets for a full config."""
    text = template(c.get("templates", TEMPLATES))
    for old, new in c.get("edits", []):
        assert old in text, old
        text = text.replace(old, new)
    if c.get("stamps"):
        text = add_stamps(text)
    if c.get("clocks"):
        text = add_clocks(text)
    if c.get("profile"):
        text = add_profile(text)[0]
    return prelude(shape, c) + text


def compile_config(shape, c, extra=()):
    """Returns (cubin, info); info has log, registers, spills, bad (a reason or None)."""
    lib = nvrtc()
    prog = ctypes.c_void_p()
    lib.nvrtcCreateProgram(ctypes.byref(prog), source(shape, c).encode(), b"attention.cu", 0, None, None)
    opts = ["--gpu-architecture=sm_90a", "-default-device", "--std=c++20", "--ptxas-options=-v", "--ptxas-options=--warn-on-spills", *extra]
    arr = (ctypes.c_char_p * len(opts))(*[o.encode() for o in opts])
    t = time.time()
    rc = lib.nvrtcCompileProgram(prog, len(opts), arr)
    size = ctypes.c_size_t()
    lib.nvrtcGetProgramLogSize(prog, ctypes.byref(size))
    buf = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetProgramLog(prog, buf)
    log = buf.value.decode()
    info = dict(log=log, ms=(time.time() - t) * 1e3, registers=0, spills=0, bad=None)
    if rc != 0:
        info["bad"] = "compile error"
        return None, info
    m = re.search(r"Used (\d+) registers", log)
    info["registers"] = int(m.group(1)) if m else -1
    info["spills"] = sum(int(x) for x in re.findall(r"(\d+) bytes spill", log)) + sum(int(x) for x in re.findall(r"(\d+) bytes stack", log))
    codes = [x for x in re.findall(r"C75\d\d", log) if x != "C7519"]
    if codes:
        info["bad"] = "warnings " + ",".join(sorted(set(codes)))
    elif info["spills"]:
        info["bad"] = f"spills {info['spills']}"
    lib.nvrtcGetCUBINSize(prog, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetCUBIN(prog, cubin)
    lib.nvrtcDestroyProgram(ctypes.byref(prog))
    return cubin.raw, info


def smem_bytes(shape, c):
    chunk = c["swizzle"] // 2
    chunks = -(-shape["head_dim"] // chunk)
    q = 64 * c["row_groups"] * c["swizzle"] * chunks * c["stages_q"]
    kv = c["block_n"] * c["swizzle"] * chunks
    total = q + (c["stages_k"] + c["stages_v"]) * kv
    if c["kv_groups"] > 1:
        merge = c["row_groups"] * 128 * (shape["head_dim"] // 2 + 4) * 4 * (c["kv_groups"] - 1)
        total = max(total, q + merge) if c["grid"] == "kFlat" else total + merge
    total = -(-total // 8) * 8
    return total + 16 * (c["stages_q"] + c["stages_k"] + c["stages_v"]) + 16 + 16


if __name__ == "__main__":
    for d, causal, c in [
        (128, 1, dict(grid="kDynamic", stages_q=2)),
        (64, 1, dict(row_groups=1, kv_groups=2, block_n=64, producer_warps=0, ctas_per_sm=2, compact=1, stages_k=4, stages_v=4)),
        (64, 1, dict(row_groups=1, kv_groups=1, block_n=64, producer_warps=1, ctas_per_sm=2)),
        (64, 1, dict(row_groups=1, kv_groups=2, block_n=64, producer_warps=1, grid="kPersistentSnake", stages_q=2, stages_k=4, stages_v=4)),
        (128, 1, dict(row_groups=1, kv_groups=2, block_n=64, producer_warps=1, grid="kDynamic", stages_q=2, stages_k=4, stages_v=4)),
        (128, 1, dict(row_groups=1, block_n=64, producer_warps=1, grid="kPersistentSnake", ctas_per_sm=2, stages_q=2)),
    ]:
        shape = dict(head_dim=d, causal=causal)
        c0 = full(c)
        cubin, info = compile_config(shape, c0)
        print(d, causal, c, "regs", info["registers"], "spills", info["spills"], info["bad"], f"{info['ms']:.0f} ms", "smem", smem_bytes(shape, c0), "cubin", len(cubin or b""))
        if info["bad"]:
            print(info["log"][:3000])
            if "error" in info["bad"]:
                break
