"""libattune.so with a server, on a fake GPU and without a compiler: what it launches can only come from the server."""

import http.server
import json
import os
import subprocess
import sys
import threading

from server_case import ServerCase, main

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import attune_api
logged = []
library = attune_api.Library(sys.argv[2], log=lambda level, text: logged.append(text))
result = {"logged": logged}
try:
    for length in map(int, sys.argv[3:]):
        info = library.prepare(attune_api.shape_of(1, 2, 2, length, length, 64, causal=False))
        result[length] = {"provenance": info["provenance"], "config": info["config"], "reason": info["reason"]}
except attune_api.AttuneError as error:
    result["error"] = str(error)
library.close()
print(json.dumps(result))
"""


class Runtime(ServerCase):
    def program(self, *lengths, server):
        env = {**self.env, "ATTUNE_CUDA_DRIVER": os.environ["ATTUNE_FAKE_GPU"], "ATTUNE_NVRTC": "/nonexistent/libnvrtc.so",
               "ATTUNE_CACHE_DIR": str(self.folder / "host"),
               "ATTUNE_SERVER": server}
        bench = os.path.join(os.environ["ATTUNE_SOURCE_DIR"], "bench")
        run = subprocess.run([sys.executable, "-c", PROGRAM, bench, os.environ["ATTUNE_SHARED_LIBRARY"], *map(str, lengths)],
                             env=env, capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)

    def tuned_server(self):
        server = self.serve("--db", str(self.folder / "server.db"))
        self.best = server.wait(server.submit(max_trials=12)["id"])["result"]["config"]
        return server, f"http://127.0.0.1:{server.port}"

    def test_a_program_gets_its_kernel_from_the_server_and_keeps_it(self):
        server, url = self.tuned_server()
        got = self.program(128, server=url)
        self.assertNotIn("error", got)
        self.assertEqual(json.loads(got["128"]["config"]), self.best)
        self.assertIn(url, got["128"]["reason"])
        server.kill()
        again = self.program(128, server=url)
        self.assertEqual(json.loads(again["128"]["config"]), self.best)
        self.assertEqual(sum("does not answer" in line for line in again["logged"]), 1, again["logged"])

    def test_a_default_kernel_is_compiled_there_too(self):
        _, url = self.tuned_server()
        got = self.program(128, 1024, server=url)
        self.assertNotIn("error", got)

    def test_a_server_that_is_down_costs_one_line(self):
        got = self.program(128, 256, 512, server="http://127.0.0.1:9")
        self.assertIn("libnvrtc", got["error"])  # nobody could compile
        self.assertEqual(sum("does not answer" in line for line in got["logged"]), 1, got["logged"])

    def test_a_kernel_that_is_not_the_one_named_is_not_used(self):
        server, url = self.tuned_server()

        class Liar(http.server.BaseHTTPRequestHandler):
            def answer(self, body=None):
                real = server.ask(self.command, self.path, body, {"Content-Type": "application/json"}, check=False)
                content = real.body
                if self.path.startswith("/v1/cubins/"):
                    content = content[:-1] + bytes([content[-1] ^ 1])
                self.send_response(real.status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                self.answer()

            def do_POST(self):
                self.answer(self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, *words):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as liar:
            threading.Thread(target=liar.serve_forever, daemon=True).start()
            got = self.program(128, server=f"http://127.0.0.1:{liar.server_port}")
            liar.shutdown()
        self.assertIn("error", got)
        self.assertTrue(any("hash differs" in line for line in got["logged"]), got["logged"])
        self.assertEqual(list((self.folder / "host").glob("cubins/*/*.cubin")), [])


if __name__ == "__main__":
    main()
