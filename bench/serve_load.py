#!/usr/bin/env python3
"""Loads `attune serve` and says what it held: lookups beside a running tune, memory over many requests, a long queue.

    bench/serve_load.py build/release/bin/attune --result bench/results/serve_load.json
    tests/postgres/server.py run bench/serve_load.py build/release/bin/attune --only queue --postgres

Needs wrk (Debian's). All on loopback, on recordings: without a GPU, with a cache folder of its own; on a SQLite file,
or on the PostgreSQL server that tests/postgres/server.py has started (its database must be empty)."""

import argparse
import http.client
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
SHAPE = {"batch": 4, "q_heads": 32, "kv_heads": 32, "q_len": 4096, "kv_len": 4096, "head_dim": 128,
         "dtype": "bf16", "mask": "none", "layout": "bhsd", "lse": False}
# Exact from the pack, near, and default answers.
PATHS = ["/v1/lookup?shape=4,32,4096,128", "/v1/lookup?shape=4,32,3000,128", "/v1/lookup?shape=1,14,512,64&kv_heads=2&mask=bottom-right",
         "/v1/lookup?shape=1,32,2048,128&kv_heads=8&mask=bottom-right", "/v1/lookup?shape=2,8,333,40"]


RATE = 2150  # of which some 2,050 a second come about: a connection waits its time after an answer


class Server:
    def __init__(self, binary, folder, database):
        self.binary, self.database = binary, database
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("ATTUNE_") or k == "ATTUNE_NVRTC"},
                    "ATTUNE_CACHE_DIR": str(folder / "cache"), "ATTUNE_CUDA_DRIVER": "/nonexistent/libcuda.so.1"}
        self.start()

    def start(self):
        begin = time.monotonic()
        self.process = subprocess.Popen([self.binary, "serve", "--listen", "127.0.0.1:0", "--db", self.database],
                                        env=self.env, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        assert self.ask("GET", "/readyz")[0] == 200
        return time.monotonic() - begin

    def ask(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def kill(self):
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def schedule_compilers(self, policy):
        """As SCHED_BATCH or SCHED_IDLE, to see what that does for who asks meanwhile. How many threads that were."""
        threads = []
        for children in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                threads += [int(task.name) for task in pathlib.Path(f"/proc/{child}/task").iterdir()]
        for thread in threads:
            os.sched_setscheduler(thread, {"batch": os.SCHED_BATCH, "idle": os.SCHED_IDLE}[policy], os.sched_param(0))
        return len(threads)

    def resident_mb(self):
        statm = pathlib.Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def cpu_ticks():
    return [int(value) for value in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]


def wrk(server, seconds, connections, rate):
    """What wrk saw, and the share of the processors that a hypervisor took away meanwhile: waits that are nobody's here."""
    env = {**os.environ, "RATE": str(rate), "CONNECTIONS": str(connections), "PATHS": " ".join(PATHS)}
    before = cpu_ticks()
    run = subprocess.run(["wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(HERE / "serve_pace.lua"),
                          f"http://127.0.0.1:{server.port}"], env=env, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(next(line[7:] for line in run.stdout.splitlines() if line.startswith("RESULT ")))
    ticks = [after - earlier for after, earlier in zip(cpu_ticks(), before)]
    return {**result, "rate": round(result["requests"] / result["seconds"]), "stolen": round(ticks[7] / sum(ticks), 4)}


def tune_for_ever(server):
    """A tune that measures, and so compiles, for as long as the load runs."""
    status, job = server.ask("POST", "/v1/jobs", {"shape": SHAPE, "strategy": "exhaustive", "max_trials": 100_000, "remeasure": True})
    assert status == 201, job
    while server.ask("GET", f"/v1/jobs/{job['id']}/trials?limit=1")[1]["trials"] == []:
        time.sleep(0.2)
    return job["id"]


def lookups(server, options):
    quiet = wrk(server, options.seconds, 20, RATE)
    job = tune_for_ever(server)
    if options.compilers:
        assert server.schedule_compilers(options.compilers) > 0
    before = len(server.ask("GET", f"/v1/jobs/{job}/trials?limit=1000")[1]["trials"])
    busy = wrk(server, options.seconds, 20, RATE)
    after = len(server.ask("GET", f"/v1/jobs/{job}/trials?limit=1000")[1]["trials"])
    server.ask("POST", f"/v1/jobs/{job}/cancel", {})
    return {"alone": quiet, "with_a_tune_running": {**busy, "trials_meanwhile": after - before}}


def memory(server, options):
    series, asked = [round(server.resident_mb(), 1)], 0
    while asked < options.requests:
        result = wrk(server, 10, 32, 0)
        asked += result["requests"]
        series.append(round(server.resident_mb(), 1))
    return {"requests": asked, "requests_a_second": result["rate"], "resident_mb": series}


def queue(server, options):
    # Something that runs for long first, so that the rest waits.
    job = tune_for_ever(server)
    times = []
    for number in range(options.jobs):
        begin = time.perf_counter()
        status, answer = server.ask("POST", "/v1/jobs", {"shape": SHAPE, "max_trials": 20, "seed": number})
        times.append((time.perf_counter() - begin) * 1000)
        assert status == 201, answer
    queued = sum(line.startswith('attune_jobs{state="queued"}') and int(line.split()[1]) for line in metrics(server))
    server.kill()
    ready = [server.start()]
    for _ in range(4):
        server.kill()
        ready.append(server.start())
    server.ask("POST", f"/v1/jobs/{job}/cancel", {})
    return {"jobs": options.jobs, "queued": queued, "submit_ms": spread(times),
            "submit_ms_of_the_last_tenth": spread(times[-(options.jobs // 10):]),
            "restart_to_ready_seconds": [round(value, 3) for value in ready]}


def spread(times):
    times = sorted(times)
    return {"mean": round(statistics.mean(times), 3), "p50": round(times[len(times) // 2], 3),
            "p99": round(times[int(len(times) * 0.99)], 3), "max": round(times[-1], 3)}


def metrics(server):
    server.connection.request("GET", "/metrics")
    return server.connection.getresponse().read().decode().splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=int, default=30, help="of each lookup load")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--compilers", choices=["batch", "idle"], help="schedule the tune's compilers so, beside nice 19")
    parser.add_argument("--only", choices=["lookups", "memory", "queue"])
    parser.add_argument("--postgres", action="store_true", help="on the server of ATTUNE_TEST_POSTGRES, with --only")
    parser.add_argument("--result", help="where the numbers go, as JSON")
    options = parser.parse_args()
    if options.postgres and not options.only:
        parser.error("--postgres wants --only: each part begins on an empty database")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="attune-load-"))
    numbers = {"command": " ".join(["bench/serve_load.py", *sys.argv[1:]]), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
               "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    for name, measure in [("lookups", lookups), ("memory", memory), ("queue", queue)]:
        if options.only not in (None, name):
            continue
        (folder / name).mkdir()
        database = folder / name / "load.db"
        if options.postgres:
            database = (pathlib.Path(os.environ["ATTUNE_TEST_POSTGRES"]) / "uri").read_text().strip()
        server = Server(options.binary, folder / name, database)
        numbers[name] = measure(server, options)
        server.kill()
        print(json.dumps({name: numbers[name]}, indent=2), flush=True)
    numbers["load_after"] = os.getloadavg()[0]
    if options.result:
        pathlib.Path(options.result).write_text(json.dumps(numbers, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
