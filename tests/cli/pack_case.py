"""attune pack, and lookups from packs: what is current, stale, illegal, damaged."""

import base64
import hashlib
import json
import shutil
import stat
import subprocess
import unittest

from attune_case import FAILED, SMALL, USAGE, AttuneCase, main


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

    def keys(self, *names):
        """A pair of keys for each; their public lines."""
        for name in names:
            self.attune("pack", "keygen", "-o", name)
        return [(self.folder / f"{name}.pub").read_text().strip() for name in names]

    def trust(self, *lines):
        file = self.folder / "config/attune/trusted_keys"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(line + "\n" for line in lines))
        return file

    def test_keys_are_made_for_their_owner_and_never_overwritten(self):
        out, err = self.attune("pack", "keygen", "-o", "alice", "--comment", "Alice of the team")
        secret = (self.folder / "alice").read_text().strip()
        self.assertEqual(stat.S_IMODE((self.folder / "alice").stat().st_mode), 0o600)
        key, _, comment = (self.folder / "alice.pub").read_text().strip().partition(" ")
        self.assertEqual(comment, "Alice of the team")
        self.assertIn(key, out)
        self.assertNotIn(secret.partition(":")[2], out + err)
        self.assertIn("trusted_keys", out)
        self.assertIn("there already", self.error("pack", "keygen", "-o", "alice", code=FAILED))
        self.assertEqual((self.folder / "alice").read_text().strip(), secret)

    def test_a_secret_key_that_others_may_read_does_not_sign(self):
        self.make()
        self.keys("alice")
        before = self.pack.read_bytes()
        (self.folder / "alice").chmod(0o640)
        self.assertIn("chmod 600", self.error("pack", "sign", self.pack, "--key", "alice", code=FAILED))
        (self.folder / "alice").chmod(0o600)
        self.assertIn("public key", self.error("pack", "sign", self.pack, "--key", "alice.pub", code=FAILED))
        self.assertIn("cannot read", self.error("pack", "sign", self.pack, "--key", "nobody", code=FAILED))
        self.assertEqual(self.pack.read_bytes(), before)

    def test_show_and_verify_say_who_signed_and_who_is_trusted(self):
        self.make()
        alice, bob = self.keys("alice", "bob")
        self.assertIn("not signed", self.attune("pack", "show", self.pack)[0])
        self.assertEqual(self.json("pack", "show", self.pack)["signed_by"], [])
        self.attune("pack", "sign", self.pack, "--key", "alice")
        self.attune("pack", "sign", self.pack, "--key", "bob")
        signed = self.pack.read_bytes()
        self.attune("pack", "sign", self.pack, "--key", "alice")
        self.assertEqual(self.pack.read_bytes(), signed, "once is enough")
        self.assertIn("no file says", self.attune("pack", "verify", self.pack)[0])
        file = self.trust(bob + " of the night shift")
        for word in ["show", "verify"]:
            out, _ = self.attune("pack", word, self.pack)
            self.assertIn(f"signed by {alice.split()[0]}, which {file} does not list\n", out)
            self.assertIn(f"signed by {bob.split()[0]} (bob of the night shift), trusted by {file}\n", out)
        self.assertEqual(self.json("pack", "show", self.pack)["signed_by"],
                         [{"key": alice.split()[0], "name": "", "trusted": False},
                          {"key": bob.split()[0], "name": "bob of the night shift", "trusted": True}])

    def test_verify_can_insist_on_a_signature(self):
        self.make()
        alice, _ = self.keys("alice", "bob")
        verify = ["pack", "verify", self.pack, "--require-signature"]
        self.assertIn("--trusted-keys", self.error(*verify, code=USAGE))
        self.assertIn("not signed", self.error(*verify, "--trusted-keys", "alice.pub", code=FAILED))
        self.attune("pack", "sign", self.pack, "--key", "alice")
        self.attune(*verify, "--trusted-keys", "alice.pub")
        self.assertIn(alice.split()[0], self.error(*verify, "--trusted-keys", "bob.pub", code=FAILED))
        self.assertIn("cannot read", self.error(*verify, "--trusted-keys", "nobody.pub", code=USAGE))
        self.assertIn("secret key", self.error(*verify, "--trusted-keys", "alice", code=USAGE))
        self.env["ATTUNE_PACKS"] = "builtin"
        self.attune("pack", "verify", "h100", "--require-signature", "--trusted-keys", "bob.pub")

    def test_where_keys_are_trusted_files_are_served_only_when_signed(self):
        self.make()
        alice, bob = self.keys("alice", "bob")
        self.trust("# the team", alice)
        words = [["lookup", *SMALL], ["tune", *SMALL, "--max-trials", "1", "--db", "other.db"]]
        for command in words:
            line = self.error(*command, code=FAILED)
            self.assertIn("pack mine is not signed", line)
            self.assertIn("trusted_keys", line)
        self.attune("pack", "sign", self.pack, "--key", "bob")
        self.assertIn(bob.split()[0], self.error("lookup", *SMALL, code=FAILED))
        self.attune("pack", "sign", self.pack, "--key", "alice")
        self.assertEqual(self.json("lookup", *SMALL)["pack"], "mine")
        self.env["ATTUNE_TRUSTED_KEYS"] = str(self.folder / "bob.pub")
        self.assertEqual(self.json("lookup", *SMALL)["pack"], "mine")
        self.env["ATTUNE_TRUSTED_KEYS"] = str(self.folder / "nobody.pub")
        self.assertIn("nobody.pub", self.error("lookup", *SMALL, code=FAILED))
        self.env["ATTUNE_PACKS"] = "builtin"
        self.json("lookup", *SMALL)

    def test_a_pack_can_be_signed_as_it_is_made(self):
        self.keys("alice")
        self.tune("--max-trials", "6")
        out, _ = self.attune("pack", "make", "--replayed", "-o", self.pack, "--key", "alice")
        self.assertIn("signed by ed25519:", out)
        self.attune("pack", "verify", self.pack, "--require-signature", "--trusted-keys", "alice.pub")

    def test_what_comes_with_attune_can_be_signed_to_a_file(self):
        self.keys("alice")
        self.env["ATTUNE_PACKS"] = "builtin"
        self.assertIn("-o", self.error("pack", "sign", "h100", "--key", "alice", code=USAGE))
        self.attune("pack", "sign", "h100", "--key", "alice", "-o", self.pack)
        self.attune("pack", "verify", self.pack, "--require-signature", "--trusted-keys", "alice.pub")

    def test_a_changed_signature_is_one_line_wherever_it_is_met(self):
        self.make()
        self.keys("alice")
        self.attune("pack", "sign", self.pack, "--key", "alice")
        lines = self.pack.read_text().splitlines()
        end = json.loads(lines[-1])
        signature = bytearray(base64.b64decode(end["signatures"][0]["signature"]))
        signature[7] ^= 1
        end["signatures"][0]["signature"] = base64.b64encode(signature).decode()
        self.pack.write_text("\n".join([*lines[:-1], json.dumps(end, separators=(",", ":"))]) + "\n")
        for words in [["lookup", *SMALL], ["pack", "show", self.pack], ["pack", "verify", self.pack]]:
            self.assertIn("the signature of ed25519:", self.error(*words, code=FAILED))

    @unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
    def test_others_can_check_a_signature_as_the_docs_say(self):
        self.make()
        self.keys("alice")
        self.attune("pack", "sign", self.pack, "--key", "alice")
        *lines, last = self.pack.read_bytes().splitlines(keepends=True)
        end = json.loads(last)
        self.assertEqual(end["sha256"], hashlib.sha256(b"".join(lines)).hexdigest())
        (self.folder / "message").write_bytes(b"attune-pack-v1\0" + end["sha256"].encode())
        (self.folder / "signature").write_bytes(base64.b64decode(end["signatures"][0]["signature"]))
        # RFC 8410: an Ed25519 key as SubjectPublicKeyInfo is these twelve bytes before it.
        raw = base64.b64decode(end["signatures"][0]["key"].removeprefix("ed25519:"))
        (self.folder / "key.der").write_bytes(bytes.fromhex("302a300506032b6570032100") + raw)
        verify = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.der", "-keyform", "DER", "-rawin", "-in",
                  "message", "-sigfile", "signature"]
        subprocess.run(verify, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)
        (self.folder / "message").write_bytes(end["sha256"].encode())
        self.assertNotEqual(subprocess.run(verify, cwd=self.folder, capture_output=True).returncode, 0)

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
