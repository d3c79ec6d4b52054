"""attune.tune: the search, by the `attune` program."""

import json
import os
import shutil
import subprocess

from attune import _libraries, _shape


class TuneError(RuntimeError):
    """The program's own line; `exit_code` as it documents them: 1 failed, 2 usage, 3 no GPU."""

    def __init__(self, text, exit_code):
        super().__init__(text)
        self.exit_code = exit_code


def program():
    """The `attune` program: ATTUNE_BINARY, else the package's own, else (in a build's folder) the one on the PATH."""
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "attune")
    for candidate in (os.environ.get("ATTUNE_BINARY"), beside):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which("attune")
    if found is None:
        raise TuneError("there is no `attune` program: put it on the PATH or name it in ATTUNE_BINARY", 1)
    return found


def tune(*, q_heads, q_len, head_dim, batch=1, kv_heads=None, kv_len=None, dtype="bf16", causal=False, layout="bhsd",
         device=0, max_trials=None, max_seconds=None, strategy=None, require_gpu=True, arguments=()):
    """Searches the fastest kernel for a shape on a GPU, stores every trial, and lets later calls use what was found.
    Returns the program's JSON document (`attune tune --json`): best, config, median_us, trials and more.

    The shape as in lookup(). Without a limit it makes the program's default number of trials. What was measured
    before is not measured again. `arguments` go to the program as they are; require_gpu=False replays a recording
    where there is no GPU. Raises TuneError."""
    lengths = f"{batch},{q_heads},{q_len},{head_dim}"
    command = [program(), "tune", "--json", "--shape", lengths, "--dtype", dtype, "--layout", layout]
    mask = _shape.mask_of(causal)
    _shape.number(_shape.MASKS, mask, "causal")
    options = {
        "--kv-heads": kv_heads,
        "--kv-len": kv_len,
        "--max-trials": max_trials,
        "--max-seconds": max_seconds,
        "--strategy": strategy,
        "--db": _libraries.options()["database"]
    }
    for flag, value in options.items():
        if value is not None:
            command += [flag, str(value)]
    if mask != "none":
        command.append(f"--causal={mask}")
    command += ["--require-gpu", "--device", f"gpu:{device}"] if require_gpu else []
    run = subprocess.run([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         errors="replace")
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"{command[0]} ended with exit code {run.returncode}"]
        raise TuneError(lines[-1], run.returncode)
    _libraries.reload()
    return json.loads(run.stdout)


def main():
    """The `attune` command of an installed package."""
    import sys

    try:
        found = program()
    except TuneError as error:
        sys.exit(f"attune: {error}")
    os.execv(found, [found, *sys.argv[1:]])
