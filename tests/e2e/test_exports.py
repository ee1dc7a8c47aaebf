"""Kick-off, job status, files and expiry as a client sees them (docs/api.md sections 2 to 6)."""

import email.utils
import gzip
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

KICK_OFF = ["Accept: application/fhir+json", "Prefer: respond-async"]
HOUR = 3600
# Each file of a job takes 50 ms more, so that a job with many files can be watched.
SLOW = {"SLUICE_FAILPOINTS": "export.file.fsync=sleep"}
MANY_FILES = {"file_bytes_max": "1KiB", "export_workers": 1}


def resources(beneficiaries, claims=3):
    lines = []
    for number in range(beneficiaries):
        patient = f"b{number:04}"
        lines.append({"resourceType": "Patient", "id": patient, "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}})
        lines.append({"resourceType": "Coverage", "id": f"c{number}",
                      "beneficiary": {"reference": f"Patient/{patient}"},
                      "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}})
        lines += [{"resourceType": "ExplanationOfBenefit", "id": f"e{number}-{claim}",
                   "patient": {"reference": f"Patient/{patient}"}, "text": "x" * 400,
                   "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}} for claim in range(claims)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def make_site(beneficiaries=8, environment=None):
    site = sluice.Site(["A9994", "A9995"], environment)
    site.ctl("import", "--aco", "A9994", site.write("claims.ndjson", resources(beneficiaries)))
    return site


def issue(body):
    outcome = json.loads(body)
    assert outcome["resourceType"] == "OperationOutcome", body
    return outcome["issue"][0]


class ExportTest(unittest.TestCase):
    """Against one server that nothing slows down."""

    @classmethod
    def setUpClass(cls):
        cls.site = make_site()
        cls.server = sluice.Server(cls.site, plaintext=True).start()
        cls.token = cls.server.token()
        cls.manifest = cls.server.wait_for_job(cls.server.kick_off(cls.token), cls.token)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def get(self, target, *arguments, fields=(), token=None, method=None):
        return self.server.curl(target, *arguments, fields=fields, token=token or self.token, method=method)

    def assert_problem(self, answer, status, code, problem_class, text):
        self.assertEqual(answer[0], status, answer[2])
        self.assertEqual(answer[1]["content-type"], "application/fhir+json")
        found = issue(answer[2])
        self.assertEqual(found["severity"], "error")
        self.assertEqual(found["code"], code)
        self.assertEqual(found["details"]["coding"][0]["code"], problem_class)
        self.assertRegex(found["details"]["text"], text)

    # ---- kick-off ----

    def test_kick_off_answers_202_with_an_empty_body_and_a_location(self):
        status, headers, body = self.get("/api/v1/Patient/%24export?_type=Patient", fields=KICK_OFF)
        self.assertEqual((status, body), (202, b""))
        self.assertRegex(headers["content-location"], "^" + re.escape(self.server.base) + r"/api/v1/jobs/[1-9]\d*$")
        manifest = self.server.wait_for_job(headers["content-location"], self.token)
        self.assertEqual(manifest["request"], self.server.base + "/api/v1/Patient/%24export?_type=Patient")

    def test_a_wrong_kick_off_says_what_is_wrong(self):
        def without(name):
            # curl sends an Accept of its own unless told not to.
            return [field for field in KICK_OFF if not field.startswith(name)] + [f"{name}:"]
        rows = [
            (without("Accept"), "", "structure", "Formatting Error", "^Accept header is required$"),
            (without("Prefer"), "", "structure", "Formatting Error", "^Prefer header is required$"),
            (KICK_OFF, "?_type=Nonsense", "value", "Request Error", "^Invalid resource type$"),
            (KICK_OFF, "?_since=soon", "value", "Formatting Error", "^Invalid date format supplied in _since"),
            (KICK_OFF, "?_since=2999-01-01", "value", "Formatting Error", "must be a date that has already passed$"),
            (KICK_OFF, "?_outputFormat=csv", "value", "Formatting Error", "^_outputFormat parameter must be"),
            (KICK_OFF, "?_elements=id", "not-supported", "Request Error", "does not support the _elements parameter"),
        ]
        for fields, query, code, problem_class, text in rows:
            answer = self.get("/api/v1/Patient/$export" + query, fields=fields)
            self.assert_problem(answer, 400, code, problem_class, text)
        answer = self.get("/api/v1/Group/other/$export", fields=KICK_OFF)
        self.assert_problem(answer, 400, "value", "Request Error", "^Invalid group ID$")

    def test_the_guides_own_since_command_works(self):
        path = "/api/v1/Patient/$export?_type=Patient?_since=2020-02-13T08:00:00.000-05:00"
        manifest = self.server.wait_for_job(self.server.kick_off(self.token, path), self.token)
        self.assertEqual([item["type"] for item in manifest["output"]], ["Patient"])
        self.assertEqual(manifest["request"], self.server.base + path)

    def test_head_starts_no_job(self):
        status, headers, _ = self.get("/api/v1/Patient/$export", fields=KICK_OFF, method="HEAD")
        self.assertEqual(status, 405)

    def test_ignored_parameters_are_reported_in_the_error_list(self):
        status, headers, _ = self.get("/api/v1/Group/all/$export?_elements=id&_type=Patient", fields=[
            "Accept: application/fhir+json", "Prefer: respond-async, handling=lenient"])
        self.assertEqual(status, 202)
        manifest = self.server.wait_for_job(headers["content-location"], self.token)
        self.assertEqual([item["type"] for item in manifest["error"]], ["OperationOutcome"])
        url = manifest["error"][0]["url"]
        self.assertTrue(url.endswith("-error.ndjson"))
        for coding in (None, "gzip"):
            body = self.server.download(url, self.token, coding)
            body = gzip.decompress(body) if coding else body
            self.assertEqual(manifest["error"][0]["fileSize"], len(body))
            self.assertEqual(issue(body)["severity"], "warning")
        # It is no output file, and no other name leads to it.
        self.assertEqual(self.get(url.replace("-error", ""))[0], 404)

    # ---- status ----

    def test_a_completed_job_says_when_its_files_expire(self):
        status, headers, body = self.get(f"/api/v1/jobs/{self.manifest['JobID']}")
        self.assertEqual((status, headers["x-progress"]), (200, "Completed"))
        self.assertEqual(headers["content-type"], "application/json")
        left = email.utils.parsedate_to_datetime(headers["expires"]).timestamp() - \
            email.utils.parsedate_to_datetime(self.manifest_date()).timestamp()
        self.assertAlmostEqual(left, 24 * HOUR, delta=60)
        self.assertEqual(json.loads(body), self.manifest)

    def manifest_date(self):
        from datetime import datetime
        when = datetime.fromisoformat(self.manifest["transactionTime"].replace("Z", "+00:00"))
        return email.utils.format_datetime(when)

    def test_unknown_malformed_and_foreign_jobs_look_alike(self):
        foreign = self.server.token("A9995")
        job = self.manifest["JobID"]
        answers = [self.get(f"/api/v1/jobs/{job}", token=foreign)]
        for name in ("999999999", "0", f"0{job}", f"+{job}", f"{job}x", "x", "-1", "9" * 30, f"%3{job}"):
            answers.append(self.get("/api/v1/jobs/" + name))
            answers.append(self.get("/api/v1/jobs/" + name, method="DELETE"))
        answers.append(self.get(f"/api/v1/jobs/{job}", token=foreign, method="DELETE"))
        for answer in answers:
            self.assert_problem(answer, 404, "not-found", "Not Found Error", ".")
            self.assertEqual(answer[2], answers[0][2])
        self.assertEqual(self.get(f"/api/v1/jobs/{job}")[0], 200)

    def test_the_list_is_newest_first_and_filtered_by_state(self):
        for _ in range(2):
            self.server.wait_for_job(self.server.kick_off(self.token, "/api/v1/Group/all/$export?_type=Patient"),
                                     self.token)
        bundle = json.loads(self.get("/api/v1/jobs?_status=Completed")[2])
        self.assertEqual((bundle["resourceType"], bundle["type"]), ("Bundle", "searchset"))
        self.assertGreaterEqual(len(bundle["entry"]), 3)
        ids = [int(re.findall(r"/jobs/(\d+)", json.dumps(entry))[0]) for entry in bundle["entry"]]
        self.assertEqual(ids, sorted(ids, reverse=True))
        self.assertEqual({entry["resource"]["status"] for entry in bundle["entry"]}, {"completed"})
        none = json.loads(self.get("/api/v1/jobs?_status=In%20Progress,Failed")[2])
        self.assertEqual(none.get("entry", []), [])
        self.assert_problem(self.get("/api/v1/jobs?_status=Busy"), 400, "value", "Request Error", "status")
        other = json.loads(self.get("/api/v1/jobs", token=self.server.token("A9995"))[2])
        self.assertEqual(other.get("entry", []), [])

    # ---- files ----

    def test_a_file_is_the_same_in_both_codings(self):
        for item in self.manifest["output"]:
            packed = self.get(item["url"], fields=["Accept-Encoding: gzip"])
            plain = self.get(item["url"])
            self.assertEqual(gzip.decompress(packed[2]), plain[2])
            self.assertEqual(len(plain[2]), item["fileSize"])
            self.assertEqual(plain[2].count(b"\n"), item["count"])
            self.assertEqual(packed[1]["content-encoding"], "gzip")
            self.assertNotIn("content-encoding", plain[1])
            self.assertNotEqual(packed[1]["etag"], plain[1]["etag"])
            for _, headers, body in (packed, plain):
                self.assertEqual(headers["content-type"], "application/fhir+ndjson")
                self.assertEqual(headers["content-length"], str(len(body)))
                self.assertIn("accept-encoding", headers["vary"].lower())
                self.assertRegex(headers["etag"], r'^"[^"]+"$')
                email.utils.parsedate_to_datetime(headers["last-modified"])
                email.utils.parsedate_to_datetime(headers["expires"])

    def test_head_has_the_fields_of_get(self):
        url = self.manifest["output"][0]["url"]
        for fields in ([], ["Accept-Encoding: gzip"]):
            _, got, body = self.get(url, fields=fields)
            status, headers, nothing = self.get(url, fields=fields, method="HEAD")
            self.assertEqual(status, 200)
            for name in ("content-length", "content-type", "etag", "last-modified", "expires", "vary"):
                self.assertEqual(headers[name], got[name], name)

    def test_accept_encoding_that_admits_nothing_is_406(self):
        answer = self.get(self.manifest["output"][0]["url"], fields=["Accept-Encoding: br, identity;q=0"])
        self.assert_problem(answer, 406, "not-supported", "Request Error", ".")
        self.assertNotIn("content-encoding", answer[1])

    def test_other_names_are_not_found(self):
        url = self.manifest["output"][0]["url"]
        folder, name = url.rsplit("/", 1)
        uuid = name[:36]
        for other in (uuid, uuid + ".ndjson.gz", uuid + "-error.ndjson", uuid.upper() + ".ndjson", uuid + ".index",
                      "00000000-0000-4000-8000-000000000000.ndjson", ".ndjson", "..", "%2e%2e%2fstore.mdb"):
            status, _, _ = self.get(folder + "/" + other, "--path-as-is")
            self.assertEqual(status, 404, other)

    def test_a_deleted_job_is_gone_with_its_files(self):
        location = self.server.kick_off(self.token, "/api/v1/Group/all/$export")
        manifest = self.server.wait_for_job(location, self.token)
        folder = os.path.join(self.site.store, "jobs", str(manifest["JobID"]))
        self.assertTrue(os.path.isdir(folder))
        status, _, body = self.get(location, method="DELETE")
        self.assertEqual((status, body), (202, b""))
        for method in (None, "DELETE"):
            self.assert_problem(self.get(location, method=method), 404, "not-found", "Not Found Error",
                                r"^Job has been cancelled\.$")
        self.assertEqual(self.get(manifest["output"][0]["url"])[0], 404)
        sluice.wait_until(lambda: not os.path.exists(folder), "the job's folder is removed")


class ActiveJobTest(unittest.TestCase):
    """What can be seen of a job while it runs."""

    timeout_seconds = 300

    def setUp(self):
        self.site = make_site(40)
        self.addCleanup(self.site.close)
        self.server = sluice.Server(self.site, plaintext=True, settings=MANY_FILES, environment=SLOW).start()
        self.addCleanup(lambda: self.server.stop(None))
        self.token = self.server.token()

    def test_progress_never_falls_also_over_a_crash(self):
        location = self.server.kick_off(self.token, "/api/v1/Patient/$export")
        seen = []
        crashed = False
        while True:
            status, headers, _ = self.server.curl(location, token=self.token)
            if status == 200:
                break
            self.assertEqual(status, 202)
            self.assertIn(int(headers["retry-after"]), range(1, 121))
            found = re.fullmatch(r"Pending|In Progress \((\d+)%\)", headers["x-progress"])
            self.assertTrue(found, headers["x-progress"])
            seen.append(int(found[1] or 0))
            if seen[-1] >= 10 and not crashed:
                crashed = True
                self.server.kill()
                base = self.server.base
                self.server = sluice.Server(self.site, plaintext=True, settings=MANY_FILES, environment=SLOW).start()
                location = location.replace(base, self.server.base)
                self.token = self.server.token()
        self.assertTrue(crashed)
        self.assertEqual(seen, sorted(seen))
        self.assertLess(max(seen), 100)
        self.assertGreater(len(set(seen)), 3)

    def test_a_second_job_of_the_endpoint_is_refused_until_the_first_ends(self):
        first = self.server.kick_off(self.token, "/api/v1/Patient/$export")
        number = first.rsplit("/", 1)[1]
        status, headers, body = self.server.curl("/api/v1/Patient/$export", token=self.token, fields=KICK_OFF)
        self.assertEqual(status, 429)
        self.assertIn(int(headers["retry-after"]), range(1, 121))
        self.assertEqual(issue(body)["code"], "throttled")
        self.assertIn(number, issue(body)["details"]["text"])
        # A wrong request is told what is wrong with it first; the other endpoint and the other ACO are free.
        wrong = self.server.curl("/api/v1/Patient/$export?_type=x", token=self.token, fields=KICK_OFF)
        self.assertEqual(wrong[0], 400)
        group = self.server.kick_off(self.token, "/api/v1/Group/all/$export")
        self.server.wait_for_job(self.server.kick_off(self.server.token("A9995")), self.server.token("A9995"))
        # Deleting frees the endpoint at once.
        self.assertEqual(self.server.curl(first, token=self.token, method="DELETE")[0], 202)
        second = self.server.kick_off(self.token, "/api/v1/Patient/$export")
        self.assertEqual(self.server.curl(first, token=self.token)[0], 404)
        for location in (group, second):
            self.assertEqual(self.server.curl(location, token=self.token, method="DELETE")[0], 202)

    def test_files_of_an_active_job_are_not_there_yet(self):
        location = self.server.kick_off(self.token, "/api/v1/Patient/$export")
        folder = os.path.join(self.site.store, "jobs", location.rsplit("/", 1)[1])

        def finished():
            names = os.listdir(folder) if os.path.isdir(folder) else []
            return [name for name in names if name.endswith(".ndjson.gz")]
        name = sluice.wait_until(finished, "a file is finished")[0].replace(".gz", "")
        url = location.replace("/api/v1/jobs/", "/data/") + "/" + name
        status, _, _ = self.server.curl(url, token=self.token)
        if self.server.curl(location, token=self.token)[0] == 202:
            self.assertEqual(status, 404)

    def test_operators_cancel_acts_at_once(self):
        location = self.server.kick_off(self.token, "/api/v1/Patient/$export")
        done = self.site.ctl("jobs", "cancel", location.rsplit("/", 1)[1], check=False)
        if done.returncode == 2:
            self.skipTest("sluicectl has no jobs command yet")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.server.curl(location, token=self.token)[0], 404)
        self.server.kick_off(self.token, "/api/v1/Patient/$export")


class ExpiryTest(unittest.TestCase):
    timeout_seconds = 300

    def test_files_are_archived_and_then_expire(self):
        clock = os.path.join(sluice.tempfile.mkdtemp(prefix="sluice-clock-"), "clock")

        def set_clock(seconds):
            with open(clock + ".new", "w", encoding="ascii") as file:
                file.write(str(seconds))
            os.replace(clock + ".new", clock)
        set_clock(0)
        site = make_site(environment={"SLUICE_TEST_CLOCK": clock})
        self.addCleanup(site.close)
        settings = {"token_lifetime_seconds": 86400, "keep_hours": 2}
        with sluice.Server(site, plaintext=True, settings=settings) as server:
            token = server.token()
            location = server.kick_off(token)
            manifest = server.wait_for_job(location, token)
            url = manifest["output"][0]["url"]
            folder = os.path.join(site.store, "jobs", str(manifest["JobID"]))
            self.assertEqual(server.curl(url, token=token)[0], 200)
            _, completed, _ = server.curl(location, token=token)
            set_clock(2 * HOUR + 1)
            status, headers, body = server.curl(location, token=token)
            self.assertEqual((status, headers["x-progress"]), (410, "Archived"))
            self.assertEqual(headers["expires"], completed["expires"])
            self.assertEqual(issue(body)["details"]["coding"][0]["code"], "Deleted Error")
            self.assertIn(completed["expires"], issue(body)["details"]["text"])
            self.assertEqual(server.curl(url, token=token)[0], 410)
            sluice.wait_until(lambda: server.events("job archived"), "the job is archived")
            self.assertTrue(os.listdir(folder))
            set_clock(4 * HOUR + 2)

            def state():
                return server.curl(location, token=token)[1]["x-progress"]
            sluice.wait_until(lambda: state() == "Expired", "the job is Expired")
            sluice.wait_until(lambda: not os.path.exists(folder), "its files are deleted")
            self.assertEqual(server.curl(location, token=token)[0], 410)
            self.assertEqual(server.curl(url, token=token)[0], 410)
            self.assertEqual(server.curl(location, token=token, method="DELETE")[0], 410)

    def test_a_full_disk_fails_the_job_with_500(self):
        site = make_site()
        self.addCleanup(site.close)
        with sluice.Server(site, plaintext=True, environment={"SLUICE_FAILPOINTS": "export.file.write=nospace"}) as server:
            token = server.token()
            location = server.kick_off(token)
            status, headers, body = sluice.wait_until(
                lambda: (lambda answer: answer if answer[0] != 202 else None)(server.curl(location, token=token)),
                "the job has ended")
            self.assertEqual((status, headers["x-progress"]), (500, "Failed"))
            self.assertEqual(issue(body)["details"]["text"],
                             "Service encountered numerous errors.  Unable to complete the request.")
            folder = os.path.join(site.store, "jobs", location.rsplit("/", 1)[1])
            sluice.wait_until(lambda: not os.path.exists(folder), "nothing is left of it")
            server.kick_off(token)
            self.assertEqual(server.curl(location, token=token, method="DELETE")[0], 202)
            self.assertEqual(server.curl(location, token=token)[0], 404)


if __name__ == "__main__":
    unittest.main()
