"""Every JSON body that the server sends is valid: resources by FHIR STU3 (tests/support/stu3.py), the others by the
forms below."""

import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import stu3
import wire

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
SETTINGS = {"keep_hours": 2, "token_lifetime_seconds": 86400, "publisher": 'Publisher "of" <ours> & é \\ /',
            "software_name": "名前", "export_workers": 1, "file_bytes_max": "1KiB"}


class FaultsTest(unittest.TestCase):
    """The checks themselves find what is wrong."""

    RIGHT = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "value", "details": {"text": "x"}}]}

    def spoilt(self, **changes):
        return json.dumps(dict(self.RIGHT, issue=[dict(self.RIGHT["issue"][0], **changes)])).encode()

    def test_what_is_wrong_is_found(self):
        self.assertEqual(stu3.faults(json.dumps(self.RIGHT).encode()), [])
        for changes in ({"severity": "bad"}, {"code": "no-such"}, {"more": 1}, {"diagnostics": ""}, {"location": []},
                        {"details": {}}, {"details": "x"}, {"diagnostics": 1}, {"details": {"coding": [{"system": "no uri"}]}},
                        {"details": {"coding": [None]}}, {"extension": [{"url": "x"}]}, {"severity": None}):
            self.assertEqual(len(stu3.faults(self.spoilt(**changes))), 1, changes)
        for text in (b'{"resourceType":"OperationOutcome"}', b'{"resourceType":"Patient"}', b'{"resourceType":"Bundle"}', b"[]",
                     b'{"resourceType":"OperationOutcome","issue":[]}'):
            self.assertNotEqual(stu3.faults(text), [], text)
        for text in (b'{"a":1,"a":2}', b'{"a":NaN}'):
            self.assertRaises(AssertionError, stu3.faults, text)


class BodiesCase(unittest.TestCase):
    failpoints = "export.file.fsync=sleep"

    @classmethod
    def setUpClass(cls):
        cls.clock = wire.Clock()
        cls.site = sluice.Site(["A9994", "A9995"], cls.clock.environment)
        cls.addClassCleanup(cls.site.close)
        lines = [line for number in range(60) for line in wire.lines_of(number, "2021-01-01T00:00:00Z")]
        cls.site.ctl("import", "--aco", "A9994", cls.site.write("claims.ndjson", "\n".join(lines) + "\n"))
        cls.site.ctl("attribution", "import", wire.write_roster(cls.site, "A9995", "2021-01-01T00:00:00", [1]))
        environment = {"SLUICE_FAILPOINTS": cls.failpoints}
        cls.server = sluice.Server(cls.site, plaintext=True, settings=SETTINGS, environment=environment).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.client = wire.Client(cls.server)
        cls.addClassCleanup(cls.client.close)

    def assert_resource(self, text, content_type="application/fhir+json", answer=None):
        if answer:
            self.assertEqual(answer[1]["content-type"], content_type)
        self.assertEqual(stu3.faults(text), [], text)
        return stu3.parse(text)

    def listed(self, query=""):
        answer = self.client.request("/api/v1/jobs" + query)
        self.assertEqual(answer[0], 200)
        bundle = self.assert_resource(answer[2], answer=answer)
        self.assertEqual(bundle["type"], "searchset")
        self.assertEqual(bundle["total"], len(bundle.get("entry", [])))
        found = {}
        for entry in bundle.get("entry", []):
            task = entry["resource"]
            self.assertEqual(entry["fullUrl"], f"{self.server.base}/api/v1/jobs/{task['id']}")
            self.assertTrue(task["input"][0]["valueString"].startswith(f"GET {self.server.base}/api/v1/"))
            self.assertEqual("end" in task["executionPeriod"], task["status"] in ("completed", "failed", "cancelled"))
            self.assertLessEqual(task["executionPeriod"]["start"], task["executionPeriod"].get("end", "3"))
            found[int(task["id"])] = task["businessStatus"]["text"], task["status"]
        self.assertEqual(list(found), sorted(found, reverse=True), "newest first")
        return found

    def ended(self, location):
        return sluice.wait_until(lambda: next((answer for answer in [self.client.request(location)] if answer[0] != 202), None),
                                 f"{location} has ended")

    @staticmethod
    def number(location):
        return int(location.rsplit("/", 1)[1])

    def check_manifest(self, text, location):
        number = self.number(location)
        manifest = stu3.parse(text)
        self.assertEqual(list(manifest), ["transactionTime", "request", "requiresAccessToken", "output", "deleted", "error", "JobID"])
        self.assertRegex(manifest["transactionTime"], f"^{stu3.INSTANT}$")
        self.assertRegex(manifest["request"], f"^{re.escape(self.server.base)}/api/v1/(Patient|Group/all)/\\$export")
        self.assertIs(manifest["requiresAccessToken"], True)
        self.assertEqual(manifest["deleted"], [])
        self.assertEqual(manifest["JobID"], number)
        for name, ending in (("output", ""), ("error", "-error")):
            for item in manifest[name]:
                self.assertEqual(list(item), ["type", "url", "count", "fileSize"])
                self.assertRegex(item["url"], f"^{re.escape(self.server.base)}/data/{number}/{UUID}{ending}\\.ndjson$")
                self.assertGreater(item["count"], 0)
                self.assertGreater(item["fileSize"], 0)
        self.assertEqual(text, json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode(), "minified")
        return manifest


