"""attune pack, and lookups from packs: what is current, stale, illegal, damaged."""

import hashlib
import json

from attune_case import FAILED, SMALL, AttuneCase, main


class Pack(AttuneCase):
    def setUp(self):
        super().setUp()
        self.pack = self.folder / "mine.pack.jsonl"

    def make(self):
        self.tune("--max-trials", "6")
        self.attune("pack", "make", "--replayed", "-o", self.pack, "--command", "the tests", "--commit", "abc")
        self.env["ATTUNE_DB"] = str(self.folder / "none.db")
        self.env["ATTUNE_PACKS"] = str(self.folder)

    def rewrite(self, change):
        """The pack with each line changed, sealed again: wrong in meaning, not in form."""
        lines = [json.loads(line) for line in self.pack.read_text().splitlines()[:-1]]
        for line in lines:
            change(line)
        text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.pack.write_text(text + json.dumps({"end": len(lines) - 1, "sha256": digest}) + "\n")

    def test_replayed_records_are_packed_only_where_asked(self):
        self.tune()
        self.assertIn("--replayed", self.error("pack", "make", "-o", self.pack, code=FAILED))
        self.assertFalse(self.pack.exists())

    def test_show_tells_time_interval_and_provenance(self):
        self.make()
        shown = self.json("pack", "show", "mine")
        record = shown["records"][0]
        low, high = record["interval_us"]
        self.assertLess(low, record["timing"]["median_us"])
        self.assertGreater(high, record["timing"]["median_us"])
        self.assertEqual(record["standing"], "current")
        self.assertEqual((shown["command"], shown["commit"]), ("the tests", "abc"))
        self.assertEqual(record["template"], "portable")

    def test_the_database_comes_first(self):
        self.make()
        self.assertEqual(self.json("lookup", *SMALL)["pack"], "mine")
        del self.env["ATTUNE_DB"]
        self.env["ATTUNE_DB"] = str(self.database)
        self.assertIsNone(self.json("lookup", *SMALL)["pack"])

    def test_a_record_of_a_former_kernel_is_served_as_stale(self):
        self.make()

        def age(line):
            for template in line.get("templates", []):
                template["hash"] = "0" * 64

        self.rewrite(age)
        answer = self.json("lookup", *SMALL)
        self.assertEqual((answer["provenance"], answer["stale"]), ("exact", True))
        self.assertIn("the kernel has changed since", answer["reason"])
        longer = self.json("lookup", *SMALL[:1], "1,2,1024,64")  # for the very shape alone
        self.assertEqual(longer["provenance"], "default")
        out, _ = self.attune("pack", "verify", self.pack)  # old, not wrong
        self.assertIn("0 current, 1 of kernels that have changed, 0 obsolete", out)

    def test_an_illegal_config_is_not_served_and_verify_says_so(self):
        self.make()

        def spoil(line):
            if "config" in line:
                line["config"]["block_sizes"] = [1, 3, 5]

        self.rewrite(spoil)
        self.assertEqual(self.json("lookup", *SMALL)["provenance"], "default")
        out, err = self.attune("pack", "verify", self.pack, code=FAILED)
        self.assertIn("not legal", out)
        self.assertEqual(len(err.splitlines()), 1)

    def test_damaged_packs_are_one_line_wherever_they_are_met(self):
        self.make()
        whole = self.pack.read_bytes()
        for bad in [b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[:-1], whole + b"more\n",
                    whole.replace(b'"samples":20', b'"samples":21')]:
            with self.subTest(length=len(bad)):
                self.pack.write_bytes(bad)
                for words in [["lookup", *SMALL], ["pack", "show", self.pack], ["pack", "verify", self.pack]]:
                    self.assertIn("pack mine", self.error(*words, code=FAILED))

    def test_an_unknown_pack_lists_what_there_is(self):
        self.make()
        self.assertIn("there are: mine", self.error("pack", "show", "yours", code=FAILED))

    def test_what_comes_with_attune_can_be_served(self):
        self.env["ATTUNE_PACKS"] = "builtin"
        self.json("lookup", *SMALL)

    def test_a_tune_starts_from_what_a_pack_knows(self):
        self.make()
        known = self.json("pack", "show", "mine")["records"][0]["config"]
        self.tune("--max-trials", "1", "--db", "other.db")
        tried = self.json("cache", "show", *SMALL, "--db", "other.db")
        self.assertEqual([trial["config"] for trial in tried], [known])


if __name__ == "__main__":
    main()
