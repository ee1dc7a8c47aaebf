"""Statements of docs/conformance.md that no other test holds: what time does to tokens, files and downloads, every
combination of types, DELETE of an archived job, and the fields of every good answer."""

import email.utils
import http.client
import itertools
import json
import os
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

HOUR = 3600
TYPES = ["ExplanationOfBenefit", "Coverage", "Patient"]
KICK_OFF = [f"{name}: {value}" for name, value in wire.KICK_OFF.items()]
SLOW = {"SLUICE_FAILPOINTS": "export.file.fsync=sleep"}
MANY_FILES = {"file_bytes_max": "1KiB", "export_workers": 1}
LARGE_BYTES_MIN = 20 * 1024 * 1024  # more than the sockets between server and test take


def make_site(beneficiaries=3, claims=2, text="", environment=None):
    site = sluice.Site(["A9994"], environment)
    lines = []
    for number in range(beneficiaries):
        lines += [wire.line(kind, number, "2021-01-01T00:00:00Z") for kind in ("Patient", "Coverage")]
        lines += [wire.line("ExplanationOfBenefit", number, "2021-01-01T00:00:00Z", item, text) for item in range(claims)]
    site.ctl("import", "--aco", "A9994", site.write("claims.ndjson", "\n".join(lines) + "\n"))
    return site


def seconds(http_date):
    return email.utils.parsedate_to_datetime(http_date).timestamp()


