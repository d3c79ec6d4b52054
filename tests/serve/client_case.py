"""The command line with --server: what it asks is answered, or done, by a server."""

import json
import signal
import time

from server_case import SHAPE, ServerCase, main

SMALL = ["--shape", "1,2,128,64"]


class Client(ServerCase):
    def remote(self, *words):
        """A server, and the command line as on another host: a database of its own and no recordings."""
        server = self.serve("--db", str(self.folder / "server.db"), *words)
        self.env["ATTUNE_SERVER"] = f"http://127.0.0.1:{server.port}"
        return server

    def test_tune_submits_a_job_and_shows_it(self):
        server = self.remote()
        out, err = self.attune("tune", *SMALL, "--strategy", "random", "--max-trials", "12")
        self.assertIn("job 1", err)
        self.assertIn("trials", err)
        for word in ["best", "REPLAYED", "template's default", "12 (0 resumed)"]:
            self.assertIn(word, out)
        self.assertFalse(self.database.exists(), "nothing was done here")
        again = json.loads(self.attune("tune", *SMALL, "--strategy", "random", "--max-trials", "12", "--json")[0])
        self.assertEqual((again["state"], again["result"]["resumed"]), ("done", 12))
        self.assertEqual(again, server.get("/v1/jobs/2").json)

    def test_lookup_and_compile_are_answered_by_the_server(self):
        server = self.remote()
        server.wait(server.submit(max_trials=12)["id"])
        answer = self.json("lookup", *SMALL)
        self.assertEqual((answer["provenance"], answer["server"]), ("exact", self.env["ATTUNE_SERVER"]))
        text, _ = self.attune("lookup", *SMALL)
        self.assertIn("exact", text)
        self.assertIn(self.env["ATTUNE_SERVER"], text)
        self.env["ATTUNE_NVRTC"] = "/nonexistent/libnvrtc.so"  # no compiler here
        words = ["compile", *SMALL, "--arch", "sm_90a", "-o", "there.cubin"]
        report = self.json(*words)
        self.assertEqual((self.folder / "there.cubin").stat().st_size, report["cubin_bytes"])
        self.assertIn("registers", self.attune(*words)[0])
        del self.env["ATTUNE_SERVER"]
        self.attune(*words, code=1)

    def test_a_server_that_is_down_costs_a_line(self):
        server = self.remote()
        server.kill()
        out, err = self.attune("lookup", *SMALL, "--json")
        self.assertEqual(json.loads(out)["provenance"], "default")
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertIn("going on without it", err)
        self.attune("compile", *SMALL, "--arch", "sm_90a", "-o", "here.cubin")
        self.assertIn("does not answer", self.error("tune", *SMALL, code=1))

    def test_what_the_server_says_is_wrong_is_said(self):
        self.remote()
        self.assertIn("no recording", self.error("tune", "--shape", "1,2,777,64", code=1))
        self.assertIn("--device", self.error("tune", *SMALL, "--device", "gpu:0", code=2))
        self.assertIn("--wanted", self.error("sweep", "--wanted", code=2))

    def test_a_token_comes_from_the_environment(self):
        (self.folder / "tokens").write_text("alice 0123456789abcdef-alice\n")
        (self.folder / "tokens").chmod(0o600)
        server = self.serve("--db", str(self.folder / "server.db"), "--token-file", "tokens")
        url = f"http://127.0.0.1:{server.port}"
        self.assertIn("ATTUNE_TOKEN", self.error("lookup", *SMALL, "--server", url, code=1))
        self.env["ATTUNE_TOKEN"] = "0123456789abcdef-alice"
        self.assertEqual(self.json("lookup", *SMALL, "--server", url)["provenance"], "default")
        self.attune("tune", *SMALL, "--server", url, "--strategy", "random", "--max-trials", "3")

    def test_sweep_submits_its_workload(self):
        self.remote()
        (self.folder / "shapes.json").write_text(json.dumps(
            [{"batch": 1, "q_heads": 2, "kv_heads": 2, "seq": 128, "head_dim": 64}]))
        job = json.loads(self.attune("sweep", "shapes.json", "--max-trials", "6", "--json")[0])
        self.assertEqual([row["shape"] for row in job["result"]["shapes"]], [SHAPE])

    def test_a_server_that_is_restarted_is_waited_for(self):
        server = self.serve_slowly("--db", str(self.folder / "server.db"))
        process = self.start("tune", *SMALL, "--strategy", "random", "--max-trials", "30", "--json", "--server",
                             f"http://127.0.0.1:{server.port}")
        while not server.get("/v1/jobs").json["jobs"] or not server.get("/v1/jobs/1/trials").json["trials"]:
            time.sleep(0.01)
        server.kill()
        again = self.serve("--db", str(self.folder / "server.db"), port=server.port)
        out, err = process.communicate(timeout=240)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(json.loads(out), again.get("/v1/jobs/1").json)
        self.assertEqual(json.loads(out)["starts"], 2)

    def test_ctrl_c_ends_the_watching_and_not_the_job(self):
        server = self.serve_slowly("--db", str(self.folder / "server.db"))
        process = self.start("tune", *SMALL, "--strategy", "random", "--max-trials", "30", "--server",
                             f"http://127.0.0.1:{server.port}")
        while not server.get("/v1/jobs").json["jobs"] or not server.get("/v1/jobs/1/trials").json["trials"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("job 1 goes on", err)
        self.assertEqual(server.get("/v1/jobs/1").json["state"], "running")


if __name__ == "__main__":
    main()
