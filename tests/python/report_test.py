#!/usr/bin/env python3
"""The ten-model report's arithmetic and form, from rows whose answers are known. report_test.py ROOT"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(sys.argv[1], "examples"))
import transformers_report


def row(model, length, speedup, possible, **changes):
    """Attention alone becomes 1.5 times as fast, of which the model could save what makes it `possible`; back to back it
    becomes twice as fast."""
    pair = {"error": 2e-3, "agreement": 0.99}
    ms = {"sdpa": 10 * speedup, "flash": 20.0, "attune": 10.0}
    saved_us = 1000 * ms["sdpa"] * (1 - 1 / possible) / 2  # a layer
    return {"model": model, "length": length, "layers": 2, "speedup": speedup, "speedup_flash": 2.0, "ms": ms,
            "operator_us": {"sdpa": 3 * saved_us, "flash": 60.0, "attune": 2 * saved_us},
            "operator_back_to_back_us": {"sdpa": 3 * saved_us, "flash": 60.0, "attune": 1.5 * saved_us},
            "provenance": "exact", "template": "hopper",
            "correctness": {"attune_fp32": pair, "sdpa_fp32": pair, "attune_sdpa": pair}, **changes}


def document(rows, **changes):
    model = {"q_heads": 14, "kv_heads": 2, "embed_dim": 896, "mlp_hidden": 4864}
    environment = {"gpu": "A GPU", "driver": "1", "torch": "2", "cuda": "13", "cudnn": 9, "transformers": "5",
                   "attune": "0", "python": "3", "rounds": 9, "layers": None, "generated": "today"}
    return {"environment": environment, "rows": rows, "failed": [],
            "models": [{"name": "Small", "head_dim": 64, **model}, {"name": "Large", "head_dim": 128, **model}], **changes}


class Report(unittest.TestCase):

    def setUp(self):
        self.rows = [row("Small", 512, 1.0, 1.25), row("Small", 1024, 1.21, 1.25), row("Large", 512, 1.44, 1.5)]

    def test_has_the_parts_of_the_form(self):
        text = transformers_report.report(document(self.rows))
        for heading in ("## Executive Summary", "### Key Results", "## Detailed Results by Model", "### Small",
                        "## Summary Table: All Models and Sequence Lengths", "### By Sequence Length",
                        "### By Head Dimension", "## Methodology", "## Correctness"):
            self.assertIn(heading + "\n", text)
        self.assertIn("**Query Heads:** 14, **KV Heads:** 2", text)

    def test_means_are_geometric(self):
        text = transformers_report.report(document(self.rows))
        self.assertIn("| Small | 1.00x | **1.21x** | 1.10x |", text)
        self.assertIn("| Large | **1.44x** | - | 1.44x |", text)
        self.assertIn("| 512 | 1.20x | 1.00x | 1.44x |", text)
        self.assertIn("| 64 | 1.10x | Small |", text)
        self.assertIn("| **Average speedup** (geometric mean) | **1.20x** |", text)

    def test_a_gain_is_the_share_of_the_saving(self):
        self.assertAlmostEqual(transformers_report.captured(row("Small", 512, 1.25, 1.25)), 1)
        self.assertAlmostEqual(transformers_report.captured(row("Small", 512, 1.0, 1.25)), 0)
        self.assertAlmostEqual(transformers_report.captured(row("Small", 512, 1 / 0.9, 1.25)), 0.5)
        self.assertIsNone(transformers_report.captured(row("Small", 512, 1.0, 1.0)))

    def test_says_what_the_gain_is_against_attention_back_to_back(self):
        text = transformers_report.report(document([row("Small", 512, 1 / 0.8, 1 / 0.8)]))
        self.assertIn("The models save 100% of what attention alone suggests (median; lowest 100%; 67% where", text)
        self.assertIn("| 60% | 1.25x | 100% |", text)

    def test_the_committed_reports_are_of_the_committed_measurements(self):
        for name in ("ten_models_h100", "ten_models_compiled_h100"):
            path = os.path.join(sys.argv[1], "bench", "results", name)
            with open(path + ".json") as measured, open(path + ".md") as written:
                self.assertEqual(transformers_report.report(json.load(measured)), written.read(), name)

    def test_a_slower_row_is_named(self):
        self.assertIn("3 of 3 rows are at least as fast", transformers_report.report(document(self.rows)))
        text = transformers_report.report(document([*self.rows, row("Large", 1024, 0.97, 1.1)]))
        self.assertIn("3 of 4 rows are at least as fast as PyTorch's default; slower: Large @ 1024.", text)
        self.assertIn("0.970x (Large @ seq=1024)", text)

    def test_trial_runs_and_failures_are_said(self):
        made = document(self.rows, failed=[{"model": "Large", "error": "no memory"}])
        made["environment"]["layers"] = 2
        text = transformers_report.report(made)
        self.assertIn("A trial run with 2 layers", text)
        self.assertIn("**Large failed:** no memory", text)
        self.assertIn("No row was measured", transformers_report.report(document([], failed=made["failed"])))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
