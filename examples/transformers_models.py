#!/usr/bin/env python3
"""Ten language models of transformers, whole forward, with PyTorch's attention and with attune; writes the report.

    python3 examples/transformers_models.py --out results              all ten, four lengths: some minutes on an H100
    python3 examples/transformers_models.py --models Qwen2-0.5B --lengths 512 --layers 2 --out /tmp/try
    python3 examples/transformers_models.py --compile --models Qwen3-0.6B --out compiled       torch.compile of each layer

The models are transformers' own classes with the sizes of bench/workload.json and random weights, batch 1, bf16. Needs
a GPU, PyTorch, transformers 5 and the package attune (pip install ./python). Writes results/ten_models.md and .json,
again after every row.
"""

import argparse
import contextlib
import datetime
import fnmatch
import gc
import json
import math
import os
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

import attune
import attune.transformers

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import transformers_report

# The class of each model, and what bench/workload.json does not say of it.
CLASSES = {
    "Qwen2-0.5B": ("Qwen2", {"vocab_size": 151936, "tie_word_embeddings": True}),
    "Qwen3-0.6B": ("Qwen3", {"vocab_size": 151936, "tie_word_embeddings": True}),
    "Llama-3.2-1B": ("Llama", {"vocab_size": 128256, "tie_word_embeddings": True}),
    "Qwen2-1.5B": ("Qwen2", {"vocab_size": 151936, "tie_word_embeddings": True}),
    "SmolLM2-1.7B": ("Llama", {"vocab_size": 49152, "tie_word_embeddings": True}),
    "Phi-2": ("Phi", {"vocab_size": 51200, "partial_rotary_factor": 0.4}),
    "Qwen2.5-3B": ("Qwen2", {"vocab_size": 151936, "tie_word_embeddings": True}),
    "Llama-3.2-3B": ("Llama", {"vocab_size": 128256, "tie_word_embeddings": True}),
    "Phi-3-mini": ("Phi3", {"vocab_size": 32064, "pad_token_id": 0, "sliding_window": None}),
    "rnj-1": ("Gemma3", {"vocab_size": 128256, "tie_word_embeddings": False, "query_pre_attn_scalar": 128}),
}
TIMED = ("sdpa", "flash", "attune")
WINDOW_MS = 10  # each timing covers at least this


# --- attention ---------------------------------------------------------------------------------------------------


def with_flash(*arguments, **keywords):
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return sdpa_attention_forward(*arguments, **keywords)


noted = []  # what noting() saw


def noting(module, query, key, value, attention_mask, scaling=None, **keywords):
    noted.append(([(tuple(t.shape), t.stride()) for t in (query, key, value)], scaling))
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **keywords)


def in_fp32(module, query, key, value, attention_mask, scaling=None, **keywords):
    group = query.shape[1] // key.shape[1]
    key, value = (t.float().repeat_interleave(group, 1) for t in (key, value))
    out = F.scaled_dot_product_attention(query.float(), key, value, is_causal=True, scale=scaling)
    return out.to(query.dtype).transpose(1, 2).contiguous(), None


# attune under its own name, the others under numbered ones of this script's (one with "flash" in it would be looked for
# among transformers' own kernels). All with the masks of attune_causal: none, in a graph too, so that SDPA gets the
# causal flag it is fastest with.
FUNCTIONS = {"sdpa": sdpa_attention_forward, "flash": with_flash, "fp32": in_fp32, "noting": noting}
REGISTERED = {"attune": "attune_causal", **{name: f"models_{i}" for i, name in enumerate(FUNCTIONS)}}
for name, function in FUNCTIONS.items():
    AttentionInterface.register(REGISTERED[name], function)
    AttentionMaskInterface.register(REGISTERED[name], ALL_MASK_ATTENTION_FUNCTIONS["attune_causal"])


def use(model, name):
    model.set_attn_implementation(REGISTERED[name])
    if model.config._attn_implementation != REGISTERED[name]:
        raise RuntimeError(f"transformers keeps {model.config._attn_implementation} instead of {name}")


# --- models ------------------------------------------------------------------------------------------------------


