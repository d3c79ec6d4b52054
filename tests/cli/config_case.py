"""Configs as JSON, right and wrong, through compile and space."""

import json

from attune_case import FAILED, SMALL, USAGE, AttuneCase, main

# The portable template, whose axes the tests name: the first choice for sm_90a is the Hopper one.
ARCH = ["--arch", "sm_90a", "--template", "portable"]


class Config(AttuneCase):
    def setUp(self):
        super().setUp()
        self.output = self.folder / "a.cubin"

    def compile_error(self, config, code=USAGE):
        text = config if isinstance(config, str) else json.dumps(config)
        line = self.error("compile", *SMALL, *ARCH, "--config", text, "-o", self.output, code=code)
        self.assertFalse(self.output.exists())
        return line

    def default_config(self):
        return self.json("compile", *SMALL, *ARCH, "-o", self.output)["config"]

    def test_default_compiles_and_reports(self):
        report = self.json("compile", *SMALL, *ARCH, "--config", "default", "-o", self.output)
        self.assertTrue(self.output.read_bytes().startswith(b"\x7fELF"))
        self.assertEqual(report["outcome"], "ok")
        self.assertGreater(report["registers"], 16)
        self.assertEqual(report["cubin_bytes"], self.output.stat().st_size)
        self.assertEqual(len(report["launch"]["grid"]), 3)

    def test_report_for_people(self):
        out, _ = self.attune("compile", *SMALL, *ARCH, "-o", self.output)
        for word in ["registers", "spills", "smem", "launch", "warnings"]:
            self.assertIn(word, out)

    def test_every_arch_compiles(self):
        for arch in ["sm_80", "sm_86", "sm_89", "sm_100a", "sm_120a"]:
            with self.subTest(arch=arch):
                report = self.json("compile", *SMALL, "--arch", arch, "-o", self.output)
                self.assertEqual(report["arch"], arch)

    def test_a_compile_comes_from_the_store_the_second_time(self):
        self.json("compile", *SMALL, *ARCH, "-o", self.output)
        self.assertTrue(self.json("compile", *SMALL, *ARCH, "-o", self.output)["from_store"])

    def test_config_from_a_file(self):
        config = self.default_config()
        (self.folder / "config.json").write_text(json.dumps(config))
        report = self.json("compile", *SMALL, *ARCH, "--config", "@config.json", "-o", self.output)
        self.assertEqual(report["config"], config)

    def test_what_is_not_json(self):
        self.assertIn("not JSON", self.compile_error("{block_m: 64"))

    def test_file_that_is_not_there(self):
        self.assertIn("missing.json", self.compile_error("@missing.json"))

    def test_wrong_type(self):
        config = self.default_config()
        self.output.unlink()
        config["num_warps"] = "four"
        self.assertIn("num_warps", self.compile_error(config))

    def test_not_an_object(self):
        self.compile_error("[1, 2, 3]")

    def test_unknown_key(self):
        config = self.default_config()
        self.output.unlink()
        config["num_wraps"] = 4
        self.assertIn("num_wraps", self.compile_error(config))

    def test_missing_key(self):
        config = self.default_config()
        self.output.unlink()
        del config["num_warps"]
        self.assertIn("num_warps", self.compile_error(config))

    def test_illegal_value(self):
        config = self.default_config()
        self.output.unlink()
        config["num_warps"] = 5
        self.assertIn("5", self.compile_error(config))

    def test_broken_rule_says_why(self):
        config = self.default_config()
        self.output.unlink()
        config["block_sizes"][1] = 16
        config["num_warps"] = 16
        self.compile_error(config)

    def test_space_judges_a_config(self):
        config = self.default_config()
        self.assertTrue(self.json("space", *SMALL, *ARCH, "--config", json.dumps(config))["legal"])
        config["num_warps"] = 5
        answer = self.json("space", *SMALL, *ARCH, "--config", json.dumps(config), code=FAILED)
        self.assertFalse(answer["legal"])
        self.assertIn("5", answer["reason"])

    def test_space_counts_add_up(self):
        space = self.json("space", *SMALL, *ARCH)
        self.assertGreater(space["legal"], 0)
        self.assertEqual(space["legal"] + sum(row["count"] for row in space["rejected"]), space["combinations"])
        for axis in space["axes"]:
            self.assertTrue(axis["help"] and axis["values"], axis)

    def test_restriction_narrows_the_space(self):
        whole = self.json("space", *SMALL, *ARCH)
        part = self.json("space", *SMALL, *ARCH, "--restrict", "num_warps=4")
        self.assertLess(part["legal"], whole["legal"])

    def test_output_that_cannot_be_written(self):
        line = self.error("compile", *SMALL, *ARCH, "-o", self.folder / "no/such/a.cubin", code=FAILED)
        self.assertIn("No such file", line)


if __name__ == "__main__":
    main()
