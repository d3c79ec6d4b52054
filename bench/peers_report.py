"""The peers' comparison as numbers and as Markdown."""

import math

PEERS = ("sdpa", "flash", "cudnn")
TITLES = {"sdpa": "SDPA default", "flash": "SDPA FLASH (FA2)", "cudnn": "SDPA cuDNN"}


def time_of(row, peer):
    return row.get("peers", {}).get(peer, {}).get("median_us")


def ratios(row, recorded):
    """How much faster attune is than each peer, than the fastest of this run, and with the recorded peer."""
    ours = time_of(row, "attune")
    if not ours:
        return {}
    times = {peer: time_of(row, peer) for peer in PEERS if time_of(row, peer)}
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
    for name in (*PEERS, "best", "fa3_recorded", "best_with_fa3"):
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
    head = ["shape", "heads q/kv", "D", "attune", *(TITLES[p] for p in PEERS)] + ["FA3 recorded"] * bool(recorded)
    head += ["vs default", "vs FLASH", "vs cuDNN", "vs best"] + ["vs best incl. FA3"] * bool(recorded)
    head += ["record", "error"]
    lines = ["# attune against PyTorch's attention", "",
             f"{env.get('gpu', '?')}, driver {env.get('driver', '?')}, torch {env.get('torch', '?')} (cuDNN "
             f"{env.get('cudnn', '?')}), attune {env.get('attune', '?')} at {report['commit']}, {env.get('utc', '?')}.",
             f"Made by `{report['command']}`.", "", report["method"], "", *summary_lines(report["summary"]), "",
             "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        record = (row.get("attune") or {}).get("provenance", "-")
        error = row.get("peers", {}).get("attune", {}).get("relative_error")
        cells = [row["name"], f"{row['q_heads']}/{row['kv_heads']}", str(row["head_dim"]), cell(row, "attune"),
                 *(cell(row, peer) for peer in PEERS)]
        if recorded:
            fa3 = recorded["median_us"].get(row["name"])
            cells.append(f"{fa3:.1f}" if fa3 else "-")
        cells += [ratio_cell(row, name) for name in (*PEERS, "best")]
        cells += [ratio_cell(row, "best_with_fa3")] * bool(recorded)
        cells += [record, f"{error:.1e}" if error is not None else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    if recorded:
        lines += ["", f"FA3: {recorded['about']} {recorded['made_by']}."]
    if notes(rows):
        lines += ["", "Not timed:", "", *notes(rows)]
    return "\n".join(lines) + "\n"
