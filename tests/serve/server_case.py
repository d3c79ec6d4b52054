"""What the server's tests share: `attune serve` on a port of its own, and a client that holds every answer against
the OpenAPI document."""

import http.client
import json
import os
import pathlib
import queue
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "cli"))

from attune_case import AttuneCase, main  # noqa: E402, F401
from openapi_check import Document  # noqa: E402

SHAPE = {"batch": 1, "q_heads": 2, "kv_heads": 2, "q_len": 128, "kv_len": 128, "head_dim": 64,
         "dtype": "bf16", "mask": "none", "layout": "bhsd", "lse": False}  # of the recording synthetic-small
DOCUMENT = Document(pathlib.Path(os.environ["ATTUNE_SOURCE_DIR"]) / "serve/openapi.json")


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """A running `attune serve`."""

    def __init__(self, case, *words, port=0, device="recorded:synthetic-small"):
        self.case = case
        self.token = None
        self.process = case.start("serve", "--listen", f"127.0.0.1:{port}", "--device", device, *words)
        line = self.process.stdout.readline()
        if " serves http://" not in line:
            out, err = self.process.communicate(timeout=60)
            raise AssertionError(f"the server did not start: {line}{out}{err}")
        self.port = int(line.rsplit(":", 1)[1])
        case.addCleanup(self.kill)

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """As a service manager does it; returns what it said on stderr."""
        self.process.terminate()
        _, err = self.process.communicate(timeout=60)
        self.case.assertEqual(self.process.returncode, 0, err)
        return err

    def ask(self, method, path, body=None, headers=None, status=None, check=True):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        sent = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            sent.setdefault("Content-Type", "application/json")
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(response, response.read())
        finally:
            connection.close()
        if status is not None:
            self.case.assertEqual(answer.status, status, answer.body[:500])
        if check:
            problems = DOCUMENT.problems(method, path, answer)
            self.case.assertEqual(problems, [], f"{method} {path}: {answer.body[:500]}")
        return answer

    def get(self, path, status=200, **options):
        return self.ask("GET", path, status=status, **options)

    def post(self, path, body, status=200, **options):
        return self.ask("POST", path, body, status=status, **options)

    def submit(self, *, status=201, headers=None, **request):
        body = {"kind": "tune", "shape": SHAPE, "strategy": "random", "max_trials": 8, **request}
        return self.post("/v1/jobs", body, status=status, headers=headers).json

    def follow(self, job, last=0):
        """Events of a job, each (seq, kind, data), until the server ends the stream."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=240)
        headers = {"Last-Event-ID": str(last)} if last else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request("GET", f"/v1/jobs/{job}/events", headers=headers)
        response = connection.getresponse()
        self.case.assertEqual(response.status, 200)
        event = {}
        try:
            for line in response:
                text = line.decode().rstrip("\n")
                if text.startswith(":"):
                    continue
                if text:
                    key, _, value = text.partition(": ")
                    event[key] = value
                    continue
                if event:
                    data = json.loads(event["data"])
                    DOCUMENT.check("JobTrial" if event["event"] == "trial" else "JobStateEvent", data)
                    yield int(event["id"]), event["event"], data
                event = {}
        finally:
            connection.close()

    def wait(self, job):
        """The job when it has ended."""
        for _ in self.follow(job):
            pass
        return self.get(f"/v1/jobs/{job}").json


class Following(threading.Thread):
    """Follows a job in the background."""

    def __init__(self, server, job):
        super().__init__(daemon=True)
        self.events = queue.Queue()
        self.server, self.job = server, job
        self.start()

    def run(self):
        for event in self.server.follow(self.job):
            self.events.put(event)
        self.events.put(None)


class ServerCase(AttuneCase):
    def serve(self, *words, port=0):
        self.shared_cubins()
        return Server(self, *words, port=port)

    def serve_slowly(self, *words, port=0):
        """So that jobs have enough to compile to be caught in the middle."""
        self.own_cubins()
        return Server(self, "--threads", "1", *words, port=port)
