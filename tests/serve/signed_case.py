"""Signed packs between servers and clients: what is taken, what is handed out, what is kept."""

import json

from server_case import ServerCase, main

SMALL = ["--shape", "1,2,128,64"]


class Signed(ServerCase):
    def setUp(self):
        super().setUp()
        for name in ["alice", "bob"]:
            self.attune("pack", "keygen", "-o", name)
        self.alice, self.bob = ((self.folder / f"{name}.pub").read_text().split()[0] for name in ["alice", "bob"])
        self.trusted = self.folder / "trusted"
        self.trusted.write_text(f"# whose packs we take\n{self.alice} Alice\n")

    def made(self, name="mine"):
        """A pack of one record, not signed."""
        file = self.folder / f"{name}.pack.jsonl"
        self.tune("--max-trials", "6", "--db", "made.db")
        self.attune("pack", "make", "--replayed", "-o", file, "--db", "made.db")
        return file

    def signed(self, file, key):
        self.attune("pack", "sign", file, "--key", key, "-o", f"by-{key}.jsonl")
        return (self.folder / f"by-{key}.jsonl").read_bytes()

    def test_only_packs_of_trusted_keys_are_taken(self):
        file = self.made()
        server = self.serve("--db", str(self.folder / "server.db"), "--trusted-keys", str(self.trusted))
        self.assertIn("not signed", server.post("/v1/packs", file.read_bytes(), status=403).json["error"])
        by_bob = self.signed(file, "bob")
        self.assertIn(self.bob, server.post("/v1/packs", by_bob, status=403).json["error"])
        self.assertEqual(server.get("/v1/records").json["records"], [])
        by_alice = self.signed(file, "alice")
        swapped = by_alice.replace(self.alice.encode(), self.bob.encode())
        self.assertIn("wrong", server.post("/v1/packs", swapped, status=422).json["error"])
        answer = server.post("/v1/packs", by_alice).json
        self.assertEqual(answer, {"records": 1, "added": 1,
                                  "signed_by": [{"key": self.alice, "name": "Alice", "trusted": True}]})
        self.assertEqual(len(server.get("/v1/records").json["records"]), 1)

    def test_trials_are_no_way_around_a_signature(self):
        server = self.serve("--db", str(self.folder / "server.db"))
        server.wait(server.submit(max_trials=8)["id"])
        export = server.get("/v1/trials").body
        other = self.serve("--db", str(self.folder / "other.db"), "--trusted-keys", str(self.trusted))
        self.assertIn("signed pack", other.post("/v1/trials", export, status=403).json["error"])
        self.assertEqual(other.get("/v1/trials").body.count(b"\n"), 2)
        self.assertEqual(other.wait(other.submit()["id"])["state"], "done", "its own are another matter")

    def test_the_environment_names_the_keys_too(self):
        pack = self.made().read_bytes()
        self.env["ATTUNE_TRUSTED_KEYS"] = str(self.trusted)
        self.serve().post("/v1/packs", pack, status=403)

    def test_without_trusted_keys_who_signed_is_told_and_nobody_is_asked_for(self):
        file = self.made()
        server = self.serve("--db", str(self.folder / "server.db"))
        self.assertEqual(server.post("/v1/packs", self.signed(file, "bob")).json["signed_by"],
                         [{"key": self.bob, "name": "", "trusted": False}])

    def test_packs_that_are_handed_out_are_signed_and_keep_their_signatures(self):
        file = self.made()
        file.write_bytes(self.signed(file, "alice"))
        self.env["ATTUNE_PACKS"] = str(file)
        plain = self.serve("--db", str(self.folder / "plain.db"))
        self.assertEqual(plain.get("/v1/packs/mine").body, file.read_bytes())
        self.assertEqual(plain.get("/v1/packs").json["packs"][0]["signed_by"],
                         [{"key": self.alice, "name": "", "trusted": False}])
        plain.kill()
        server = self.serve("--db", str(self.folder / "server.db"), "--pack-key", "bob")
        server.wait(server.submit(max_trials=8)["id"])
        for path, keys in [("/v1/packs/mine", [self.alice, self.bob]), ("/v1/records/pack", [self.bob])]:
            body = server.get(path).body
            end = json.loads(body.splitlines()[-1])
            self.assertEqual([one["key"] for one in end["signatures"]], keys)
            (self.folder / "got.pack.jsonl").write_bytes(body)
            self.attune("pack", "verify", "got.pack.jsonl", "--require-signature", "--trusted-keys", "bob.pub")

    def test_a_client_keeps_only_what_a_trusted_key_has_signed(self):
        server = self.serve("--db", str(self.folder / "server.db"), "--pack-key", "bob")
        server.wait(server.submit(max_trials=8)["id"])
        url = f"http://127.0.0.1:{server.port}"
        fetch = ["pack", "fetch", "-o", "got.pack.jsonl", "--server", url]
        line = self.error(*fetch, "--trusted-keys", "alice.pub", code=1)
        self.assertIn(url, line)
        self.assertIn(self.bob, line)
        self.assertFalse((self.folder / "got.pack.jsonl").exists())
        self.assertIn("--trusted-keys", self.error(*fetch, "--require-signature", code=2))
        out, _ = self.attune(*fetch)
        self.assertIn(f"signed by {self.bob}", out)
        (self.folder / "got.pack.jsonl").unlink()
        self.env["ATTUNE_TRUSTED_KEYS"] = str(self.folder / "bob.pub")
        out, _ = self.attune(*fetch)
        self.assertIn("1 record to the pack got.pack.jsonl", out)
        self.env["ATTUNE_PACKS"] = str(self.folder / "got.pack.jsonl")
        self.env["ATTUNE_DB"] = str(self.folder / "none.db")
        self.assertEqual(self.json("lookup", *SMALL)["pack"], "got")

    def test_fetch_says_what_is_wrong(self):
        self.assertIn("--server", self.error("pack", "fetch", "-o", "got.pack.jsonl", code=2))
        server = self.serve("--db", str(self.folder / "server.db"))
        self.env["ATTUNE_SERVER"] = f"http://127.0.0.1:{server.port}"
        self.assertIn("there is no /v1/packs/../mine", self.error("pack", "fetch", "../mine", "-o", "got.pack.jsonl", code=1))
        self.assertIn("there is no pack", self.error("pack", "fetch", "mine 2%", "-o", "got.pack.jsonl", code=1))
        self.assertIn("no records", self.error("pack", "fetch", "-o", "got.pack.jsonl", code=1))
        server.kill()
        self.assertIn("does not answer", self.error("pack", "fetch", "-o", "got.pack.jsonl", code=1))
        self.assertFalse((self.folder / "got.pack.jsonl").exists())

    def test_a_server_serves_no_pack_that_it_would_not_take(self):
        self.env["ATTUNE_PACKS"] = str(self.made())
        line = self.error("serve", "--listen", "127.0.0.1:0", "--trusted-keys", self.trusted, code=1)
        self.assertIn("pack mine is not signed", line)

    def test_keys_that_will_not_do_are_one_line(self):
        serve = ["serve", "--listen", "127.0.0.1:0"]
        (self.folder / "alice").chmod(0o644)
        self.assertIn("chmod 600", self.error(*serve, "--pack-key", "alice", code=2))
        self.assertIn("public key", self.error(*serve, "--pack-key", "alice.pub", code=2))
        self.assertIn("cannot read", self.error(*serve, "--trusted-keys", "nobody", code=2))
        self.trusted.write_text("alice\n")
        self.assertIn("line 1", self.error(*serve, "--trusted-keys", self.trusted, code=2))


if __name__ == "__main__":
    main()
