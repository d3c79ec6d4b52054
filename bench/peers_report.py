"""The peers' comparison as numbers and as Markdown.

  python3 bench/peers_report.py bench/results/peers_h100.json README.md            # writes the table of the README anew
  python3 bench/peers_report.py bench/results/peers_h100.json README.md --check    # fails where it differs
"""

import argparse
import json
import math
import sys

PYTORCH = ("sdpa", "flash", "cudnn")
TITLES = {"sdpa": "SDPA default", "flash": "SDPA FLASH (FA2)", "cudnn": "SDPA cuDNN", "fa3": "FlashAttention-3"}
SHORT = {"sdpa": "default", "flash": "FLASH", "cudnn": "cuDNN", "fa3": "FA3"}


def peers_of(rows):
    """PyTorch's, and FlashAttention-3 where it took part in the run."""
    return PYTORCH + ("fa3",) * any("fa3" in row.get("peers", {}) for row in rows)


def time_of(row, peer):
    return row.get("peers", {}).get(peer, {}).get("median_us")


def ratios(row, recorded):
    """How much faster attune is than each peer, than the fastest of this run, and with the recorded peer."""
    ours = time_of(row, "attune")
    if not ours:
        return {}
    times = {peer: time_of(row, peer) for peer in peers_of([row]) if time_of(row, peer)}
    result = {peer: us / ours for peer, us in times.items()}
    if times:
        result["best"] = min(times.values()) / ours
    if recorded:
        result["fa3_recorded"] = recorded / ours
        result["best_with_fa3"] = min([*times.values(), recorded]) / ours
    return {name: round(ratio, 4) for name, ratio in result.items()}


def summarize(rows):
    """Geometric means, the worst rows, and what went wrong."""
    result = {"rows": len(rows), "failed": [row["name"] for row in rows if not time_of(row, "attune")], "geomean": {},
              "min": {}}
    for name in (*peers_of(rows), "best", "fa3_recorded", "best_with_fa3"):
        known = {row["name"]: row["ratios"][name] for row in rows if name in row["ratios"]}
        if known:
            mean = math.exp(sum(map(math.log, known.values())) / len(known))
            worst = min(known, key=known.get)
            result["geomean"][name] = {"ratio": round(mean, 4), "rows": len(known)}
            result["min"][name] = {"ratio": known[worst], "row": worst}
    return result


def cell(row, peer):
    if "peers" not in row:
        return "-"
    entry = row["peers"].get(peer, {})
    return f"{entry['median_us']:.1f} ({entry['tflops']:.0f})" if "median_us" in entry else "n/a"


def ratio_cell(row, name):
    return f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "-"


def notes(rows):
    lines = []
    for row in rows:
        if "failed" in row:
            lines.append(f"- {row['name']}: failed: {row['failed']}")
        for peer, entry in row.get("peers", {}).items():
            if "na" in entry:
                lines.append(f"- {row['name']}, {TITLES.get(peer, peer)}: {entry['na']}")
    return lines


def summary_lines(summary):
    names = {**TITLES, "best": "the best peer of each row, this run", "fa3_recorded": "FA3 as recorded",
             "best_with_fa3": "the best peer of each row, FA3 as recorded included"}
    lines = []
    for name, mean in summary["geomean"].items():
        worst = summary["min"][name]
        lines.append(f"- against {names[name]}: **{mean['ratio']:.3f}x** over {mean['rows']} rows (geometric mean), "
                     f"lowest {worst['ratio']:.3f}x ({worst['row']})")
    if summary["failed"]:
        lines.append(f"- attune not timed in {len(summary['failed'])} rows: {', '.join(summary['failed'])}")
    return lines


