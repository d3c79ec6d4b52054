#!/usr/bin/env python3
"""A PostgreSQL server of the tests' own, in a temporary folder, as an unprivileged user.

server.py start FOLDER     starts one and writes its URI to FOLDER/uri; exit code 77 where none can be had
server.py stop FOLDER      ends it
server.py run COMMAND...   runs a command with ATTUNE_TEST_POSTGRES set, as CTest does
"""

import contextlib
import glob
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

SKIPPED = 77
PASSWORD = "right-password"  # of the user attune, over TCP; on the socket everyone is trusted


class Unavailable(Exception):
    """No server can be had here; the text says why."""


def programs():
    """The folder of initdb and postgres: Debian keeps them off the PATH."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda f: int(f.split("/")[-2].split(".")[0]))
    folders += [str(pathlib.Path(found).resolve().parent) for found in [shutil.which("postgres")] if found]
    for folder in reversed(folders):
        if all(os.access(f"{folder}/{name}", os.X_OK) for name in ("initdb", "postgres", "pg_ctl")):
            return folder
    raise Unavailable("no PostgreSQL server is installed (Debian: postgresql)")


def unprivileged():
    """Whom the server runs as, for subprocess: initdb refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise Unavailable("root may not run PostgreSQL, and there is no user postgres or nobody")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, folder, port=None):
        self.folder = pathlib.Path(folder)
        self.port = port

    @classmethod
    def create(cls):
        bin_folder, identity = programs(), unprivileged()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="attune-pg-", dir="/tmp"))  # short: a socket's path is
        try:
            if identity:
                os.chown(folder, identity["user"], identity["group"])
            os.chmod(folder, 0o755)
            secret = folder / "password"
            secret.write_text(PASSWORD)
            os.chmod(secret, 0o644)
            made = subprocess.run(
                [f"{bin_folder}/initdb", "-D", folder / "data", "-U", "attune", "--pwfile", secret, "-E", "UTF8",
                 "--locale", "C.UTF-8", "--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync"],
                capture_output=True, text=True, cwd="/", **identity)
            if made.returncode != 0:
                raise Unavailable(f"initdb failed: {' '.join(made.stderr.split())[-300:]}")
            server = cls(folder)
            server.start()
            return server
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def control(self, *words):
        return subprocess.run([f"{programs()}/pg_ctl", "-D", self.folder / "data", "-w", "-t", "60", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", stdin=subprocess.DEVNULL,
                              **unprivileged())

    def start(self):
        """On the port it had, or one that is free."""
        port = self.port or free_port()
        # Nothing here must survive a power cut.
        options = (f"-k {self.folder} -h 127.0.0.1 -p {port} -c fsync=off -c full_page_writes=off "
                   "-c synchronous_commit=off -c max_connections=60 -c shared_buffers=16MB -c jit=off")
        started = self.control("-l", str(self.folder / "log"), "-o", options, "start")
        if started.returncode != 0:
            raise Unavailable(f"the server does not start: {' '.join(started.stdout.split())[-300:]}")
        self.port = port

    def stop(self, mode="immediate"):
        self.control("-m", mode, "stop")

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, database="attune"):
        """Over the socket, without a password."""
        return f"postgresql://attune@/{database}?host={self.folder}&port={self.port}"

    def tcp_uri(self, database="attune", port=None, user="attune:" + PASSWORD):
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def sql(self, text, database="attune"):
        """The answer's rows, columns separated by '|'."""
        done = subprocess.run([f"{programs()}/psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", text,
                               self.uri(database)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{text}: {done.stderr}")
        return done.stdout.splitlines()

    def create_database(self, name):
        self.sql(f'CREATE DATABASE "{name}"', "postgres")


def start(folder):
    folder.mkdir(parents=True, exist_ok=True)
    stop(folder)
    server = Server.create()
    server.create_database("attune")
    (folder / "server.json").write_text(json.dumps({"folder": str(server.folder), "port": server.port}))
    (folder / "uri").write_text(server.uri())
    (folder / "tcp").write_text(server.tcp_uri())
    return server


def of_these_tests():
    """The server that CTest has started (ATTUNE_TEST_POSTGRES names its folder). Unavailable where there is none."""
    noted = pathlib.Path(os.environ["ATTUNE_TEST_POSTGRES"]) / "server.json"
    if not noted.exists():
        raise Unavailable("no PostgreSQL server; tests/postgres/server.py says why")
    where = json.loads(noted.read_text())
    return Server(where["folder"], where["port"])


def stop(folder):
    noted = folder / "server.json"
    if noted.exists():
        Server(json.loads(noted.read_text())["folder"]).remove()
    for name in ("uri", "tcp", "server.json"):
        (folder / name).unlink(missing_ok=True)


def main():
    command, *words = sys.argv[1:] or ["help"]
    if command == "stop":
        stop(pathlib.Path(words[0]))
        return 0
    if command not in ("start", "run"):
        print(__doc__)
        return 2
    try:
        if command == "start":
            folder = pathlib.Path(words[0])
            print(start(folder).uri())
            return 0
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            start(folder)
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command's; what was started here is ended here
                return subprocess.run(words, env={**os.environ, "ATTUNE_TEST_POSTGRES": name}, check=False).returncode
            finally:
                stop(folder)
    except Unavailable as why:
        print(f"skipped: {why}")
        return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