def build(row, layers):
    """The model with random weights in bf16, made on the GPU."""
    family, extra = CLASSES[row["name"]]
    layers = layers or row["layers"]
    sizes = {"hidden_size": row["embed_dim"], "intermediate_size": row["mlp_hidden"], "num_hidden_layers": layers,
             "num_attention_heads": row["q_heads"], "num_key_value_heads": row["kv_heads"], "head_dim": row["head_dim"],
             "max_position_embeddings": 8192, **extra}
    if family == "Gemma3":
        sizes["layer_types"] = ["full_attention"] * layers
    config = getattr(transformers, "Gemma3TextConfig" if family == "Gemma3" else f"{family}Config")(**sizes)
    config.use_cache = False
    config._attn_implementation = "sdpa"
    former = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return getattr(transformers, f"{family}ForCausalLM")(config).eval()
    finally:
        torch.set_default_dtype(former)


def forward(model, tokens, keep):
    return model(input_ids=tokens, use_cache=False, logits_to_keep=keep).logits


def capture(enqueue):
    """A graph of what `enqueue` puts on the stream, after two runs that compile, choose and allocate."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            enqueue()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = enqueue()
    return graph, kept


# --- measuring ---------------------------------------------------------------------------------------------------


def once(graph, repeats):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        graph.replay()
    end.record()
    return start, end


def repeats_of(graph):
    """How many replays take WINDOW_MS."""
    for _ in range(2):
        start, end = once(graph, 1)
    torch.cuda.synchronize()
    return max(1, math.ceil(WINDOW_MS / max(start.elapsed_time(end), 1e-3)))


def interleaved(graphs, rounds, between=None):
    """Milliseconds by name and round; the order turns with every round. With `between`, a graph, each sample is one
    replay that follows one of it."""
    names = list(graphs)
    repeats = {name: 1 if between else repeats_of(graphs[name][0]) for name in names}
    samples = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        events = {}
        for name in names[first:] + names[:first]:
            if between:
                between.replay()
            events[name] = once(graphs[name][0], repeats[name])
        torch.cuda.synchronize()
        for name, (start, end) in events.items():
            samples[name].append(start.elapsed_time(end) / repeats[name])
    return samples


def attention_inputs(model, tokens):
    """What the model's first attention gets: of query, key and value the sizes and strides, and the scale."""
    noted.clear()
    use(model, "noting")
    forward(model, tokens, 1)
    return noted[0]


def operator_times(model, tokens, layers, between, rounds):
    """Microseconds of one attention by backend, on tensors that lie as the model's: those of all layers one after the
    other, after a run of `between`, the model, so that the clock is the one at which the model runs; and with nothing
    between. Attention alone keeps the GPU at its power limit, where one backend loses more than another.
    """
    places, scale = attention_inputs(model, tokens)
    sets = [[torch.empty_strided(*place, device="cuda", dtype=torch.bfloat16).normal_() for place in places]
            for _ in range(4)]
    options = {"is_causal": True, "scale": scale, "enable_gqa": places[0][0][1] != places[1][0][1]}

    def series(call):
        return lambda: [call(*sets[i % len(sets)], **options) for i in range(layers)][-1]

    def flash(*arguments, **keywords):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return F.scaled_dot_product_attention(*arguments, **keywords)

    calls = {"sdpa": F.scaled_dot_product_attention, "flash": flash, "attune": attune.attention}
    graphs = {name: capture(series(call)) for name, call in calls.items()}

    def us(between):
        times = interleaved(graphs, rounds, between)
        return {name: 1000 * statistics.median(values) / layers for name, values in times.items()}

    return us(between), us(None)


def compare(logits, expected):
    """Relative Frobenius error, and the share of positions whose most likely token is the same."""
    error = norm = same = 0.0
    for ours, theirs in zip(logits[0].split(512), expected[0].split(512)):
        error += float((ours.float() - theirs.float()).square().sum())
        norm += float(theirs.float().square().sum())
        same += float((ours.argmax(-1) == theirs.argmax(-1)).sum())
    return {"error": math.sqrt(error / norm), "agreement": same / logits.shape[1]}


def correctness(model, tokens):
    logits = {}
    for name in ("fp32", "sdpa", "attune"):
        use(model, name)
        logits[name] = forward(model, tokens, 0)
    return {"attune_fp32": compare(logits["attune"], logits["fp32"]),
            "sdpa_fp32": compare(logits["sdpa"], logits["fp32"]),
            "attune_sdpa": compare(logits["attune"], logits["sdpa"])}


@contextlib.contextmanager
def compiled(model, wanted):
    """With the decoder's layers compiled (once for all of them), where that is wanted."""
    if not wanted:
        yield
        return
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # rather than leave layers as they are
    for layer in model.model.layers:
        layer.compile(dynamic=False)
    try:
        yield
    finally:
        for layer in model.model.layers:
            layer._compiled_call_impl = None


