#!/usr/bin/env python3
"""bench/peers_report.py on runs whose answers are known, and bench/fa3_api.py against a library that is not
FlashAttention's but has its interface. peers_report_test.py ROOT FAKE_FA3_LIBRARY"""

import ctypes
import json
import os
import subprocess
import sys
import unittest

ROOT, FAKE_FA3 = sys.argv[1:3]
sys.path.insert(0, os.path.join(ROOT, "bench"))
import fa3_api
import peers_report

RECORDED = {"about": "FA3, once.", "made_by": "somebody", "median_us": {"Small@512": 9.0, "Small@1024": 45.0}}


def row(name, recorded=None, **times):
    entries = {peer: {"median_us": us, "tflops": 100.0, "relative_error": 2e-3} if us else {"na": "refused"}
               for peer, us in times.items()}
    result = {"name": name, "q_heads": 14, "kv_heads": 2, "head_dim": 64, "peers": entries,
              "attune": {"provenance": "exact"}}
    result["ratios"] = peers_report.ratios(result, recorded)
    return result


def report(rows, recorded=None, fa3=""):
    environment = {"gpu": "A GPU", "driver": "1", "torch": "2", "cudnn": 9, "attune": "0", "fa3": fa3,
                   "utc": "2026-01-02T03:04:05Z"}
    return {"environment": environment, "commit": "abcdef0", "command": "peers", "method": "Somehow.",
            "recorded": recorded, "summary": peers_report.summarize(rows), "rows": rows}


