"""A Python process on another "host", a network namespace of its own, gets its kernel from the server.

Nothing of this host's network is there, its loopback included. What stands for the wire is a Unix socket, which is a file
and so of no network: the namespace's 127.0.0.1 is carried over it to the server's, and no server listens anywhere else."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading

from server_case import ServerCase, main
from wire import carry

# Runs in the namespace: argv[1] is the wire, argv[2] the port that the server has on its own host.
GUEST = """
import fcntl, json, os, socket, struct, sys, threading
sys.path.insert(0, os.path.dirname(sys.argv[3]))
from wire import carry
with socket.socket() as loopback:  # down in a new namespace; SIOCSIFFLAGS with IFF_UP, netdevice(7)
    fcntl.ioctl(loopback, 0x8914, struct.pack("16sh14x", b"lo", 1))
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5).close()
    raise SystemExit("the server can be reached without the wire: this is no other host")
except ConnectionRefusedError:
    pass

def to_wire():
    wire = socket.socket(socket.AF_UNIX)
    wire.connect(sys.argv[1])
    return wire

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=carry, args=(listener, to_wire), daemon=True).start()
os.environ["ATTUNE_SERVER"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
import attune
answer = attune.lookup(q_heads=2, q_len=128, head_dim=64)
print(json.dumps({"server": os.environ["ATTUNE_SERVER"], "config": answer.config, "reason": answer.reason}))
"""


def why_no_namespace():
    if shutil.which("unshare") is None:
        return "there is no unshare(1)"
    run = subprocess.run(["unshare", "--map-root-user", "--net", "true"], capture_output=True, text=True)
    return "" if run.returncode == 0 else run.stderr.strip()


class OtherHost(ServerCase):
    def test_a_python_process_gets_its_kernel_over_the_wire(self):
        if why := why_no_namespace():
            print(f"SKIPPED: no network namespace can be made: {why}", flush=True)
            self.skipTest(why)
        server = self.serve("--db", str(self.folder / "server.db"))
        best = server.wait(server.submit(max_trials=12)["id"])["result"]["config"]
        wire = self.folder / "wire"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(wire))
            listener.listen()
            to_server = lambda: socket.create_connection(("127.0.0.1", server.port))  # noqa: E731
            threading.Thread(target=carry, args=(listener, to_server), daemon=True).start()
            host = self.folder / "host"
            run = subprocess.run(
                ["unshare", "--map-root-user", "--net", sys.executable, "-c", GUEST, wire, str(server.port), __file__],
                env={**self.env, "ATTUNE_CUDA_DRIVER": os.environ["ATTUNE_FAKE_GPU"], "ATTUNE_CACHE_DIR": str(host),
                     "ATTUNE_DB": str(host / "attune.db"), "ATTUNE_NVRTC": "/nonexistent/libnvrtc.so",
                     "PYTHONPATH": os.environ["ATTUNE_PYTHON_PACKAGE"]},
                capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stderr)
        answer = json.loads(run.stdout)
        self.assertEqual(answer["config"], best)
        self.assertIn(answer["server"], answer["reason"])
        self.assertEqual(len(list(pathlib.Path(host).glob("cubins/*/*.cubin"))), 1)


if __name__ == "__main__":
    main()