class TimeTest(unittest.TestCase):
    """A clock that is put forward while something is at work."""

    timeout_seconds = 300

    def begin(self, settings=None, slow=False, **options):
        self.clock = wire.Clock()
        self.site = make_site(environment=self.clock.environment, **options)
        self.addCleanup(self.site.close)
        self.server = sluice.Server(self.site, plaintext=True, settings=settings,
                                    environment=dict(self.clock.environment, **(SLOW if slow else {}))).start()
        self.addCleanup(lambda: self.server.stop(None))

    def test_a_job_outlives_its_token_and_its_day_begins_when_it_is_done(self):
        self.begin(MANY_FILES, slow=True, beneficiaries=40)
        token = self.server.token()
        job = self.server.kick_off(token)
        self.assertEqual(self.server.curl(job, token=token)[0], 202)
        self.clock.shift(2 * HOUR)
        self.assertEqual(self.server.curl(job, token=token)[0], 401)
        token = self.server.token()
        status, headers, _ = self.server.curl(job, token=token)
        self.assertEqual(status, 202, "too fast for this test")
        self.server.wait_for_job(job, token)
        _, headers, _ = self.server.curl(job, token=token)
        # 24 hours after the last file, so 26 after the request.
        self.assertAlmostEqual(seconds(headers["expires"]), self.clock.now() + 24 * HOUR, delta=60)

    def test_a_download_outlives_its_token_and_its_file(self):
        self.begin(beneficiaries=4, claims=1000, text="x" * 6000)
        token = self.server.token()
        manifest = self.server.wait_for_job(self.server.kick_off(token), token)
        item = manifest["output"][0]
        self.assertGreater(item["fileSize"], LARGE_BYTES_MIN)
        url = urllib.parse.urlsplit(item["url"])
        whole = self.server.download(item["url"], token)
        connection = http.client.HTTPConnection(url.netloc, timeout=sluice.DEADLINE_SECONDS)
        self.addCleanup(connection.close)
        connection.request("GET", url.path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read(1000)
        folder = os.path.join(self.site.store, "jobs", str(manifest["JobID"]))
        for hours, state in ((25, "archived"), (50, "expired")):
            self.clock.shift(hours * HOUR)
            sluice.wait_until(lambda: self.server.events(f"job {state}"), f"the job is {state}")
        sluice.wait_until(lambda: not os.path.exists(folder), "its files are deleted")
        self.assertEqual(self.server.curl(item["url"], token=token)[0], 401)
        self.assertEqual(self.server.curl(item["url"], token=self.server.token())[0], 410)
        self.assertEqual(body + response.read(), whole)

    def test_an_archived_job_can_be_deleted(self):
        self.begin({"keep_hours": 2, "token_lifetime_seconds": 86400})
        token = self.server.token()
        job = self.server.kick_off(token)
        url = self.server.wait_for_job(job, token)["output"][0]["url"]
        self.clock.shift(2 * HOUR + 1)
        self.assertEqual(self.server.curl(job, token=token)[1]["x-progress"], "Archived")
        status, _, body = self.server.curl(job, token=token, method="DELETE")
        self.assertEqual((status, body), (202, b""))
        for method, target in (("GET", job), ("DELETE", job), ("GET", url)):
            self.assertEqual(self.server.curl(target, token=token, method=method)[0], 404)
        folder = os.path.join(self.site.store, "jobs", job.rsplit("/", 1)[1])
        sluice.wait_until(lambda: not os.path.exists(folder), "its files are deleted")


class AnswersTest(unittest.TestCase):
    timeout_seconds = 300
    SETTINGS = {"publisher": "An Office of Claims", "software_name": "Claims in Bulk"}

    @classmethod
    def setUpClass(cls):
        cls.site = make_site()
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("attribution", "import", wire.write_roster(cls.site, "A9994", "2021-01-01T00:00:00", [0, 1, 2]))
        cls.server = sluice.Server(cls.site, settings=cls.SETTINGS).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.token = cls.server.token()

    def test_every_combination_of_types_on_both_endpoints(self):
        client = wire.Client(self.server)
        self.addCleanup(client.close)
        counts = {"ExplanationOfBenefit": 6, "Coverage": 3, "Patient": 3}
        for endpoint in (wire.PATIENT, wire.GROUP):
            for number in range(4):
                for types in itertools.permutations(TYPES, number):
                    path = endpoint + ("?_type=" + ",".join(types) if types else "")
                    manifest, files = client.export(path)
                    wanted = list(types) or TYPES
                    self.assertEqual([(item["type"], item["count"]) for item in manifest["output"]],
                                     [(kind, counts[kind]) for kind in wanted], path)
                    for kind, lines in zip(wanted, files, strict=True):
                        self.assertEqual({json.loads(line)["resourceType"] for line in lines}, {kind}, path)

    def test_publisher_and_name_are_settings(self):
        statement = json.loads(self.server.curl("/api/v1/metadata")[2])
        self.assertEqual((statement["publisher"], statement["software"]["name"]),
                         (self.SETTINGS["publisher"], self.SETTINGS["software_name"]))
        # Everything else is as it was.
        self.assertEqual(statement["fhirVersion"], "3.0.1")

    def test_every_good_answer_has_the_common_fields(self):
        client, secret = self.site.credentials["A9994"]
        status, headers, _ = self.server.curl(wire.PATIENT, token=self.token, fields=KICK_OFF)
        answers = {"kick-off": (202, status, headers)}
        job = headers["content-location"]
        manifest = self.server.wait_for_job(job, self.token)
        status, headers, _ = self.server.curl("/auth/token", "--user", f"{client}:{secret}", "-d", "", method="POST")
        answers["/auth/token"] = (200, status, headers)
        for target, expected in (("/auth/welcome", 200), ("/_auth", 200), ("/_version", 200), ("/_health", 200),
                                 ("/api/v1/metadata", 200), ("/api/v1/jobs", 200), (job, 200),
                                 ("/api/v1/attribution_status", 200), (manifest["output"][0]["url"], 200),
                                 ("/api/v1/swagger", 301), ("/api/v1/swagger/", 200), ("/api/v1/swagger/openapi.json", 200)):
            status, headers, _ = self.server.curl(target, token=self.token)
            answers[target] = (expected, status, headers)
        status, headers, _ = self.server.curl(job, token=self.token, method="DELETE")
        answers["DELETE"] = (202, status, headers)
        for target, (expected, status, headers) in answers.items():
            with self.subTest(target):
                self.assertEqual(status, expected)
                self.assertRegex(headers["strict-transport-security"], r"^max-age=\d{7,}$")
                self.assertEqual(headers["x-content-type-options"], "nosniff")
                self.assertRegex(headers["x-request-id"], r"^[0-9a-f]{32}$")
                static = target == "/api/v1/swagger/"
                self.assertEqual(headers["cache-control"], "no-cache" if static else "no-store")

    def test_a_file_expires_with_its_job_and_was_modified_when_it_was_done(self):
        job = self.server.kick_off(self.token)
        manifest = self.server.wait_for_job(job, self.token)
        _, headers, _ = self.server.curl(job, token=self.token)
        for item in manifest["output"]:
            _, fields, _ = self.server.curl(item["url"], token=self.token)
            self.assertEqual(fields["expires"], headers["expires"])
            self.assertEqual(seconds(fields["expires"]) - seconds(fields["last-modified"]), 24 * HOUR)
        self.assertEqual(self.server.curl(job, token=self.token, method="DELETE")[0], 202)

    def test_a_token_is_one_word(self):
        for _ in range(5):
            self.assertRegex(self.server.token(), r"\A[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

    def test_the_welcome_greets(self):
        status, headers, body = self.server.curl("/auth/welcome", token=self.token)
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertEqual(body, b'{"success":"Welcome to the Beneficiary Claims Data API!"}')


if __name__ == "__main__":
    unittest.main()