def table(text):
    """The cells of each line of a Markdown text's table, the head first, as dicts by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


class LiveFlashAttention3(unittest.TestCase):

    def setUp(self):
        self.rows = [row("Small@512", attune=10.0, sdpa=15.0, flash=30.0, cudnn=16.0, fa3=12.0),
                     row("Small@1024", attune=50.0, sdpa=75.0, flash=90.0, cudnn=70.0, fa3=48.0)]
        self.report = report(self.rows, fa3="FlashAttention-3 at 1234, nvcc 13")

    def test_is_a_column_with_its_ratio(self):
        lines = table(peers_report.markdown(self.report))
        self.assertEqual([line["FlashAttention-3"] for line in lines], ["12.0 (100)", "48.0 (100)"])
        self.assertEqual([line["vs FA3"] for line in lines], ["1.20", "0.96"])

    def test_counts_as_the_best_peer(self):
        lines = table(peers_report.markdown(self.report))
        self.assertEqual([line["vs best"] for line in lines], ["1.20", "0.96"])
        self.assertEqual(self.report["summary"]["min"]["best"], {"ratio": 0.96, "row": "Small@1024"})
        self.assertEqual(self.report["summary"]["geomean"]["fa3"], {"ratio": round((1.2 * 0.96)**0.5, 4), "rows": 2})

    def test_leaves_nothing_recorded_and_says_what_it_is(self):
        text = peers_report.markdown(self.report)
        self.assertNotIn("recorded", text)
        self.assertIn("FlashAttention-3 at 1234, nvcc 13", text)

    def test_short_table_says_that_it_was_the_same_run(self):
        text = peers_report.short_table(self.report)
        self.assertIn("FlashAttention-3, timed in the same run: 1.07x, lowest 0.96x, below 1 on 1 row.", text)

    def test_a_refusal_is_a_note_and_no_ratio(self):
        rows = [self.rows[0], row("Small@1024", attune=50.0, sdpa=75.0, flash=90.0, cudnn=70.0, fa3=None)]
        text = peers_report.markdown(report(rows))
        self.assertEqual([line["FlashAttention-3"] for line in table(text)], ["12.0 (100)", "n/a"])
        self.assertEqual([line["vs best"] for line in table(text)], ["1.20", "1.40"])
        self.assertIn("- Small@1024, FlashAttention-3: refused", text)


class RecordedFlashAttention3(unittest.TestCase):

    def setUp(self):
        times = RECORDED["median_us"]
        self.rows = [row("Small@512", times["Small@512"], attune=10.0, sdpa=15.0, flash=30.0, cudnn=16.0),
                     row("Small@1024", times["Small@1024"], attune=50.0, sdpa=75.0, flash=90.0, cudnn=70.0)]

    def test_stands_beside_and_is_not_of_this_run_s_best(self):
        lines = table(peers_report.markdown(report(self.rows, RECORDED)))
        self.assertEqual([line["FA3 recorded"] for line in lines], ["9.0", "45.0"])
        self.assertEqual([line["vs best"] for line in lines], ["1.50", "1.40"])
        self.assertEqual([line["vs best incl. FA3"] for line in lines], ["0.90", "0.90"])
        self.assertNotIn("FlashAttention-3", lines[0])

    def test_short_table_says_that_it_was_another_run(self):
        text = peers_report.short_table(report(self.rows, RECORDED))
        self.assertIn("timed in another run on such a GPU: 0.90x, lowest 0.90x, below 1 on 2 rows.", text)

    def test_without_either_there_is_no_word_of_it(self):
        rows = [row("Small@512", attune=10.0, sdpa=15.0, flash=30.0, cudnn=16.0)]
        text = peers_report.markdown(report(rows)) + peers_report.short_table(report(rows))
        self.assertNotIn("FA3", text)
        self.assertNotIn("FlashAttention-3", text)


class CommittedResults(unittest.TestCase):

    def test_their_markdown_is_that_of_their_json(self):
        for name in ("peers_h100", "portable_peers_h100"):
            path = os.path.join(ROOT, "bench", "results", name)
            with open(path + ".json") as file:
                written = json.load(file)
            with open(path + ".md") as file:
                self.assertEqual(peers_report.markdown(written), file.read())


class Tensor:
    """As much of a torch.Tensor as the launcher asks for."""

    def __init__(self, address, shape, strides):
        self.address, self.shape, self.strides = address, shape, strides

    def data_ptr(self):
        return self.address

    def stride(self):
        return self.strides


class LauncherOfFlashAttention3(unittest.TestCase):

    def launch(self, head_dim=64, stream=77):
        """The call as C code saw it."""
        seen = (ctypes.c_double * 32)()
        q = Tensor(1000, (2, 14, 512, head_dim), (11, 12, 13, 1))
        k, v = (Tensor(at, (2, 7, 640, head_dim), (at + 1, at + 2, at + 3, 1)) for at in (2000, 3000))
        o = Tensor(4000, q.shape, (41, 42, 43, 1))
        library = fa3_api.Library(FAKE_FA3)
        lse, semaphore = Tensor(ctypes.addressof(seen), None, None), Tensor(5000, None, None)
        library.launcher(q, k, v, o, lse, semaphore, True, 0.125)(stream)
        return list(seen)

    def test_hands_over_every_field(self):
        self.assertEqual(self.launch()[:27], [1000, 11, 12, 13, 2000, 2001, 2002, 2003, 3000, 3001, 3002, 3003,
                                              4000, 41, 42, 43, 5000, 2, 14, 7, 512, 640, 64, 1, 0.125, 77, 0])

    def test_a_refusal_is_an_error_with_its_text(self):
        with self.assertRaisesRegex(fa3_api.Fa3Error, "head_dim must be at most 128"):
            self.launch(head_dim=256)

    def test_says_what_it_was_built_from(self):
        self.assertEqual(fa3_api.Library(FAKE_FA3).about(), "a fake")


class Command(unittest.TestCase):

    def test_a_missing_library_is_said_before_anything_runs(self):
        command = [sys.executable, os.path.join(ROOT, "bench", "peers.py"), "--lib", FAKE_FA3, "--fa3", "/no/such.so"]
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("no library at /no/such.so: build it with bench/fa3/build.sh", run.stderr)

    def test_build_says_what_is_missing(self):
        script = os.path.join(ROOT, "bench", "fa3", "build.sh")
        for arguments, text in (([], "which checkout of flash-attention?"), (["/no/such"], "in /no/such")):
            run = subprocess.run(["bash", script, *arguments], capture_output=True, text=True)
            self.assertEqual(run.returncode, 1)
            self.assertIn(text, run.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
