"""attune sweep over recordings: the report, the pack, resuming after every kind of end, shards and merging."""

import json
import resource
import signal
import sqlite3
import time

from attune_case import FAILED, NO_GPU, OK, SMALL, USAGE, AttuneCase, main

SHAPES = [
    {"name": "small", "batch": 1, "q_heads": 2, "seq": 128, "head_dim": 64},  # synthetic-small
    {"batch": 4, "q_heads": 32, "seq": 4096, "head_dim": 128},  # synthetic-dense
    {"name": "unrecorded", "q_heads": 2, "seq": 64, "head_dim": 64},
]
SMALL_SHAPE = {"batch": 1, "q_heads": 2, "kv_heads": 2, "q_len": 128, "kv_len": 128, "head_dim": 64, "dtype": "bf16",
               "mask": "none", "layout": "bhsd", "lse": False}


class Sweep(AttuneCase):
    def setUp(self):
        super().setUp()
        (self.folder / "shapes.json").write_text(json.dumps(SHAPES))
        self.words = ["sweep", "shapes.json", "--strategy", "random", "--max-trials", "9"]

    def trials(self, database=None):
        try:
            connection = sqlite3.connect(f"file:{database or self.database}?mode=ro", uri=True, timeout=5)
            try:
                return connection.execute("SELECT count(*) FROM trials").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.OperationalError:  # not there, or the tables are being made
            return 0

    def start_slow(self):
        """A sweep that has enough to compile to be caught in the middle: one thread, no cubins."""
        self.own_cubins()
        self.slow = ["sweep", "shapes.json", "--strategy", "random", "--max-trials", "14", "--threads", "1"]
        process = self.start(*self.slow)
        deadline = time.monotonic() + 120
        while self.trials() < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIsNone(process.poll(), "it ended before it could be stopped")
        return process

    def expect_nothing_twice(self):
        connection = sqlite3.connect(self.database)
        pairs = connection.execute("SELECT shape_id, config_hash FROM trials").fetchall()
        connection.close()
        self.assertEqual(len(pairs), len(set(pairs)), "something was measured twice")

    def test_every_recorded_shape_is_tuned_and_the_rest_is_named(self):
        result = self.json(*self.words)
        rows = {row["name"]: row for row in result["rows"]}
        self.assertEqual(set(rows), {"small", "b4 h32/32 s4096x4096 d128 bf16 bhsd"})
        for row in rows.values():
            self.assertEqual(row["trials"], 9)
            passed = [t["timing"]["median_us"] for t in self.json("cache", "show", "--shape",
                      "{batch},{q_heads},{q_len},{head_dim}".format(**row["shape"]), "--top", "99") if t["outcome"] == "ok"]
            self.assertEqual(row["best"]["timing"]["median_us"], min(passed))
        self.assertTrue(result["replayed"])
        self.assertEqual(len(result["left_out"]), 1)
        self.assertIn("unrecorded", result["left_out"][0])
        self.expect_nothing_twice()

    def test_report_has_the_tables_and_says_that_it_is_a_replay(self):
        models = {"models": [{"name": "Tiny", "layers": 2, "q_heads": 2, "kv_heads": 2, "head_dim": 64}],
                  "model_sequence_lengths": [128], "model_causal": False, "dense": [SHAPES[1]]}
        (self.folder / "models.json").write_text(json.dumps(models))
        out, err = self.attune("sweep", "models.json", "--strategy", "random", "--max-trials", "9", "--report", "r.md")
        self.assertIn("REPLAY", err)
        report = (self.folder / "r.md").read_text()
        for part in ["REPLAYED", "### Tiny", "- **Layers:** 2", "Summary Table", "| Tiny |", "By Sequence Length",
                     "By Head Dimension", "## Methodology", "`attune sweep models.json", "dense[4,32,4096,128]"]:
            self.assertIn(part, report)
        shown = self.json(*["cache", "show", *SMALL, "--top", "1"])[0]
        self.assertIn(f"| 128 | {shown['timing']['median_us']:.1f} |", report)
        self.assertIn("2 of 2 shapes", out)

    def test_baseline_of_pytorch(self):
        peers = {"environment": {"gpu": "G", "torch": "2", "utc": "now"}, "command": "peers", "rows": [
            {"batch": 1, "q_heads": 2, "kv_heads": 2, "seq": 128, "head_dim": 64, "causal": False,
             "peers": {"sdpa": {"median_us": 5000.0}}}]}
        (self.folder / "peers.json").write_text(json.dumps(peers))
        result = self.json(*self.words, "--baseline", "peers.json")
        row = next(row for row in result["rows"] if row["name"] == "small")
        self.assertAlmostEqual(row["speedup"], 5000.0 / row["best"]["timing"]["median_us"])
        (self.folder / "peers.json").write_text("{}")
        self.assertIn("peers.py", self.error(*self.words, "--baseline", "peers.json", code=USAGE))

    def test_the_same_command_again_measures_nothing(self):
        first = self.json(*self.words)
        again = self.json(*self.words, "--resume")
        self.assertEqual(again["trials"], 0)
        self.assertEqual(again["stored"], first["trials"])
        self.assertEqual(again["rows"], first["rows"])
        more = self.json("sweep", "shapes.json", "--strategy", "random", "--max-trials", "12")
        self.assertEqual(more["trials"], 6)
        self.expect_nothing_twice()

    def test_resume_of_nothing_is_refused(self):
        self.assertIn("there is no database", self.error(*self.words, "--resume", code=FAILED))
        self.assertFalse(self.database.exists())
        self.tune("--max-trials", "2")
        self.attune("sweep", "shapes.json", "--resume", "--max-trials", "3")  # a tune's trials are a sweep's too

    def test_sigkill_twice_loses_nothing(self):
        for _ in range(2):
            process = self.start_slow()
            time.sleep(0.3)  # the second time there are trials at once
            process.kill()
            process.communicate()
        kept = self.trials()
        self.shared_cubins()
        result = self.json(*self.slow)
        self.assertEqual(result["stored"], kept)
        self.assertEqual(self.trials(), 28)
        self.expect_nothing_twice()

    def test_ctrl_c_says_that_the_same_command_goes_on(self):
        process = self.start_slow()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertIn("the same command goes on", err.splitlines()[-1])
        self.shared_cubins()
        self.assertEqual(self.json(*self.slow)["interrupted"], False)
        self.expect_nothing_twice()

    def test_full_disk_in_the_middle(self):
        self.tune("--max-trials", "2")
        size = self.database.stat().st_size

        def nearly_full():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40960, size + 40960))

        _, err = self.attune(*self.words[:-2], "--max-trials", "60", code=FAILED, preexec_fn=nearly_full,
                             restore_signals=False)
        last = err.splitlines()[-1]
        self.assertTrue(last.startswith("attune: the sweep stopped: "), err)
        kept = self.trials()
        self.assertGreaterEqual(kept, 2)
        self.assertEqual(self.json(*self.words)["stored"], kept)  # room again: nothing was lost

    def test_database_deleted_while_running(self):
        process = self.start_slow()
        self.database.unlink()
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, FAILED, err)
        self.assertIn("deleted", err.splitlines()[-1])

    def test_two_sweeps_on_one_database(self):
        processes = [self.start(*self.words, "--seed", seed) for seed in ["1", "2"]]
        for process in processes:
            _, err = process.communicate(timeout=240)
            self.assertEqual(process.returncode, OK, err)
        result = self.json(*self.words)
        self.assertEqual(result["trials"], 0)
        self.assertTrue(all(row["best"] for row in result["rows"]))

    def test_shards_are_merged(self):
        for i in ["1", "2"]:
            self.attune(*self.words, "--shard", f"{i}/2", "--db", f"shard{i}.db")
        out, _ = self.attune("cache", "merge", "shard1.db", "shard2.db", "--db", "all.db")
        self.assertIn("18 trials added", out)
        out, _ = self.attune("cache", "merge", "shard1.db", "shard2.db", "--db", "all.db")
        self.assertIn("0 trials added", out)
        merged = self.json(*self.words, "--db", "all.db")
        self.assertEqual(merged["trials"], 0)
        self.assertEqual(len(merged["rows"]), 2)
        self.assertIn("there is no file", self.error("cache", "merge", "none.db", "--db", "all.db", code=FAILED))

    def test_a_pack_is_made_and_serves_without_the_database(self):
        result = self.json(*self.words, "--pack", "mine.pack.jsonl")
        self.env["ATTUNE_DB"] = str(self.folder / "empty.db")
        self.assertEqual(self.json("lookup", *SMALL)["provenance"], "default")
        self.env["ATTUNE_PACKS"] = str(self.folder / "mine.pack.jsonl")
        found = self.json("lookup", *SMALL)
        self.assertEqual((found["provenance"], found["pack"]), ("exact", "mine"))
        best = next(row for row in result["rows"] if row["name"] == "small")["best"]
        self.assertEqual(found["config"], best["config"])
        self.assertIn("from the pack mine", self.attune("lookup", *SMALL)[0])
        self.attune("pack", "verify", "mine.pack.jsonl", "--compile")
        self.assertIn("REPLAYED", self.attune("pack", "show", "mine")[0])

    def test_wanted_shapes_are_swept(self):
        self.assertIn("there is no database", self.error("sweep", "--wanted", code=FAILED))
        self.tune("--max-trials", "1")
        self.assertIn("nothing is wanted", self.error("sweep", "--wanted", code=FAILED))
        connection = sqlite3.connect(self.database)
        connection.execute("INSERT INTO wanted VALUES (?, 'Synthetic H100', 'sm_90a', 'x', 7, 'a', 'b')",
                           (json.dumps(SMALL_SHAPE, sort_keys=True, separators=(",", ":")),))
        connection.commit()
        connection.close()
        self.assertEqual(self.json("cache", "wanted")[0]["count"], 7)
        result = self.json("sweep", "--wanted", "--strategy", "random", "--max-trials", "6")
        self.assertEqual([row["shape"] for row in result["rows"]], [SMALL_SHAPE])
        self.assertEqual(result["rows"][0]["trials"], 6)

    def test_what_makes_no_sense_is_refused_in_one_line(self):
        (self.folder / "bad.json").write_text('[{"q_heads": 2}]')
        (self.folder / "none.json").write_text('[{"q_heads": 2, "seq": 96, "head_dim": 64}]')
        for words, code, says in [
            (["sweep"], USAGE, "--wanted"),
            (["sweep", "bad.json"], USAGE, "missing"),
            (["sweep", "nowhere.json"], USAGE, "nowhere.json"),
            (["sweep", "none.json"], FAILED, "no recording of it"),
            ([*self.words, "--shard", "3/2"], USAGE, "--shard"),
            ([*self.words, "--templates", "tensor"], USAGE, "portable"),
            (["sweep", "shapes.json", "--strategy", "luck"], USAGE, "luck"),
            ([*self.words, "--gpus", "0,1"], NO_GPU, "no usable GPU"),
            ([*self.words, "--gpus", "0;1"], NO_GPU, "--gpus"),
            ([*self.words, "--require-gpu"], NO_GPU, "--require-gpu"),
            (["sweep", "shapes.json", "--templates", "hopper"], FAILED, "no recording of it"),
        ]:
            with self.subTest(words=words):
                self.assertIn(says, self.error(*words, code=code))

    def test_a_named_recording_is_its_shape_alone(self):
        result = self.json(*self.words, "--device", "recorded:synthetic-small")
        self.assertEqual([row["name"] for row in result["rows"]], ["small"])


if __name__ == "__main__":
    main()
