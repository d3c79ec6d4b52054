"""Several `attune serve` on one PostgreSQL database: one killed, one that stands still, a database that is restarted."""

import json
import os
import pathlib
import signal
import sys
import time

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "cli"), str(TESTS / "serve")]
from server import PASSWORD, Unavailable, of_these_tests  # noqa: E402
from server import Server as Postgres  # noqa: E402
from server_case import Following, Server, ServerCase, main  # noqa: E402

LEASE = 4  # seconds


class SharedJobs(ServerCase):
    def setUp(self):
        try:
            server = of_these_tests()
        except Unavailable as why:
            self.skipTest(str(why))
        super().setUp()
        self.use(server)

    def use(self, postgres):
        self.postgres = postgres
        self.name = f"jobs_{os.getpid()}_{self.id().rpartition('.')[2]}"[:60]
        postgres.create_database(self.name)
        self.addCleanup(postgres.sql, f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)', "postgres")
        self.env["ATTUNE_DB"] = postgres.uri(self.name)

    def host(self, name, slow=True, device="recorded:synthetic-small"):
        """A server on a host of its own. `slow`: it has its jobs' kernels to compile, so that they can be caught."""
        self.own_cubins(name) if slow else self.shared_cubins()
        server = Server(self, "--threads", "1", "--lease", LEASE, "--name", name, device=device)
        self.assertIn(f"postgresql://attune@/{self.name}", server.process.stdout.readline())
        return server

    def until(self, condition, what, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"never happened: {what}")
            time.sleep(0.05)

    def caught(self, server, max_trials=30):
        """A job in the middle; its first trials' configs."""
        job = server.submit(max_trials=max_trials)["id"]
        following = Following(server, job)
        seen = []
        while len(seen) < 2:
            event = following.events.get(timeout=120)
            self.assertIsNotNone(event, "it ended before it could be caught")
            if event[1] == "trial":
                seen.append(event[2]["trial"]["config_hash"])
        return job, seen

    def expect_done_once(self, server, job, starts, name=None):
        ended = server.wait(job)
        self.assertEqual((ended["state"], ended["starts"]), ("done", starts), ended)
        if name:
            self.assertEqual(ended["server"], name)
        states = [data["state"] for _, kind, data in server.follow(job) if kind == "state"]
        self.assertEqual(states, ["queued", *["running", "queued"] * (starts - 1), "running", "done"])
        trials = server.get(f"/v1/jobs/{job}/trials").json["trials"]
        self.assertEqual(len(trials), ended["result"]["trials"])
        return [trial["trial"]["config_hash"] for trial in trials]

    def test_of_two_servers_one_is_killed(self):
        first = self.host("first")
        running, seen = self.caught(first)
        waiting = [first.submit(max_trials=3, seed=seed)["id"] for seed in (1, 2)]
        second = self.host("second", slow=False)
        own = second.submit(max_trials=3, seed=3)["id"]
        self.assertEqual(first.get(f"/v1/jobs/{own}").json["request"]["seed"], 3, "any server shows any job")
        self.assertEqual(second.get(f"/v1/jobs/{running}").json["server"], "first")
        first.kill()
        configs = self.expect_done_once(second, running, 2, "second")
        self.assertEqual((len(configs), len(set(configs))), (30, 30))
        self.assertLessEqual(set(seen), set(configs), "what the killed one measured is part of it")
        for job in [*waiting, own]:
            self.expect_done_once(second, job, 1, "second")
        counts = self.postgres.sql("SELECT state, count(*) FROM jobs GROUP BY state", self.name)
        self.assertEqual(counts, ["done|4"])
        # No config was measured twice, over all jobs and both servers.
        self.assertEqual(self.postgres.sql("SELECT config_hash FROM trials GROUP BY config_hash HAVING count(*) > 1",
                                           self.name), [])
        self.assertIn("jobs of a server that is gone go on: 1", second.stop())

    def test_a_server_that_stands_still_loses_its_job_and_its_word_is_refused(self):
        first = self.host("first")
        running, _ = self.caught(first)
        first.process.send_signal(signal.SIGSTOP)
        second = self.host("second", slow=False)
        self.until(lambda: second.get(f"/v1/jobs/{running}").json["server"] == "second", "the job taken over")
        first.process.send_signal(signal.SIGCONT)
        self.expect_done_once(second, running, 2, "second")
        self.expect_done_once(first, running, 2, "second")
        # It lives on and takes the next job.
        self.assertEqual(first.get("/readyz").json["status"], "ready")
        self.assertIn("jobs of a server that is gone go on: 1", second.stop())
        self.expect_done_once(first, first.submit(max_trials=3, seed=5)["id"], 1, "first")
        self.assertIn(f"job {running} is another server's by now", first.stop())

    def test_events_and_cancelling_through_another_server(self):
        first, second = self.host("first"), self.host("second")
        job = first.submit(max_trials=40)["id"]
        self.until(lambda: first.get(f"/v1/jobs/{job}").json["server"], "somebody runs it")
        runs = first.get(f"/v1/jobs/{job}").json["server"]
        other = second if runs == "first" else first
        following = Following(other, job)
        trials = 0
        while trials < 2:
            event = following.events.get(timeout=120)
            self.assertIsNotNone(event)
            trials += event[1] == "trial"
        self.assertIn(other.post(f"/v1/jobs/{job}/cancel", "").json["state"], ["cancelling", "cancelled"])
        ended = other.wait(job)
        self.assertEqual((ended["state"], ended["server"]), ("cancelled", runs))
        self.assertLess(len(other.get(f"/v1/jobs/{job}/trials").json["trials"]), 40)

    def test_a_key_is_one_job_on_all_servers(self):
        first, second = self.host("first", slow=False), self.host("second", slow=False)
        key = {"Idempotency-Key": "nightly"}
        job = first.submit(headers=key)
        self.assertEqual(second.submit(headers=key, status=200)["id"], job["id"])
        second.submit(headers=key, max_trials=9, status=409)

    def test_sigterm_gives_jobs_to_the_others_at_once(self):
        first = self.host("first")
        running, _ = self.caught(first)
        self.postgres.sql("UPDATE jobs SET lease_until = lease_until + 100000", self.name)
        first.stop()
        self.assertEqual(self.postgres.sql("SELECT state FROM jobs", self.name), ["queued"])
        self.expect_done_once(self.host("second", slow=False), running, 2, "second")

    def test_a_job_that_no_server_can_run_says_why(self):
        first = self.host("first")
        running, _ = self.caught(first)
        waiting = first.submit(max_trials=3)["id"]
        self.assertEqual(first.get(f"/v1/jobs/{waiting}").json["message"], "", "it waits for its turn")
        first.kill()
        # A server of the same device whose recordings are of another shape.
        pathlib.Path(self.env["ATTUNE_RECORDINGS"], "synthetic-small.jsonl.gz").rename(self.folder / "away.jsonl.gz")
        second = self.host("second", device="recorded:synthetic-dense")
        said = lambda job: second.get(f"/v1/jobs/{job}").json  # noqa: E731
        for job in (waiting, running):
            # Until 30 seconds after its last word the first could still be there.
            self.until(lambda: said(job)["message"].startswith("no server that is there can run it: second: "), "why not")
            self.assertIn("no recording of", said(job)["message"])
            self.assertEqual(said(job)["state"], "queued")
        listed = {job["id"]: job["message"] for job in second.get("/v1/jobs").json["jobs"]}
        self.assertIn("no recording of", listed[waiting])
        (self.folder / "away.jsonl.gz").rename(pathlib.Path(self.env["ATTUNE_RECORDINGS"], "synthetic-small.jsonl.gz"))
        third = self.host("third")
        for job in (running, waiting):
            ended = third.wait(job)
            self.assertEqual((ended["state"], ended["message"], ended["server"]), ("done", "", "third"), ended)

    def test_the_database_is_restarted_in_the_middle(self):
        try:
            own = Postgres.create()
        except Unavailable as why:
            self.skipTest(str(why))
        self.addCleanup(own.remove)
        self.use(own)
        server = self.host("first")
        running, _ = self.caught(server)
        own.stop("fast")  # a crash may cost this server, which does not wait for its disk, what it acknowledged
        self.assertEqual(server.get("/healthz").json["status"], "ok", "the process lives")
        self.assertIn("database", server.get("/readyz", status=503).json["error"])
        self.assertIn("database", server.submit(max_trials=3, status=503)["error"])
        own.start()
        self.until(lambda: server.ask("GET", "/readyz").status == 200, "ready again")
        ended = server.wait(running)
        self.assertEqual((ended["state"], ended["result"]["trials"]), ("done", 30), ended["message"])
        configs = [trial["trial"]["config_hash"] for trial in server.get(f"/v1/jobs/{running}/trials").json["trials"]]
        self.assertEqual((len(configs), len(set(configs))), (30, 30))

    def test_lookup_records_and_the_page_over_a_server_database(self):
        server = self.host("first", slow=False)
        ended = server.wait(server.submit(max_trials=6)["id"])
        self.assertEqual(server.get("/v1/lookup?shape=1,2,128,64").json["config"], ended["result"]["config"])
        self.assertEqual(len(server.get("/v1/records").json["records"]), 1)
        self.assertIn(b"attune_jobs{state=\"done\"} 1", server.get("/metrics").body)

    def test_no_server_is_one_line_and_a_password_is_shown_nowhere(self):
        line = self.error("serve", "--db", "postgresql://127.0.0.1:1/x", "--listen", "127.0.0.1:0", code=1)
        self.assertIn("check that the server runs", line)
        self.env["ATTUNE_DB"] = self.postgres.tcp_uri(self.name)
        server = Server(self, "--name", "first")
        self.assertIn("postgresql://attune:***@127.0.0.1", server.process.stdout.readline())
        server.wait(server.submit(max_trials=3)["id"])
        self.assertNotIn(PASSWORD, json.dumps(server.get("/v1/server").json) + server.stop())


if __name__ == "__main__":
    main()
