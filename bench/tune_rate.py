#!/usr/bin/env python3
"""How fast and how heavy `attune tune` is: cold, then again with everything stored.

  python3 bench/tune_rate.py --out results [--trials 300 --templates portable hopper --strategy S]

Each run has its own new database and kernel folder. Memory is the sum over the process and its children (GPU worker,
compilers) of their proportional set sizes, sampled four times a second. Writes tune_rate.{md,json}.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


def tree(root):
    """The process and all below it."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as file:
                parents[int(entry)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def proportional_mib(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return 0


def measured(command, environment):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    most, ended = [0.0], threading.Event()

    def watch():
        while not ended.wait(0.25):
            most[0] = max(most[0], sum(map(proportional_mib, tree(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.monotonic()
    out, err = process.communicate()
    seconds = time.monotonic() - begin
    ended.set()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {err[-500:]}")
    result = json.loads(out)
    del result["database"]  # a temporary file
    return {**result, "wall_seconds": seconds, "peak_mib": most[0]}


def environment_facts(binary):
    gpu = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
                         capture_output=True, text=True).stdout.strip()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout.strip()
    return {"gpu": gpu, "attune": version, "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d", time.gmtime())}


def row(run):
    best = run["best"]["timing"]["median_us"] if run["best"] else float("nan")
    return (f"| {run['template']} | {run['label']} | {run['trials']} | {run['compiled']} | {run['wall_seconds']:.1f} | "
            f"{100 * run['gpu_busy_share']:.0f}% | {100 * run['compiler_busy_share']:.0f}% | {100 * run['at_limit_share']:.0f}% | {run['peak_mib']:.0f} | "
            f"{best:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(ROOT, "build/release/bin/attune"))
    parser.add_argument("--shape", default="4,32,4096,128")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--templates", nargs="+", default=["portable", "hopper"])
    parser.add_argument("--strategy", help="default: attune's own")
    parser.add_argument("--threads", help="kernels compiled at once (default: attune's own, one a core)")
    parser.add_argument("--commit", default="", help="of attune, for the report")
    parser.add_argument("--out", default="out")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    facts = {**environment_facts(options.binary), "commit": options.commit}
    runs = []
    for template in options.templates:
        with tempfile.TemporaryDirectory() as folder:
            command = [options.binary, "tune", "--shape", options.shape, "--template", template, "--max-trials",
                       str(options.trials), "--db", os.path.join(folder, "t.db"), "--require-gpu", "--json"]
            if options.strategy:
                command += ["--strategy", options.strategy]
            if options.threads:
                command += ["--threads", options.threads]
            environment = {**os.environ, "ATTUNE_CACHE_DIR": folder}
            for label in ("cold", "again"):
                runs.append({"template": template, "label": label, **measured(command, environment)})
                print(row(runs[-1]), flush=True)
    text = "\n".join([
        f"# attune tune --shape {options.shape} --max-trials {options.trials}", "",
        f"{facts['gpu']}, {facts['cores']} cores, {facts['attune']}, commit {facts['commit']}, {facts['date']}.", "",
        f"    python3 bench/{' '.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])}", "",
        "| template | run | trials | kernels compiled | wall s | GPU busy | compilers busy | at a limit | peak MiB | best us |",
        "|---|---|---|---|---|---|---|---|---|---|", *map(row, runs), ""])
    with open(os.path.join(options.out, "tune_rate.md"), "w") as file:
        file.write(text)
    with open(os.path.join(options.out, "tune_rate.json"), "w") as file:
        json.dump({"environment": facts, "runs": runs}, file, indent=1)


if __name__ == "__main__":
    main()
