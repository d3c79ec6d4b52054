"""attune tune against a recording: the whole path, resuming, Ctrl-C, SIGKILL."""

import json
import signal
import sqlite3
import time

from attune_case import FAILED, SMALL, USAGE, AttuneCase, main


class Tune(AttuneCase):
    def trials(self):
        if not self.database.exists():
            return 0
        try:
            connection = sqlite3.connect(self.database, timeout=5)
            try:
                return connection.execute("SELECT count(*) FROM trials").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.OperationalError:  # the tables are being made
            return 0

    def start_slow(self, *words):
        """A search that has enough to compile to be caught in the middle: one thread, no cubins."""
        self.own_cubins()
        self.slow = ["tune", *SMALL, "--strategy", "random", "--max-trials", "30", "--threads", "1", *words]
        process = self.start(*self.slow)
        deadline = time.monotonic() + 120
        while self.trials() < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIsNone(process.poll(), "it ended before it could be stopped")
        return process

    def test_best_is_the_best_of_what_passed(self):
        result = self.tune("--max-trials", "40")
        shown = self.json("cache", "show", *SMALL, "--top", "100")
        passed = [trial["timing"]["median_us"] for trial in shown if trial["outcome"] == "ok"]
        self.assertEqual(result["median_us"], min(passed))
        self.assertEqual(result["trials"], len(shown))
        self.assertEqual(sum(result["outcomes"].values()), result["trials"])
        self.assertGreater(result["outcomes"].get("wrong_answer", 0), 0)

    def test_replay_is_said_loudly(self):
        out, err = self.attune("tune", *SMALL, "--max-trials", "4")
        self.assertIn("REPLAY", err)
        self.assertIn("Synthetic H100", err)
        self.assertIn("REPLAYED from recording synthetic-small", out)
        result = self.tune()
        self.assertTrue(result["replayed"])
        self.assertEqual(result["recording"], "synthetic-small")
        self.assertIn("Synthetic H100", result["notice"])
        self.assertTrue(all(trial["replayed"] for trial in self.json("cache", "ls")))

    def test_text_for_people(self):
        out, err = self.attune("tune", *SMALL, "--max-trials", "6")
        for word in ["best", "ms", "TFLOP/s", "config", "trials", "time", "stored in", str(self.database)]:
            self.assertIn(word, out)
        self.assertIn("trials", err)  # a plain progress line
        self.assertNotIn("\x1b", out + err)

    def test_second_run_compiles_nothing_and_says_so(self):
        self.tune()
        out, _ = self.attune("tune", *SMALL, "--strategy", "random", "--max-trials", "8")
        self.assertIn("compiled nothing", out)
        again = self.tune()
        self.assertEqual(again["compiled"], 0)
        self.assertEqual(again["resumed"], again["trials"])

    def test_same_seed_same_trials(self):
        first = self.tune("--seed", "5", "--db", "a.db")
        second = self.tune("--seed", "5", "--db", "b.db")
        self.assertEqual(first["config"], second["config"])
        configs = [
            sorted(trial["config_hash"] for trial in self.json("cache", "show", *SMALL, "--db", name, "--top", "99"))
            for name in ["a.db", "b.db"]
        ]
        self.assertEqual(configs[0], configs[1])

    def test_every_strategy_runs(self):
        for strategy in ["random", "pattern", "exhaustive"]:
            with self.subTest(strategy=strategy):
                self.assertIsNotNone(self.tune("--strategy", strategy, "--db", f"{strategy}.db")["best"])

    def test_seed_config_is_tried_first(self):
        self.tune("--max-trials", "40")
        slowest = [t for t in self.json("cache", "show", *SMALL, "--top", "99") if t["outcome"] == "ok"][-1]
        (self.folder / "seed.json").write_text(json.dumps(slowest["config"]))
        self.tune("--max-trials", "1", "--seed-config", "seed.json", "--db", "seeded.db")
        tried = self.json("cache", "show", *SMALL, "--db", "seeded.db")
        self.assertIn(slowest["config"], [trial["config"] for trial in tried])

    def test_seed_configs_inline_repeated_and_in_helions_form(self):
        self.tune("--max-trials", "40")
        tried = [t["config"] for t in self.json("cache", "show", *SMALL, "--top", "99") if t["outcome"] == "ok"]
        helion = {key: tried[0][key] for key in ["block_sizes", "num_warps", "num_stages", "pid_type", "loop_orders"]}
        helion["indexing"] = ["pointer", "pointer"]
        words = ["--seed-config", json.dumps(tried[-1]), "--seed-config", json.dumps(helion)]
        for strategy in ["bayesian", "portfolio", "pattern", "random"]:
            with self.subTest(strategy=strategy):
                self.tune("--max-trials", "2", *words, "--strategy", strategy, "--db", f"{strategy}.db")
                first = self.json("cache", "show", *SMALL, "--db", f"{strategy}.db")
                self.assertIn(tried[-1], [trial["config"] for trial in first])
                self.assertTrue(any(t["config"]["num_warps"] == helion["num_warps"] for t in first))

    def test_a_wrong_seed_config_is_told_before_any_work(self):
        for text, message in [("{]", "is not JSON"), ('{"num_warps": "x"}', "/num_warps"), ('{"num_wraps": 4}', "num_wraps")]:
            with self.subTest(text=text):
                line = self.error("tune", *SMALL, "--seed-config", text, code=USAGE)
                self.assertIn("--seed-config", line)
                self.assertIn(message, line)

    def test_restriction_holds_for_all_trials(self):
        self.tune("--restrict", "num_stages=1", "--max-trials", "40")
        for trial in self.json("cache", "show", *SMALL, "--top", "99"):
            self.assertEqual(trial["config"]["num_stages"], 1)

    def test_time_limit_ends_the_search(self):
        self.own_cubins()
        words = ["--strategy", "random", "--max-trials", "40", "--max-seconds", "1.5", "--threads", "1", "--json"]
        process = self.start("tune", *SMALL, *words)
        out, err = process.communicate(timeout=120)
        # On a busy machine not even the first compile is done by then: that is a failure told in one line.
        self.assertIn(process.returncode, [0, FAILED], err)
        self.assertLess(json.loads(out)["trials"], 40)

    def test_ctrl_c_keeps_everything_and_the_same_command_resumes(self):
        process = self.start_slow()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertIn("the same command resumes", err.splitlines()[-1])
        kept = self.trials()
        self.assertGreaterEqual(kept, 2)
        self.assertLess(kept, 30)
        self.shared_cubins()
        result = self.json(*self.slow)
        self.assertGreaterEqual(result["resumed"], kept)
        self.assertEqual(result["trials"], 30)
        self.assertEqual(self.trials(), 30)

    def test_sigkill_loses_nothing_and_the_same_command_resumes(self):
        process = self.start_slow()
        kept = self.trials()
        process.kill()
        process.communicate()
        self.shared_cubins()
        result = self.json(*self.slow)
        self.assertGreaterEqual(result["resumed"], kept)
        self.assertEqual(self.trials(), 30)

    def test_ctrl_c_with_json_is_still_one_document(self):
        process = self.start_slow("--json")
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=120)
        self.assertTrue(json.loads(out)["interrupted"])

    def test_two_at_once_share_one_database(self):
        processes = [
            self.start("tune", *SMALL, "--strategy", "random", "--seed", seed, "--max-trials", "10")
            for seed in ["1", "2"]
        ]
        for process in processes:
            _, err = process.communicate(timeout=240)
            self.assertEqual(process.returncode, 0, err)

    def test_lookup_from_another_process(self):
        tuned = self.tune()
        found = self.json("lookup", *SMALL)
        self.assertEqual(found["provenance"], "exact")
        self.assertEqual(found["config"], tuned["config"])
        near = self.json("lookup", "--shape", "1,2,160,64", "--arch", "sm_90a", "--gpu-name", "Synthetic H100")
        self.assertEqual(near["provenance"], "near")
        other = self.json("lookup", "--shape", "1,2,128,96", "--arch", "sm_90a")
        self.assertEqual(other["provenance"], "default")
        self.assertTrue(other["reason"])

    def test_lookup_without_a_database(self):
        found = self.json("lookup", *SMALL)
        self.assertEqual(found["provenance"], "default")
        self.assertFalse(self.database.exists())

    def test_seconds_and_store_are_told(self):
        result = self.tune()
        self.assertGreater(result["seconds"], 0)
        self.assertEqual(result["database"], str(self.database))
        self.assertGreater(result["tflops"], 0)


if __name__ == "__main__":
    main()