class TasksTest(BodiesCase):
    timeout_seconds = 300
    failpoints = "export.file.write=error@1,export.file.fsync=sleep"  # the first job fails, the others take a while

    def test_tasks_of_every_state(self):
        self.assertEqual(self.listed(), {})
        failed = self.client.kick_off(wire.PATIENT + "?_type=Patient")
        answer = self.ended(failed)
        self.assertEqual(answer[0], 500)
        self.assert_resource(answer[2], answer=answer)
        completed = self.client.kick_off(wire.GROUP + "?_type=Patient%2CCoverage&x=%22%C3%A9%22")
        manifest = self.ended(completed)
        cancelled = self.client.kick_off(wire.GROUP)
        self.assertEqual(self.client.request(cancelled, "DELETE")[0], 202)
        active = self.client.kick_off(wire.PATIENT)
        jobs = [self.number(location) for location in (failed, completed, cancelled, active)]
        sluice.wait_until(lambda: self.listed().get(jobs[3], ("",))[0] == "In Progress", "the job is In Progress")
        self.assertEqual(self.listed(), dict(zip(reversed(jobs), [
            ("In Progress", "in-progress"), ("Cancelled", "cancelled"), ("Completed", "completed"), ("Failed", "failed")])))
        for state, number in (("Failed", jobs[0]), ("Completed", jobs[1]), ("Cancelled", jobs[2]), ("In%20Progress", jobs[3])):
            self.assertEqual(list(self.listed(f"?_status={state}")), [number])
        self.assertEqual(list(self.listed("?_status=Failed,Completed")), [jobs[1], jobs[0]])
        self.assertEqual(list(self.listed("?_status=Failed&_status=Cancelled")), [jobs[2], jobs[0]])
        self.assertEqual(self.listed("?_status=Expired"), {})
        self.check_manifest(manifest[2], completed)
        self.assertEqual(self.client.request(active, "DELETE")[0], 202)
        self.clock.shift(2 * 3600 + 60)
        for state in ("Archived", "Expired"):
            answer = self.client.request(completed)
            self.assertEqual((answer[0], answer[1]["x-progress"]), (410, state))
            self.assert_resource(answer[2], answer=answer)
            sluice.wait_until(lambda: self.server.events(f"job {state.lower()}"), f"it is written down as {state}")
            self.assertEqual(self.listed()[jobs[1]], (state, "completed"))
            self.clock.shift(5 * 3600)
        self.clock.shift(0)


