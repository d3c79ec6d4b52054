"""Does a kernel's rank alone predict its rank in a model? in_model_ranking.py OUT.json [ROW ...]

For each row some ten configs of the Hopper template, in shuffled turns, are timed
  cold      alone, cold L2, contiguous [B,H,S,D]: what bench/hopper_gpu.py does
  strided   the same on [B,S,H,D], as models have it
  warm      back to back on the same operands
  loaded    behind a matrix product, V, Q and K just written
  loadcold  behind the same matrix product and a flush of L2: the load without the fresh operands
and in CUDA graphs of eight layers with weights of their own, in us a layer:
  eager     the layer as transformers' eager models have it, with its many elementwise kernels
  lean      matrix products, one norm kernel, SiLU: as little else as a compiled model has
The table has each measure's Spearman correlation with the two, and what a layer loses when the measure chooses. Every sample
is taken against the mean of its round, which takes out drift. A config that does not compile, or is wrong, is left out.
After RANKING_SECONDS (60) no further row begins.
"""
import collections, ctypes, gc, json, math, os, random, statistics, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import hopper_dev as dev, hopper_gpu as g
from hopper_dev import DYNAMIC, QREG, SNAKE

LAYERS = 8
MEASURES = ("cold", "strided", "warm", "loaded", "loadcold")
MODELS = ("eager", "lean")
ROUNDS = dict(cold=31, strided=31, warm=41, loaded=81, loadcold=61, eager=31, lean=31)
WARM_UP = dict(cold=2, strided=2, warm=10, loaded=60, loadcold=30, eager=4, lean=8)  # rounds: power settles within 0.3 s

QSMEM = dict(stages_q=2)
T3 = {**dev.T3, **SNAKE}
TMA = dict(store_q=1)
EXP = dict(sync="kExp")
# L2 policies of the loads. The template has no "evict last": the hinted loads get it by an edit.
FIRST_Q, FIRST_KV = dict(evict_first_q=1), dict(evict_first_k=1, evict_first_v=1)
LAST = dict(note="last", edits=[("0x12F0000000000000", "0x14F0000000000000")])
LAST_Q, LAST_KV = {**FIRST_Q, **LAST}, {**FIRST_KV, **LAST}
POLICIES = ({}, FIRST_Q, FIRST_KV, LAST_Q, LAST_KV)

Row = collections.namedtuple("Row", "q_heads kv_heads head_dim seq hidden mlp fused qk_norm configs")
# fused: transformers has one projection for q, k and v, and one for gate and up.
ROWS = {
    "Qwen3-0.6B@4096": Row(16, 8, 128, 4096, 1024, 3072, False, True, [
        *[{**SNAKE, **QREG, **EXP, **TMA, **policy} for policy in POLICIES],
        {**SNAKE, **QREG, **EXP},
        {**SNAKE, **QREG},
        {**SNAKE, **QREG, **TMA},
        {**SNAKE, **QSMEM},
        {**DYNAMIC, **QREG},
        {**SNAKE, **QREG, "block_n": 112},
        {**SNAKE, **QREG, "packed": 2},
    ]),
    "Llama-3.2-1B@4096": Row(32, 8, 64, 4096, 2048, 8192, False, False, [
        *[{**T3, **QSMEM, "packed": 4, **policy} for policy in POLICIES],
        {**T3, **QSMEM},
        {**T3, **QSMEM, **DYNAMIC},
        {**T3, **QSMEM, "packed": 4, "block_n": 112},
        {**SNAKE, **QREG, **EXP},
        {**SNAKE, **QREG, **EXP, **TMA},
        {**SNAKE, **QREG, "packed": 4},
    ]),
    "Phi-3-mini@2048": Row(32, 32, 96, 2048, 3072, 8192, True, False, [{"swizzle": 64, **c} for c in [
        *[{**SNAKE, **QREG, **TMA, **policy} for policy in POLICIES],
        {**SNAKE, **QREG},
        {**SNAKE, **QREG, **EXP},
        {**SNAKE, **QREG, **EXP, **TMA},
        {**DYNAMIC, **QREG},
        {**SNAKE, **QREG, "block_n": 112},
        {**SNAKE, **QSMEM, "stages_k": 3, "stages_v": 3},
        {**T3, **QSMEM, "block_n": 96},
    ]]),
    "Qwen2-1.5B@4096": Row(12, 2, 128, 4096, 1536, 8960, False, False, [
        *[{**T3, "block_n": 80, "stages_k": 3, "stages_v": 3, "packed": 6, **policy} for policy in POLICIES],
        {**T3, "block_n": 80, "stages_k": 3, "stages_v": 3, "packed": 6, **EXP},
        {**SNAKE, **QREG},
        {**SNAKE, **QREG, **TMA},
        {**SNAKE, **QREG, **EXP},
        {**SNAKE, **QREG, "packed": 6},
        {**SNAKE, **QREG, "block_n": 112, "packed": 2},
    ]),
}