def measure(model, row, length, layers, rounds, compile_layers):
    tokens = torch.randint(model.config.vocab_size, (1, length), device="cuda")
    answer = attune.lookup(q_heads=row["q_heads"], kv_heads=row["kv_heads"], q_len=length, head_dim=row["head_dim"],
                           causal=True, layout="bshd")
    graphs = {}
    for name in TIMED:
        use(model, name)
        with compiled(model, compile_layers):
            graphs[name] = capture(lambda: forward(model, tokens, 1))
    samples = interleaved(graphs, rounds)
    operator, back_to_back = operator_times(model, tokens, layers, graphs["sdpa"][0], rounds)
    del graphs
    ms = {name: statistics.median(values) for name, values in samples.items()}
    ratio = lambda name: statistics.median(a / b for a, b in zip(samples[name], samples["attune"]))
    return {"model": row["name"], "length": length, "layers": layers, "ms": ms, "samples_ms": samples,
            "speedup": ratio("sdpa"), "speedup_flash": ratio("flash"), "operator_us": operator,
            "operator_back_to_back_us": back_to_back, "provenance": answer.provenance, "template": answer.template,
            "config": answer.config, "correctness": correctness(model, tokens)}


# --- the run -----------------------------------------------------------------------------------------------------


def environment(arguments):
    driver = ""
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
    except (OSError, IndexError, subprocess.SubprocessError):
        pass
    return {"gpu": torch.cuda.get_device_name(0), "driver": driver, "torch": torch.__version__,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "transformers": transformers.__version__, "attune": attune.__version__,
            "commit": arguments.commit, "python": sys.version.split()[0], "rounds": arguments.rounds,
            "layers": arguments.layers, "compile": arguments.compile,
            "generated": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder for ten_models.md and ten_models.json")
    parser.add_argument("--models", nargs="*", default=["*"], help="names or globs (default: all ten)")
    parser.add_argument("--lengths", nargs="*", type=int, help="default: those of bench/workload.json")
    parser.add_argument("--layers", type=int, help="this many layers instead of the model's own, to try it out")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds a row (default 9)")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the decoder's layers, which takes longer")
    parser.add_argument("--commit", default="", help="of attune, for the report")
    parser.add_argument("--db", help="database of records (default: ATTUNE_DB, else the cache folder's)")
    parser.add_argument("--cubins", help="folder of compiled kernels (default: the cache folder's)")
    return parser.parse_args()


def write(out, document):
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "ten_models.json"), "w") as file:
        json.dump(document, file, indent=1)
    with open(os.path.join(out, "ten_models.md"), "w") as file:
        file.write(transformers_report.report(document))


def main():
    arguments = parse()
    if not torch.cuda.is_available():
        sys.exit("no GPU here: PyTorch sees none")
    with open(os.path.join(HERE, "..", "bench", "workload.json")) as file:
        workload = json.load(file)
    rows = [row for row in workload["models"] if any(fnmatch.fnmatch(row["name"], one) for one in arguments.models)]
    if not rows:
        sys.exit(f"no model is named {' or '.join(arguments.models)}: {', '.join(CLASSES)}")
    attune.configure(database=arguments.db, cubins=arguments.cubins)
    attune.set_fallback("raise")  # a row that PyTorch answered would be no row
    torch.manual_seed(0)
    document = {"environment": environment(arguments), "models": rows, "rows": [], "failed": []}
    for row in rows:
        try:
            with torch.inference_mode():
                model = build(row, arguments.layers)
                for length in arguments.lengths or workload["model_sequence_lengths"]:
                    one = measure(model, row, length, arguments.layers or row["layers"], arguments.rounds,
                                  arguments.compile)
                    document["rows"].append(one)
                    print(f"{row['name']:13} {length:5}: attune {one['ms']['attune']:8.3f} ms, sdpa "
                          f"{one['ms']['sdpa']:8.3f} ms, {one['speedup']:.3f}x ({one['provenance']})", flush=True)
                    write(arguments.out, document)
        except Exception as error:  # the other models are still of use
            document["failed"].append({"model": row["name"], "error": f"{type(error).__name__}: {error}"[:300]})
            print(f"{row['name']}: failed: {document['failed'][-1]['error']}", file=sys.stderr, flush=True)
            write(arguments.out, document)
        model = None
        gc.collect()
        torch.cuda.empty_cache()
    return 1 if document["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
