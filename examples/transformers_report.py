"""Writes the ten-model report from what transformers_models.py measured. Needs nothing but Python."""

import statistics


def geometric(values):
    return statistics.geometric_mean(values)


def bold(speedup):
    text = f"{speedup:.2f}x"
    return f"**{text}**" if speedup >= 1.1 else text


def share(row):
    """Attention's share of the model's time on SDPA."""
    return row["layers"] * row["operator_us"]["sdpa"] / 1000 / row["ms"]["sdpa"]


def possible(row, operator="operator_us"):
    """The model's speedup if it saved what attention alone saves, in each layer."""
    saved = row["layers"] * (row[operator]["sdpa"] - row[operator]["attune"]) / 1000
    return row["ms"]["sdpa"] / (row["ms"]["sdpa"] - saved)


def captured(row, operator="operator_us"):
    """The share of the possible gain (saved time) that the model got; None where there is nothing to gain."""
    saving = 1 - 1 / possible(row, operator)
    return (1 - 1 / row["speedup"]) / saving if saving > 0.005 else None


def percent(value):
    return "-" if value is None else f"{100 * value:.0f}%"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows] + [""]


def by_length(rows):
    return sorted({row["length"] for row in rows})


def summary(document):
    rows, environment = document["rows"], document["environment"]
    best = max(rows, key=lambda row: row["speedup"])
    worst = min(rows, key=lambda row: row["speedup"])
    longest = max(by_length(rows))
    results = [["**Average speedup** (geometric mean)", f"**{geometric([r['speedup'] for r in rows]):.2f}x**"],
               ["**Maximum speedup**", f"**{best['speedup']:.2f}x**"],
               ["**Minimum speedup**", f"{worst['speedup']:.3f}x ({worst['model']} @ seq={worst['length']})"],
               ["**Best model/config**", f"{best['model']} @ seq={best['length']}"],
               [f"**Average speedup @ {longest} tokens**",
                f"**{geometric([r['speedup'] for r in rows if r['length'] == longest]):.2f}x**"],
               ["**Average speedup over SDPA's FLASH backend**",
                f"{geometric([r['speedup_flash'] for r in rows]):.2f}x"]]
    below = [row for row in rows if row["speedup"] < 1]
    gains = [value for value in map(captured, rows) if value is not None]
    findings = [f"{len(rows) - len(below)} of {len(rows)} rows are at least as fast as PyTorch's default" +
                ("" if not below else "; slower: " + ", ".join(f"{r['model']} @ {r['length']}" for r in below)) + "."]
    if gains:
        alone = [value for value in (captured(row, "operator_back_to_back_us") for row in rows) if value is not None]
        findings.append(f"The models save {percent(statistics.median(gains))} of what attention alone suggests (median; "
                        f"lowest {percent(min(gains))}; {percent(min(alone, default=None))} where attention alone is timed back to "
                        "back, which lowers the clock): an estimate, from times that were measured apart.")
    same = [row["correctness"]["attune_sdpa"]["agreement"] for row in rows]
    findings.append(f"The most likely next token is the one that SDPA's model gives in {100 * min(same):.1f}% (lowest row) to "
                    f"{100 * max(same):.1f}% of the positions, with random weights.")
    lines = ["# Attune Attention Performance Report: Small Language Models", "",
             f"**Generated:** {environment['generated']}  ", f"**GPU:** {environment['gpu']}  ",
             "**Benchmark:** End-to-end transformer inference (forward pass)", ""]
    if environment["layers"]:
        lines += [f"**A trial run with {environment['layers']} layers a model: not the models' times.**", ""]
    models = len({row["model"] for row in rows})
    of = f"{'ten' if models == 10 else models} language model{'s' * (models > 1)}"
    how = ", their layers compiled by torch.compile," if environment.get("compile") else ""
    lines += ["## Executive Summary", "",
              f"Whole forward passes of {of}{how} with **attune's attention** against **PyTorch's "
              "scaled_dot_product_attention (SDPA)**.", "", "### Key Results", ""]
    lines += table(["Metric", "Value"], results) + ["### Key Findings", ""]
    return lines + [f"{i}. {text}" for i, text in enumerate(findings, 1)] + ["", "---", ""]


def details(document):
    lines = ["## Detailed Results by Model", ""]
    header = ["Seq Length", "attune (ms)", "PyTorch (ms)", "Speedup", "Improvement", "FLASH (ms)", "over FLASH",
              "Attention's share", "Possible", "Gained"]
    for model in document["models"]:
        rows = [row for row in document["rows"] if row["model"] == model["name"]]
        if not rows:
            continue
        lines += [f"### {model['name']}", "", f"- **Layers:** {rows[0]['layers']}",
                  f"- **Query Heads:** {model['q_heads']}, **KV Heads:** {model['kv_heads']}",
                  f"- **Embed Dim:** {model['embed_dim']}, **Head Dim:** {model['head_dim']}",
                  f"- **MLP Hidden:** {model['mlp_hidden']}", ""]
        lines += table(header, [[
            row["length"], f"{row['ms']['attune']:.3f}", f"{row['ms']['sdpa']:.3f}", bold(row["speedup"]),
            f"{100 * (row['speedup'] - 1):+.1f}%", f"{row['ms']['flash']:.3f}", f"{row['speedup_flash']:.2f}x",
            percent(share(row)), f"{possible(row):.2f}x", percent(captured(row))] for row in rows])
    for one in document["failed"]:
        lines += [f"**{one['model']} failed:** {one['error']}", ""]
    return lines + ["---", ""]


