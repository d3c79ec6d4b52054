"""Builds the wheel (PEP 517): CMake makes the package's folder and the `attune` program, this file packs them.

Needs what ./dev build needs: CMake, Ninja, a C++20 compiler, the Debian packages that ./dev installs, CUDA's headers.
ATTUNE_BUILD_DIR names a CMake build of the checkout to take things from; otherwise build/wheel is made.
"""

import base64
import csv
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TAG_PYTHON = "cp310-abi3"
PACKAGE = ("__init__.py", "py.typed", "_core.abi3.so", "libattune.so.0")


def _version():
    with open(os.path.join(ROOT, "CMakeLists.txt")) as file:
        return re.search(r"project\(attune VERSION ([0-9.]+)", file.read()).group(1)


def _run(*command):
    print("+", " ".join(command), flush=True)
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise SystemExit(f"attune: {command[0]} is needed to build it and is not there") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"attune: {command[0]} failed with exit code {error.returncode}") from None


def _build():
    if not os.path.exists(os.path.join(ROOT, "CMakeLists.txt")):
        raise SystemExit("attune: the Python package is built in a checkout of the whole project")
    folder = os.environ.get("ATTUNE_BUILD_DIR")
    if not folder:
        folder = os.path.join(ROOT, "build", "wheel")
        _run("cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
             "-DCMAKE_CXX_FLAGS_RELEASE=-O2 -DNDEBUG", "-DATTUNE_BUILD_TESTS=OFF", "-DATTUNE_BUILD_BENCH=OFF",
             f"-DPython3_EXECUTABLE={sys.executable}")
    _run("cmake", "--build", folder, "--target", "attune_python_package", "attune")
    return folder


def _stripped(path):
    """The file's bytes without symbols that only a debugger reads."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy(path, folder)
        if shutil.which("strip"):
            _run("strip", "--strip-unneeded", copy)
        with open(copy, "rb") as file:
            return file.read()


def _files(folder):
    """(name in the wheel, bytes, executable) of all that is packed."""
    package = os.path.join(folder, "python", "attune")
    names = sorted(n for n in os.listdir(package) if n.endswith(".py") or n in PACKAGE)
    missing = [name for name in PACKAGE if name not in names]
    if missing:
        raise SystemExit(f"attune: {package} lacks {', '.join(missing)}")
    for name in names:
        path = os.path.join(package, name)
        if ".so" in name:
            yield f"attune/{name}", _stripped(path), True
        else:
            with open(path, "rb") as file:
                yield f"attune/{name}", file.read(), False
    yield "attune/bin/attune", _stripped(os.path.join(folder, "bin", "attune")), True


def _metadata():
    lines = [
        "Metadata-Version: 2.1", "Name: attune", f"Version: {_version()}",
        "Summary: The fastest known attention kernel for a shape, in PyTorch", "Requires-Python: >=3.10",
        "Provides-Extra: torch", "Requires-Dist: torch>=2.5; extra == \"torch\"", "Provides-Extra: transformers",
        "Requires-Dist: transformers>=5; extra == \"transformers\""
    ]
    return "\n".join(lines) + "\n"


def _dist_info(tag):
    wheel = f"Wheel-Version: 1.0\nGenerator: attune\nRoot-Is-Purelib: false\nTag: {tag}\n"
    return {"METADATA": _metadata(), "WHEEL": wheel, "entry_points.txt": "[console_scripts]\nattune = attune._tune:main\n"}


def get_requires_for_build_wheel(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    folder = _build()
    tag = f"{TAG_PYTHON}-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    info = f"attune-{_version()}.dist-info"
    name = f"attune-{_version()}-{tag}.whl"
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(path, content, executable=False):
            entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))  # the same content, the same wheel
            entry.external_attr = (0o100755 if executable else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.writerow((path, f"sha256={digest}", len(content)))

        for path, content, executable in _files(folder):
            add(path, content, executable)
        for path, text in _dist_info(tag).items():
            add(f"{info}/{path}", text.encode())
        rows.writerow((f"{info}/RECORD", "", ""))
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD", (2020, 1, 1, 0, 0, 0)), record.getvalue())
    return name


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("attune: there is no source distribution of the package alone; install from a checkout")