class BodiesTest(BodiesCase):
    def test_lines_of_error_files(self):
        fields = {"Accept": "*/*", "Prefer": "respond-async, handling=lenient"}
        status, headers, _ = self.client.request(wire.GROUP + "?_type=Patient&_elements=id&_typeFilter=x&_a%22%3Cb", fields=fields)
        self.assertEqual(status, 202)
        manifest = self.check_manifest(self.ended(headers["content-location"])[2], headers["content-location"])
        self.assertEqual([item["type"] for item in manifest["error"]], ["OperationOutcome"])
        lines = self.client.download(manifest["error"][0])
        self.assertEqual(len(lines), 3)
        for line in lines:
            outcome = self.assert_resource(line)
            self.assertEqual(outcome["issue"][0]["severity"], "warning")
        self.assertEqual(self.client.request(headers["content-location"], "DELETE")[0], 202)

    def test_outcomes_of_every_error(self):
        right = wire.KICK_OFF
        requests = [("GET", path, right) for path in (
            "/nowhere", "/%ff%fe", "/api/v1/Patient/", "/api/v1/jobs/0", "/data/1/x", "/api/v1/jobs?_status=No", "/api/v1/Group/x/$export",
            "/api/v1/jobs/%22", wire.PATIENT + "?_type=x", wire.PATIENT + "?_type=Patient,Patient", wire.PATIENT + "?_since=x",
            wire.PATIENT + "?_since=2999", wire.PATIENT + "?_outputFormat=x", wire.PATIENT + "?_%22%5C%00%ff", wire.PATIENT + "?_x<&>",
            "/api/v1/attribution_status", "/" + "a" * 9000)]
        requests += [("POST", wire.PATIENT, right), ("PUT", "/_version", {}), ("GET", wire.PATIENT, {}), ("GET", wire.PATIENT, {"Accept": "x/y"}),
                     ("GET", wire.PATIENT, {"Accept": "*/*"}), ("GET", wire.PATIENT, dict(right, Prefer="x")),
                     ("GET", "/_version", {"X": "a" * 40000})]
        for method, path, fields in requests:
            with self.subTest(f"{method} {path[:60]} {list(fields)}"):
                answer = self.client.request(path, method, fields)
                self.assertGreaterEqual(answer[0], 400)
                outcome = self.assert_resource(answer[2], answer=answer)
                self.assertEqual(outcome["resourceType"], "OperationOutcome")
        answer = self.client.send("GET", "/auth/welcome", {"Authorization": "Bearer x"})
        self.assertEqual(answer[0], 401)
        self.assert_resource(answer[2], answer=answer)
        answer = self.client.send("POST", "/auth/token", {"Content-Encoding": "gzip"}, b"x")
        self.assertEqual(answer[0], 415)
        self.assert_resource(answer[2], answer=answer)

    def test_the_capability_statement(self):
        for fields, content_type in (({}, "application/json"), ({"Accept": "*/*"}, "application/json"),
                                     ({"Accept": "application/json"}, "application/json"),
                                     ({"Accept": "application/fhir+json"}, "application/fhir+json"),
                                     ({"Accept": "text/html, application/fhir+json;q=0.2"}, "application/fhir+json"),
                                     ({"Accept": "application/fhir+json;q=0"}, "application/json")):
            answer = self.client.send("GET", "/api/v1/metadata", fields)
            self.assertEqual(answer[0], 200)
            statement = self.assert_resource(answer[2], content_type, answer)
            self.assertEqual(statement["publisher"], SETTINGS["publisher"])
            self.assertEqual(statement["software"]["name"], SETTINGS["software_name"])
            self.assertEqual(statement["fhirVersion"], "3.0.1")
        rest = statement["rest"][0]
        self.assertEqual(rest["security"]["extension"], [{
            "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
            "extension": [{"url": "token", "valueUri": f"{self.server.base}/auth/token"}]}])
        operations = {operation["name"]: operation["definition"]["reference"] for operation in rest["operation"]}
        self.assertEqual(list(operations), ["export", "jobs", "metadata", "version", "data", "patient-export", "group-export"])
        for name in ("patient-export", "group-export"):
            self.assertEqual(operations[name], f"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/{name}")

    def test_the_small_ones(self):
        rows = [("/_auth", {"auth_provider": "alpha", "version": stu3.parse(self.client.send("GET", "/_version")[2])["version"]}),
                ("/auth/welcome", {"success": "Welcome to the Beneficiary Claims Data API!"})]
        for path, expected in rows:
            status, headers, body = self.client.request(path)
            self.assertEqual((status, headers["content-type"], stu3.parse(body)), (200, "application/json", expected))
            self.assertEqual(body, json.dumps(expected, separators=(",", ":")).encode())
        status, headers, body = self.client.send("GET", "/_health")
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertEqual(set(stu3.parse(body).values()), {"ok"})
        other = wire.Client(self.server, "A9995")
        self.addCleanup(other.close)
        status, headers, body = other.request("/api/v1/attribution_status")
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        self.assertRegex(body.decode(), r'^\{"ingestion_dates":\[\{"timestamp":"' + stu3.INSTANT +
                         r'","type":"last_attribution_update"\}\]\}$')


if __name__ == "__main__":
    unittest.main()
