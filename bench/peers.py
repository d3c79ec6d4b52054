#!/usr/bin/env python3
"""Compares attune with PyTorch's attention, and with FlashAttention-3, on the rows of workload.json, on this GPU.

  python3 bench/peers.py --out results                              # with the records that come with attune
  python3 bench/peers.py --tune 300 --db attune.db --out results     # tunes all rows first, for 300 seconds
  python3 bench/peers.py --fa3 libfa3_peer.so --out results          # FlashAttention-3 too, built by bench/fa3/build.sh

Writes results/peers.md and results/peers.json (again after every row, so that a cut run leaves what it has). The GPU
work is in a child process: a row that faults or hangs is marked failed and the others go on.
"""

import argparse
import fnmatch
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, HERE)
import peers_report

MOST_WORKERS = 8
START_SECONDS = 180  # until the worker's first line: import torch, driver, database
METHOD = ("Microseconds of one launch, TFLOP/s in brackets (FLOPs 4*B*H*S*S*D, halved when causal); median of {total} "
          "samples a peer and row, in {rounds} rounds that take turns; L2 flushed before every sample (256 MB "
          "written), {sets} input sets in rotation, CUDA events around the launch with the host's work enqueued ahead; "
          "random normal bf16 inputs. attune's output is compared with fp32 math before and after timing (relative "
          "Frobenius error, at most 5e-3). Ratios are the peer's time over attune's: above 1 attune is faster.")


def workload_rows():
    with open(os.path.join(HERE, "workload.json")) as file:
        workload = json.load(file)
    rows = []
    for one in workload["dense"]:
        name = f"dense[{one['batch']},{one['q_heads']},{one['seq']},{one['head_dim']}]"
        rows.append({"name": name, **one})
    for model in workload["models"]:
        for seq in workload["model_sequence_lengths"]:
            rows.append({"name": f"{model['name']}@{seq}", "batch": workload["model_batch"], "seq": seq,
                         "causal": workload["model_causal"],
                         **{key: model[key] for key in ("q_heads", "kv_heads", "head_dim")}})
    for row in rows:
        row["flops"] = 4 * row["batch"] * row["q_heads"] * row["seq"]**2 * row["head_dim"] / (2 if row["causal"] else 1)
    return rows


def selected(rows, patterns):
    """By part of a name, by glob, or by index range as in 0-3."""
    def matches(index, name, pattern):
        first, dash, last = pattern.partition("-")
        if first.isdigit() and (last.isdigit() or not dash):
            return int(first) <= index <= int(last or first)
        return pattern in name or fnmatch.fnmatchcase(name, pattern)

    return [row for i, row in enumerate(rows) if any(matches(i, row["name"], p) for p in patterns)]


class Worker:
    """One run of peers_worker.py; its events arrive in a queue, None at the end."""

    def __init__(self, task):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)
        json.dump(task, self.file)
        self.file.close()
        self.process = subprocess.Popen([sys.executable, "-u", os.path.join(HERE, "peers_worker.py"), self.file.name],
                                        stdout=subprocess.PIPE, text=True, errors="replace")
        self.events = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("@@"):
                self.events.put(json.loads(line[2:]))
            else:
                print(line, end="", flush=True)
        self.events.put(None)

    def next(self, seconds):
        """An event, None at the end, or TimeoutError."""
        try:
            return self.events.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None

    def end(self):
        self.process.kill()
        code = self.process.wait()
        os.unlink(self.file.name)
        return code


def run_worker(task, pending, options, deadline, on_event):
    """Runs one worker over the pending rows; returns how it ended ("" for well). `pending` loses finished rows."""
    worker = Worker({**task, "rows": list(pending.values())})
    current, ending = None, ""
    try:
        while True:
            allowed = START_SECONDS if current is None else options.row_seconds
            event = worker.next(max(1, min(allowed, deadline - time.monotonic())))
            if event is None:
                break
            if event["event"] == "start":
                current = event["name"]
                continue
            on_event(event)
            if event["event"] == "row":
                pending.pop(event["name"])
                current = None
    except TimeoutError:
        ending = "out of time" if time.monotonic() >= deadline else f"no answer in {options.row_seconds} s: killed"
        code = worker.end()
    else:
        code = worker.process.wait()
        worker.end()
        if code:
            ending = f"the worker ended with {code}"
    if current is not None:
        on_event({"event": "row", "name": current, "failed": ending or "the worker ended early"})
        pending.pop(current)
    return ending


def commit_of(options):
    if options.commit:
        return options.commit
    try:
        return subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"], check=True,
                              capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"


def read_recorded(path):
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return json.load(file)