def shape_of(row):
    return dict(batch=1, q_heads=row.q_heads, kv_heads=row.kv_heads, seq=row.seq, head_dim=row.head_dim, causal=1)


# --- statistics --------------------------------------------------------------------------------------------------


def ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    out, i = [0.0] * len(values), 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and values[order[j + 1]] == values[order[i]]:
            j += 1
        for k in range(i, j + 1):
            out[order[k]] = (i + j) / 2
        i = j + 1
    return out


def spearman(a, b):
    """Pearson's correlation of the ranks; nan where there is no order."""
    a, b = ranks(a), ranks(b)
    ma, mb = statistics.mean(a), statistics.mean(b)
    denominator = math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))
    return sum((x - ma) * (y - mb) for x, y in zip(a, b)) / denominator if denominator else math.nan


def times_of(samples, rounds=slice(None)):
    """Of each runner one time out of its samples by round: the median distance from its round's mean, plus the median of
    these means."""
    samples = [s[rounds] for s in samples]
    means = [statistics.mean(r) for r in zip(*samples)]
    middle = statistics.median(means)
    return [middle + statistics.median(x - m for x, m in zip(s, means)) for s in samples]


# --- the GPU's clock and power -----------------------------------------------------------------------------------


class Nvml:
    """Samples of the SM clock in MHz and the power in W while a phase runs; power is the driver's own average."""

    def __init__(self, uuid):
        self.handle = None
        try:
            self.lib = ctypes.CDLL("libnvidia-ml.so.1")
            handle = ctypes.c_void_p()
            if self.lib.nvmlInit_v2() == 0 and self.lib.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) == 0:
                self.handle = handle
        except OSError:
            pass
        if self.handle is None:
            print("no NVML: clocks and power are left out", flush=True)

    def __enter__(self):
        self.samples, self.end = [], threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self):
        clock, power = ctypes.c_uint(), ctypes.c_uint()
        while self.handle is not None and not self.end.wait(0.01):
            if self.lib.nvmlDeviceGetClockInfo(self.handle, 1, ctypes.byref(clock)) == 0 and \
                    self.lib.nvmlDeviceGetPowerUsage(self.handle, ctypes.byref(power)) == 0:
                self.samples.append((clock.value, power.value / 1e3))

    def __exit__(self, *_):
        self.end.set()
        self.thread.join()

    def reading(self):
        """Medians of the second half of the phase, or None."""
        last = self.samples[len(self.samples) // 2:]
        return dict(sm_mhz=statistics.median(c for c, _ in last), watts=statistics.median(w for _, w in last), n=len(last)) if last else None


# --- one attention -----------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, seconds):
        self.gpu = g.Gpu()
        self.torch = torch = self.gpu.torch
        torch.set_grad_enabled(False)
        self.F = torch.nn.functional
        properties = torch.cuda.get_device_properties(0)
        uuid = str(getattr(properties, "uuid", ""))
        self.nvml = Nvml(uuid if uuid.startswith("GPU-") else "GPU-" + uuid)
        self.environment = dict(gpu=properties.name, torch=torch.__version__, layers=LAYERS, rounds=ROUNDS)
        self.stream = torch.cuda.Stream()  # of all captures
        self.a = torch.randn(4096, 8192, device="cuda", dtype=torch.bfloat16)
        self.b = torch.randn(8192, 4096, device="cuda", dtype=torch.bfloat16)
        self.product = torch.empty(4096, 4096, device="cuda", dtype=torch.bfloat16)
        self.end = time.time() + seconds

    def start_watch(self):
        self.beat = time.time()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            time.sleep(0.5)
            if time.time() - self.beat > 20:
                print("nothing has ended for 20 s: a kernel hangs", flush=True)
                os._exit(3)

    def sync(self):
        self.torch.cuda.synchronize()
        self.beat = time.time()

    def load(self):
        self.torch.matmul(self.a, self.b, out=self.product)

    def flush(self):
        self.gpu.flush_buffer.zero_()

    def interleave(self, measure, runners, before, wait_each_round=False):
        """Microseconds by runner and round, each run behind before(runner's number, is the round's first)."""
        event = lambda: self.torch.cuda.Event(enable_timing=True)
        rounds = []
        with self.nvml:
            for r in range(WARM_UP[measure] + ROUNDS[measure]):
                order = list(range(len(runners)))
                random.Random(r).shuffle(order)
                events = [None] * len(runners)
                for place, i in enumerate(order):
                    e0, e1 = event(), event()
                    before(i, place == 0)
                    e0.record()
                    runners[i]()
                    e1.record()
                    events[i] = e0, e1
                if r >= WARM_UP[measure]:
                    rounds.append(events)
                if wait_each_round or r % 16 == 15:
                    self.sync()
            self.sync()
        return [[events[i][0].elapsed_time(events[i][1]) * 1e3 for events in rounds] for i in range(len(runners))]

    def alone(self, row, configs):
        """Leaves out the configs that fail. Returns those left, their samples by measure (SDPA's first), and the clocks."""
        torch, gpu, shape = self.torch, self.gpu, shape_of(row)
        flat = g.tensors(torch, 1, row.q_heads, row.kv_heads, row.seq, row.seq, row.head_dim, 0)
        sources = [t.transpose(1, 2).contiguous() for t in flat]
        strided = [t.clone().transpose(1, 2) for t in sources]
        sources = [t.transpose(1, 2) for t in sources]
        o = torch.empty_like(flat[0])
        o_strided = torch.empty_like(strided[0].transpose(1, 2)).transpose(1, 2)
        reference, _ = gpu.reference(*flat, True, 0)
        norm = reference.norm()
        self.sync()

        def sdpa(q, k, v):
            return lambda: self.F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=row.q_heads != row.kv_heads)

        left, on_flat, on_strided = [], [sdpa(*flat)], [sdpa(*strided)]
        for config in configs:
            info = gpu.function(shape, dev.full(config))[1]
            if info["bad"]:
                print(f"left out: {g.label(config)}: {info['bad']}", flush=True)
                continue
            o.fill_(math.nan)
            o_strided.fill_(math.nan)
            launches = gpu.bind(shape, config, *flat, o), gpu.bind(shape, config, *strided, o_strided)
            for launch in launches:
                launch()
            self.sync()
            error = ((o.float() - reference).norm() / norm).item()
            if not error < 5e-3 or not torch.equal(o, o_strided):
                print(f"left out: {g.label(config)}: error {error:.2e}, strided equal {torch.equal(o, o_strided)}", flush=True)
                continue
            left.append(config)
            on_flat.append(launches[0])
            on_strided.append(launches[1])
        del reference

        def cold(i, first):
            self.flush()
            if i == 0 or first:
                for _ in range(5):
                    self.flush()  # hides the framework's longer launch, and the pause

        def warm(i, first):
            if first:
                self.flush()  # hides the pause
            for _ in range(3):
                on_strided[i]()

        def loaded(i, first):
            self.load()
            for j in (2, 0, 1):  # V, Q, K, as a model writes them
                strided[j].copy_(sources[j])

        def load_cold(i, first):
            self.load()
            self.flush()

        samples, clocks = {}, {}
        for measure, runners, before in (("cold", on_flat, cold), ("strided", on_strided, cold), ("warm", on_strided, warm),
                                         ("loaded", on_strided, loaded), ("loadcold", on_strided, load_cold)):
            samples[measure] = self.interleave(measure, runners, before, before is cold)
            clocks[measure] = self.nvml.reading()
        return left, samples, clocks

    # --- the model -----------------------------------------------------------------------------------------------

    def weights(self, row):
        torch = self.torch
        generator = torch.Generator(device="cuda").manual_seed(1)

        def make(rows, columns):
            return torch.randn(rows, columns, device="cuda", dtype=torch.bfloat16, generator=generator) * 0.02

        heads = row.q_heads + 2 * row.kv_heads
        ones = lambda n: torch.ones(n, device="cuda", dtype=torch.bfloat16)
        return [dict(qkv=make(heads * row.head_dim, row.hidden), o=make(row.hidden, row.q_heads * row.head_dim),
                     gate_up=make(2 * row.mlp, row.hidden), down=make(row.hidden, row.mlp), norm=ones(row.hidden),
                     head_norm=ones(row.head_dim)) for _ in range(LAYERS)]

    def rope(self, row):
        torch = self.torch
        frequencies = 1e4 ** (-torch.arange(0, row.head_dim, 2, device="cuda", dtype=torch.float32) / row.head_dim)
        angles = torch.outer(torch.arange(row.seq, device="cuda", dtype=torch.float32), frequencies)
        angles = torch.cat((angles, angles), -1)[None, None]
        return angles.cos().bfloat16(), angles.sin().bfloat16()

    def layer(self, row, eager, weights, rotation, x, attend):
        """One decoder layer; attend(q, k, v) returns [1, heads, seq, head_dim]."""
        torch, F = self.torch, self.F

        def norm(t, weight):
            if not eager:
                return F.rms_norm(t, weight.shape, weight, 1e-6)
            wide = t.float()
            return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).bfloat16()

        def linear(t, name, sizes):
            """The products with the parts of a weight: one where the model fuses them, else one a part."""
            if not eager or row.fused:
                return F.linear(t, weights[name]).split(sizes, -1)
            return [F.linear(t, part) for part in weights[name].split(sizes)]

        def rotate(t):
            half = row.head_dim // 2
            return t * rotation[0] + torch.cat((-t[..., half:], t[..., :half]), -1) * rotation[1]

        d = row.head_dim
        q, k, v = linear(norm(x, weights["norm"]), "qkv", [row.q_heads * d, row.kv_heads * d, row.kv_heads * d])
        q, k, v = (t.view(1, row.seq, -1, d) for t in (q, k, v))
        if eager and row.qk_norm:
            q, k = norm(q, weights["head_norm"]), norm(k, weights["head_norm"])
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        if eager:
            q, k = rotate(q), rotate(k)
        out = attend(q, k, v).transpose(1, 2).reshape(1, row.seq, row.q_heads * d)
        x = x + F.linear(out, weights["o"])
        gate, up = linear(norm(x, weights["norm"]), "gate_up", [row.mlp, row.mlp])
        return x + F.linear(F.silu(gate) * up, weights["down"])

    def in_model(self, row, eager, configs):
        """Returns the configs left, the samples in us a layer (no attention's, SDPA's, then the configs'), the clocks and
        the strides that attention was given."""
        torch, gpu, shape = self.torch, self.gpu, shape_of(row)
        weights, rotation = self.weights(row), self.rope(row)
        x0 = torch.randn(1, row.seq, row.hidden, device="cuda", dtype=torch.bfloat16)
        o = torch.empty(1, row.seq, row.q_heads, row.head_dim, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
        first_output = torch.empty_like(o)
        strides = {}

        def without(q, k, v):
            return q

        def sdpa(q, k, v):
            return self.F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=row.q_heads != row.kv_heads)

        def ours(config):
            def attend(q, k, v):
                strides.update(q=q.stride(), k=k.stride(), v=v.stride())
                # bind() takes the stream that is current now, in a capture the captured one.
                gpu.bind(shape, config, q, k, v, o)()
                return o
            return attend

        def run(attend):
            def kept(q, k, v):
                out = attend(q, k, v)
                first_output.copy_(out)  # in every graph: to be compared
                return out

            x = x0
            for i, w in enumerate(weights):
                x = self.layer(row, eager, w, rotation, x, attend if i else kept)

        # One memory pool: every capture begins with all of it free, so all graphs have the same addresses. It lives as
        # long as one graph does, and a graph needs nothing of another's memory.
        pool = torch.cuda.graph_pool_handle()

        def capture(attend):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool, stream=self.stream):
                run(attend)
            self.sync()
            return graph

        def outcome(graph):
            """The first layer's attention, which has the same inputs in all graphs."""
            o.fill_(math.nan)
            first_output.fill_(math.nan)
            graph.replay()
            self.sync()
            return first_output.float()

        # Loads, chooses and allocates outside of a capture, on the stream of the captures. The kernels of the configs have
        # run before.
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            run(sdpa)
        self.sync()
        graphs = [capture(without), capture(sdpa)]
        expected = outcome(graphs[1])
        left = []
        for config in configs:
            graph = capture(ours(config))
            error = ((outcome(graph) - expected).norm() / expected.norm()).item()
            if not error < 1e-2 or bool(torch.isnan(o).any()):  # o is the last layer's
                print(f"left out: {g.label(config)}: {error:.2e} from SDPA in the model", flush=True)
                continue
            left.append(config)
            graphs.append(graph)
        measure = "eager" if eager else "lean"
        samples = self.interleave(measure, [graph.replay for graph in graphs], lambda i, first: None)
        return left, [[t / LAYERS for t in s] for s in samples], self.nvml.reading(), strides


