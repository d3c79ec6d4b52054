"""Jobs that ask a language model: the server's own endpoint, scripted on loopback."""

import json

from server_case import ServerCase, main  # first: it says where llm_case is

from llm_case import KEY, PROPOSALS, completion  # isort: skip
from llm_case import Server as Endpoint


class LlmJobs(ServerCase):
    def ask(self, url):
        self.env.update(ATTUNE_LLM_URL=url, ATTUNE_LLM_MODEL="test-model", ATTUNE_LLM_API_KEY=KEY)

    @staticmethod
    def metric(server, name):
        lines = server.get("/metrics").body.decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))

    def run_job(self, server, trials=20, **request):
        """A job that ends with records; the key is nowhere."""
        job = server.submit(strategy="llm", max_trials=trials, **request)
        ended = server.wait(job["id"])
        self.assertEqual((ended["state"], ended["result"]["trials"]), ("done", trials), ended["message"])
        answer = server.get("/v1/lookup?shape=1,2,128,64").json
        self.assertEqual((answer["provenance"], answer["config"]), ("exact", ended["result"]["config"]))
        self.assertNotIn(KEY, json.dumps(ended) + server.get("/metrics").body.decode())
        for file in self.folder.rglob("*"):
            if file.is_file():
                self.assertNotIn(KEY.encode(), file.read_bytes(), file.name)
        return ended

    def test_a_model_is_asked_and_counted(self):
        endpoint = Endpoint(self, lambda h: h.reply(200, completion(json.dumps(PROPOSALS), (1000, 500))))
        self.ask(endpoint.url)
        server = self.serve_slowly("--llm-price", "10/20")  # enough to compile for an answer to come in time
        ended = self.run_job(server, trials=40)
        llm = ended["result"]["llm"]
        self.assertGreater(llm["proposals"], 0)
        self.assertGreater(llm["answered"], 0)
        self.assertEqual(ended["message"], "")
        self.assertEqual(endpoint.requests[0]["headers"]["Authorization"], "Bearer " + KEY)
        self.assertGreaterEqual(self.metric(server, "attune_llm_calls_total"), llm["answered"])
        self.assertGreaterEqual(self.metric(server, "attune_llm_tokens_total"), 1500 * llm["answered"])
        self.assertGreaterEqual(self.metric(server, "attune_llm_cost_dollars_total"), 0.0199 * llm["answered"])

    def test_a_job_may_ask_less_than_the_server_allows(self):
        endpoint = Endpoint(self, lambda h: h.reply(200, completion(json.dumps(PROPOSALS))))
        self.ask(endpoint.url)
        server = self.serve_slowly()
        self.run_job(server, llm={"max_calls": 1, "max_dollars": 0})
        self.assertEqual(len(endpoint.requests), 1)
        self.assertEqual(self.metric(server, "attune_llm_calls_total"), 1)

    def test_an_endpoint_that_is_down_is_said_and_the_job_ends(self):
        self.ask("http://127.0.0.1:9/v1")
        ended = self.run_job(self.serve_slowly())
        self.assertEqual((ended["result"]["llm"]["answered"], ended["result"]["llm"]["proposals"]), (0, 0))
        self.assertRegex(ended["message"], "^LLM: (no answer came|.* does not answer).*went on without")

    def test_an_endpoint_that_refuses_is_said_and_the_job_ends(self):
        words = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}})
        endpoint = Endpoint(self, lambda h: h.reply(401, words))
        self.ask(endpoint.url)
        server = self.serve_slowly()
        ended = self.run_job(server, trials=40)
        expected = "HTTP 401: Incorrect API key provided: [key]"
        self.assertIn(expected, ended["message"])
        self.assertIn("went on without it", ended["message"])
        said = server.stop()
        self.assertIn(expected, said)
        self.assertNotIn(KEY, said)

    def test_a_server_without_an_endpoint_refuses(self):
        refusal = self.serve().submit(strategy="llm", status=422)
        self.assertIn("asks a language model, which this server doesn't", refusal["error"])


if __name__ == "__main__":
    main()
