"""Runs jobs of checks and timings of the Hopper template on a GPU: hopper_gpu.py JOBS.json OUT.jsonl

The parent compiles every kernel in threads, then a child runs the jobs; a config that hangs or faults ends the child, is
recorded, and the child starts again after it. A job is {"kind": "check", "shape", "config", "cases"} or
{"kind": "bench", "name", "shape", "configs", "rounds"}.
"""
import ctypes, hashlib, json, math, os, random, statistics, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hopper_dev as dev

CUBINS = os.environ.get("HOPPER_CUBINS", "/tmp/hopper_cubins")


def shape_class(shape, c=None):
    if c and "seq" in shape:
        f = dev.full(c)
        shape = dict(shape, ragged=int(not shape["causal"] and shape.get("kv", shape["seq"]) % f["block_n"] != 0),
                     ragged_q=int(shape["seq"] % (64 * f["row_groups"] // f["packed"]) != 0))
    return dict(head_dim=shape["head_dim"], causal=int(shape["causal"]), lse=int(shape.get("lse", 0)), ragged=int(shape.get("ragged", 0)), ragged_q=int(shape.get("ragged_q", 1)),
                fp16=int(shape.get("fp16", 0)))


def key(shape, c):
    """Of a compiled kernel: its source, so that a cubin of a kernel since changed is not taken for it."""
    c = dev.full(c)
    return hashlib.sha1(dev.source(shape_class(shape, c), c).encode()).hexdigest()[:16]


def label(c):
    c = {k: v for k, v in c.items() if k != "edits"}
    return json.dumps({k: v for k, v in c.items() if dev.DEFAULTS.get(k) != v}, sort_keys=True).replace('"', "").replace(" ", "")


# ---- parent ----

def compile_all(jobs):
    from concurrent.futures import ThreadPoolExecutor
    os.makedirs(CUBINS, exist_ok=True)
    todo = {}
    for job in jobs:
        for c in job.get("configs", [job.get("config")]):
            todo[key(job["shape"], c)] = (job["shape"], c)

    def one(item):
        k, (shape, c) = item
        path = f"{CUBINS}/{k}.json"
        if os.path.exists(path):
            return
        cubin, info = dev.compile_config(shape_class(shape, c), dev.full(c))
        if cubin:
            open(f"{CUBINS}/{k}.cubin", "wb").write(cubin)
        json.dump(info, open(path, "w"))

    t = time.time()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, todo.items()))
    print(f"compiled {len(todo)} in {time.time() - t:.1f} s", flush=True)


def parent(jobs_path, out_path):
    jobs = json.load(open(jobs_path))
    compile_all(jobs)
    state = dict(job=0, skip=[], current=None)
    state_path = out_path + ".state"
    deadline = time.time() + float(os.environ.get("HOPPER_SECONDS", "400"))
    while time.time() < deadline:
        json.dump(state, open(state_path, "w"))
        try:
            rc = subprocess.run([sys.executable, os.path.abspath(__file__), "--child", jobs_path, out_path, state_path],
                                timeout=max(1, deadline - time.time())).returncode
        except subprocess.TimeoutExpired:
            print("out of time", flush=True)
            break
        state = json.load(open(state_path))
        if rc == 0:
            break
        print(f"child ended with {rc} at job {state['job']} config {state['current']}", flush=True)
        with open(out_path, "a") as f:
            f.write(json.dumps(dict(kind="crash", rc=rc, job=state["job"], config=state["current"])) + "\n")
        state["skip"].append([state["job"], state["current"]])
        state["crashes"] = state.get("crashes", 0) + 1
        if state["crashes"] > 20:
            print("too many crashes", flush=True)
            break


# ---- child ----

class Params(ctypes.Structure):
    _fields_ = [("maps", ctypes.c_uint8 * 512), ("o", ctypes.c_uint64), ("lse", ctypes.c_uint64), ("counters", ctypes.c_uint64),
                ("partials", ctypes.c_uint64),
                ("o_batch_stride", ctypes.c_int64), ("o_head_stride", ctypes.c_int64), ("o_row_stride", ctypes.c_int64),
                ("batch", ctypes.c_int), ("q_heads", ctypes.c_int), ("head_tiles", ctypes.c_int),
                ("q_len", ctypes.c_int), ("kv_len", ctypes.c_int), ("causal_offset", ctypes.c_int),
                ("row_blocks", ctypes.c_int), ("tiles", ctypes.c_int), ("section_heads", ctypes.c_int), ("scale_log2", ctypes.c_float),
                ("full_sections", ctypes.c_int), ("divisors", ctypes.c_uint32 * 10)]


class Gpu:
    def __init__(self):
        import torch
        self.torch = torch
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.zeros(1, device="cuda")
        self.cu = ctypes.CDLL("libcuda.so.1")
        self.functions = {}
        self.counters = torch.zeros(1 << 16, dtype=torch.int32, device="cuda")
        self.partials = torch.empty(1 << 26, dtype=torch.float32, device="cuda")
        self.flush_buffer = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
        self.sms = torch.cuda.get_device_properties(0).multi_processor_count

    def call(self, name, *args):
        rc = getattr(self.cu, name)(*args)
        if rc:
            raise RuntimeError(f"{name} returned {rc}")

    def function(self, shape, c):
        k = key(shape, c)
        if k not in self.functions:
            info = json.load(open(f"{CUBINS}/{k}.json"))
            if info["bad"]:
                self.functions[k] = (None, info)
            else:
                image = open(f"{CUBINS}/{k}.cubin", "rb").read()
                module, function = ctypes.c_void_p(), ctypes.c_void_p()
                self.call("cuModuleLoadData", ctypes.byref(module), image)
                self.call("cuModuleGetFunction", ctypes.byref(function), module, b"attention_forward")
                self.call("cuFuncSetAttribute", function, 8, dev.smem_bytes(shape_class(shape), c))
                n = ctypes.c_int()
                self.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.byref(n), function,
                          128 * c["row_groups"] * c["kv_groups"] + 32 * c["producer_warps"], dev.smem_bytes(shape_class(shape), c))
                info["occupancy"] = n.value
                self.functions[k] = (function, info)
        return self.functions[k]

    def tensor_map(self, t, rows, swizzle, fp16, promotion=2, heads=1):
        raw = (ctypes.c_uint8 * 192)()
        address = (ctypes.addressof(raw) + 63) // 64 * 64
        b, h, s, d = t.shape
        dims = (ctypes.c_uint64 * 4)(d, s, h, b)
        strides = (ctypes.c_uint64 * 3)(2 * t.stride(2), 2 * t.stride(1), 2 * t.stride(0))
        box = (ctypes.c_uint32 * 4)(swizzle // 2, rows, heads, 1)
        ones = (ctypes.c_uint32 * 4)(1, 1, 1, 1)
        self.call("cuTensorMapEncodeTiled", ctypes.c_void_p(address), 6 if fp16 else 9, 4, ctypes.c_void_p(t.data_ptr()), dims, strides, box,
                  ones, 0, {32: 1, 64: 2, 128: 3}[swizzle], promotion, 0)
        return raw, address

    def bind(self, shape, c, q, k, v, o, lse=None, offset=None):
        """Returns a function that launches on the current stream."""
        c = dev.full(c)
        function, info = self.function(shape, c)
        if function is None:
            return None
        b, hq, sq, d = q.shape
        sk = k.shape[2]
        m = 64 * c["row_groups"]
        packed, split = c["packed"], c["cta_split"]
        positions, head_tiles = m // packed, hq // packed
        row_blocks = -(-sq // positions)
        p = Params(o=o.data_ptr(), lse=lse.data_ptr() if lse is not None else 0, counters=self.counters.data_ptr(), partials=self.partials.data_ptr(), o_batch_stride=o.stride(0),
                   o_head_stride=o.stride(1), o_row_stride=o.stride(2), batch=b, q_heads=hq, head_tiles=head_tiles, q_len=sq,
                   kv_len=sk, causal_offset=sk - sq if offset is None else offset, row_blocks=row_blocks, tiles=row_blocks * b * head_tiles * split,
                   section_heads=c["section_heads"] or b * head_tiles, scale_log2=math.log2(math.e) / math.sqrt(d))
        section, heads = p.section_heads, b * head_tiles
        p.full_sections = heads // section
        for i, n in enumerate((section * row_blocks // (2 if c.get("paired") else 1), section, heads % section or section, head_tiles, hq // k.shape[1])):
            shift = 31 + (n - 1).bit_length()
            p.divisors[2 * i], p.divisors[2 * i + 1] = (1 << shift) // n + 1, shift
        fp16 = shape.get("fp16", 0)
        if split > 1 and (p.tiles * c["row_groups"] * 64 * (d + 2) > self.partials.numel() or p.tiles // split * c["row_groups"] > self.counters.numel()):
            raise RuntimeError("partials too large")
        maps = [self.tensor_map(q, positions, c["swizzle"], fp16, c["promotion"], packed), self.tensor_map(k, c["block_n"] // c.get("cluster", 1), c["swizzle"], fp16, c["promotion"]),
                self.tensor_map(v, c["block_n"] // c.get("cluster", 1), c["swizzle"], fp16, c["promotion"]),
                self.tensor_map(o, positions, c["swizzle"], fp16, c["promotion"], packed)]
        size = -(-ctypes.sizeof(p) // 64) * 64
        block = (ctypes.c_uint8 * (size + 64))()
        address = -(-ctypes.addressof(block) // 64) * 64
        for i, (_, a) in enumerate(maps):
            ctypes.memmove(ctypes.addressof(p) + 128 * i, a, 128)
        ctypes.memmove(address, ctypes.addressof(p), ctypes.sizeof(p))
        args = (ctypes.c_void_p * 1)(address)
        threads = 128 * c["row_groups"] * c["kv_groups"] + 32 * c["producer_warps"]
        grid = p.tiles if c["grid"] == "kFlat" else min(p.tiles, self.sms * c["ctas_per_sm"] * c["num_sm_multiplier"])
        smem = dev.smem_bytes(shape_class(shape), c)
        keep = (block, p, args, q, k, v, o, lse)
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)
        launch_fn = self.cu.cuLaunchKernel

        def launch(keep=keep):
            rc = launch_fn(function, grid, 1, 1, threads, 1, 1, smem, stream, args, None)
            if rc:
                raise RuntimeError(f"launch returned {rc}")
        return launch

    def reference(self, q, k, v, causal, offset):
        torch = self.torch
        b, hq, sq, d = q.shape
        hk, sk = k.shape[1], k.shape[2]
        out = torch.empty(b, hq, sq, d, device="cuda", dtype=torch.float32)
        lse = torch.empty(b, hq, sq, device="cuda", dtype=torch.float32)
        rows = torch.arange(sq, device="cuda")[:, None]
        mask = (torch.arange(sk, device="cuda")[None, :] > rows + offset) if causal else None
        for i in range(b):
            for h in range(hq):
                s = (q[i, h].float() @ k[i, h * hk // hq].float().T) / math.sqrt(d)
                if mask is not None:
                    s.masked_fill_(mask, -math.inf)
                l = torch.logsumexp(s, -1)
                lse[i, h] = l
                pr = torch.exp(s - torch.where(l == -math.inf, 0.0, l)[:, None])
                out[i, h] = pr @ v[i, h * hk // hq].float()
        return out, lse


def tensors(torch, b, hq, hk, sq, sk, d, fp16, bshd=False, seed=0, amplify=1.0):
    g = torch.Generator(device="cuda").manual_seed(seed)
    dtype = torch.float16 if fp16 else torch.bfloat16

    def make(h, s):
        if bshd:
            return torch.randn(b, s, h, d, device="cuda", generator=g).to(dtype).transpose(1, 2)
        return torch.randn(b, h, s, d, device="cuda", generator=g).to(dtype)
    q = make(hq, sq) * amplify
    return q, make(hk, sk), make(hk, sk)


def child(jobs_path, out_path, state_path):
    jobs = json.load(open(jobs_path))
    state = json.load(open(state_path))
    beat = [time.time()]

    def watch():
        while True:
            time.sleep(0.5)
            if time.time() - beat[0] > 15:
                os._exit(3)
    threading.Thread(target=watch, daemon=True).start()

    def mark(job, config):
        beat[0] = time.time()
        state.update(job=job, current=config)
        json.dump(state, open(state_path, "w"))

    gpu = Gpu()
    torch = gpu.torch
    out = open(out_path, "a")

    def emit(**row):
        out.write(json.dumps(row) + "\n")
        out.flush()

    begin = state["job"]
    for n in range(begin, len(jobs)):
        job = jobs[n]
        shape = job["shape"]
        mark(n, None)
        if job["kind"] == "check":
            c = job["config"]
            text = json.dumps(c, sort_keys=True)
            if [n, text] in state["skip"]:
                continue
            mark(n, text)
            info = gpu.function(shape, dev.full(c))[1]
            if info["bad"]:
                print("BAD", shape_class(shape), label(c), info["bad"], info["log"][:300] if "error" in info["bad"] else "", flush=True)
                emit(kind="check", shape=shape, config=c, bad=info["bad"])
                continue
            worst, failures = 0.0, []
            for case in job["cases"]:
                beat[0] = time.time()
                b, hq, hk, sq, sk = case["b"], case["hq"], case["hk"], case["sq"], case["sk"]
                q, k, v = tensors(torch, b, hq, hk, sq, sk, shape["head_dim"], shape.get("fp16", 0), case.get("bshd", False), n,
                                  case.get("amplify", 1.0))
                guard = torch.full((b * hq * sq * shape["head_dim"] + 4096,), math.nan, device="cuda", dtype=q.dtype)
                o = guard[2048:-2048].view(b, hq, sq, shape["head_dim"])
                if case.get("bshd"):
                    o = guard[2048:-2048].view(b, sq, hq, shape["head_dim"]).transpose(1, 2)
                lse = torch.full((b, hq, sq), math.nan, device="cuda")
                offset = case.get("offset", sk - sq)
                launch = gpu.bind(shape, c, q, k, v, o, lse, offset)
                launch()
                torch.cuda.synchronize()
                ref, ref_lse = gpu.reference(q, k, v, shape["causal"], offset)
                err = ((o.float() - ref).norm() / ref.norm().clamp_min(1e-20)).item()
                if ref.norm() == 0:
                    err = o.float().norm().item()
                lse_err = torch.where(ref_lse == lse, 0.0, (lse - ref_lse).abs()).max().item() if shape.get("lse") else 0.0
                guards = bool(torch.isnan(guard[:2048]).all() and torch.isnan(guard[-2048:]).all())
                first = o.clone()
                launch()
                torch.cuda.synchronize()
                same = bool((first == o).all())
                ok = err < 5e-3 and lse_err < 2e-3 and guards and same
                worst = max(worst, err) if err == err else math.inf
                if not ok:
                    failures.append(dict(case=case, err=err, lse_err=lse_err, guards=guards, same=same))
            emit(kind="check", shape=shape, config=c, worst=worst, failures=failures)
            print("FAIL" if failures else "ok  ", json.dumps(shape_class(shape)), label(c), f"worst {worst:.2e}", json.dumps(failures)[:600] if failures else "",
                  flush=True)
            continue

        if job["kind"] == "stamp":
            b, hq, hk, s, d = shape["batch"], shape["q_heads"], shape["kv_heads"], shape["seq"], shape["head_dim"]
            q, k, v = tensors(torch, b, hq, hk, s, s, d, 0)
            o = torch.empty_like(q)
            for c in job["configs"]:
                mark(n, json.dumps(c, sort_keys=True))
                try:
                    info = gpu.function(shape, dev.full(c))[1]
                    if info["bad"]:
                        continue
                    stamps = torch.zeros(4096, 16, dtype=torch.int64, device="cuda")
                    launch = gpu.bind(shape, c, q, k, v, o, stamps)
                    rows = []
                    for _ in range(7):
                        gpu.flush_buffer.zero_()
                        stamps.zero_()
                        gpu.flush_buffer.zero_()
                        launch()
                        torch.cuda.synchronize()
                        rows.append(stamps.cpu())
                    if c.get("profile") or c.get("clocks"):
                        r = rows[5]
                        live = r[r[:, 0] > 0].float()
                        names = dev.add_profile(dev.expand("hopper_attention.cuh", set()))[1] if c.get("profile") else ["all"]
                        total = live[:, :8].sum(1).mean()
                        causal = shape["causal"]
                        m = 64 * dev.full(c)["row_groups"]
                        n_ = dev.full(c)["block_n"]
                        steps = sum(-(-min(s, (i + 1) * m if causal else s) // n_) for i in range(-(-s // m))) * b * hq / (len(live) / (dev.full(c)["row_groups"]))
                        emit(kind="clocks", name=job["name"], config=c, clocks_a_step=(total / steps).item(), parts={nm: x / steps for nm, x in zip(names, live[:, :8].mean(0).tolist())})
                        print(f"profile {job['name']} {c.get('note') or label(c)} regs {info['registers']} clocks a step {total / steps:.0f}: " +
                              ", ".join(f"{nm} {x / steps:.0f}" for nm, x in zip(names, live[:, :8].mean(0).tolist())), flush=True)
                        continue
                    print(f"stamps {job['name']} {label(c)} regs {info['registers']} occ {info['occupancy']}")
                    for r in rows[3:6]:
                        live = r[r[:, 0] > 0]
                        start, end = live[:, 8].min().item(), live[:, 9].max().item()
                        last = live[live[:, 9].argmax()]
                        deltas = [(last[i + 1] - last[i]).item() for i in range(7) if last[i + 1] > 0]
                        print(f"   span {end - start} ns, starts spread {live[:, 8].max().item() - start} ns; last block started +{last[8].item() - start} took {last[9].item() - last[8].item()} ns; clocks {deltas}", flush=True)
                except RuntimeError as e:
                    print("BAD", label(c), e, flush=True)
            continue

        # bench
        b, hq, hk, s, d, causal = shape["batch"], shape["q_heads"], shape["kv_heads"], shape["seq"], shape["head_dim"], shape["causal"]
        sk = shape.get("kv", s)
        q, k, v = tensors(torch, b, hq, hk, s, sk, d, shape.get("fp16", 0))
        ref, _ = gpu.reference(q, k, v, causal, sk - s)
        beat[0] = time.time()
        ref_norm = ref.norm()
        o = torch.empty_like(q)
        runners = [("sdpa", None, lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=bool(causal) and s > 1, enable_gqa=hq != hk))]
        for c in job["configs"]:
            text = json.dumps(c, sort_keys=True)
            if [n, text] in state["skip"]:
                continue
            mark(n, text)
            try:
                info = gpu.function(shape, dev.full(c))[1]
            except RuntimeError as e:
                info = dict(bad=str(e))
            if info["bad"]:
                emit(kind="bench", name=job["name"], config=c, bad=info["bad"])
                continue
            try:
                o.fill_(math.nan)
                launch = gpu.bind(shape, c, q, k, v, o)
                launch()
                torch.cuda.synchronize()
            except RuntimeError as e:
                print("BAD", label(c), e, flush=True)
                emit(kind="bench", name=job["name"], config=c, bad=str(e))
                if "launch returned" in str(e) or "cuFunc" in str(e):
                    continue
                os._exit(4)
            err = ((o.float() - ref).norm() / ref_norm).item()
            if not err < 5e-3:
                print("WRONG", label(c), err, flush=True)
                emit(kind="bench", name=job["name"], config=c, bad=f"error {err}")
                continue
            runners.append((label(c), c, launch))
        mark(n, None)
        del ref
        times = [[] for _ in runners]
        start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        pool = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in runners]
        for r in range(job.get("rounds", 15) + 2):
            beat[0] = time.time()
            # Another order every round: what runs soon after the pause between rounds is up to a tenth slower.
            order = list(range(len(runners)))
            random.Random(r).shuffle(order)
            for i in order:
                (name, c, fn), (e0, e1) = runners[i], pool[i]
                gpu.flush_buffer.zero_()
                if i in (0, order[0]):
                    for _ in range(5):
                        gpu.flush_buffer.zero_()  # hides the framework's longer launch, and the pause
                e0.record()
                fn()
                e1.record()
            torch.cuda.synchronize()
            if r >= 2:
                for i, (e0, e1) in enumerate(pool):
                    times[i].append(e0.elapsed_time(e1) * 1e3)
        med = [statistics.median(t) for t in times]
        flops = 4.0 * b * hq * s * sk * d / (2 if causal and sk == s else 1)
        print(f"== {job['name']}  sdpa {med[0]:.1f} us", flush=True)
        order = sorted(range(1, len(runners)), key=lambda i: med[i])
        for i in range(len(runners)):
            info = gpu.function(shape, dev.full(runners[i][1]))[1] if runners[i][1] is not None else {}
            emit(kind="bench", name=job["name"], config=runners[i][1], us=med[i], low=min(times[i]), tflops=flops / med[i] / 1e6, speedup=med[0] / med[i],
                 registers=info.get("registers"), occupancy=info.get("occupancy"), n=len(times[i]))
        for i in order[:job.get("show", 30)]:
            print(f"  {med[i]:8.1f} us {flops / med[i] / 1e6:6.0f} TFLOP/s {med[0] / med[i]:.2f}x  {runners[i][0]}  occ {gpu.function(shape, dev.full(runners[i][1]))[1].get('occupancy')} regs {gpu.function(shape, dev.full(runners[i][1]))[1]['registers']}", flush=True)
    mark(len(jobs), None)
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(*sys.argv[2:])
    else:
        parent(sys.argv[1], sys.argv[2])