# --- the report --------------------------------------------------------------------------------------------------


def report(name, configs, times, halves, base, clocks):
    """Prints a row's table. times[measure][i] is of configs[i]; returns what follows from it."""
    everything = MEASURES + MODELS
    print(f"\n== {name}: us a launch, in the models us a layer; saved: a layer against SDPA")
    print("".join(f"{m:>9}" for m in everything) + f"{'saved':>8}{'saved':>8}")
    line = lambda t, saved: "".join(f"{t[m]:9.1f}" for m in everything) + "".join(f"{s:8.1f}" for s in saved)
    for i in sorted(range(len(configs)), key=lambda i: times["eager"][i]):
        saved = [base["sdpa"][m] - times[m][i] for m in MODELS]
        print(line({m: times[m][i] for m in everything}, saved), "", g.label(configs[i]))
    print(line(base["sdpa"], []) + " " * 17 + "sdpa")
    print(" " * 9 * len(MEASURES) + "".join(f"{base['none'][m]:9.1f}" for m in MODELS) + " " * 17 + "no attention")
    for m in everything:
        if clocks[m]:
            print(f"   {m:9} SM clock {clocks[m]['sm_mhz']:.0f} MHz, {clocks[m]['watts']:.0f} W ({clocks[m]['n']} samples)")
    out = {}
    for m in everything:
        pick = min(range(len(configs)), key=times[m].__getitem__)
        out[m] = dict(picks=configs[pick], own_halves=spearman(*halves[m]),
                      **{model: dict(spearman=spearman(times[m], times[model]), loses_us=times[model][pick] - min(times[model]))
                         for model in MODELS})
        print(f"   {m:9} with itself, odd and even rounds {out[m]['own_halves']:5.2f}; " +
              "; ".join(f"with {model} {out[m][model]['spearman']:5.2f}, its choice loses {out[m][model]['loses_us']:5.1f} us" for model in MODELS) +
              f"  {g.label(configs[pick])}")
    sys.stdout.flush()
    return out


