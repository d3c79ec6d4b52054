"""Who may ask: loopback, tokens, hosts, other sites; and that a token shows up nowhere."""

import json
import sqlite3

from server_case import SHAPE, ServerCase, main

TOKEN, OTHER = "s3cret-token-of-alice-0123456789", "s3cret-token-of-bob-9876543210"


class Access(ServerCase):
    def token_file(self, text=f"# the team\nalice {TOKEN}\nbob {OTHER}\n", mode=0o600):
        file = self.folder / "tokens"
        file.write_text(text)
        file.chmod(mode)
        return str(file)

    def test_a_token_is_needed_where_there_are_tokens(self):
        server = self.serve("--token-file", self.token_file())
        for headers in [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"},
                        {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"}]:
            answer = server.ask("GET", "/v1/jobs", headers=headers, status=401)
            self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
            server.ask("POST", "/v1/jobs", {"shape": SHAPE}, headers=headers, status=401)
            server.ask("GET", "/metrics", headers=headers, status=401)
        server.get("/healthz")
        server.get("/readyz")
        server.token = TOKEN
        job = server.submit()
        self.assertEqual(job["client"], "alice")
        self.assertEqual(server.wait(job["id"])["state"], "done")
        server.token = OTHER
        self.assertEqual(server.submit(headers={"X-Attune-Client": "alice"})["client"], "bob")

    def test_a_token_of_the_environment_does(self):
        self.env["ATTUNE_TOKEN"] = TOKEN
        server = self.serve()
        server.get("/v1/jobs", status=401)
        server.token = TOKEN
        self.assertEqual(server.submit()["client"], "token")

    def test_a_token_shows_up_nowhere(self):
        server = self.serve("--token-file", self.token_file())
        server.get("/v1/jobs", status=401, headers={"Authorization": f"Bearer {TOKEN}-mistyped"})
        server.token = TOKEN
        server.wait(server.submit()["id"])
        shown = [server.get(path).body.decode() for path in ["/metrics", "/v1/server", "/v1/jobs", "/v1/jobs/1"]]
        said = server.stop()
        with sqlite3.connect(self.database) as connection:
            shown += list(connection.iterdump())
        for text in [*shown, said]:
            self.assertNotIn("s3cret", text)

    def test_other_addresses_need_a_token(self):
        line = self.error("serve", "--listen", "0.0.0.0:0", code=2)
        self.assertIn("token", line)
        self.assertIn("TLS", line)
        self.error("serve", "--listen", "[::]:0", code=2)
        self.error("serve", "--listen", "nonsense", code=2)
        self.error("serve", "--listen", "127.0.0.1:99999", code=2)

    def test_token_files_that_will_not_do(self):
        for text, mode, word in [(f"alice {TOKEN}\n", 0o644, "chmod 600"), ("", 0o600, "no token"),
                                 ("alice s3cret\n", 0o600, "shorter"), (f"al/ice {TOKEN}\n", 0o600, "name")]:
            line = self.error("serve", "--listen", "127.0.0.1:0", "--token-file", self.token_file(text, mode), code=2)
            self.assertIn(word, line)
            self.assertNotIn("s3cret", line)
        self.error("serve", "--token-file", "/nonexistent", code=2)

    def test_names_that_were_made_to_lead_here_are_refused(self):
        server = self.serve("--allow-host", "tuner.example")
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", ""]:
            server.get("/v1/jobs", status=421, headers={"Host": host}, check=False)
        for host in ["tuner.example", "tuner.example:443", "localhost:1", "127.0.0.1", "[::1]:8750"]:
            server.get("/v1/jobs", headers={"Host": host})

    def test_pages_of_other_sites_are_refused(self):
        server = self.serve()
        for headers in [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]:
            body = json.dumps({"shape": SHAPE})
            for kind in ["application/json", "text/plain"]:
                server.ask("POST", "/v1/jobs", body, headers={**headers, "Content-Type": kind}, status=403, check=False)
            answer = server.get("/v1/jobs", status=403, headers=headers, check=False)
            self.assertFalse([name for name in answer.headers if name.lower().startswith("access-control")])
        server.get("/v1/jobs", headers={"Origin": f"http://127.0.0.1:{server.port}"})

    def test_a_token_on_the_command_line_is_no_option(self):
        self.error("serve", "--token", TOKEN, code=2)


if __name__ == "__main__":
    main()
