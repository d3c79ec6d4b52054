"""Jobs over HTTP: the whole path from submit to record, events, cancelling, restarts."""

import signal

from server_case import SHAPE, Following, ServerCase, main


class Jobs(ServerCase):
    def test_a_tune_goes_from_submit_to_record(self):
        server = self.serve()
        job = server.submit(max_trials=12)
        self.assertEqual(job["state"], "queued")
        ended = server.wait(job["id"])
        self.assertEqual((ended["state"], ended["starts"]), ("done", 1))
        self.assertEqual(ended["result"]["trials"], 12)
        answer = server.get("/v1/lookup?shape=1,2,128,64").json
        self.assertEqual(answer["provenance"], "exact")
        self.assertEqual(answer["config"], ended["result"]["config"])
        self.assertEqual(answer["expected_us"], ended["result"]["median_us"])
        self.assertTrue(answer["replayed"])
        # The command line reads the same database, while the server has it.
        self.assertEqual(self.json("lookup", "--shape", "1,2,128,64")["config"], answer["config"])

    def test_events_tell_all_in_order_and_resume(self):
        server = self.serve()
        job = server.submit(max_trials=10)["id"]
        events = list(server.follow(job))
        self.assertEqual([seq for seq, _, _ in events], list(range(1, len(events) + 1)))
        states = [data["state"] for _, kind, data in events if kind == "state"]
        self.assertEqual(states, ["queued", "running", "done"])
        trials = [data for _, kind, data in events if kind == "trial"]
        self.assertEqual(len({trial["trial"]["id"] for trial in trials}), 10)
        best = [trial["best_us"] for trial in trials if trial["best_us"] is not None]
        self.assertEqual(best, sorted(best, reverse=True))
        passed = [t["trial"]["timing"]["median_us"] for t in trials if t["trial"]["outcome"] == "ok"]
        self.assertEqual(best[-1], min(passed))
        self.assertEqual(list(server.follow(job, last=6)), events[6:])
        self.assertEqual(list(server.follow(job, last=len(events))), [])

    def test_events_come_while_the_job_runs(self):
        server = self.serve_slowly()
        job = server.submit(max_trials=40)["id"]
        following = Following(server, job)
        seen = 0
        while seen < 2:
            seen += following.events.get(timeout=120)[1] == "trial"
        self.assertEqual(server.get(f"/v1/jobs/{job}").json["state"], "running")

    def test_trials_are_paged(self):
        server = self.serve()
        job = server.submit(max_trials=10)["id"]
        server.wait(job)
        whole = server.get(f"/v1/jobs/{job}/trials").json
        self.assertEqual((len(whole["trials"]), whole["next_after"]), (10, None))
        pages, after = [], 0
        while after is not None:
            page = server.get(f"/v1/jobs/{job}/trials?limit=4&after={after}").json
            pages += page["trials"]
            after = page["next_after"]
        self.assertEqual(pages, whole["trials"])

    def test_a_second_job_of_the_same_search_measures_nothing_and_shows_all(self):
        server = self.serve()
        first, second = server.submit(), server.submit()
        self.assertNotEqual(first["id"], second["id"])
        server.wait(first["id"])
        again = server.wait(second["id"])
        self.assertEqual(again["result"]["resumed"], again["result"]["trials"])
        shown = [server.get(f"/v1/jobs/{job['id']}/trials").json["trials"] for job in (first, second)]
        self.assertEqual(*(sorted(trial["trial"]["id"] for trial in trials) for trials in shown))

    def test_a_sweep_runs_and_says_what_it_left_out(self):
        server = self.serve()
        other = {**SHAPE, "q_len": 256, "kv_len": 256}
        rows = [{"batch": s["batch"], "q_heads": s["q_heads"], "kv_heads": s["kv_heads"], "seq": s["q_len"],
                 "head_dim": s["head_dim"]} for s in (SHAPE, other)]
        job = server.post("/v1/jobs", {"kind": "sweep", "workload": rows, "max_trials": 6}, status=201).json
        ended = server.wait(job["id"])
        self.assertEqual(ended["state"], "done", ended["message"])
        self.assertEqual([row["shape"] for row in ended["result"]["shapes"]], [SHAPE])
        self.assertEqual(len(ended["result"]["left_out"]), 1)
        self.assertEqual(len(server.get(f"/v1/jobs/{job['id']}/trials").json["trials"]), 6)

    def test_a_key_makes_one_job(self):
        server = self.serve()
        key = {"Idempotency-Key": "nightly-7"}
        first = server.submit(headers=key)
        self.assertEqual(server.submit(headers=key, status=200)["id"], first["id"])
        server.submit(headers=key, max_trials=9, status=409)
        other = server.submit(headers={**key, "X-Attune-Client": "other"})
        self.assertNotEqual(other["id"], first["id"])

    def test_cancelling(self):
        server = self.serve_slowly()
        running, waiting = server.submit(max_trials=40)["id"], server.submit()["id"]
        following = Following(server, running)
        while following.events.get(timeout=120)[1] != "trial":
            pass
        self.assertEqual(server.post(f"/v1/jobs/{waiting}/cancel", "").json["state"], "cancelled")
        self.assertIn(server.post(f"/v1/jobs/{running}/cancel", "").json["state"], ["cancelling", "cancelled"])
        ended = server.wait(running)
        self.assertEqual((ended["state"], ended["message"]), ("cancelled", "cancelled by anonymous"))
        self.assertLess(len(server.get(f"/v1/jobs/{running}/trials").json["trials"]), 40)
        self.assertEqual(server.get(f"/v1/jobs/{waiting}").json["starts"], 0)
        # What has ended stays as it is.
        self.assertEqual(server.post(f"/v1/jobs/{running}/cancel", "").json["state"], "cancelled")

    TRIALS = 40  # all that the recording has: a busy machine must not end them before the test can interfere

    def caught_in_the_middle(self, server):
        job = server.submit(max_trials=self.TRIALS)["id"]
        following = Following(server, job)
        trials = 0
        while trials < 2:
            event = following.events.get(timeout=120)
            self.assertIsNotNone(event, "it ended before it could be killed")
            trials += event[1] == "trial"
        return job

    def test_sigkill_loses_nothing_and_the_next_server_goes_on(self):
        server = self.serve_slowly()
        job = self.caught_in_the_middle(server)
        waiting = server.submit(max_trials=4)["id"]
        server.kill()
        server = self.serve()
        ended = server.wait(job)
        self.assertEqual((ended["state"], ended["starts"]), ("done", 2))
        self.assertGreaterEqual(ended["result"]["resumed"], 2)
        trials = [t["trial"]["config_hash"] for t in server.get(f"/v1/jobs/{job}/trials").json["trials"]]
        self.assertEqual((len(trials), len(set(trials))), (self.TRIALS, self.TRIALS))
        self.assertEqual(server.wait(waiting)["state"], "done")

    def test_sigterm_puts_the_running_job_back(self):
        server = self.serve_slowly()
        job = self.caught_in_the_middle(server)
        server.stop()
        server = self.serve()
        states = [data["state"] for _, kind, data in server.follow(job) if kind == "state"]
        self.assertEqual(states, ["queued", "running", "queued", "running", "done"])

    def test_a_cancelled_job_stays_cancelled_through_a_kill(self):
        server = self.serve_slowly()
        job = self.caught_in_the_middle(server)
        server.process.send_signal(signal.SIGSTOP)  # nothing that the cancel asks for can happen
        self.sql(f"UPDATE jobs SET state = 'cancelling', message = 'by hand' WHERE id = {job}")
        server.kill()
        server = self.serve()
        self.assertEqual(server.wait(job)["state"], "cancelled")

    def sql(self, text):
        import sqlite3

        with sqlite3.connect(self.database, timeout=10) as connection:
            connection.execute(text)

    def test_one_server_a_database(self):
        self.serve()
        line = self.error("serve", "--listen", "127.0.0.1:0", "--device", "recorded:synthetic-small", code=1)
        self.assertIn("another attune serve works on", line)


if __name__ == "__main__":
    main()