def measure_row(bench, name):
    row = ROWS[name]
    begin = time.time()
    configs, samples, clocks = bench.alone(row, row.configs)
    strides = {}
    for model in MODELS:
        # Weights and graphs of the style before are free again here.
        left, samples[model], clocks[model], strides[model] = bench.in_model(row, model == "eager", configs)
        kept = [i for i, c in enumerate(configs) if c in left]
        for m in samples:
            if m != model:
                fixed = len(samples[m]) - len(configs)
                samples[m] = samples[m][:fixed] + [samples[m][fixed + i] for i in kept]
        configs = left
    if not configs:
        print(f"{name}: no config is left", flush=True)
        return None
    fixed = {m: len(samples[m]) - len(configs) for m in samples}  # SDPA, in the models no attention before it
    whole = {m: times_of(samples[m]) for m in samples}
    times = {m: whole[m][fixed[m]:] for m in samples}
    halves = {m: [times_of(samples[m], slice(k, None, 2))[fixed[m]:] for k in (0, 1)] for m in samples}
    base = dict(sdpa={m: whole[m][fixed[m] - 1] for m in samples}, none={m: whole[m][0] for m in MODELS})
    conclusions = report(name, configs, times, halves, base, clocks)
    print(f"   {time.time() - begin:.1f} s", flush=True)
    row = row._asdict()
    row.pop("configs")
    return dict(name=name, row=row, configs=configs, us=times, base_us=base, clocks=clocks, strides=strides, conclusions=conclusions,
                samples_us={m: [[round(t, 3) for t in s] for s in all_runners] for m, all_runners in samples.items()})


