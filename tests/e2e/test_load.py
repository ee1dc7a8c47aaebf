"""sluice-load against a real server, and against a proxy that spoils a real server's answers."""

import http.client
import http.server
import json
import os
import re
import sys
import threading
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
import measuring
import sluice

ACOS = ["A9990", "A9991", "A9992"]


def claims(aco, beneficiaries=6, claims_each=80):
    lines = []
    for number in range(beneficiaries):
        patient = f"{aco}-{number}"
        lines.append({"resourceType": "Patient", "id": patient, "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}})
        lines += [{"resourceType": "ExplanationOfBenefit", "id": f"{patient}-{claim}",
                   "patient": {"reference": f"Patient/{patient}"}, "text": "x" * 300,
                   "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}} for claim in range(claims_each)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def make_site():
    site = sluice.Site(ACOS)
    for aco in ACOS:
        site.ctl("import", "--aco", aco, site.write(f"{aco}.ndjson", claims(aco)))
    site.write("credentials", "".join(f"{aco}\n{client}\n{secret}\n\n"
                                      for aco, (client, secret) in site.credentials.items()))
    return site


def load(site, base, *arguments, check=True):
    command = [sluice.program("sluice-load"), "--url", base, "--credentials", site.path("credentials"), "--json", "--quiet"]
    if base.startswith("https"):
        command += ["--ca", sluice.Site.tls()[0]]
    return sluice.run(*command, *arguments, check=check)


class ScenariosTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = make_site()
        cls.server = sluice.Server(cls.site).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def run_scenario(self, name, *arguments):
        result = json.loads(load(self.site, self.server.base, "--seconds", "1", name, *arguments).stdout)
        self.assertEqual(result["scenario"], name)
        self.assertEqual(result["failures"], 0, result)
        return result["work"]

    def test_export(self):
        work = self.run_scenario("export", "--rate", "4")
        self.assertGreaterEqual(work["export"]["done"], 1)
        self.assertEqual(work["download"]["done"], 2 * work["export"]["done"])
        self.assertGreater(work["download"]["bytes"], 0)
        self.assertLessEqual(work["export"]["p50"], work["export"]["max"])

    def test_identity_downloads_carry_every_byte(self):
        stored = self.run_scenario("export", "--rate", "2")["download"]
        identity = self.run_scenario("export", "--rate", "2", "--identity")["download"]
        self.assertGreater(identity["bytes"] / identity["done"], 3 * stored["bytes"] / stored["done"])

    def test_status_begins_as_much_as_it_is_told(self):
        work = self.run_scenario("status", "--rate", "200")
        skipped = work["status"]["failures"].get("not sent", 0)
        self.assertEqual(work["status"]["done"] + skipped, 200)

    def test_mixed(self):
        work = self.run_scenario("mixed", "--rate", "150")
        self.assertGreater(work["status"]["done"], work["metadata"]["done"])
        self.assertGreater(work["token"]["done"], 0)

    def test_slow_readers(self):
        self.assertGreater(self.run_scenario("slow-readers", "--rate", "50")["status"]["done"], 0)

    def test_storm_exports_every_aco_each_time(self):
        done = self.run_scenario("storm")["export"]["done"]
        self.assertGreater(done, 0)
        self.assertEqual(done % len(ACOS), 0)

    def test_it_leaves_no_jobs_behind(self):
        self.run_scenario("mixed", "--rate", "50")
        listed = self.site.ctl("jobs", "list", "--json").stdout
        self.assertNotIn('"Completed"', listed)

    def test_the_servers_processor_time_is_told(self):
        done = load(self.site, self.server.base, "--seconds", "1", "status", "--rate", "300", "--server-pid",
                    self.server.process.pid)
        server = json.loads(done.stdout)["server"]
        self.assertGreater(server["cpuSeconds"], 0)
        self.assertGreater(server["anonymousBytesMax"], 100_000)

    def test_the_report_is_a_page_that_needs_nothing_else(self):
        path = self.site.path("report.html")
        load(self.site, self.server.base, "--seconds", "2", "mixed", "--rate", "80", "--report", path)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        self.assertTrue(page.startswith("<!doctype html>") and page.endswith("</html>\n"))
        self.assertGreaterEqual(page.count("<figure>"), 3)
        self.assertNotRegex(page, r'(src|href)=|@import|url\(')
        self.assertNotIn("nan", re.sub(r"<[^>]*>", "", page))
        for secret in self.site.credentials.values():
            self.assertNotIn(secret[1], page)

    def test_what_the_server_did_for_tokens_and_prepared_jobs_does_not_count(self):
        path = self.site.path("many-credentials")
        with open(self.site.path("credentials"), encoding="utf-8") as file, open(path, "w", encoding="utf-8") as many:
            many.write(file.read() * 40)
        pid = self.server.process.pid
        before = measuring.cpu_seconds(pid)
        done = load(self.site, self.server.base, "--credentials", path, "--seconds", "1", "export", "--rate", "1",
                    "--server-pid", pid)
        whole = measuring.cpu_seconds(pid) - before
        self.assertGreater(whole, 0.1, "120 tokens cost something")
        self.assertLess(json.loads(done.stdout)["server"]["cpuSeconds"], whole / 2)

    def test_the_report_tells_what_the_table_tells(self):
        path = self.site.path("report.html")
        done = load(self.site, self.server.base, "--seconds", "1", "export", "--rate", "300", "--report", path)
        skipped = json.loads(done.stdout)["work"]["export"]["failures"]["not sent"]
        with open(path, encoding="utf-8") as file:
            page = file.read()
        self.assertIn(f"<p>export: {skipped} not sent</p>", page)

    def test_two_exports_that_differ_are_a_failure_unless_the_store_may_change(self):
        stop = threading.Event()

        def change():
            number = 0
            while not stop.is_set():
                number += 1
                line = {"resourceType": "Patient", "id": f"new-{number}"}
                self.site.ctl("import", "--aco", "A9990", self.site.write("new.ndjson", json.dumps(line)))

        thread = threading.Thread(target=change)
        thread.start()
        try:
            strict = load(self.site, self.server.base, "--seconds", "3", "storm", check=False)
            lenient = load(self.site, self.server.base, "--seconds", "2", "storm", "--changing", check=False)
        finally:
            stop.set()
            thread.join()
        self.assertEqual(strict.returncode, 1, strict.stdout)
        self.assertIn("two exports of A9990 differ", json.loads(strict.stdout)["firstWrong"])
        self.assertEqual(lenient.returncode, 0, lenient.stdout)

    def test_a_refused_credential_is_said_before_anything_begins(self):
        bad = self.site.write("bad-credentials", f"A9990\n{self.site.credentials['A9990'][0]}\n{'0' * 80}\n")
        done = sluice.run(sluice.program("sluice-load"), "--url", self.server.base, "--ca", sluice.Site.tls()[0],
                          "--credentials", bad, "--quiet", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no token for", done.stderr)
        self.assertNotIn("0" * 80, done.stderr)

    def test_wrong_usage(self):
        for arguments in ([], ["--url", "ftp://x", "--credentials", "x"], ["--url", "https://x", "--credentials", "x", "rain"],
                          ["--url", "https://x", "--credentials", "x", "--rate", "0"], ["--unknown"]):
            done = sluice.run(sluice.program("sluice-load"), *arguments, check=False)
            self.assertEqual(done.returncode, 2, arguments)
        self.assertEqual(sluice.run(sluice.program("sluice-load"), "--help").returncode, 0)
        self.assertRegex(sluice.run(sluice.program("sluice-load"), "--version").stdout, r"^sluice-load \d")


class Spoiler(http.server.ThreadingHTTPServer):
    """A proxy before a real server; `spoil(path, status, body)` gives the body that the client gets."""

    daemon_threads = True

    def __init__(self, base, spoil):
        self.target = urllib.parse.urlsplit(base).netloc
        self.spoil = spoil
        super().__init__(("127.0.0.1", 0), SpoilingHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def base(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class SpoilingHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        connection = http.client.HTTPConnection(self.server.target)
        fields = {name: value for name, value in self.headers.items() if name.lower() not in ("accept-encoding",)}
        connection.request(self.command, self.path, headers=fields)
        reply = connection.getresponse()
        body = self.server.spoil(self.path, reply.status, reply.read())
        status, body = body if isinstance(body, tuple) else (reply.status, body)
        self.send_response(status)
        for name, value in reply.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_GET = do_POST = do_DELETE = handle_any

    def log_message(self, *arguments):
        pass


class WrongAnswersTest(unittest.TestCase):
    """A fast wrong answer is a failure, and says what is wrong."""

    @classmethod
    def setUpClass(cls):
        cls.site = make_site()
        cls.server = sluice.Server(cls.site, plaintext=True).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def spoiled(self, spoil):
        proxy = Spoiler(self.server.base, spoil)
        try:
            done = load(self.site, proxy.base, "--seconds", "1", "storm", check=False)
        finally:
            proxy.shutdown()
            proxy.server_close()
        return done.returncode, json.loads(done.stdout)

    def expect_wrong(self, spoil, expected):
        status, result = self.spoiled(spoil)
        self.assertEqual(status, 1, result)
        self.assertIn(expected, result["firstWrong"])
        self.assertEqual(result["work"].get("export", {"done": 0})["done"], 0)

    def test_the_proxy_alone_spoils_nothing(self):
        status, result = self.spoiled(lambda path, status, body: body)
        self.assertEqual((status, result["failures"]), (0, 0), result)

    def test_a_line_that_is_missing(self):
        self.expect_wrong(lambda path, status, body: body[body.index(b"\n") + 1:] if path.startswith("/data/") else body,
                          "number of lines")

    def test_a_line_that_was_changed_into_another_of_another_length(self):
        self.expect_wrong(lambda path, status, body: body.replace(b"xxx", b"xx", 1) if path.startswith("/data/") and b"xxx" in body else body,
                          "fileSize")

    def test_a_line_of_another_type(self):
        self.expect_wrong(lambda path, status, body: body.replace(b'"Patient"', b'"patient"', 1) if path.startswith("/data/") else body,
                          "line 1")

    def test_a_file_that_ends_in_the_middle_of_a_line(self):
        self.expect_wrong(lambda path, status, body: body[:-10] if path.startswith("/data/") else body, "last line")

    def test_a_manifest_that_is_none(self):
        self.expect_wrong(lambda path, status, body: b"{}" if path.startswith("/api/v1/jobs/") and status == 200 else body,
                          "no manifest")

    def test_server_errors_are_counted_by_their_kind(self):
        status, result = self.spoiled(lambda path, status, body: (503, b"") if path.startswith("/data/") else body)
        self.assertEqual(status, 1)
        self.assertGreater(result["work"]["download"]["failures"]["5xx"], 0)
        self.assertNotIn("firstWrong", result)