def markdown(report):
    env, rows, recorded = report["environment"], report["rows"], report["recorded"]
    peers = peers_of(rows)
    head = ["shape", "heads q/kv", "D", "attune", *(TITLES[p] for p in peers)] + ["FA3 recorded"] * bool(recorded)
    head += [*(f"vs {SHORT[p]}" for p in peers), "vs best"] + ["vs best incl. FA3"] * bool(recorded)
    head += ["record", "error"]
    title = "# attune against PyTorch's attention" + " and FlashAttention-3" * ("fa3" in peers)
    lines = [title, "",
             f"{env.get('gpu', '?')}, driver {env.get('driver', '?')}, torch {env.get('torch', '?')} (cuDNN "
             f"{env.get('cudnn', '?')}), attune {env.get('attune', '?')} at {report['commit']}, {env.get('utc', '?')}.",
             *([f"{env.get('fa3', '?')}, through bench/fa3, with the defaults of its flash_attn_func."] if "fa3" in peers else []),
             f"Made by `{report['command']}`.", "", report["method"], "", *summary_lines(report["summary"]), "",
             "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        record = (row.get("attune") or {}).get("provenance", "-")
        error = row.get("peers", {}).get("attune", {}).get("relative_error")
        cells = [row["name"], f"{row['q_heads']}/{row['kv_heads']}", str(row["head_dim"]), cell(row, "attune"),
                 *(cell(row, peer) for peer in peers)]
        if recorded:
            fa3 = recorded["median_us"].get(row["name"])
            cells.append(f"{fa3:.1f}" if fa3 else "-")
        cells += [ratio_cell(row, name) for name in (*peers, "best")]
        cells += [ratio_cell(row, "best_with_fa3")] * bool(recorded)
        cells += [record, f"{error:.1e}" if error is not None else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    if recorded:
        lines += ["", f"FA3: {recorded['about']} {recorded['made_by']}."]
    if notes(rows):
        lines += ["", "Not timed:", "", *notes(rows)]
    return "\n".join(lines) + "\n"


# ---- the short form, for a first screen ----

BEGIN, END = "<!-- peers: written by bench/peers_report.py -->", "<!-- /peers -->"


def short_cell(row):
    return f"{ratio_cell(row, 'sdpa')}x ({row['peers']['attune']['tflops']:.0f})" if time_of(row, "attune") else "-"


def short_table(report):
    """The ratios to PyTorch's default and the TFLOP/s: models by length, the dense rows in a line, the means."""
    rows, env, summary = report["rows"], report["environment"], report["summary"]
    models = {}
    for row in rows:
        if "@" in row["name"]:
            model, length = row["name"].split("@")
            models.setdefault(model, {})[int(length)] = short_cell(row)
    lengths = sorted({length for cells in models.values() for length in cells})
    lines = ["| model | " + " | ".join(map(str, lengths)) + " |", "|" + "---|" * (len(lengths) + 1)]
    lines += [f"| {model} | " + " | ".join(cells.get(n, "-") for n in lengths) + " |" for model, cells in models.items()]
    dense = [f"[{row['batch']}, {row['seq']}] {short_cell(row)}" for row in rows if "@" not in row["name"]]
    mean = lambda peer: f"{summary['geomean'][peer]['ratio']:.2f}x"
    least = lambda peer: f"{summary['min'][peer]['ratio']:.2f}x"
    text = [f"Dense, 32 heads of 128, [batch, length]: {', '.join(dense)}.",
            f"Over the {summary['rows']} rows: geometric mean {mean('sdpa')} PyTorch's default, lowest {least('sdpa')}; "
            f"{mean('flash')} its FlashAttention-2 backend."]
    fa3 = next((name for name in ("fa3", "fa3_recorded") if name in summary["geomean"]), None)
    if fa3:
        below = sum(row["ratios"].get(fa3, 1) < 1 for row in rows)
        run = "in the same run" if fa3 == "fa3" else "in another run on such a GPU"
        text.append(f"Against FlashAttention-3, timed {run}: {mean(fa3)}, lowest {least(fa3)}, below 1 on {below} "
                    f"row{'' if below == 1 else 's'}.")
    text.append(f"({env['gpu']}, driver {env['driver']}, torch {env['torch']}, {env['utc'][:10]}, attune at "
                f"{report['commit'][:7]}.)")
    return "\n".join([*lines, "", *text])


def replaced(readme, report):
    before, begin, rest = readme.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"no {BEGIN} ... {END} in the file")
    return f"{before}{BEGIN}\n{short_table(report)}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", help="peers.json of bench/peers.py")
    parser.add_argument("readme")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the table is another")
    options = parser.parse_args()
    with open(options.report) as file:
        report = json.load(file)
    with open(options.readme) as file:
        readme = file.read()
    text = replaced(readme, report)
    if options.check:
        sys.exit(0 if text == readme else f"{options.readme}: its table is not that of {options.report}: run "
                 f"python3 bench/peers_report.py {options.report} {options.readme}")
    with open(options.readme, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
