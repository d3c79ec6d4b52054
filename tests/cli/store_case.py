"""Databases, recordings and disks that are damaged, locked, foreign, full; export and import."""

import ctypes
import os
import pathlib
import resource
import sqlite3

from attune_case import FAILED, OK, SMALL, USAGE, AttuneCase, main

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


def obey_permissions():
    """Root ignores file modes; without these capabilities it does not."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


class Store(AttuneCase):
    def refuse_tune(self, *words, says, **options):
        line = self.error("tune", *SMALL, "--max-trials", "3", *words, code=FAILED, **options)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, line)
        return line

    def kept(self, path):
        """The file's bytes, to be compared after the command."""
        return path.read_bytes()

    def test_not_sqlite(self):
        self.database.write_text("this is a letter, not a database\n" * 200)
        before = self.kept(self.database)
        self.refuse_tune(says=str(self.database))
        self.assertEqual(self.kept(self.database), before)

    def test_somebody_elses_sqlite(self):
        with sqlite3.connect(self.database) as other:
            other.execute("CREATE TABLE songs (title TEXT)")
        other.close()
        before = self.kept(self.database)
        self.refuse_tune(says=str(self.database))
        self.assertEqual(self.kept(self.database), before)

    def test_newer_schema(self):
        self.tune()
        with sqlite3.connect(self.database) as database:
            database.execute("PRAGMA user_version = 999")
        database.close()
        before = self.kept(self.database)
        self.refuse_tune(says=["newer", str(self.database)])
        self.assertEqual(self.kept(self.database), before)

    def test_corrupt(self):
        self.tune()
        bytes_ = bytearray(self.database.read_bytes())
        for at in range(4096, len(bytes_), 512):
            bytes_[at : at + 64] = b"\xa5" * 64
        self.database.write_bytes(bytes_)
        self.refuse_tune(says=str(self.database))
        self.assertEqual(self.kept(self.database), bytes(bytes_))

    def test_cut_short(self):
        self.tune()
        whole = self.database.read_bytes()
        self.database.write_bytes(whole[: len(whole) // 2 + 100])
        self.refuse_tune(says=str(self.database))

    def test_locked(self):
        self.tune()
        other = sqlite3.connect(self.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            self.refuse_tune("--seed", "9", says="locked")
        finally:
            other.rollback()
            other.close()

    def test_read_only(self):
        self.tune()
        self.database.chmod(0o444)
        self.folder.chmod(0o555)
        try:
            self.refuse_tune("--seed", "9", says=str(self.database), preexec_fn=obey_permissions)
            # Looking needs no right to write.
            out, _ = self.attune("lookup", *SMALL, preexec_fn=obey_permissions)
            self.assertIn("exact", out)
        finally:
            self.folder.chmod(0o755)

    def test_full_disk(self):
        self.tune("--max-trials", "2")
        size = self.database.stat().st_size

        def nearly_full():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40960, size + 40960))

        # SIGXFSZ stays ignored (restore_signals), as a full disk raises no signal either.
        _, err = self.attune("tune", *SMALL, "--strategy", "random", "--max-trials", "40", code=FAILED,
                             preexec_fn=nearly_full, restore_signals=False)
        self.assertTrue(err.splitlines()[-1].startswith("attune: "), err)
        result = self.tune("--max-trials", "40")  # room again: nothing was lost
        self.assertGreater(result["resumed"], 2)

    def test_full_disk_behind_stdout(self):
        self.tune()
        with open("/dev/full", "w") as full:
            import subprocess
            from attune_case import ATTUNE

            done = subprocess.run([ATTUNE, "cache", "ls", "--json"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  env=self.env)
        self.assertEqual(done.returncode, FAILED)
        self.assertIn("No space left", done.stderr)

    def test_cubin_store_that_cannot_be_made(self):
        self.env["ATTUNE_CACHE_DIR"] = "/proc/attune"
        self.refuse_tune(says="/proc/attune")

    def test_recording_cut_short(self):
        path = self.recordings / "synthetic-small.jsonl.gz"
        whole = path.read_bytes()
        for length in [0, 10, len(whole) // 2, len(whole) - 1]:
            with self.subTest(length=length):
                path.write_bytes(whole[:length])
                self.refuse_tune("--device", "recorded:synthetic-small", says="synthetic-small")

    def test_recording_that_is_none(self):
        path = self.folder / "other.jsonl.gz"
        path.write_bytes(b"PK\x03\x04 something else")
        self.refuse_tune("--device", f"recorded:{path}", says="other")

    def test_show_ls_and_what_is_not_there(self):
        line = self.error("cache", "ls", code=FAILED)
        self.assertIn("there is no database", line)
        self.tune()
        self.assertIn("b1 h2/2 s128x128 d64", self.attune("cache", "ls")[0])
        self.assertIn("no trials", self.error("cache", "show", "--shape", "1,2,64,64", code=FAILED))

    def test_export_and_import(self):
        self.tune()
        self.attune("cache", "export", "--file", "trials.jsonl")
        out, _ = self.attune("cache", "import", "--file", "trials.jsonl", "--db", "copy.db")
        self.assertIn("8 trials added, 0 known", out)
        out, _ = self.attune("cache", "import", "--file", "trials.jsonl", "--db", "copy.db")
        self.assertIn("0 trials added, 8 known", out)
        self.assertEqual(self.json("cache", "ls"), self.json("cache", "ls", "--db", "copy.db"))

    def test_import_of_a_file_cut_short_adds_nothing(self):
        self.tune()
        self.attune("cache", "export", "--file", "trials.jsonl")
        path = self.folder / "trials.jsonl"
        whole = path.read_bytes()
        lines = whole.splitlines(keepends=True)
        for part in [whole[:-40], b"".join(lines[:-1]), b"", lines[0][:9], b'{"a":1}\n']:
            path.write_bytes(part)
            self.error("cache", "import", "--file", "trials.jsonl", "--db", "copy.db", code=FAILED)
        self.assertFalse((self.folder / "copy.db").exists())

    def test_replayed_trials_make_no_recording(self):
        self.tune()
        line = self.error("cache", "export", *SMALL, "--recording", "r.jsonl.gz", code=FAILED)
        self.assertIn("no measured trials", line)

    def test_export_to_nowhere(self):
        self.error("cache", "export", code=USAGE)

    def test_verify_finds_a_damaged_cubin_and_repairs(self):
        self.env["ATTUNE_CACHE_DIR"] = str(self.folder / "cache")
        self.tune("--max-trials", "2")
        cubin = next(pathlib.Path(self.env["ATTUNE_CACHE_DIR"]).rglob("*.cubin"))
        cubin.write_bytes(cubin.read_bytes()[:-8])
        out, err = self.attune("cache", "verify", code=FAILED)
        self.assertIn(cubin.name, out)
        self.assertIn("--repair", err)
        self.attune("cache", "verify", "--repair", code=OK)
        self.attune("cache", "verify", code=OK)

    def test_gc_keeps_what_records_need(self):
        self.env["ATTUNE_CACHE_DIR"] = str(self.folder / "cache")
        self.tune()
        out, _ = self.attune("cache", "gc", "--max-size", "0")
        self.assertIn("freed", out)
        kept = list(pathlib.Path(self.env["ATTUNE_CACHE_DIR"]).rglob("*.cubin"))
        self.assertEqual(len(kept), 1)
        self.assertIn(self.json("cache", "ls")[0]["cubin_key"], kept[0].name)


if __name__ == "__main__":
    main()
