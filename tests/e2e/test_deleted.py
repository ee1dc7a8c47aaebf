"""Deletions, from Bundles that are imported to the manifest's `deleted` (docs/api.md section 4,
docs/operating/weekly-load.md)."""

import gzip
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import stu3
import wire

EOB = "ExplanationOfBenefit"
BASE = "2021-01-01T00:00:00Z"
LATER = "2021-06-01T00:00:00Z"


def claim(number, item=0):
    return f"{EOB}/carrier-{wire.beneficiary_id(number)}-{item}"


def bundle(names, instant=None):
    """A line that deletes them."""
    found = {"resourceType": "Bundle", "type": "transaction"}
    if instant:
        found["meta"] = {"lastUpdated": instant}
    found["entry"] = [{"request": {"method": "DELETE", "url": name}} for name in names]
    return json.dumps(found)


def deletions(text):
    """The names that the lines of a file delete, in order; each line is a valid Bundle."""
    found = []
    for line in text.split(b"\n")[:-1]:
        if stu3.faults(line):
            raise AssertionError(f"{stu3.faults(line)}: {line}")
        parsed = stu3.parse(line)
        if parsed["type"] != "transaction" or not parsed["meta"]["lastUpdated"]:
            raise AssertionError(line)
        for entry in parsed["entry"]:
            if list(entry) != ["request"] or entry["request"]["method"] != "DELETE":
                raise AssertionError(line)
            found.append(entry["request"]["url"])
    return found


class DeletedCase(unittest.TestCase):
    acos = ("A9994", "A9995")
    beneficiaries = {"A9994": range(0, 4), "A9995": range(3, 6)}  # 3 is in both
    environment = None
    settings = None

    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site(cls.acos)
        cls.addClassCleanup(cls.site.close)
        cls.load(*(line for number in range(6) for line in wire.lines_of(number, BASE, 3)))
        for aco in cls.acos:
            cls.site.ctl("attribution", "import",
                         wire.write_roster(cls.site, aco, "2021-01-02T00:00:00", cls.beneficiaries[aco]))
        shutil.move(cls.site.store, cls.site.path("base"))

    def setUp(self):
        """Each test begins with the same store."""
        shutil.rmtree(self.site.store, ignore_errors=True)
        shutil.copytree(self.site.path("base"), self.site.store)
        self.start()

    def start(self):
        self.server = sluice.Server(self.site, plaintext=True, settings=self.settings, environment=self.environment).start()
        self.addCleanup(lambda server: server.process.poll() is None and server.stop(None), self.server)
        self.clients = {aco: wire.Client(self.server, aco) for aco in self.acos}
        for client in self.clients.values():
            self.addCleanup(client.close)

    @classmethod
    def load(cls, *lines):
        counts = json.loads(cls.site.ctl("import", "--json", cls.site.write("load.ndjson", "\n".join(lines) + "\n")).stdout)
        return {name: count for name, count in counts.items() if count and name not in ("lines", "files")}

    def told(self, aco="A9994", path=wire.PATIENT, since=None):
        """(transactionTime, names deleted, names in output)."""
        client = self.clients[aco]
        manifest, files = client.export(wire.since(path, since) if since else path)
        names = [name for item in manifest["deleted"] for name in deletions(b"\n".join(client.download(item)) + b"\n")]
        output = [f"{one['resourceType']}/{one['id']}" for lines in files for one in map(json.loads, lines)]
        self.assertEqual(len(names), len(set(names)))
        self.assertFalse(set(names) & set(output), "in both")
        return manifest["transactionTime"], sorted(names), sorted(output)