def main(out_path, names):
    # NVRTC in a process of its own, while this one loads the framework.
    compiler = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--compile", *names])
    try:
        bench = Bench(float(os.environ.get("RANKING_SECONDS", "60")))
        gc.freeze()  # every capture collects
    finally:
        code = compiler.wait()
    if code:
        sys.exit(f"the compiling process ended with {code}")
    bench.start_watch()
    results = dict(environment=bench.environment, rows=[])
    for name in names:
        if time.time() > bench.end:
            print(f"out of time before {name}", flush=True)
            break
        bench.beat = time.time()
        row = measure_row(bench, name)
        bench.torch.cuda.empty_cache()
        if row:
            results["rows"].append(row)
        with open(out_path, "w") as f:
            json.dump(results, f)
    if results["rows"]:
        print(f"\nMeans over {len(results['rows'])} rows")
        for m in MEASURES + MODELS:
            print(f"   {m:9} " + "; ".join(
                f"with {model} {statistics.mean(r['conclusions'][m][model]['spearman'] for r in results['rows']):5.2f}, "
                f"loses {statistics.mean(r['conclusions'][m][model]['loses_us'] for r in results['rows']):5.1f} us a layer" for model in MODELS))
    sys.stdout.flush()
    os._exit(0)  # threads and captured memory end with the process


if __name__ == "__main__":
    if len(sys.argv) < 2 or any(n not in ROWS for n in sys.argv[2:]):
        sys.exit(f"{__doc__}\nROW is one of {', '.join(ROWS)}")
    chosen = sys.argv[2:] or list(ROWS)
    if sys.argv[1] == "--compile":
        g.compile_all([dict(shape=shape_of(ROWS[n]), configs=ROWS[n].configs) for n in chosen])
    else:
        main(sys.argv[1], chosen)
