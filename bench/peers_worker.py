"""Times the rows of the workload on this process's GPU; run by peers.py, which survives it.

peers_worker.py TASK.json: writes lines "@@{json}" to stdout: the environment, then for each row its start and its
result. Anything else on stdout or stderr is for people. Exit code 3: the GPU's context is lost after a fault.
"""

import contextlib
import ctypes
import datetime
import glob
import json
import math
import os
import statistics
import subprocess
import sys
import sysconfig
import traceback

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import attune_api
import fa3_api

FLUSH_BYTES = 256 << 20
SPIN_CYCLES = 2_000_000  # about 1 ms: the host enqueues a round's samples meanwhile
MAX_ERROR = 5e-3  # relative Frobenius, bf16
REFERENCE_BYTES = 1 << 30  # of scores at once
LOST_CONTEXT = 3


def emit(event, **fields):
    print("@@" + json.dumps({"event": event, **fields}), flush=True)


def first_line(error):
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def offer_nvrtc():
    """Points attune at the NVRTC of PyTorch's own packages where the machine has no other."""
    if os.environ.get("ATTUNE_NVRTC"):
        return
    with contextlib.suppress(OSError):
        ctypes.CDLL("libnvrtc.so.13")
        return
    if glob.glob("/usr/local/cuda*/lib64/libnvrtc.so.13"):
        return
    found = glob.glob(os.path.join(sysconfig.get_paths()["purelib"], "nvidia", "*", "lib", "libnvrtc.so.13"))
    if found:
        os.environ["ATTUNE_NVRTC"] = found[0]


def driver_version():
    with contextlib.suppress(Exception):
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
    return "unknown"


def environment(library, fa3):
    properties = torch.cuda.get_device_properties(0)
    return {"gpu": properties.name, "sm_count": properties.multi_processor_count, "driver": driver_version(),
            "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "python": sys.version.split()[0], "attune": library.version(), "nvrtc": os.environ.get("ATTUNE_NVRTC", ""),
            "fa3": fa3.about() if fa3 else "",
            "utc": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}


def make_inputs(row, generator):
    """Random normal q, k, v and an output poisoned with NaN."""
    b, s, d = row["batch"], row["seq"], row["head_dim"]
    make = lambda heads: torch.randn(b, heads, s, d, device="cuda", dtype=torch.bfloat16, generator=generator)
    q, k, v = make(row["q_heads"]), make(row["kv_heads"]), make(row["kv_heads"])
    return q, k, v, torch.full_like(q, float("nan"))


def reference(q, k, v, causal):
    """Attention in fp32, a few heads at a time (no TF32: see main)."""
    batch, heads, length, head_dim = q.shape
    group = heads // k.shape[1]
    out = torch.empty(q.shape, device=q.device, dtype=torch.float32)
    hidden = torch.ones(length, length, dtype=torch.bool, device=q.device).triu_(1) if causal else None
    at_once = max(1, REFERENCE_BYTES // (4 * length * length))
    for b in range(batch):
        for first in range(0, heads, at_once):
            last = min(heads, first + at_once)
            kv = torch.arange(first, last, device=q.device) // group
            scores = q[b, first:last].float() @ k[b].float()[kv].transpose(-1, -2)
            scores.mul_(head_dim**-0.5)
            if causal:
                scores.masked_fill_(hidden, float("-inf"))
            out[b, first:last] = torch.softmax(scores, dim=-1) @ v[b].float()[kv]
    return out


def relative_error(out, expected):
    error = torch.linalg.vector_norm(out.float() - expected) / torch.linalg.vector_norm(expected)
    return float(error)  # NaN where the output has one


def views(*tensors):
    return [(t.data_ptr(), t.stride()[:3]) for t in tensors]


class Peer:
    """`launch(i)` enqueues one attention on input set i; `scope()` is entered around a series of launches."""

    def __init__(self, name, launch, scope=contextlib.nullcontext):
        self.name, self.launch, self.scope = name, launch, scope
        self.samples, self.failure, self.error = [], None, None


def attune_peer(library, shape, sets, row):
    stream = torch.cuda.current_stream().cuda_stream
    scale = row["head_dim"]**-0.5
    launchers = [library.launcher(shape, attune_api.tensors_of(*views(*one)), scale) for one in sets]

    def launch(i):
        launchers[i](stream)
        return sets[i][3]

    return Peer("attune", launch)


def sdpa_peer(name, backend, sets, row):
    options = {"is_causal": row["causal"]}
    if row["q_heads"] != row["kv_heads"]:
        options["enable_gqa"] = True

    def launch(i):
        q, k, v, _ = sets[i]
        return F.scaled_dot_product_attention(q, k, v, **options)

    return Peer(name, launch, contextlib.nullcontext if backend is None else lambda: sdpa_kernel(backend))


def fa3_peer(library, sets, row):
    """Its outputs are its own: in attune's, a kernel that writes nothing would pass the check."""
    stream = torch.cuda.current_stream().cuda_stream
    lse = torch.empty(row["batch"], row["q_heads"], row["seq"], device="cuda")
    semaphore = torch.zeros(1, device="cuda", dtype=torch.int32)
    outs = [torch.full_like(out, float("nan")) for *_, out in sets]
    launchers = [library.launcher(*inputs, out, lse, semaphore, row["causal"], row["head_dim"]**-0.5)
                 for (*inputs, _), out in zip(sets, outs)]

    def launch(i):
        launchers[i](stream)
        return outs[i]

    return Peer("fa3", launch)


def check(peer, expected):
    """Runs the peer once on set 0 and compares; a refusal or a wrong answer becomes its failure."""
    try:
        with peer.scope():
            out = peer.launch(0)
        torch.cuda.synchronize()
        peer.error = relative_error(out, expected)
    except Exception as error:
        peer.failure = first_line(error)
        torch.cuda.synchronize()  # raises where the fault ended the context
        return
    if not peer.error <= MAX_ERROR:
        peer.failure = f"wrong answer: relative error {peer.error:.2e}, limit {MAX_ERROR:.0e}"
        peer.error = peer.error if math.isfinite(peer.error) else None


def time_series(peer, flush, sets, samples, first):
    """Cold-L2 times in us. Everything is enqueued behind the spin, so the host's time does not show."""
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(samples)]
    with peer.scope():
        torch.cuda._sleep(SPIN_CYCLES)
        for n, (start, end) in enumerate(events):
            flush.zero_()
            start.record()
            peer.launch((first + n) % len(sets))
            end.record()
        torch.cuda.synchronize()
    return [1000 * start.elapsed_time(end) for start, end in events]


