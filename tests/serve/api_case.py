"""The rest of the API over HTTP: lookup, compile, records, packs, metrics; and requests that make no sense."""

import hashlib
import http.client
import json
import re
import socket

from server_case import SHAPE, ServerCase, main


class Api(ServerCase):
    def test_lookup_says_how_it_knows(self):
        server = self.serve()
        self.assertEqual(server.get("/v1/lookup?shape=1,2,128,64").json["provenance"], "default")
        server.wait(server.submit(max_trials=12)["id"])
        exact = server.get("/v1/lookup?shape=1,2,128,64").json
        self.assertEqual(exact["provenance"], "exact")
        near = server.get("/v1/lookup?shape=1,2,160,64").json
        self.assertEqual((near["provenance"], near["record"]["shape"]), ("near", SHAPE))
        by_body = server.post("/v1/lookup", {"shape": SHAPE, "device": exact["device"]}).json
        self.assertEqual(by_body["config"], exact["config"])
        other = server.get("/v1/lookup?shape=1,2,128,64&arch=sm_80").json
        self.assertEqual((other["provenance"], other["device"]["arch"]), ("default", "sm_80"))

    def test_a_new_best_shows_at_once(self):
        server = self.serve()
        server.get("/v1/lookup?shape=1,2,128,64")
        for _, kind, data in server.follow(server.submit(max_trials=12)["id"]):
            if kind == "trial" and data["best_us"] is not None:
                answer = server.get("/v1/lookup?shape=1,2,128,64").json
                self.assertLessEqual(answer["expected_us"], data["best_us"])

    def test_what_others_write_shows_soon(self):
        server = self.serve()
        self.assertEqual(server.get("/v1/lookup?shape=1,2,128,64").json["provenance"], "default")
        self.tune("--device", "recorded:synthetic-small")
        while server.get("/v1/lookup?shape=1,2,128,64").json["provenance"] != "exact":
            pass  # the test's own time limit ends it

    def test_a_cubin_is_what_its_report_says(self):
        server = self.serve()
        report = server.post("/v1/compile", {"shape": SHAPE, "arch": "sm_90a"}).json
        self.assertEqual(report["outcome"], "ok")
        self.assertGreater(report["registers"], 0)
        cubin = server.get(report["cubin"])
        self.assertEqual(hashlib.sha256(cubin.body).hexdigest(), report["cubin_hash"])
        self.assertEqual(cubin.headers["X-Attune-Cubin-Hash"], report["cubin_hash"])
        self.assertEqual(len(cubin.body), report["cubin_bytes"])
        server.get(report["cubin"], status=304, headers={"If-None-Match": cubin.headers["ETag"]})
        again = server.post("/v1/compile", {"shape": SHAPE, "arch": "sm_90a", "config": report["config"]}).json
        self.assertEqual((again["cubin_hash"], again["from_store"]), (report["cubin_hash"], True))
        self.attune("compile", "--shape", "1,2,128,64", "--arch", "sm_90a", "--config", "default", "-o", "local.cubin")
        self.assertEqual((self.folder / "local.cubin").read_bytes(), cubin.body)

    def test_compile_takes_only_legal_configs_of_its_own_version(self):
        server = self.serve()
        report = server.post("/v1/compile", {"shape": SHAPE, "arch": "sm_90a"}).json
        broken = {**report["config"], "num_warps": 3}
        self.assertIn("num_warps", server.post("/v1/compile", {"shape": SHAPE, "config": broken}, status=422).json["error"])
        server.post("/v1/compile", {"shape": SHAPE, "template_hash": "0" * 64}, status=409)
        server.post("/v1/compile", {"shape": SHAPE, "arch": "sm_12"}, status=422)
        server.post("/v1/compile", {"shape": SHAPE, "source": "__global__ void f() {}"}, status=400)
        server.post("/v1/compile", {"shape": SHAPE, "arch": ["sm_90a"]}, status=400)

    def test_paths_do_not_escape_the_store(self):
        server = self.serve()
        (self.folder / "secret").write_text("hidden")
        for path in ["/v1/cubins/..%2f..%2fsecret", "/v1/cubins/%2e%2e", "/v1/cubins/" + "0" * 64, "/v1/cubins/" + "A" * 64,
                     "/v1/packs/..%2f..%2fetc%2fpasswd", "/v1/packs/%2fetc%2fpasswd"]:
            self.assertNotIn(b"hidden", server.get(path, status=404).body)

    def test_records_and_packs_travel(self):
        server = self.serve()
        server.get("/v1/records/pack", status=404)
        server.wait(server.submit(max_trials=12)["id"])
        (record,) = server.get("/v1/records").json["records"]
        self.assertEqual(record["shape"], SHAPE)
        self.assertEqual(server.get("/v1/records?replayed=0").json["records"], [])
        pack = server.get("/v1/records/pack").body
        (self.folder / "made.pack.jsonl").write_bytes(pack)
        self.attune("pack", "verify", "made.pack.jsonl")
        other = self.serve("--db", str(self.folder / "other.db"))
        self.assertEqual(other.post("/v1/packs", pack).json, {"records": 1, "added": 1, "signed_by": []})
        self.assertEqual(other.post("/v1/packs", pack).json, {"records": 1, "added": 0, "signed_by": []})
        self.assertEqual(other.get("/v1/lookup?shape=1,2,128,64").json["config"], record["config"])

    def test_trials_travel(self):
        server = self.serve()
        server.wait(server.submit(max_trials=12)["id"])
        export = server.get("/v1/trials").body
        other = self.serve("--db", str(self.folder / "other.db"))
        self.assertEqual(other.post("/v1/trials", export).json, {"trials": 12, "added": 12})
        self.assertEqual(other.get("/v1/trials").body, export)

    def test_imports_that_are_not_legal_add_nothing(self):
        server = self.serve()
        server.wait(server.submit(max_trials=12)["id"])
        lines = server.get("/v1/trials").body.decode().splitlines()
        trial = json.loads(lines[1])
        trial["config"]["num_warps"] = 3
        self.assertNotEqual(json.loads(lines[1])["config"], trial["config"])
        forged = "\n".join([lines[0], lines[2], json.dumps(trial), '{"end":true,"trials":2}']) + "\n"
        other = self.serve("--db", str(self.folder / "other.db"))
        for body in [forged, lines[0], "not a trial", "", "\n".join(lines[:-1])]:
            other.post("/v1/trials", body, status=422)
        pack = server.get("/v1/records/pack").body
        for body in [pack[:-10], pack.replace(b"median_us", b"median_ms"), b"", b"\xff" * 100]:
            other.post("/v1/packs", body, status=422)
        self.assertEqual(other.get("/v1/trials").body.count(b"\n"), 2)

    def test_metrics_are_prometheus_text(self):
        server = self.serve()
        server.wait(server.submit(max_trials=12)["id"])
        server.get("/v1/lookup?shape=1,2,128,64")
        text = server.get("/metrics").body.decode()
        samples = {}
        for line in text.splitlines():
            if line.startswith("# "):
                self.assertRegex(line, r"^# (HELP \w+ .+|TYPE \w+ (counter|gauge|histogram))$")
                continue
            self.assertRegex(line, r'^\w+(\{(\w+="[^"]*",?)+\})? [-+0-9.e]+$')
            name, _, value = line.rpartition(" ")
            self.assertNotIn(name, samples)
            samples[name] = float(value)
        trials = sum(v for k, v in samples.items() if k.startswith("attune_trials_total"))
        self.assertEqual(trials, 12)
        self.assertEqual(samples['attune_jobs{state="done"}'], 1)
        self.assertEqual(samples['attune_jobs_ended_total{state="done"}'], 1)
        self.assertEqual(samples['attune_lookups_total{provenance="exact"}'], 1)
        self.assertEqual(samples['attune_http_requests_total{route="/v1/jobs",status="201"}'], 1)
        for name in ["attune_trials_per_second", "attune_compile_seconds_total", "attune_llm_calls_total",
                     "attune_llm_cost_dollars_total", "process_resident_memory_bytes", 'attune_gpu_busy_share{worker="0"}',
                     'attune_jobs{state="queued"}']:
            self.assertIn(name, samples)
        self.assertGreater(samples['attune_gpu_busy_seconds_total{worker="0"}'], 0)

    def test_the_document_lists_what_there_is(self):
        server = self.serve()
        document = server.get("/v1/openapi.json").json
        self.assertTrue(document["openapi"].startswith("3."))
        for path, operations in document["paths"].items():
            for method in operations:
                answer = server.ask(method.upper(), re.sub(r"\{[a-z]+\}", "1", path), body="" if method == "post" else None)
                self.assertNotEqual(answer.status, 405, f"{method} {path}")
                if "{" not in path:
                    self.assertNotEqual(answer.status, 404 if path != "/v1/records/pack" else None, f"{method} {path}")

    def test_the_pages_data_comes_in_parts(self):
        server = self.serve()
        server.wait(server.submit(max_trials=8)["id"])
        whole = server.get("/v1/dashboard").json
        ids = whole["trials"]["numbers"]["id"]
        self.assertEqual(len(ids), 8)
        part = server.get(f"/v1/dashboard?after={ids[4]}").json
        self.assertEqual(part["trials"]["numbers"]["id"], ids[5:])
        self.assertEqual(part["records"], whole["records"])
        server.get("/v1/dashboard?after=-1", status=400)

    def test_a_link_to_the_page_may_stand_on_another_site(self):
        server = self.serve()
        clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        self.assertIn(b"<!doctype html>", server.get("/", headers=clicked).body)
        server.get("/v1/dashboard", headers=clicked, status=403, check=False)

    def test_health_and_server(self):
        server = self.serve()
        self.assertEqual(server.get("/healthz").json, {"status": "ok"})
        self.assertEqual(server.get("/readyz").json, {"status": "ready"})
        about = server.get("/v1/server").json
        self.assertTrue(about["replays"])
        self.assertEqual(about["recordings"][0]["name"], "synthetic-small")

    def test_bad_requests_are_told_in_one_line(self):
        server = self.serve()
        jobs = [(b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b"[" * 100_000, 400), (b"", 400),
                (json.dumps({"shape": SHAPE, "max_trails": 5}), 400), (json.dumps({"shape": {**SHAPE, "head_dim": 7}}), 400),
                (json.dumps({"shape": SHAPE, "strategy": "magic"}), 400),
                (json.dumps({"shape": {**SHAPE, "q_len": 777}}), 422), (json.dumps({"shape": SHAPE, "template": "none"}), 422),
                (json.dumps({"shape": SHAPE, "restrict": {"num_wraps": ["4"]}}), 422),
                (json.dumps({"shape": SHAPE, "seed_configs": [{"num_wraps": 4}]}), 422),
                (json.dumps({"kind": "sweep", "workload": {"shapes": []}}), 400)]
        for body, status in jobs:
            answer = server.post("/v1/jobs", body, status=status, headers={"Content-Type": "application/json"})
            self.assertNotIn("\n", answer.json["error"])
        for path in ["/v1/lookup", "/v1/compile"]:  # valid, and deeper than the stack of who would walk it
            deep = b'{"shape": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001
            self.assertNotIn("\n", server.post(path, deep, status=400,
                                               headers={"Content-Type": "application/json"}).json["error"])
        server.post("/v1/jobs", "shape=1", status=415)
        server.post("/v1/jobs", b"x" * (2 << 20), status=413, headers={"Content-Type": "application/json"})
        server.post("/v1/jobs", {"shape": SHAPE}, status=400, headers={"Idempotency-Key": "a b"})
        server.post("/v1/jobs", {"shape": SHAPE}, status=400, headers={"X-Attune-Client": "<script>"})
        for path in ["/v1/jobs/77", "/v1/jobs/abc", "/v1/jobs/99999999999999999999", "/v1/jobs/77/events", "/v1/jobs/-1/trials",
                     "/v1/nothing", "/v2/jobs", "//v1/jobs"]:
            server.get(path, status=404)
        server.post("/v1/jobs/77/cancel", "", status=404)
        for path in ["/v1/jobs?limit=0", "/v1/jobs?limit=x", "/v1/jobs?state=sleeping", "/v1/lookup?shape=1,2,3",
                     "/v1/lookup?shape=1,2,128,64&lse=perhaps", "/v1/records?replayed=maybe"]:
            server.get(path, status=400)
        for path in ["/v1/lookup?shape=0,2,128,64", "/v1/lookup?shape=1,2,128,64&arch=sm_1", "/v1/lookup"]:
            server.get(path, status=422)
        server.ask("DELETE", "/v1/jobs", status=405)
        server.ask("PUT", "/v1/lookup", body="{}", status=405)
        self.assertEqual(server.get("/v1/jobs").json["jobs"], [], "none of them made a job")

    def test_too_many_jobs_are_told_when_to_come_back(self):
        server = self.serve_slowly("--max-queued", "4", "--max-queued-per-client", "2")
        answers = [server.ask("POST", "/v1/jobs", {"shape": SHAPE, "max_trials": 40}, {"X-Attune-Client": client})
                   for client in ["a"] * 5 + ["b"] * 3 + ["c"] * 3]
        refused = [answer for answer in answers if answer.status == 429]
        self.assertGreaterEqual(len(refused), 6)
        for answer in refused:
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
        queued = server.get("/v1/jobs?state=queued").json["jobs"]
        self.assertLessEqual(len(queued), 4)
        self.assertLessEqual(sum(job["client"] == "a" for job in queued), 2)

    def test_a_slow_client_holds_nobody_up(self):
        server = self.serve()
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
        for connection in slow:
            connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-")
        server.wait(server.submit()["id"])
        for connection in slow:
            connection.close()

    def test_a_connection_serves_many_requests(self):
        server = self.serve()
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        for _ in range(50):
            connection.request("GET", "/v1/lookup?shape=1,2,128,64")
            self.assertEqual(json.loads(connection.getresponse().read())["provenance"], "default")


if __name__ == "__main__":
    main()
