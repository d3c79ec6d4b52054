#!/usr/bin/env python3
"""A soak of `attune serve`: thousands of jobs on a recorded device while the server is killed at random moments.

    bench/serve_soak.py build/release/bin/attune --make-recordings build/release/tests/cli/make_recordings \
        --jobs 2000 --kill-every 20 --result bench/results/serve_soak.json

Several clients submit tune jobs (each with an Idempotency-Key, sent again until the server acknowledges it), some of
them with a cancel. Meanwhile the server is ended with SIGKILL (three times of four) or SIGTERM and started again on
the same database. At the end it must hold: every acknowledged job is there once, has ended as it should, has exactly
one event that ends it, and has all its trials, each once. The last fifth of the jobs is one server's, which is not ended: its
memory, open files and threads must not grow from job to job, and no process of any server may be left behind. The
database is checked with `attune cache verify`. Exit code 1 where anything is missing."""

import argparse
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SHAPE = {"batch": 1, "q_heads": 2, "kv_heads": 2, "q_len": 128, "kv_len": 128, "head_dim": 64,
         "dtype": "bf16", "mask": "none", "layout": "bhsd", "lse": False}
ENDED = {"done", "failed", "cancelled"}


def free_port():
    """One that the kernel gives to no client: who tries to reach a server that is gone may else be given its port."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.Random().sample(range(10000, max(first, 11000)), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port below those for clients")


class Server:
    """The server's process, replaced whenever it is killed."""

    def __init__(self, binary, folder, env, device):
        self.command = [binary, "serve", "--db", str(folder / "soak.db"), "--device", device]
        self.env, self.log = env, open(folder / "server.log", "ab")
        self.port = free_port()  # one for all of them
        self.starts, self.ready_seconds = 0, []
        self.start()

    def start(self):
        begin = time.monotonic()
        self.process = subprocess.Popen([*self.command, "--listen", f"127.0.0.1:{self.port}"], env=self.env,
                                        stdout=self.log, stderr=self.log)
        self.starts += 1
        while self.process.poll() is None:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    self.ready_seconds.append(time.monotonic() - begin)
                    return
            except OSError:
                time.sleep(0.005)
        raise SystemExit(f"the server ended by itself: exit code {self.process.returncode}; see its log")

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(timeout=60)

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def insist(self, *request):
        """Until the server answers: it may be dead just now."""
        while True:
            try:
                status, answer = self.ask(*request)
                if status in (200, 201, 404):
                    return status, answer
            except (OSError, ValueError):
                pass
            time.sleep(0.02)

    def ended(self):
        """How many jobs have; None while it is dead."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return sum(int(line.split()[1]) for line in lines for state in ENDED if line.startswith(f'attune_jobs{{state="{state}"}}'))

    def holds(self):
        """What would grow with a leak."""
        process = pathlib.Path("/proc", str(self.process.pid))
        pages = int((process / "statm").read_text().split()[1])
        return {"resident_mb": round(pages * os.sysconf("SC_PAGESIZE") / 1e6, 1),
                "files": len(os.listdir(process / "fd")), "threads": len(os.listdir(process / "task"))}


class Client(threading.Thread):
    def __init__(self, server, name, jobs, seed, results):
        super().__init__(daemon=True)
        self.server, self.client, self.jobs, self.results = server, name, jobs, results
        self.random = random.Random(seed)

    def run(self):
        for number in range(self.jobs):
            body = {"shape": SHAPE, "strategy": self.random.choice(["random", "pattern", "bayesian"]),
                    "max_trials": self.random.randint(3, 12), "seed": self.random.randrange(1000),
                    "remeasure": self.random.random() < 0.5, "priority": self.random.choice([0, 0, 0, 1])}
            headers = {"Idempotency-Key": f"{self.client}-{number}", "X-Attune-Client": self.client}
            _, job = self.server.insist("POST", "/v1/jobs", body, headers)
            cancelled = self.random.random() < 0.05
            if cancelled:
                self.server.insist("POST", f"/v1/jobs/{job['id']}/cancel")
            self.results.append((job["id"], body, cancelled))
            while self.random.random() < 0.9 and self.waiting() > 20:
                time.sleep(0.05)

    def waiting(self):
        _, answer = self.server.insist("GET", f"/v1/jobs?state=queued&limit=100&client={self.client}")
        return len(answer["jobs"])


def left_behind(folder):
    """Processes that were started with this soak's environment: compilers whose server is gone."""
    found = []
    for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in environment.read_bytes() and int(environment.parent.name) != os.getpid():
                found.append((environment.parent / "comm").read_text().strip())
        except OSError:
            pass
    return found