def time_peers(peers, flush, sets, task):
    for peer in peers:
        time_series(peer, flush, sets, 2 * len(sets), 0)  # warm-up: plans, lazy loading, the allocator
    for round_number in range(task["rounds"]):
        turn = round_number % len(peers)
        for peer in peers[turn:] + peers[:turn]:
            peer.samples += time_series(peer, flush, sets, task["samples"], round_number * task["samples"])


def summary(peer, flops):
    if peer.failure:
        return {"na": peer.failure}
    quartiles = statistics.quantiles(peer.samples, n=4, method="inclusive")
    median = statistics.median(peer.samples)
    return {"median_us": round(median, 2), "min_us": round(min(peer.samples), 2),
            "iqr_us": round(quartiles[2] - quartiles[0], 2), "samples": len(peer.samples),
            "tflops": round(flops / median / 1e6, 1), "relative_error": peer.error}


def run_row(row, library, fa3, flush, task):
    generator = torch.Generator(device="cuda").manual_seed(1234)
    sets = [make_inputs(row, generator) for _ in range(task["sets"])]
    shape = attune_api.shape_of(row["batch"], row["q_heads"], row["kv_heads"], row["seq"], row["seq"], row["head_dim"],
                                row["causal"])
    peers = [sdpa_peer("sdpa", None, sets, row), sdpa_peer("flash", SDPBackend.FLASH_ATTENTION, sets, row),
             sdpa_peer("cudnn", SDPBackend.CUDNN_ATTENTION, sets, row)]
    if fa3:
        peers.append(fa3_peer(fa3, sets, row))
    attune, record = attune_peer(library, shape, sets, row), None
    try:
        record = library.prepare(shape)
    except attune_api.AttuneError as error:
        attune.failure = first_line(error)
    expected = reference(*sets[0][:3], row["causal"])
    for peer in [attune] * (record is not None) + peers:
        check(peer, expected)
    runnable = [peer for peer in [attune] + peers if not peer.failure]
    time_peers(runnable, flush, sets, task)
    if not attune.failure:  # again, after many launches: a race or a dirty workspace shows here
        sets[0][3].fill_(float("nan"))
        check(attune, expected)
    return {"attune": record, "peers": {peer.name: summary(peer, row["flops"]) for peer in [attune] + peers}}


def warm_clock():
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(200):
        a @ a
    torch.cuda.synchronize()


def main():
    with open(sys.argv[1]) as file:
        task = json.load(file)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.cuda.init()
    torch.zeros(1, device="cuda")  # makes the primary context current
    offer_nvrtc()
    log = lambda level, text: print(f"attune: {text[:200]}", file=sys.stderr, flush=True) if level > 1 else None
    library = attune_api.Library(task["library"], task["db"], task["cubins"], log=log)
    fa3 = fa3_api.Library(task["fa3"]) if task["fa3"] else None
    l2_bytes = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0)
    flush = torch.empty(max(FLUSH_BYTES, 4 * l2_bytes), dtype=torch.uint8, device="cuda")
    emit("environment", **environment(library, fa3))
    warm_clock()
    for row in task["rows"]:
        emit("start", name=row["name"])
        try:
            with torch.no_grad():
                emit("row", name=row["name"], **run_row(row, library, fa3, flush, task))
        except Exception as error:
            traceback.print_exc()
            emit("row", name=row["name"], failed=first_line(error))
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except Exception:
            sys.stdout.flush()
            os._exit(LOST_CONTEXT)
    sys.stdout.flush()
    os._exit(0)  # nothing is worth the time or the risk of an orderly end


if __name__ == "__main__":
    main()
