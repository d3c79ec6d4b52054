"""attune strategies: scores of recorded spaces, other tuners' files, and seeds of a search."""

import json
import os
import pathlib
import signal
import xml.etree.ElementTree as ElementTree

from attune_case import FAILED, USAGE, AttuneCase, main

FIXTURES = pathlib.Path(os.environ["ATTUNE_SOURCE_DIR"]) / "tests/autotuner/fixtures/kernel_tuner"
SVG = "{http://www.w3.org/2000/svg}"


class Strategies(AttuneCase):
    def score(self, *words):
        defaults = {"--strategies": "random,anneal", "--recordings": "synthetic-small", "--seeds": "5", "--max-trials": "40"}
        missing = [word for flag, value in defaults.items() if flag not in words for word in (flag, value)]
        return self.attune("strategies", "score", *words, *missing)

    def test_list_names_every_strategy_and_one_default(self):
        listed = self.json("strategies", "list")
        out, _ = self.attune("strategies", "list")
        tune_help, _ = self.attune("tune", "--help")
        self.assertEqual(len([s for s in listed if s["default"]]), 1)
        for strategy in listed:
            self.assertIn(strategy["strategy"], out)
            self.assertIn(f"{strategy['strategy']}: ", tune_help)
            if strategy["strategy"] != "llm":  # has nobody to ask here (llm_case.py)
                self.tune("--strategy", strategy["strategy"], "--max-trials", "4")

    def test_score_as_table_json_and_plot(self):
        out, err = self.score("--json", "s.json", "--plot", "s.svg")
        self.assertIn("searches", err)
        for word in ["random", "anneal", "synthetic-small", "mean of 1", "gap 60"]:
            self.assertIn(word, out)
        scores = json.loads((self.folder / "s.json").read_text())
        self.assertEqual([s["strategy"] for s in scores["scores"]], ["random", "anneal"])
        self.assertEqual(scores["seeds"], 5)
        for score in scores["scores"]:
            for key in ["curve", "median", "lower_quartile", "upper_quartile"]:
                self.assertEqual(len(score[key]), 40)
            self.assertGreaterEqual(score["median"][0], score["median"][-1])
        root = ElementTree.parse(self.folder / "s.svg").getroot()
        lines = [path for path in root.iter(f"{SVG}path") if path.get("class") == "line" and "h22" not in path.get("d")]
        self.assertEqual(len(lines), 2)

    def test_json_on_stdout_is_one_document(self):
        out, _ = self.score("--json", "-")
        self.assertEqual(len(json.loads(out)["scores"]), 2)

    def test_same_scores_each_time(self):
        first, second = (json.loads(self.score("--json", "-", "--threads", n)[0]) for n in ["1", "3"])
        for scores in [first, second]:
            for score in scores["scores"] + scores["means"]:
                del score["own_us"]
        self.assertEqual(first, second)

    def test_kernel_tuners_own_files_are_scored(self):
        for file in ["cache.json", "t4.json"]:
            with self.subTest(file=file):
                spaces = self.json("strategies", "spaces", "--recordings", FIXTURES / file)
                self.assertEqual((spaces[0]["configs"], spaces[0]["failed"]), (24, 4))
                out, _ = self.score("--recordings", FIXTURES / file, "--strategies", "random,bayesian")
                self.assertIn(file.removesuffix(".json"), out)

    def test_what_is_exported_is_scored_the_same(self):
        ours = self.json("strategies", "spaces", "--recordings", "synthetic-small")[0]
        for form in ["kernel-tuner", "t4"]:
            with self.subTest(form=form):
                self.attune("strategies", "export", "--recording", "synthetic-small", "--format", form, "--file", "x.json")
                back = self.json("strategies", "spaces", "--recordings", "x.json")[0]
                for key in ["configs", "failed", "within_1_percent", "within_3_percent"]:
                    self.assertEqual(back[key], ours[key])
                self.assertAlmostEqual(back["fastest_us"], ours["fastest_us"], places=6)
                self.score("--recordings", "x.json")

    def test_errors_say_what_and_what_to_do(self):
        (self.folder / "bad.json").write_text("{]")
        cases = [
            (["score", "--strategies", "magic"], "--strategies: unknown strategy 'magic': there are bayesian"),
            (["score", "--recordings", "nothing"], "there is no recording 'nothing'; there are"),
            (["score", "--recordings", "missing.json"], "missing.json"),
            (["score", "--recordings", "bad.json"], "bad.json: bad is no JSON"),
        ]
        for words, message in cases:
            with self.subTest(words=words):
                self.assertIn(message, self.error("strategies", *words, code=USAGE))

    def test_ctrl_c_ends_a_score_in_one_line(self):
        process = self.start("strategies", "score", "--strategies", "bayesian", "--seeds", "5000")
        while "searches" not in process.stderr.readline():
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, FAILED)
        self.assertIn("interrupted after", err.splitlines()[-1])


if __name__ == "__main__":
    main()