class Report:
    """What is known so far; written after every event."""

    def __init__(self, rows, options):
        self.options = options
        self.wanted = {row["name"]: row for row in rows}
        self.done = {}
        self.environment = {}
        self.recorded = None if options.fa3 else read_recorded(options.recorded)
        self.commit = commit_of(options)
        os.makedirs(options.out, exist_ok=True)

    def on_event(self, event):
        fields = {key: value for key, value in event.items() if key != "event"}
        if event["event"] == "environment":
            self.environment = self.environment or fields
            if self.recorded and self.recorded["gpu"] != event["gpu"]:
                self.recorded = None
            print(f"{event['gpu']}, driver {event['driver']}, torch {event['torch']}", flush=True)
        else:
            row = {**self.wanted[event["name"]], **fields}
            fa3 = self.recorded["median_us"].get(row["name"]) if self.recorded else None
            row["ratios"] = peers_report.ratios(row, fa3)
            self.done[row["name"]] = row
            self.print_row(row)
        self.write()

    def print_row(self, row):
        times = {peer: peers_report.cell(row, peer) for peer in ("attune", *peers_report.peers_of([row]))}
        provenance = (row.get("attune") or {}).get("provenance", "")
        trouble = row.get("failed") or row.get("peers", {}).get("attune", {}).get("na", "")
        print(f"{row['name']:24} " + "  ".join(f"{k} {v}" for k, v in times.items()) +
              f"  x{peers_report.ratio_cell(row, 'best')} of best  {provenance} {trouble}", flush=True)

    def report(self):
        rows = [self.done[name] for name in self.wanted if name in self.done]
        options = self.options
        method = METHOD.format(total=options.rounds * options.samples, rounds=options.rounds, sets=options.sets)
        return {"environment": self.environment, "commit": self.commit, "command": shlex.join(["python3", *sys.argv]),
                "method": method, "recorded": self.recorded, "summary": peers_report.summarize(rows), "rows": rows}

    def write(self):
        report = self.report()
        for name, text in (("peers.json", json.dumps(report, indent=1) + "\n"),
                           ("peers.md", peers_report.markdown(report))):
            path = os.path.join(self.options.out, name)
            with open(path + ".tmp", "w") as file:
                file.write(text)
            os.replace(path + ".tmp", path)


def default_library():
    for build in ("build/release", "build/dev", "build"):
        path = os.path.join(ROOT, build, "lib", "libattune.so")
        if os.path.exists(path):
            return path
    return None


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", type=float, metavar="SECONDS", help="first `attune sweep` the workload into --db")
    parser.add_argument("--attune", help="the attune binary for --tune (default: bin/attune beside the library's folder)")
    parser.add_argument("--db", help="database to look kernels up in (default: attune's own default)")
    parser.add_argument("--cubins", help="folder of compiled kernels (default: attune's own default)")
    parser.add_argument("--lib", default=default_library(), help="libattune.so (default: of build/release or build/dev)")
    parser.add_argument("--out", default=os.path.join("out", "peers"), help="folder for peers.md and peers.json")
    parser.add_argument("--fa3", metavar="LIBRARY", help="libfa3_peer.so of bench/fa3/build.sh: times FlashAttention-3 "
                        "too, instead of showing what was recorded")
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="part of a name, glob, or range 0-3")
    parser.add_argument("--quick", action="store_true", help="9 samples instead of 30")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, help="a round and peer (default 10)")
    parser.add_argument("--sets", type=int, default=3, help="input sets in rotation")
    parser.add_argument("--row-seconds", type=float, default=60, help="a row that takes longer is killed")
    parser.add_argument("--max-seconds", type=float, default=420, help="of the whole run")
    parser.add_argument("--recorded", default=os.path.join(HERE, "recorded_fa3_h100.json"),
                        help="times of FA3 to show beside, used on the same GPU model alone")
    parser.add_argument("--commit", help="of attune, for the report (default: asks git)")
    options = parser.parse_args()
    options.samples = options.samples or (3 if options.quick else 10)
    if not options.lib or not os.path.exists(options.lib):
        parser.error(f"no libattune.so at {options.lib}: build the target attune_shared, or give --lib")
    if options.fa3 and not os.path.exists(options.fa3):
        parser.error(f"no library at {options.fa3}: build it with bench/fa3/build.sh, or leave --fa3 out")
    if options.tune and not options.db:
        parser.error("--tune needs --db, the database to tune into")
    options.attune = options.attune or os.path.join(os.path.dirname(os.path.dirname(options.lib)), "bin", "attune")
    return options


def tune(options):
    """All rows, through whichever templates the sweep thinks best. What a sweep could not do is seen in the table."""
    command = [options.attune, "sweep", os.path.join(HERE, "workload.json"), "--require-gpu", "--max-seconds",
               str(options.tune), "--db", options.db]
    code = subprocess.run(command).returncode
    if code:
        sys.exit(f"peers.py: {shlex.join(command)} ended with {code}")


def main():
    options = parse_options()
    if options.tune:
        tune(options)
    rows = selected(workload_rows(), options.rows)
    if not rows:
        sys.exit(f"no row matches {options.rows}")
    absolute = lambda path: os.path.abspath(path) if path else None
    task = {"library": absolute(options.lib), "db": absolute(options.db), "cubins": absolute(options.cubins),
            "fa3": absolute(options.fa3), "rounds": options.rounds, "samples": options.samples, "sets": options.sets}
    report = Report(rows, options)
    pending = {row["name"]: row for row in rows}
    started, deadline = time.monotonic(), time.monotonic() + options.max_seconds
    for _ in range(MOST_WORKERS):
        left = len(pending)
        ending = run_worker(task, pending, options, deadline, report.on_event) if pending else ""
        if ending:
            print(f"peers.py: {ending}; {len(pending)} rows left", flush=True)
        if not pending or time.monotonic() >= deadline or len(pending) == left:
            break
    for name in list(pending):
        report.on_event({"event": "row", "name": name, "failed": "not run"})
    print("\n".join(["", *peers_report.summary_lines(report.report()["summary"]), ""]))
    print(f"{len(rows)} rows in {time.monotonic() - started:.0f} s; {options.out}/peers.md and peers.json", flush=True)
    return 1 if report.report()["summary"]["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