class DeletedTest(DeletedCase):
    def test_a_deletion_is_told_once_to_whom_it_concerns(self):
        first = {aco: self.told(aco)[0] for aco in self.acos}
        coverage = "Coverage/part-a-" + wire.beneficiary_id(1)
        self.assertEqual(self.load(bundle([claim(0), claim(3, 1)]), bundle([coverage], LATER)), {"deleted": 3, "stamped": 1})
        for path in (wire.PATIENT, wire.GROUP):
            instant, names, output = self.told(path=path, since=first["A9994"])
            self.assertEqual(names, sorted([claim(0), claim(3, 1), coverage]))
            self.assertEqual(output, [])
            self.assertEqual(self.told(path=path, since=instant)[1], [], "once")
            self.assertEqual(self.told("A9995", path, first["A9995"])[1], [claim(3, 1)], "only of its own")
        # Only of the types that are asked for; nothing to whom asks for everything.
        only = wire.since(wire.PATIENT, first["A9994"]) + "&_type=Coverage,Patient"
        manifest, _ = self.clients["A9994"].export(only)
        self.assertEqual(deletions(b"\n".join(self.clients["A9994"].download(manifest["deleted"][0])) + b"\n"), [coverage])
        for since in (None, "2020-02-11T00:00:00Z"):
            _, names, output = self.told(since=since)
            self.assertEqual(names, [])
            self.assertEqual(len(output), 4 * 5 - 3)
        verified = self.site.ctl("verify").stdout
        self.assertTrue(verified.startswith("0 faults"), verified)

    def test_what_comes_back_is_not_told_and_what_is_older_stays_out(self):
        first = self.told()[0]
        self.load(bundle([claim(0), claim(1)], LATER))
        self.assertEqual(self.load(wire.line(EOB, 0, "2021-05-01T00:00:00Z", 0, "older"),
                                   wire.line(EOB, 1, "2021-07-01T00:00:00Z", 0, "newer")), {"added": 1, "late": 1, "stamped": 1})
        self.assertEqual(self.told(since=first)[1:], ([claim(0)], [claim(1)]))
        self.assertEqual(self.load(bundle([claim(0), claim(1)], LATER)), {"identical": 1, "late": 1}, "again changes nothing")
        self.assertEqual(self.told(since=first)[1:], ([claim(0)], [claim(1)]))
        # Who is deleted and made again between two exports is in the output alone.
        second = self.told()[0]
        self.load(bundle([claim(2)]))
        self.load(wire.line(EOB, 2, "2999-01-01T00:00:00Z", 0, "again"))
        self.assertEqual(self.told(since=second)[1:], ([], [claim(2)]))

    def test_a_new_beneficiary_of_the_group_has_no_deletions(self):
        first = self.told(path=wire.GROUP)[0]
        self.load(bundle([claim(0), claim(5)]))
        self.site.ctl("attribution", "import", wire.write_roster(self.site, "A9994", "2021-02-02T00:00:00", range(0, 6)))
        _, names, output = self.told(path=wire.GROUP, since=first)
        self.assertEqual(names, [claim(0)])
        self.assertIn(claim(5, 1), output)
        self.assertEqual(self.told(since=first)[1], [claim(0), claim(5)], "on Patient all of the set")

    def test_the_file_is_served_like_any_other_and_can_be_imported(self):
        token = self.server.token()
        first = self.server.wait_for_job(self.server.kick_off(token), token)["transactionTime"]
        gone = [claim(number, item) for number in range(4) for item in range(3)]
        self.load(bundle(gone))
        manifest = self.server.wait_for_job(self.server.kick_off(token, wire.since(wire.GROUP, first)), token)
        self.assertEqual(list(manifest), ["transactionTime", "request", "requiresAccessToken", "output", "deleted", "error", "JobID"])
        self.assertEqual(manifest["output"], [])
        item, = manifest["deleted"]
        self.assertEqual(list(item), ["type", "url", "count", "fileSize"])
        self.assertEqual(item["type"], "Bundle")
        self.assertRegex(item["url"], r"/data/\d+/[0-9a-f-]{36}-deleted\.ndjson$")
        status, fields, body = self.server.curl(item["url"], token=token)
        self.assertEqual((status, fields["content-type"]), (200, "application/fhir+ndjson"))
        self.assertEqual((len(body), body.count(b"\n")), (item["fileSize"], item["count"]))
        self.assertEqual(sorted(deletions(body)), sorted(gone))
        self.assertEqual(gzip.decompress(self.server.download(item["url"], token, "gzip")), body)
        status, part, some = self.server.curl(item["url"], "-r", "10-49", token=token)
        self.assertEqual((status, some), (206, body[10:50]))
        self.assertEqual(self.server.curl(item["url"], token=token, fields=[f"If-None-Match: {fields['etag']}"])[0], 304)
        self.assertEqual(self.server.curl(item["url"], method="HEAD", token=token)[1]["content-length"], str(len(body)))
        for name in (".ndjson", "-error.ndjson", "-deleted", "-deleted.ndjsonx"):
            self.assertEqual(self.server.curl(item["url"].replace("-deleted.ndjson", name), token=token)[0], 404, name)
        self.assertEqual(self.server.curl(item["url"], token=self.server.token("A9995"))[0], 404)
        self.server.stop()
        self.start()
        token = self.server.token()
        url = self.server.base + item["url"][item["url"].index("/data/"):]
        self.assertEqual(self.server.download(url, token), body, "after a restart")
        self.assertEqual(self.server.curl(f"/api/v1/jobs/{manifest['JobID']}", token=token, method="DELETE")[0], 202)
        self.assertEqual(self.server.curl(url, token=token)[0], 404)
        # Another store that has the same claims takes the file as it is.
        other = sluice.Site()
        self.addCleanup(other.close)
        other.ctl("import", other.write("base.ndjson", "\n".join(wire.lines_of(0, BASE, 3) + wire.lines_of(1, BASE, 3))))
        counts = json.loads(other.ctl("import", "--json", other.write("deleted.ndjson", body)).stdout)
        self.assertEqual((counts["deleted"], counts["deletedUnknown"], counts["refused"]), (6, 6, 0))
        counts = json.loads(other.ctl("import", "--json", other.path("deleted.ndjson")).stdout)
        self.assertEqual((counts["deleted"], counts["identical"]), (0, 12))

    def test_get_and_stat_say_what_was_deleted(self):
        self.load(bundle([claim(0)], LATER))
        self.load(bundle([f"{EOB}/unknown"], LATER))
        done = self.site.ctl("get", claim(0), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{claim(0)}: was deleted as of 2021-06-01T00:00:00.000000Z", done.stderr)
        self.assertIn(wire.beneficiary_id(0), done.stderr)
        self.assertIn("before any version of it came", self.site.ctl("get", f"{EOB}/unknown", check=False).stderr)
        counts = json.loads(self.site.ctl("stat", "--json").stdout)
        self.assertEqual((counts["deleted"], counts["tombstones"]), (1, 2))
        self.assertIn("deleted 1 resources; 2 tombstones", self.site.ctl("stat").stdout)


class FollowingTest(DeletedCase):
    """A slice that begins 50 ms late is over after one beneficiary; the file is caught while it is written."""

    environment = {"SLUICE_FAILPOINTS": "export.statvfs=sleep"}
    settings = {"export_workers": 1}

    def test_it_can_be_followed_under_a_partial_manifest(self):
        client = self.clients["A9994"]
        first = self.told()[0]
        self.load(bundle([claim(number, item) for number in range(4) for item in range(2)]))
        job = client.kick_off(wire.since(wire.PATIENT, first) + "&allowPartialManifests=true")

        def followed():
            status, _, body = client.request(job)
            self.assertEqual(status, 202, "it was not caught in time")
            return [item for item in json.loads(body)["extension"]["inProgress"] if item["type"] == "Bundle"]
        item, = sluice.wait_until(followed, "the file of deletions is in progress")
        self.assertTrue(item["url"].endswith("-deleted.ndjson"), item)
        status, fields, body = client.request(item["url"])
        self.assertEqual((status, fields.get("transfer-encoding")), (200, "chunked"))
        self.assertEqual(len(deletions(body)), 8)
        manifest = client.wait_for_job(job)
        self.assertEqual(manifest["deleted"], [dict(item, count=body.count(b"\n"), fileSize=len(body))])


class CrashTest(DeletedCase):
    def test_the_file_is_the_same_after_a_crash_at_any_of_its_steps(self):
        first = self.told()[0]
        self.load(bundle([claim(number, item) for number in range(4) for item in range(3)], LATER))
        self.load(wire.line(EOB, 0, "2021-08-01T00:00:00Z", 9))
        path = wire.since(wire.PATIENT, first)
        reference = self.clients["A9994"].export(path)[0]
        want = self.clients["A9994"].download(reference["deleted"][0])
        # The file of the claim, then that of the deletions: step by step behind the plan, and as a whole.
        steps = ["export.file.write@3", "export.file.rename@2", "export.complete.before-commit"]
        for place, small_job_bytes in [*((step, 0) for step in (
                "export.plan.after-commit", "export.file.before-commit@2", "export.file.after-commit@2", *steps)),
                                       *((step, "1MiB") for step in steps)]:
            self.server.stop()
            self.settings = {"small_job_bytes": small_job_bytes}
            name, _, passage = place.partition("@")
            self.environment = {"SLUICE_FAILPOINTS": f"{name}=kill@{passage or 1}"}
            self.start()
            job = self.clients["A9994"].kick_off(path)
            sluice.wait_until(lambda: self.server.process.poll() is not None, f"{place} kills the server")
            self.server.kill()
            self.environment = None
            self.start()
            client = self.clients["A9994"]
            manifest = client.wait_for_job(self.server.base + job[job.index("/api/"):])
            self.assertEqual(client.download(manifest["deleted"][0]), want, place)
            names = os.listdir(os.path.join(self.site.store, "jobs", str(manifest["JobID"])))
            self.assertEqual(len(names), 2, f"{place}: {names}")
        self.assertTrue(self.site.ctl("verify").stdout.startswith("0 faults"))


if __name__ == "__main__":
    unittest.main()
