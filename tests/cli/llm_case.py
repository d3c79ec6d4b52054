"""attune tune --strategy llm: real HTTP and HTTPS servers on loopback with planted faults, files, transcripts."""

import http.server
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import threading
import time

from attune_case import FAILED, SMALL, USAGE, AttuneCase, main

KEY = "sk-very-secret-0123456789"
FIXTURES = pathlib.Path(os.environ["ATTUNE_SOURCE_DIR"]) / "tests/autotuner/fixtures"
PROPOSALS = {
    "proposals": [
        {"set": {"block_n": n, "num_stages": s}, "why": "test"} for n in [32, 48, 64, 128] for s in [1, 2, 3, 4]
    ]
}


def completion(text, tokens=(100, 50)):
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage})


class Server:
    """Answers each POST by `answer(handler)`; keeps what was asked."""

    def __init__(self, case, answer, certificate=None):
        self.requests = []
        self.closing = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
                try:
                    answer(self)
                except OSError:  # the client hung up
                    self.close_connection = True

            def reply(self, status, body, content_type="application/json", **headers):
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):  # a client that does not trust us hangs up
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        case.addCleanup(self.server.server_close)
        case.addCleanup(self.server.shutdown)
        case.addCleanup(self.closing.set)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/v1"


class Llm(AttuneCase):
    def serve(self, answer, **options):
        server = Server(self, answer, **options)
        self.env["ATTUNE_LLM_URL"] = server.url
        self.env["ATTUNE_LLM_MODEL"] = "test-model"
        self.env["ATTUNE_LLM_API_KEY"] = KEY
        return server

    def search(self, *words, trials=20, waiting=True):
        """Runs a search to its end and returns its report and stderr; the key must be in neither."""
        flags = ["--strategy", "llm", "--max-trials", str(trials), "--json"]
        if waiting:
            flags += ["--llm-wait", "60"]
        out, err = self.attune("tune", *SMALL, *flags, *words)
        self.assertNotIn(KEY, out + err)
        for file in self.folder.rglob("*"):
            if file.is_file():
                self.assertNotIn(KEY.encode(), file.read_bytes(), file.name)
        report = json.loads(out)
        self.assertEqual(report["trials"], trials)
        self.assertIsNotNone(report["best"])
        return report, err

    def fails(self, answer, expected, *words, **options):
        """The search says once what was wrong with the endpoint, and goes on to its end."""
        server = self.serve(answer, **options)
        words = words or ("--llm-retries", "0")
        report, err = self.search(*words)
        notices = [line for line in err.splitlines() if line.startswith("LLM: ")]
        self.assertEqual(len(notices), 1, err)
        self.assertIn(expected, notices[0])
        self.assertIn("the search goes on without it", notices[0])
        self.assertEqual(report["llm"]["proposals"], 0)
        return server, report

    # ---- an endpoint that works ----

    def test_proposals_are_tried(self):
        server = self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        report, _ = self.search()
        self.assertGreater(report["llm"]["proposals"], 4)
        self.assertEqual(report["llm"]["prompt_tokens"], 100 * report["llm"]["answered"])
        first = server.requests[0]
        self.assertEqual(first["path"], "/v1/chat/completions")
        self.assertEqual(first["headers"]["Authorization"], "Bearer " + KEY)
        self.assertEqual(first["body"]["model"], "test-model")
        self.assertIn("Synthetic H100", first["body"]["messages"][0]["content"])

    def test_json_in_prose_cut_and_outside_the_space(self):
        text = 'Here you are:\n```json\n{"proposals":[{"set":{"block_n":50}},{"set":{"warp":1}},'
        text += '{"set":{"num_stages":"3"}},{"set":{"num_stages":3}},{"set":{"unroll'
        self.serve(lambda h: h.reply(200, completion(text)))
        report, _ = self.search()
        self.assertGreaterEqual(report["llm"]["proposals"], 1)
        self.assertGreaterEqual(report["llm"]["repaired"], 1)
        self.assertGreaterEqual(report["llm"]["rejected"], 2)

    def test_text_report_names_the_model_and_its_share(self):
        self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        out, err = self.attune("tune", *SMALL, "--strategy", "llm", "--max-trials", "12", "--llm-wait", "60")
        self.assertRegex(out, r"model +http://127\.0\.0\.1:\d+/v1: \d+ questions?")
        self.assertNotIn(KEY, out + err)

    def test_money_is_counted_and_limited(self):
        server = self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS), (1000, 1000))))
        report, err = self.search("--llm-price", "10/20", "--llm-answer-tokens", "10000", "--llm-max-cost", "0.23")
        self.assertEqual(len(server.requests), 1)  # 0.03 spent, and another one may cost 0.2 and more
        self.assertAlmostEqual(report["llm"]["dollars"], 0.03)
        self.assertIn("the limit is 0.23", err)

    def test_call_limit(self):
        server = self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        self.search("--llm-max-calls", "1")
        self.assertEqual(len(server.requests), 1)

    # ---- endpoints that do not ----

    def test_nobody_listens(self):
        self.serve(lambda h: None)
        self.env["ATTUNE_LLM_URL"] = "http://127.0.0.1:9/v1"
        report, err = self.search("--llm-retries", "0")
        self.assertIn("does not answer", err)
        self.assertEqual(report["llm"]["answered"], 0)

    def test_it_hangs(self):
        def hang(handler):
            server.closing.wait()

        server = self.serve(hang)
        report, err = self.search("--llm-timeout", "0.3", "--llm-retries", "0")
        self.assertIn("gave no whole answer in time", err)
        self.assertEqual(report["llm"]["failed"], 3)

    def test_it_hangs_and_the_search_does_not_wait(self):
        def hang(handler):
            server.closing.wait()

        server = self.serve(hang)
        report, _ = self.search(waiting=False)  # ends though the call would take two minutes
        self.assertEqual(report["llm"]["questions"], 1)

    def test_it_drips(self):
        def drip(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", "100000")
            handler.end_headers()
            while not server.closing.wait(0.02):
                handler.wfile.write(b" ")

        server = self.serve(drip)
        _, err = self.search("--llm-timeout", "0.3", "--llm-retries", "0")
        self.assertIn("gave no whole answer in time", err)

    def test_401(self):
        words = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
        server, _ = self.fails(lambda h: h.reply(401, words), "HTTP 401: Incorrect API key provided: [key]")
        self.assertLessEqual(len(server.requests), 2)  # those that were under way together

    def test_429_with_retry_after_is_tried_again(self):
        state = {"calls": 0}

        def busy_once(handler):
            state["calls"] += 1
            if state["calls"] == 1:
                return handler.reply(429, "{}", Retry_After="1")
            handler.reply(200, completion(json.dumps(PROPOSALS)))

        self.serve(busy_once)
        report, err = self.search()
        self.assertGreater(report["llm"]["proposals"], 0)
        self.assertNotIn("429", err)

    def test_429_for_an_hour_is_given_up(self):
        self.fails(lambda h: h.reply(429, "{}", Retry_After="3600"), "HTTP 429", "--llm-retries", "5")

    def test_500(self):
        server, _ = self.fails(lambda h: h.reply(500, "oops"), "HTTP 500")
        self.assertEqual(len(server.requests), 3)

    def test_wrong_content_type(self):
        self.fails(lambda h: h.reply(200, "<html>log in</html>", "text/html"), "'text/html' where JSON is due")

    def test_cut_json(self):
        self.fails(lambda h: h.reply(200, completion("x" * 500)[:200]), "JSON that is cut or wrong")

    def test_prose_without_json(self):
        self.fails(lambda h: h.reply(200, completion("I cannot help with that.")), "hold no proposals")

    def test_nothing_but_duplicates(self):
        self.fails(lambda h: h.reply(200, completion('{"proposals":[{"set":{}}]}')), "no config that is legal and new")

    def test_50_mb_are_not_read(self):
        sent = []

        def flood(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(50 << 20))
            handler.end_headers()
            for _ in range(50):
                handler.wfile.write(b"x" * (1 << 20))
                sent.append(1)

        self.fails(flood, "more than 4194304 bytes")
        self.assertLess(len(sent), 3 * 50)  # hung up on in the middle, each time

    def test_a_redirect_to_another_host_gets_nothing(self):
        elsewhere = Server(self, lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        target = elsewhere.url.replace("127.0.0.1", "localhost") + "/chat/completions"
        self.fails(lambda h: h.reply(307, "", Location=target), "which is not followed")
        self.assertEqual(elsewhere.requests, [])

    def test_a_proxy_gets_nothing_of_what_stays_on_this_machine(self):
        proxy = Server(self, lambda h: h.reply(500, ""))
        server = self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        self.env["http_proxy"] = proxy.url
        self.env.pop("no_proxy", None)
        self.search("--llm-max-calls", "1")
        self.assertEqual((len(server.requests), proxy.requests), (1, []))

    def certificate(self):
        if not shutil.which("openssl"):
            self.skipTest("no openssl command to make a certificate with")
        files = [str(self.folder / name) for name in ["cert.pem", "key.pem"]]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
            check=True, capture_output=True)
        return files

    def test_a_certificate_that_nobody_vouches_for(self):
        server, _ = self.fails(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))), "is not trusted",
                               certificate=self.certificate())
        self.assertEqual(server.requests, [])  # the key was never sent

    def test_a_certificate_that_the_user_vouches_for(self):
        certificate = self.certificate()
        self.serve(lambda h: h.reply(200, completion(json.dumps(PROPOSALS))), certificate=certificate)
        self.env["ATTUNE_LLM_CA_FILE"] = certificate[0]
        report, _ = self.search()
        self.assertGreater(report["llm"]["proposals"], 0)

    def test_a_key_is_not_sent_unencrypted_to_another_machine(self):
        self.serve(lambda h: None)
        self.env["ATTUNE_LLM_URL"] = "http://model.example/v1"
        line = self.error("tune", *SMALL, "--strategy", "llm", code=FAILED)
        self.assertIn("unencrypted", line)
        self.assertNotIn(KEY, line)

    def test_the_environment_of_the_running_process_holds_no_key(self):
        seen = []

        def look(handler):
            seen.append(pathlib.Path(f"/proc/{process.pid}/environ").read_bytes())
            handler.reply(401, "{}")

        self.serve(look)
        process = self.start("tune", *SMALL, "--strategy", "llm", "--max-trials", "8", "--llm-wait", "60")
        process.communicate(timeout=240)
        if os.geteuid() == 0:  # with core dumps off the file is root's alone
            self.assertTrue(seen)
        for environment in seen:
            self.assertNotIn(KEY.encode(), environment)

    # ---- flags ----

    def test_flags_that_make_no_sense(self):
        tune = ["tune", *SMALL, "--max-trials", "4"]
        self.assertIn("has nobody to ask", self.error(*tune, "--strategy", "llm", code=USAGE))
        self.assertIn("--llm-exchange", self.error(*tune, "--llm-exchange", "x", code=USAGE))
        self.serve(lambda h: None)
        llm = [*tune, "--strategy", "llm"]
        for words, expected in [
            (["--llm-exchange", "a", "--llm-replay", "b"], "one of them can answer"),
            (["--llm-max-cost", "1"], "--llm-price"),
            (["--llm-price", "cheap"], "IN/OUT"),
            (["--llm-model", "m=none"], "NAME=WEIGHT"),
        ]:
            self.assertIn(expected, self.error(*llm, *words, code=USAGE))
        for words in [["--llm-batch", "0"], ["--llm-wait", "-1"], ["--llm-max-calls", "x"]]:
            self.attune(*llm, *words, code=USAGE)
        self.assertIn("cannot read", self.error(*llm, "--llm-replay", "absent", code=FAILED))
        del self.env["ATTUNE_LLM_MODEL"]
        self.assertIn("no model is named", self.error(*llm, code=FAILED))

    # ---- files ----

    def answer_files(self, folder, process):
        while process.poll() is None:
            for request in sorted(folder.glob("request-*.json")):
                answer = folder / json.loads(request.read_text())["answer_file"]
                if not answer.exists():
                    answer.with_suffix(".tmp").write_text(json.dumps({**PROPOSALS, "model": "the test"}))
                    answer.with_suffix(".tmp").rename(answer)
            time.sleep(0.02)

    def test_exchange_record_and_replay(self):
        folder = self.folder / "asked"
        common = ["tune", *SMALL, "--strategy", "llm", "--max-trials", "24", "--json"]
        process = self.start(*common, "--llm-exchange", folder, "--llm-record", "answers.jsonl", "--llm-wait", "60",
                             "--llm-note", "answered by a test")
        answering = threading.Thread(target=self.answer_files, args=(folder, process))
        answering.start()
        out, err = process.communicate(timeout=240)
        answering.join()
        self.assertEqual(process.returncode, 0, err)
        first = json.loads(out)
        self.assertGreater(first["llm"]["proposals_by_model"]["the test"], 4)
        self.assertTrue((folder / "ended").exists())
        again = self.json(*common[:-1], "--llm-replay", "answers.jsonl", "--db", "again.db")
        self.assertEqual(again["llm"]["remark"], "")
        self.assertEqual(again["config"], first["config"])
        configs = [
            [trial["config"] for trial in self.json("cache", "show", *SMALL, "--db", name, "--top", "99")]
            for name in ["attune.db", "again.db"]
        ]
        self.assertEqual(*[sorted(map(json.dumps, trials)) for trials in configs])

        header, *events = (self.folder / "answers.jsonl").read_text().splitlines()
        header = json.loads(header)
        self.assertGreater(header["search"]["outstanding"], 1)
        header["search"]["outstanding"] = 1
        (self.folder / "one.jsonl").write_text("\n".join([json.dumps(header), *events]) + "\n")
        self.json(*common[:-1], "--llm-replay", "one.jsonl", "--llm-record", "replayed.jsonl", "--db", "other.db")
        replayed = json.loads((self.folder / "replayed.jsonl").read_text().splitlines()[0])
        self.assertEqual(replayed["search"]["outstanding"], 1, "as many as in the search that was recorded")

    def test_a_transcript_of_another_shape_is_refused(self):
        header = {"format": "attune-llm-transcript", "version": 1, "template": "portable", "template_hash": "x",
                  "device": "d", "source": "s", "created_at": "2026-01-01T00:00:00Z",
                  "shape": self.tune("--max-trials", "1")["shape"]}
        header["shape"] = {**header["shape"], "batch": 7}
        (self.folder / "other.jsonl").write_text(json.dumps(header) + "\n")
        line = self.error("tune", *SMALL, "--strategy", "llm", "--llm-replay", "other.jsonl", code=FAILED)
        self.assertIn("was recorded for", line)


if __name__ == "__main__":
    main()