def check_growth(series, problems):
    """Of the last server: the second half of its life against the end of the first."""
    if len(series) < 20:
        return problems.append(f"the last server was looked at {len(series)} times: too few to say that nothing grows")
    middle, last = series[len(series) // 2], series[-1]
    if last["resident_mb"] > middle["resident_mb"] * 1.1 + 2:
        problems.append(f"memory grew from {middle['resident_mb']} to {last['resident_mb']} MB")
    if max(each["files"] for each in series[len(series) // 2:]) > max(each["files"] for each in series[:len(series) // 2]) + 4:
        problems.append(f"open files grew from {middle['files']} to {last['files']}")
    if last["threads"] > middle["threads"] + 2:
        problems.append(f"threads grew from {middle['threads']} to {last['threads']}")


def machine():
    """Facts of the machine that timings depend on."""
    model = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return {"cpu": model[0] if model else "unknown", "cores": os.cpu_count(), "memory_gb": round(memory / 1e6, 1)}


def pages(server, path, key, cursor):
    found, after = [], None
    while True:
        _, answer = server.insist("GET", path + (f"&{cursor[0]}={after}" if after else ""))
        found += answer[key]
        after = answer[cursor[1]]
        if after is None:
            return found


def check(server, database, results, problems):
    import sqlite3

    jobs = {job["id"]: job for job in pages(server, "/v1/jobs?limit=1000", "jobs", ("before", "next_before"))}
    if len(jobs) != len(results):
        problems.append(f"{len(results)} jobs were acknowledged, {len(jobs)} are there")
    with sqlite3.connect(database) as connection:
        events = collections.defaultdict(list)
        for job, kind, detail, trial in connection.execute(
                "SELECT job_id, kind, detail, trial_id FROM job_events ORDER BY job_id, seq"):
            events[job].append((kind, detail, trial))
    for number, body, cancelled in results:
        job = jobs.get(number)
        if job is None:
            problems.append(f"job {number} is lost")
            continue
        if job["state"] != "done" and not (cancelled and job["state"] == "cancelled"):
            problems.append(f"job {number} is {job['state']}: {job['message']}")
        states = [detail for kind, detail, _ in events[number] if kind == "state"]
        if sum(state in ENDED for state in states) != 1 or states[-1] not in ENDED:
            problems.append(f"job {number} went {states}")
        if states.count("running") != job["starts"]:
            problems.append(f"job {number} was started {job['starts']} times and went {states}")
        trials = [trial for kind, _, trial in events[number] if kind == "trial"]
        if len(set(trials)) != len(trials):
            problems.append(f"job {number} has a trial twice")
        if job["state"] == "done" and len(trials) < body["max_trials"]:
            problems.append(f"job {number} has {len(trials)} trials of {body['max_trials']}")
    return jobs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--make-recordings", required=True, help="the build's tests' make_recordings")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=20, help="seconds between ends of the server, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--result", help="where the summary goes, as JSON")
    options = parser.parse_args()

    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True,
                            cwd=pathlib.Path(__file__).parent).stdout.strip()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="attune-soak-"))
    (folder / "recordings").mkdir()
    subprocess.run([options.make_recordings, folder / "recordings"], check=True, stdout=subprocess.DEVNULL)
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") or k == "ATTUNE_NVRTC"},
           "ATTUNE_CACHE_DIR": os.environ.get("ATTUNE_CACHE_DIR", str(folder / "cache")),
           "ATTUNE_RECORDINGS": str(folder / "recordings"),
           "ATTUNE_PACKS": "", "ATTUNE_CUDA_DRIVER": "/nonexistent/libcuda.so.1"}
    server = Server(options.binary, folder, env, "recorded:synthetic-small")
    results, problems, last_life, lives = [], [], [], []
    clients = [Client(server, f"client{i}", options.jobs // options.clients, options.seed * 100 + i, results)
               for i in range(options.clients)]
    dice, begin, kills = random.Random(options.seed), time.monotonic(), collections.Counter()
    for client in clients:
        client.start()
    next_end = begin + dice.expovariate(1 / options.kill_every)
    undisturbed, looked = False, begin
    while True:
        time.sleep(0.05)
        if time.monotonic() >= looked + 1:
            looked = time.monotonic()
            undisturbed = undisturbed or (server.ended() or 0) >= 0.8 * options.jobs
            if undisturbed:
                last_life.append(server.holds())
        if time.monotonic() >= next_end and not undisturbed:
            lives.append(server.holds())
            how = signal.SIGTERM if dice.random() < 0.25 else signal.SIGKILL
            server.end(how)
            kills[how.name] += 1
            server.start()
            next_end = time.monotonic() + dice.expovariate(1 / options.kill_every)
        if server.process.poll() is not None:
            problems.append(f"the server ended by itself: exit code {server.process.returncode}")
            break
        if any(client.is_alive() for client in clients):
            continue
        states = [server.insist("GET", f"/v1/jobs?limit=1&state={state}")[1]["jobs"]
                  for state in ("queued", "running", "cancelling")]
        if not any(states):
            break
    seconds = time.monotonic() - begin
    last_life.append(server.holds())
    check_growth(last_life, problems)
    jobs = check(server, folder / "soak.db", results, problems)
    after_lists = server.holds()  # of a thousand jobs each, which the allocator keeps room for
    server.end(signal.SIGTERM)
    if left := left_behind(folder):
        problems.append(f"processes that were left behind: {left}")
    verified = subprocess.run([options.binary, "cache", "verify", "--db", folder / "soak.db"], env=env,
                              capture_output=True, text=True)
    if verified.returncode != 0:
        problems.append(f"attune cache verify: {verified.stdout}{verified.stderr}")
    summary = {
        "command": " ".join(["bench/serve_soak.py", *sys.argv[1:]]),
        "jobs": len(jobs),
        "states": dict(collections.Counter(job["state"] for job in jobs.values())),
        "started_more_than_once": sum(job["starts"] > 1 for job in jobs.values()),
        "ends_of_the_server": dict(kills),
        "seconds": round(seconds, 1),
        "ready_seconds": {"median": round(sorted(server.ready_seconds)[len(server.ready_seconds) // 2], 3),
                          "most": round(max(server.ready_seconds), 3)},
        "resident_mb_most": max(each["resident_mb"] for each in lives + last_life),
        "last_server": {"begin": last_life[0], "middle": last_life[len(last_life) // 2], "end": last_life[-1],
                        "after_lists_of_all_jobs": after_lists, "resident_mb": [each["resident_mb"] for each in last_life[::max(1, len(last_life) // 20)]]},
        "commit": commit,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "problems": problems,
    }
    print(json.dumps(summary, indent=2))
    if options.result:
        pathlib.Path(options.result).write_text(json.dumps(summary, indent=2) + "\n")
    if problems:
        print(f"the database and the log are in {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