def all_models(document):
    lengths = by_length(document["rows"])
    lines = ["## Summary Table: All Models and Sequence Lengths", ""]
    rows = []
    for model in document["models"]:
        speedups = {row["length"]: row["speedup"] for row in document["rows"] if row["model"] == model["name"]}
        if speedups:
            rows.append([model["name"], *(bold(speedups[n]) if n in speedups else "-" for n in lengths),
                         f"{geometric(speedups.values()):.2f}x"])
    return lines + table(["Model", *map(str, lengths), "Avg"], rows) + ["---", ""]


def analysis(document):
    lines = ["## Performance Analysis", "", "### By Sequence Length", ""]
    rows = []
    for length in by_length(document["rows"]):
        speedups = [row["speedup"] for row in document["rows"] if row["length"] == length]
        rows.append([length, f"{geometric(speedups):.2f}x", f"{min(speedups):.2f}x", f"{max(speedups):.2f}x"])
    lines += table(["Sequence Length", "Avg Speedup", "Min", "Max"], rows) + ["### By Head Dimension", ""]
    rows = []
    for head_dim in sorted({model["head_dim"] for model in document["models"]}):
        names = [model["name"] for model in document["models"] if model["head_dim"] == head_dim]
        speedups = [row["speedup"] for row in document["rows"] if row["model"] in names]
        if speedups:
            rows.append([head_dim, f"{geometric(speedups):.2f}x", ", ".join(names)])
    return lines + table(["Head Dim", "Avg Speedup", "Models"], rows) + ["---", ""]


def correctness(document):
    def pair(one):
        return f"{one['error']:.1e}, {100 * one['agreement']:.1f}%"

    header = ["Model", "Seq", "attune to fp32 attention", "SDPA to fp32 attention", "attune to SDPA"]
    rows = [[row["model"], row["length"],
             *(pair(row["correctness"][key]) for key in ("attune_fp32", "sdpa_fp32", "attune_sdpa"))]
            for row in document["rows"]]
    return ["## Correctness", "",
            "Relative Frobenius error of the logits of all positions, and greedy next-token agreement. The weights are "
            "random, so that logits are close to each other and a token changes easily: SDPA's own column is the measure.",
            ""] + table(header, rows) + ["---", ""]


def methodology(document):
    environment = document["environment"]
    without = " without its attention" if "none" in document["rows"][0]["ms"] else ""  # as earlier runs had it
    lines = [
        "## Methodology", "", f"- **Hardware:** {environment['gpu']}, driver and power limit {environment['driver']}",
        f"- **Software:** PyTorch {environment['torch']} (CUDA {environment['cuda']}, cuDNN {environment['cudnn']}), "
        f"transformers {environment['transformers']}, attune {environment['attune']}"
        f"{' at ' + environment['commit'] if environment.get('commit') else ''}, Python {environment['python']}",
        "- **Benchmark Type:** End-to-end transformer forward pass of transformers' own classes, random weights, in one "
        f"CUDA graph{', its layers by torch.compile' if environment.get('compile') else ''}; logits of the last position, as "
        "at the end of a prompt; `attn_implementation=\"attune_causal\"` beside "
        "SDPA with the causal flag and no mask tensor", "- **Batch Size:** 1, bf16, no cache",
        "- **Warmup:** 2 eager forwards, 2 replays",
        f"- **Measurement:** {environment['rounds']} rounds in which SDPA's default, its FLASH backend and attune "
        f"take turns, at least 10 ms each; medians; a speedup is the median over rounds",
        "- **Attention's share:** that of one attention alone times the number of layers, timed in the same run on tensors "
        f"that lie as the model's, as many as it has layers in a row after a forward of the model{without}, so that the clock "
        "is the model's. **Possible:** what the model would gain if it saved what attention alone saves. **Gained:** the saving as a "
        "share of that, above 100% where attention gains more among a model's other kernels than alone, or spares a copy",
        "- **Correctness:** see above; attune was set to raise rather than fall back", "",
        "### What served each shape", ""
    ]
    rows = [[row["model"], row["length"], row["template"], row["provenance"],
             *(f"{row['operator_us'][name]:.1f}" for name in ("attune", "sdpa", "flash"))] for row in document["rows"]]
    header = ["Model", "Seq", "Template", "Record", "attune (us)", "SDPA (us)", "FLASH (us)"]
    return lines + table(header, rows)


def report(document):
    """The report as Markdown."""
    if not document["rows"]:
        return "\n".join(["# Attune Attention Performance Report", "", "No row was measured.", ""] + details(document))
    parts = (summary, details, all_models, analysis, correctness, methodology)
    return "\n".join(line for part in parts for line in part(document)).rstrip() + "\n"
