#!/usr/bin/env python3
"""`pip install ./python` into a fresh environment, without a network: what is there works from any folder, and goes
again.

pip_test.py ROOT FAKE_GPU, with ATTUNE_BUILD_DIR set to a build to take the binaries from
"""

import os
import subprocess
import sys
import tempfile

SKIPPED = 77
root, fake_gpu = (os.path.abspath(one) for one in sys.argv[1:3])


def run(*command, **keywords):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **keywords)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


try:
    import ensurepip
    import venv
except ImportError as error:
    print(f"skipped: this Python cannot make an environment ({error}); on Debian, python3-venv")
    sys.exit(SKIPPED)

with tempfile.TemporaryDirectory() as folder:
    home = os.path.join(folder, "environment")
    venv.create(home, with_pip=True)
    python = os.path.join(home, "bin", "python")
    run(python, "-m", "pip", "install", "--no-index", "--disable-pip-version-check", os.path.join(root, "python"))

    env = {"PATH": os.path.join(home, "bin") + ":/usr/bin:/bin", "HOME": folder, "ATTUNE_CUDA_DRIVER": fake_gpu,
           **{name: os.environ[name] for name in ("CUDA_HOME", "ATTUNE_NVRTC") if name in os.environ}}
    program = ("import attune, attune._core; print(attune.__version__); print(attune._core.__file__); "
               "print(attune.lookup(q_heads=8, q_len=256, head_dim=72).template)")
    version, extension, template = run(python, "-c", program, cwd=folder, env=env).split()
    assert extension.startswith(home), f"{extension} is not the installed one"
    assert template == "portable", template
    assert version in run("attune", "--version", cwd=folder, env=env)

    assert f"Version: {version}" in run(python, "-m", "pip", "show", "attune")
    run(python, "-m", "pip", "uninstall", "--yes", "attune")
    site = os.path.dirname(os.path.dirname(extension))
    left = [name for name in os.listdir(site) if name.startswith("attune")]
    assert left == [], left
    assert not os.path.exists(os.path.join(home, "bin", "attune"))
print("ok")
