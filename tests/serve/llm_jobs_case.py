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

    def run_job(self, server, **request):
        """A job that ends with records; the key is nowhere."""
        job = server.submit(strategy="llm", max_trials=20, **request)
        ended = server.wait(job["id"])
        self.assertEqual((ended["state"], ended["result"]["trials"]), ("done", 20), ended["message"])
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
        ended = self.run_job(server)
        llm = ended["result"]["llm"]
        self.assertGreater(llm["proposals"], 0)
        self.assertGreater(llm["answered"], 0)
        self.assertEqual(endpoint.requests[0]["headers"]["Authorization"], "Bearer " + KEY)
        proposed = [trial["trial"] for trial in server.get(f"/v1/jobs/{ended['id']}/trials").json["trials"]
                    if trial["trial"]["strategy"].startswith("llm")]
        self.assertGreater(len(proposed), 0)
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

    def test_an_endpoint_that_is_down_costs_a_line(self):
        self.ask("http://127.0.0.1:9/v1")
        server = self.serve_slowly()
        ended = self.run_job(server)
        llm = ended["result"]["llm"]
        self.assertEqual((llm["answered"], llm["proposals"]), (0, 0))
        self.assertIn("does not answer", llm["remark"])
        said = server.stop()
        self.assertIn("does not answer", said)
        self.assertIn("the search goes on without it", said)

    def test_a_server_without_an_endpoint_refuses(self):
        refusal = self.serve().submit(strategy="llm", status=422)
        self.assertIn("asks a language model, which this server doesn't", refusal["error"])


if __name__ == "__main__":
    main()
