#!/usr/bin/env python3
"""Runs one file of browser tests with Node's test runner, after installing what it needs into the build.

run_test.py WORK FILE    exit code 77, with one line that says why, where Chromium, Node or the packages cannot be had
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77
SOURCE = pathlib.Path(__file__).resolve().parent


def skip(why):
    print(f"SKIPPED: {why}", flush=True)
    sys.exit(SKIPPED)


def install(work):
    """node_modules of the lock file, once for all tests of a build."""
    stamp = work / "installed"
    lock = (SOURCE / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == lock:
        return
    if not shutil.which("npm"):
        skip("npm is not installed (./dev test installs it)")
    for name in ["package.json", "package-lock.json"]:
        shutil.copy(SOURCE / name, work / name)
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=work, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode:
        skip(f"npm ci failed; its last words: {' '.join(done.stdout.split())[-300:]}")
    stamp.write_text(lock)


def main():
    work, file = pathlib.Path(sys.argv[1]), sys.argv[2]
    if not shutil.which("node"):
        skip("node is not installed (./dev test installs it)")
    chromium = os.environ.get("ATTUNE_CHROMIUM", "/usr/bin/chromium")
    if not os.access(chromium, os.X_OK):
        skip(f"there is no {chromium} (./dev test installs it; ATTUNE_CHROMIUM names another)")
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        install(work)
        # Modules are found beside the tests or above them: the tests are copied to where the packages are.
        tests = work / pathlib.Path(file).stem
        tests.mkdir(exist_ok=True)
        for source in SOURCE.glob("*.mjs"):
            shutil.copy(source, tests / source.name)
    return subprocess.run(["node", "--test", "--test-reporter=spec", str(tests / file)], stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
