"""What is written is run: the examples of every --help, and the marked blocks of the README."""

import json
import os
import pathlib
import re
import shlex
import sqlite3

from attune_case import AttuneCase, main

ROOT = pathlib.Path(os.environ["ATTUNE_SOURCE_DIR"])
COMMANDS = ["tune", "sweep", "lookup", "compile", "space", "cache", "pack", "report", "strategies", "doctor"]
# In README.md a block between ``` lines after this mark is run; lines that start with "./dev tune" run as
# "attune tune", since the test has a build already.
MARK = re.compile(r"<!-- tested -->\n```[a-z]*\n(.*?)```", re.S)


def commands_in(text):
    for line in text.splitlines():
        line = re.sub(r"^\s*(\$ )?", "", line)
        line = re.sub(r"^\./dev tune", "attune tune", line)
        if line.startswith("attune "):
            yield shlex.split(line, comments=True)[1:]


class Docs(AttuneCase):
    def want(self, shape):
        """As if a program had asked for it."""
        batch, heads, length, head_dim = map(int, shape.split(","))
        asked = {"batch": batch, "q_heads": heads, "kv_heads": heads, "q_len": length, "kv_len": length,
                 "head_dim": head_dim, "dtype": "bf16", "mask": "none", "layout": "bhsd", "lse": False}
        self.tune("--max-trials", "1")  # makes the database
        connection = sqlite3.connect(self.database)
        connection.execute("INSERT INTO wanted VALUES (?, 'Synthetic H100', 'sm_90a', 'test', 1, 'a', 'a')",
                           (json.dumps(asked, sort_keys=True, separators=(",", ":")),))
        connection.commit()
        connection.close()

    def test_help_lists_every_command_and_hides_the_worker(self):
        out, _ = self.attune("--help")
        for command in COMMANDS:
            self.assertIn(f"  {command} ", out)
        self.assertNotIn("worker", out)

    def test_examples_of_help_run_as_shown(self):
        (self.folder / "bench").symlink_to(ROOT / "bench")  # examples are run from the project's folder
        self.want("1,2,128,64")
        for command in COMMANDS:
            out, _ = self.attune(command, "--help")
            examples = list(commands_in(out[out.index("Examples:") :]))
            self.assertTrue(examples, command)
            for words in examples:
                if any("://" in word for word in words):  # somebody's server: tests/postgres and tests/serve have one
                    continue
                with self.subTest(words=words):
                    self.attune(*words)

    def test_commands_of_the_readme_run_as_shown(self):
        blocks = MARK.findall((ROOT / "README.md").read_text())
        self.assertTrue(blocks)
        for block in blocks:
            for words in commands_in(block):
                with self.subTest(words=words):
                    self.attune(*words)

    def test_environment_variables_of_the_code_are_documented(self):
        help_text, _ = self.attune("--help")
        for folder in ["cli", "compiler", "cache", "templates", "autotuner"]:
            for file in (ROOT / folder).glob("*.cc"):
                for name in re.findall(r'getenv\("(ATTUNE_\w+)"\)', file.read_text()):
                    with self.subTest(name=name, file=file.name):
                        self.assertIn(name, help_text)


if __name__ == "__main__":
    main()
