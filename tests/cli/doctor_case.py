"""attune doctor, and machines on which something is missing."""

import http.server
import threading

from attune_case import FAILED, FAKE_NVRTC_12, OK, SMALL, AttuneCase, main


class Doctor(AttuneCase):
    def checks(self, code=OK):
        answer = self.json("doctor", code=code)
        return {check["name"]: check for check in answer["checks"]}, answer

    def test_without_a_gpu_tuning_is_possible_by_replay(self):
        checks, answer = self.checks()
        self.assertTrue(answer["can_tune"])
        self.assertIn("replay", answer["verdict"])
        self.assertEqual(checks["driver"]["state"], "absent")
        self.assertEqual(checks["GPU"]["state"], "absent")
        self.assertEqual(checks["NVRTC"]["state"], "works")
        self.assertIn("libnvrtc", checks["NVRTC"]["detail"])
        self.assertIn("synthetic-small", checks["recordings"]["detail"])
        self.assertFalse(self.database.exists(), "looking made a database")

    def test_text_names_every_part(self):
        out, _ = self.attune("doctor")
        for word in ["driver", "GPU", "NVRTC", "database", "cubins", "packs", "recordings", "LLM"]:
            self.assertIn(word, out)

    def test_no_nvrtc(self):
        self.env["ATTUNE_NVRTC"] = "/nonexistent/libnvrtc.so.13"
        checks, answer = self.checks(code=FAILED)
        self.assertEqual(checks["NVRTC"]["state"], "broken")
        self.assertFalse(answer["can_tune"])
        line = self.error("tune", *SMALL, code=FAILED)
        self.assertIn("/nonexistent/libnvrtc.so.13", line)
        self.error("compile", *SMALL, "--arch", "sm_90a", "-o", "a.cubin", code=FAILED)

    def test_nvrtc_of_another_major_version(self):
        self.env["ATTUNE_NVRTC"] = FAKE_NVRTC_12
        line = self.error("tune", *SMALL, code=FAILED)
        self.assertIn("12", line)
        self.assertIn("13", line)
        self.assertIn("12", self.checks(code=FAILED)[0]["NVRTC"]["detail"])

    def test_damaged_database(self):
        self.database.write_text("not a database" * 500)
        checks, _ = self.checks(code=FAILED)
        self.assertEqual(checks["database"]["state"], "broken")
        self.assertTrue(checks["database"]["advice"])

    def test_damaged_recording(self):
        (self.recordings / "bad.jsonl.gz").write_bytes(b"bad")
        checks, _ = self.checks(code=FAILED)
        self.assertEqual(checks["recordings"]["state"], "broken")

    def test_packs_that_are_not_served(self):
        self.assertEqual(self.checks()[0]["packs"]["state"], "absent")
        self.env["ATTUNE_PACKS"] = "builtin"
        checks, _ = self.checks()
        self.assertEqual((checks["packs"]["state"], checks["packs"]["detail"]), ("works", "h100"))
        self.attune("pack", "keygen", "-o", "team.key")
        self.attune("pack", "sign", "h100", "--key", "team.key", "-o", "mine.pack.jsonl")
        self.env["ATTUNE_PACKS"] = str(self.folder / "mine.pack.jsonl")
        self.env["ATTUNE_TRUSTED_KEYS"] = str(self.folder / "team.key.pub")
        self.assertIn("team.key.pub (1 key)", self.checks()[0]["packs"]["detail"])
        (self.folder / "team.key.pub").write_text("")
        checks, _ = self.checks(code=FAILED)
        self.assertEqual(checks["packs"]["state"], "broken")
        self.assertIn("pack mine is signed by", checks["packs"]["detail"])

    def test_nobody_at_the_llm_endpoint(self):
        self.env["ATTUNE_LLM_URL"] = "http://127.0.0.1:9/v1"
        self.env["ATTUNE_LLM_API_KEY"] = "very-secret"
        out, err = self.attune("doctor", code=OK)
        self.assertIn("127.0.0.1:9", out)
        self.assertNotIn("very-secret", out + err)

    def test_llm_endpoint_gets_the_key_and_nobody_else_does(self):
        seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                seen.append((self.path, self.headers.get("Authorization")))
                good = self.headers.get("Authorization") == "Bearer very-secret"
                self.send_response(200 if good else 401)
                self.end_headers()
                self.wfile.write(b'{"data": []}')

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        self.env["ATTUNE_LLM_URL"] = f"http://127.0.0.1:{server.server_port}/v1/"
        self.env["ATTUNE_LLM_API_KEY"] = "very-secret"
        checks, answer = self.checks()
        self.assertEqual(checks["LLM"]["state"], "works")
        self.assertEqual(seen, [("/v1/models", "Bearer very-secret")])
        self.assertNotIn("very-secret", str(answer))
        self.env["ATTUNE_LLM_API_KEY"] = "wrong"
        checks, _ = self.checks()
        self.assertEqual(checks["LLM"]["state"], "broken")
        self.assertIn("401", checks["LLM"]["detail"])


if __name__ == "__main__":
    main()
