#!/usr/bin/env python3
"""The wheel that `pip install ./python` makes: well formed, complete, and usable where it is unpacked.

wheel_test.py ROOT, with ATTUNE_BUILD_DIR set to a build to take the binaries from
"""

import base64
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile

root = sys.argv[1]
sys.path.insert(0, os.path.join(root, "python"))
import build_backend

with tempfile.TemporaryDirectory() as folder:
    name = build_backend.build_wheel(folder)
    assert name.startswith("attune-") and "-cp310-abi3-" in name, name
    with zipfile.ZipFile(os.path.join(folder, name)) as wheel:
        record = next(one for one in wheel.namelist() if one.endswith(".dist-info/RECORD"))
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(wheel.read(record).decode()))}
        assert set(rows) == set(wheel.namelist()), set(rows) ^ set(wheel.namelist())
        for path, (digest, size) in rows.items():
            if path != record:
                content = wheel.read(path)
                expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert (digest, size) == (f"sha256={expected}", str(len(content))), path
        for needed in ("attune/__init__.py", "attune/_core.abi3.so", "attune/libattune.so.0", "attune/transformers.py"):
            assert needed in rows, needed
        assert wheel.getinfo("attune/bin/attune").external_attr >> 16 & 0o111, "the program is not executable"
        installed = os.path.join(folder, "installed")
        wheel.extractall(installed)
    # As pip does it: zipfile forgets who is executable.
    os.chmod(os.path.join(installed, "attune", "bin", "attune"), 0o755)
    program = ("import attune, attune._tune as tune, subprocess; print(attune.__version__); "
               "subprocess.run([tune.program(), '--version'], check=True, stdout=subprocess.DEVNULL)")
    run = subprocess.run([sys.executable, "-S", "-c", program], cwd=folder, capture_output=True, text=True,
                         env={"PYTHONPATH": installed, "PATH": os.environ["PATH"]})
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == build_backend._version(), run.stdout
print("ok")
