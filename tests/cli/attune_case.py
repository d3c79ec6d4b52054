"""What the command line's tests share: the built binary, run with a home of its own and no GPU."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ATTUNE = os.environ["ATTUNE_BINARY"]
MAKE_RECORDINGS = os.environ["ATTUNE_MAKE_RECORDINGS"]
# Cubins are shared by all tests of a build: NVRTC takes a third of a second for each.
SHARED_CACHE = os.environ["ATTUNE_TEST_CACHE"]
FAKE_NVRTC_12 = os.environ.get("ATTUNE_FAKE_NVRTC_12")

SMALL = ["--shape", "1,2,128,64"]  # the shape of synthetic-small
OK, FAILED, USAGE, NO_GPU = 0, 1, 2, 3


class AttuneCase(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="attune-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.recordings = self.folder / "recordings"
        self.recordings.mkdir()
        subprocess.run([MAKE_RECORDINGS, self.recordings], check=True, stdout=subprocess.DEVNULL)
        self.database = self.folder / "attune.db"
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_")},
            "ATTUNE_DB": str(self.database),
            "ATTUNE_CACHE_DIR": SHARED_CACHE,
            "ATTUNE_RECORDINGS": str(self.recordings),
            "ATTUNE_PACKS": "",  # what comes with attune must not answer for what is tested
            "XDG_CONFIG_HOME": str(self.folder / "config"),  # nor whom this machine's user trusts
            "ATTUNE_CUDA_DRIVER": "/nonexistent/libcuda.so.1",  # the same on a machine with a GPU
        }
        if nvrtc := os.environ.get("ATTUNE_NVRTC"):
            self.env["ATTUNE_NVRTC"] = nvrtc

    def own_cubins(self, name="cache"):
        """A cubin store of its own: what is started has enough to compile to be caught in the middle."""
        self.env["ATTUNE_CACHE_DIR"] = str(self.folder / name)

    def shared_cubins(self):
        """Nothing needs to be caught (any more): kernels that any test has compiled are there."""
        self.env["ATTUNE_CACHE_DIR"] = SHARED_CACHE

    def start(self, *words, **options):
        return subprocess.Popen(
            [ATTUNE, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env,
            cwd=self.folder, **options)

    def attune(self, *words, code=OK, **options):
        """Runs the binary to its end; its exit code must be `code`."""
        process = self.start(*words, **options)
        out, err = process.communicate(timeout=240)
        self.assertEqual(process.returncode, code, f"attune {' '.join(map(str, words))}\n{out}\n{err}")
        return out, err

    def json(self, *words, code=OK):
        return json.loads(self.attune(*words, "--json", code=code)[0])

    def error(self, *words, code, **options):
        """The one line that the command must end with."""
        out, err = self.attune(*words, code=code, **options)
        lines = [line for line in err.splitlines() if not line.startswith("REPLAY")]
        self.assertEqual(len(lines), 1, f"not one line:\n{err}")
        self.assertTrue(lines[0].startswith("attune: "), lines[0])
        return lines[0]

    def tune(self, *words, **options):
        defaults = {"--strategy": "random", "--max-trials": "8"}
        missing = [word for flag, value in defaults.items() if flag not in words for word in (flag, value)]
        return self.json("tune", *SMALL, *words, *missing, **options)


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]], verbosity=2)
