"""The command line on a PostgreSQL server: tuning into it, copying, and sweeps that several processes share, of which
some are killed and some are cut off."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from attune_case import ATTUNE, FAILED, MAKE_RECORDINGS, OK, SMALL, USAGE, AttuneCase, main  # noqa: E402
from server import PASSWORD, Server, Unavailable, of_these_tests  # noqa: E402

HEAD_DIMS = [32, 48, 64, 80, 96, 112]  # of make_recordings' fleet
LEASE = 4  # seconds


class Proxy:
    """Between a client and the server: passes bytes on until it is cut, then keeps silent with connections open, as a
    network that drops packets does."""

    def __init__(self, server_port):
        self.server_port = server_port
        self.cut = False
        self.ending = False
        self.pairs = {}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.ending:
            cut = self.cut
            # What is cut is not read either: the sender's bytes stay in its own kernel.
            sources = [self.listener] + ([] if cut else list(self.pairs))
            for source in select.select(sources, [], [], 0.05)[0]:
                if source is self.listener:
                    client = self.listener.accept()[0]
                    server = socket.create_connection(("127.0.0.1", self.server_port))
                    self.pairs[client], self.pairs[server] = server, client
                elif source in self.pairs:
                    self.pass_on(source)

    def pass_on(self, source):
        target = self.pairs[source]
        try:
            data = source.recv(65536)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass
        for end in (source, target):
            self.pairs.pop(end, None)
            end.close()

    def heal(self):
        """Packets flow again; the old connections are gone."""
        pairs, self.pairs = self.pairs, {}
        for end in pairs:
            end.close()
        self.cut = False

    def close(self):
        self.ending = True
        self.thread.join()
        self.heal()
        self.listener.close()


class Fleet(AttuneCase):
    def setUp(self):
        try:
            server = of_these_tests()
        except Unavailable as why:
            self.skipTest(str(why))
        super().setUp()
        self.use(server)

    def use(self, server):
        self.server = server
        self.name = f"fleet_{os.getpid()}_{self.id().rpartition('.')[2]}"[:60]
        server.sql(f'DROP DATABASE IF EXISTS "{self.name}"', "postgres")
        server.create_database(self.name)
        self.addCleanup(self.drop, server, self.name)
        self.uri = server.uri(self.name)
        self.env["ATTUNE_DB"] = self.uri

    @staticmethod
    def drop(server, name):
        server.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', "postgres")

    def sql(self, text):
        return self.server.sql(text, self.name)

    def make_fleet(self, shapes=len(HEAD_DIMS), trials=8):
        """`shapes` to sweep with `trials` each, which share no kernels."""
        self.head_dims, self.most_trials = HEAD_DIMS[:shapes], trials
        subprocess.run([MAKE_RECORDINGS, self.recordings, "fleet"], check=True, stdout=subprocess.DEVNULL)
        shapes = [{"q_heads": 2, "seq": 128, "head_dim": head_dim} for head_dim in self.head_dims]
        (self.folder / "shapes.json").write_text(json.dumps(shapes))
        self.words = ["sweep", "shapes.json", "--strategy", "random", "--max-trials", str(trials)]

    def start_host(self, name, uri=None, slow=True):
        """A worker on a host of its own; its stderr goes to a file. `slow`: it has its shapes' kernels to compile, so
        that it can be caught."""
        self.own_cubins(name) if slow else self.shared_cubins()
        environment = {**self.env, "ATTUNE_DB": uri or self.uri}
        with open(self.folder / f"{name}.log", "w") as log, open(self.folder / f"{name}.out", "w") as out:
            host = subprocess.Popen(
                [ATTUNE, *self.words, "--claim", "--lease", str(LEASE), "--holder", name, "--threads", "1", "--json"],
                stdout=out, stderr=log, env=environment, cwd=self.folder)
        self.addCleanup(self.end, host)
        return host

    @staticmethod
    def end(host):
        if host.poll() is None:
            host.kill()
        host.wait()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def until(self, condition, what, host=None, seconds=200):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"never happened: {what}")
            if host is not None:
                self.assertIsNone(host.poll(), f"ended before {what}")
            time.sleep(0.02)

    def claims(self):
        try:
            return self.json("cache", "claims")
        except AssertionError:
            return []

    def trials_of_holder(self, holder):
        """Trials of the shape that `holder` holds, if any."""
        there = self.sql("SELECT count(*) FROM pg_class WHERE relname = 'claims'")
        if there == ["0"]:
            return 0
        return int(self.sql("SELECT count(*) FROM trials t JOIN shapes s ON s.id = t.shape_id JOIN claims c "
                            f"ON c.shape = s.json WHERE c.holder = '{holder}' AND c.state = 'held'")[0])

    def expect_each_shape_once(self, late=0):
        """`late`: trials that a host added to a shape which another had taken over."""
        claims = self.claims()
        self.assertEqual(len(claims), len(self.head_dims))
        for claim in claims:
            self.assertEqual((claim["state"], claim["times_done"]), ("done", 1), claim)
        # Every shape has all its trials: a sweep alone finds nothing left to measure.
        self.shared_cubins()
        result = self.json(*self.words)
        self.assertEqual(result["trials"], 0)
        trials = [row["trials"] for row in result["rows"]]
        self.assertGreaterEqual(min(trials), self.most_trials)
        self.assertLessEqual(sum(trials), self.most_trials * len(self.head_dims) + late)
        self.assertTrue(all(row["best"] for row in result["rows"]))

    def measured_twice(self):
        return self.sql("SELECT s.head_dim FROM trials t JOIN shapes s ON s.id = t.shape_id "
                        "GROUP BY s.head_dim, t.config_hash HAVING count(*) > 1")

    def test_of_three_workers_one_is_killed_and_one_cut_off(self):
        self.make_fleet(shapes=4)
        proxy = Proxy(self.server.port)
        self.addCleanup(proxy.close)
        cut = self.start_host("cut", self.server.tcp_uri(self.name, proxy.port))
        self.until(lambda: self.trials_of_holder("cut") >= 1, "a trial of the one to be cut off", cut)
        proxy.cut = True
        before = int(self.sql("SELECT count(*) FROM trials")[0])
        killed = self.start_host("killed")
        self.until(lambda: self.trials_of_holder("killed") >= 1, "a trial of the one to be killed", killed)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        kept = int(self.sql("SELECT count(*) FROM trials")[0])
        self.assertGreater(kept, before)

        rest = self.start_host("rest", slow=False)
        self.assertEqual(rest.wait(timeout=250), OK, self.log("rest"))
        self.assertIn("taken over from killed", self.log("rest"))
        self.assertIn("taken over from cut", self.log("rest"))
        self.assertIsNone(cut.poll(), "the one that is cut off waits: " + self.log("cut"))
        result = json.loads((self.folder / "rest.out").read_text())
        self.assertEqual(result["claims"]["done"], len(self.head_dims))

        at_healing = int(self.sql("SELECT count(*) FROM trials")[0])
        proxy.heal()
        self.assertEqual(cut.wait(timeout=120), OK, self.log("cut"))
        self.assertIn("lost: another host has it now", self.log("cut"))
        result = json.loads((self.folder / "cut.out").read_text())
        self.assertEqual(result["claims"]["lost_here"], 1)
        late = int(self.sql("SELECT count(*) FROM trials")[0]) - at_healing
        self.assertEqual(late, result["trials"] - before, "what it measured while it was cut off is kept")
        self.expect_each_shape_once(late)
        # Only the one that was cut off may have measured what another measured, too; what the killed one had stored
        # was not measured again.
        self.assertLessEqual(len(self.measured_twice()), 1)

    def test_connections_ended_all_the_time(self):
        self.make_fleet(shapes=4)
        hosts = [self.start_host("one"), self.start_host("two")]
        while any(host.poll() is None for host in hosts):
            self.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'attune' "
                     f"AND datname = '{self.name}'")
            time.sleep(0.1)
        for host, name in zip(hosts, ["one", "two"]):
            self.assertEqual(host.wait(), OK, self.log(name))
        self.expect_each_shape_once()
        self.assertEqual(self.measured_twice(), [])

    def test_server_restarted_in_the_middle(self):
        try:
            own = Server.create()
        except Unavailable as why:
            self.skipTest(str(why))
        self.addCleanup(own.remove)
        self.use(own)
        self.make_fleet(shapes=2)
        host = self.start_host("host")
        self.until(lambda: self.trials_of_holder("host") >= 1, "a trial", host)
        own.stop("fast")  # a crash may cost this server, which does not wait for its disk, what it acknowledged
        own.start()
        self.assertEqual(host.wait(timeout=250), OK, self.log("host"))
        self.expect_each_shape_once()
        self.assertEqual(self.measured_twice(), [])

    def test_ctrl_c_gives_the_shape_back_at_once(self):
        self.make_fleet(shapes=3)
        host = self.start_host("host")
        self.until(lambda: self.trials_of_holder("host") >= 1, "a trial", host)
        host.send_signal(signal.SIGINT)
        self.assertEqual(host.wait(timeout=120), FAILED, self.log("host"))
        self.assertIn("given back: interrupted", self.log("host"))
        self.assertNotIn("held", {claim["state"] for claim in self.claims()})
        self.assertEqual(self.start_host("next", slow=False).wait(timeout=250), OK, self.log("next"))
        self.assertNotIn("taken over", self.log("next"))
        self.expect_each_shape_once()
        self.assertEqual(self.measured_twice(), [])

    def test_no_wait_ends_while_another_holds_a_shape(self):
        self.make_fleet(trials=2)
        self.attune(*self.words, "--claim", "--holder", "first")
        self.sql("UPDATE claims SET state = 'held', holder = 'elsewhere', heard_at = now(), "
                 "expires_at = now() + interval '1 hour' WHERE id = 3")
        result = self.json(*self.words, "--claim", "--no-wait")
        self.assertEqual(result["claims"], {"finished_here": 0, "lost_here": 0, "done": 5, "held": 1, "open": 0,
                                            "given_up": 0})
        out, _ = self.attune("cache", "claims")
        self.assertIn("elsewhere", out)
        self.assertIn("5 of 6 shapes done", out)

    def test_tune_and_look_up(self):
        self.tune()
        found = self.json("lookup", *SMALL)
        self.assertEqual(found["provenance"], "exact")
        self.assertEqual(found["database"], self.uri)
        again = self.tune()
        self.assertEqual(again["resumed"], again["trials"])
        self.assertIn("1 record in postgresql://", self.attune("cache", "ls")[0])
        self.assertIn("8 of 8 trials", self.attune("cache", "show", *SMALL)[0])
        self.assertIn("8 trials, all readable", self.attune("cache", "verify")[0])
        self.attune("cache", "export", "--file", "trials.jsonl")
        self.assertIn("0 trials added, 8 known", self.attune("cache", "import", "--file", "trials.jsonl")[0])
        self.assertIn("8 trials", self.attune("doctor")[0])

    def test_copy_there_and_back(self):
        file = str(self.folder / "file.db")
        self.tune("--db", file)
        out, err = self.attune("cache", "copy", file, self.uri)
        self.assertIn("8 trials added", out)
        self.assertIn("8/8 trials", err)
        self.assertIn("0 trials added", self.attune("cache", "copy", file, self.uri)[0])
        self.assertIn("0 trials added", self.attune("cache", "copy", self.uri, file)[0])
        back = str(self.folder / "back.db")
        self.assertIn("8 trials added", self.attune("cache", "copy", self.uri, back)[0])
        for database in (file, self.uri, back):
            self.attune("cache", "export", "--db", database, "--file", "out.jsonl")
            lines = (self.folder / "out.jsonl").read_text()
            self.assertEqual(lines, getattr(self, "first_lines", lines))
            self.first_lines = lines
        self.assertIn("there is no database", self.error("cache", "copy", "none.db", self.uri, code=FAILED))
        self.assertIn("onto itself", self.error("cache", "copy", file, file, code=USAGE))

    def test_a_password_is_shown_nowhere(self):
        self.env["ATTUNE_DB"] = self.server.tcp_uri(self.name)
        (self.folder / "shapes.json").write_text('[{"q_heads": 2, "seq": 128, "head_dim": 64}]')
        self.tune()
        words = ["sweep", "shapes.json", "--strategy", "random", "--max-trials", "8", "--db", self.env["ATTUNE_DB"]]
        shown = [*self.attune(*words, "--report", "r.md", "--pack", "p.pack.jsonl"), *self.attune(*words, "--json"),
                 (self.folder / "r.md").read_text(), (self.folder / "p.pack.jsonl").read_text(),
                 *self.attune("lookup", *SMALL, "--json"), *self.attune("cache", "ls"), *self.attune("cache", "verify"),
                 *self.attune("cache", "wanted"), *self.attune("cache", "claims"), *self.attune("doctor"),
                 self.error("tune", *SMALL, "--db", self.env["ATTUNE_DB"].replace("/fleet", "/nowhere"), code=FAILED)]
        for text in shown:
            self.assertNotIn(PASSWORD, text)
        self.assertIn("postgresql://attune:***@127.0.0.1", "".join(shown))

    def test_what_cannot_be_opened_is_one_line(self):
        self.env["ATTUNE_LIBPQ"] = "/nonexistent/libpq.so.5"
        self.assertIn("libpq5", self.error("cache", "ls", code=FAILED))
        del self.env["ATTUNE_LIBPQ"]
        for words, code, says in [
            (["tune", *SMALL, "--db", "postgresql://127.0.0.1:1/x"], FAILED, "check that the server runs"),
            (["lookup", *SMALL, "--db", "postgresql://127.0.0.1:1/x"], FAILED, "check that the server runs"),
            (["lookup", *SMALL], FAILED, "attune tune makes its tables"),
            (["cache", "claims", "--db", "attune.db"], FAILED, "PostgreSQL server alone"),
        ]:
            with self.subTest(words=words):
                self.assertIn(says, self.error(*words, code=code))
        self.make_fleet()
        for words, says in [(["--claim", "--db", "a.db"], "is a file"), (["--claim", "--remeasure"], "--remeasure"),
                            (["--no-wait"], "--claim")]:
            with self.subTest(words=words):
                self.assertIn(says, self.error(*self.words, *words, code=USAGE))


if __name__ == "__main__":
    main()
