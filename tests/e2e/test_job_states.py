"""The states of a job, each with its answers, over restarts and with a clock that is put forward (docs/api.md section 4)."""

import email.utils
import gzip
import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

HOUR = 3600
BENEFICIARIES = 12
PUBLIC = "https://claims.example.org"
# A slice that begins 50 ms late is over after one beneficiary.
SLOW = "export.statvfs=sleep"
DELETED = "Deleted Error"


def load(site, beneficiaries):
    lines = [line for number in range(beneficiaries) for line in wire.lines_of(number, "2021-01-01T00:00:00Z", 2)]
    site.ctl("import", "--aco", "A9994", site.write("claims.ndjson", "\n".join(lines) + "\n"))


class StatesTest(unittest.TestCase):
    timeout_seconds = 300

    def setUp(self):
        self.clock = wire.Clock()
        self.site = sluice.Site(["A9994", "A9995"], environment=self.clock.environment)
        self.addCleanup(self.site.close)
        load(self.site, BENEFICIARIES)
        self.server = None
        self.addCleanup(lambda: self.server and (self.server.process.stdout.closed or self.server.stop(None)))

    def start(self, failpoints="", **settings):
        self.server = sluice.Server(
            self.site, plaintext=True,
            settings=dict({"public_url": PUBLIC, "token_lifetime_seconds": 86400, "stop_grace_seconds": 1,
                           "export_workers": 1, "small_job_bytes": 0}, **settings), environment={"SLUICE_FAILPOINTS": failpoints}).start()
        self.client = wire.Client(self.server)
        self.addCleanup(self.client.close)

    def restart(self, kill=False, failpoints=""):
        self.client.close()
        if kill:
            self.server.kill()
        else:
            self.server.stop()
        self.start(failpoints)

    def path(self, url):
        """Below the public base, which is not where the server is."""
        self.assertTrue(url.startswith(PUBLIC + "/"), url)
        return url[len(PUBLIC):]

    def kick_off(self, path=wire.PATIENT):
        return self.path(self.client.kick_off(path))

    def wait_for(self, location, state):
        """Until the job is in that state; gives the answer."""
        def look():
            answer = self.client.request(location)
            return answer if answer[1].get("x-progress", "Cancelled").split(" (")[0] == state else None
        return sluice.wait_until(look, f"{location} is {state}")

    def complete(self, path=wire.PATIENT):
        location = self.kick_off(path)
        self.wait_for(location, "Completed")
        return location

    def files(self, location):
        """Identity and gzip bytes of all files, in order."""
        manifest = json.loads(self.client.request(location)[2])
        found = []
        for item in manifest["output"]:
            _, _, plain = self.client.request(self.path(item["url"]))
            _, _, packed = self.client.request(self.path(item["url"]), fields={"Accept-Encoding": "gzip"})
            self.assertEqual(gzip.decompress(packed), plain)
            self.assertEqual((len(plain), plain.count(b"\n")), (item["fileSize"], item["count"]))
            found.append((item["type"], plain, packed))
        return found

    def folder(self, location):
        return os.path.join(self.site.store, "jobs", location.rsplit("/", 1)[1])

    def settled(self, answer):
        """An answer without what differs from request to request."""
        status, fields, body = answer
        return status, {name: value for name, value in fields.items() if name not in ("date", "x-request-id")}, body

    def list_states(self, query=""):
        """(job, state) as the list tells, in its order."""
        status, _, body = self.client.request("/api/v1/jobs" + query)
        self.assertEqual(status, 200, body)
        bundle = json.loads(body)
        self.assertEqual(bundle["total"], len(bundle.get("entry", [])))
        return [(int(entry["resource"]["id"]), entry["resource"]["businessStatus"]["text"])
                for entry in bundle.get("entry", [])]

    # ---- time ----

    def test_completed_then_archived_then_expired(self):
        """24 hours and 24 more, to the second; over a restart in each."""
        self.start()
        location = self.complete()
        status, fields, body = completed = self.client.request(location)
        self.assertEqual((status, fields["content-type"]), (200, "application/json"))
        expires = email.utils.parsedate_to_datetime(fields["expires"]).timestamp()
        self.assertAlmostEqual(expires - self.clock.now(), 24 * HOUR, delta=30)
        self.assertTrue(fields["expires"].endswith(" GMT"))
        urls = [self.path(item["url"]) for item in json.loads(body)["output"]]
        self.assertEqual(len(urls), 3)
        for kill in (False, True):
            self.restart(kill)
            self.assertEqual(self.settled(self.client.request(location)), self.settled(completed))
        self.clock.shift(24 * HOUR - 60)
        self.assertEqual(self.settled(self.client.request(location)), self.settled(completed))
        self.assertEqual(self.client.request(urls[0])[0], 200)

        number = int(location.rsplit("/", 1)[1])
        for state, hours in (("Archived", 24), ("Expired", 48)):
            self.clock.shift(hours * HOUR + 60)
            # At once where the clock says so; Expired comes with the thread that deletes the files.
            answer = self.client.request(location) if state == "Archived" else self.wait_for(location, state)
            self.assert_gone(answer, number, fields["expires"])
            self.assertEqual(answer[1]["x-progress"], state)
            for url in urls:
                self.assert_gone(self.client.request(url), number, fields["expires"])
            sluice.wait_until(lambda: self.server.events(f"job {state.lower()}"), "it is written down")
            self.assertEqual(self.list_states(), [(number, state)])
            for kill in (False, True):
                self.restart(kill)
                self.assertEqual(self.settled(self.client.request(location)), self.settled(answer))
                self.assert_gone(self.client.request(urls[0]), number, fields["expires"])
            if state == "Archived":
                self.assertEqual(len(os.listdir(self.folder(location))), 3)
            else:
                sluice.wait_until(lambda: not os.path.exists(self.folder(location)), "the files are deleted")

    def assert_gone(self, answer, number, expires):
        status, fields, body = answer
        self.assertEqual((status, fields["expires"]), (410, expires))
        self.assertEqual(fields["content-type"], "application/fhir+json")
        found = wire.issue(body)
        self.assertEqual((found["code"], found["details"]["coding"][0]["code"]), ("not-found", DELETED))
        self.assertEqual(found["details"]["text"], f"The files of job {number} expired on {expires}.")

    def test_a_server_that_was_away_catches_up(self):
        """Nobody was there to archive; it expires when it would have all the same."""
        self.start()
        location = self.complete()
        self.server.stop()
        self.clock.shift(49 * HOUR)
        self.start()
        self.wait_for(location, "Expired")
        sluice.wait_until(lambda: not os.path.exists(self.folder(location)), "the files are deleted")

    def test_keep_hours_is_a_setting(self):
        self.start(keep_hours=1)
        location = self.complete()
        fields = self.client.request(location)[1]
        left = email.utils.parsedate_to_datetime(fields["expires"]).timestamp() - self.clock.now()
        self.assertAlmostEqual(left, HOUR, delta=30)
        self.clock.shift(HOUR + 60)
        self.wait_for(location, "Archived")
        sluice.wait_until(lambda: self.server.events("job archived"), "it is written down")
        self.clock.shift(2 * HOUR + 60)
        self.wait_for(location, "Expired")

    # ---- DELETE and restarts ----

    def test_delete_in_each_state(self):
        self.start(SLOW)
        pending = self.kick_off()
        self.assertEqual(self.client.request(pending)[1]["x-progress"], "Pending")
        self.assert_deleted(pending)
        working = self.kick_off()
        self.wait_for(working, "In Progress")
        self.assert_deleted(working)

        self.restart(failpoints="export.file.write=error")
        failed = self.kick_off()
        self.wait_for(failed, "Failed")
        self.assert_deleted(failed)

        self.restart()
        self.assert_deleted(self.complete())
        archived, expired = self.complete(), self.complete(wire.GROUP)
        self.clock.shift(25 * HOUR)
        self.wait_for(archived, "Archived")
        self.assert_deleted(archived)
        self.clock.shift(49 * HOUR)
        gone = self.wait_for(expired, "Expired")
        self.assertEqual(self.settled(self.client.request(expired, "DELETE"))[::2], self.settled(gone)[::2])
        self.assertEqual(self.client.request(expired)[1]["x-progress"], "Expired")

    def assert_deleted(self, location):
        """Once, and for good; the endpoint is free at once."""
        status, _, body = self.client.request(location, "DELETE")
        self.assertEqual((status, body), (202, b""))
        for method in ("GET", "DELETE"):
            status, fields, body = self.client.request(location, method)
            self.assertEqual(status, 404)
            self.assertNotIn("x-progress", fields)
            self.assertEqual(wire.issue(body)["details"]["text"], "Job has been cancelled.")
        sluice.wait_until(lambda: not os.path.exists(self.folder(location)), "its files are deleted")

    def test_a_restart_changes_no_state(self):
        """An active job goes on to the bytes of an undisturbed one; the others answer as before."""
        self.start()
        undisturbed = self.files(self.complete())
        for kill in (False, True):
            for state in ("Pending", "In Progress"):
                self.restart(failpoints=SLOW)
                location = self.kick_off()
                self.wait_for(location, state)
                before = self.client.request("/api/v1/jobs")[2]
                created = json.loads(before)["entry"][0]["resource"]["authoredOn"]
                self.restart(kill)
                answer = self.wait_for(location, "Completed")
                self.assertEqual(json.loads(answer[2])["transactionTime"], created)
                self.assertEqual(self.files(location), undisturbed)

            cancelled = self.complete()
            self.assertEqual(self.client.request(cancelled, "DELETE")[0], 202)
            self.restart(failpoints="export.file.write=nospace")
            failed = self.kick_off()
            self.wait_for(failed, "Failed")
            before = [self.settled(self.client.request(location)) for location in (cancelled, failed)]
            self.assertEqual([status for status, _, _ in before], [404, 500])
            self.restart(kill)
            self.assertEqual([self.settled(self.client.request(location)) for location in (cancelled, failed)], before)

    def test_an_export_that_sigterm_stopped_goes_on(self):
        """Files that were complete are kept as they are, the others written to the same bytes."""
        self.start()
        undisturbed = self.files(self.complete())
        self.restart(failpoints=SLOW)
        location = self.kick_off()

        def finished():
            names = os.listdir(self.folder(location)) if os.path.isdir(self.folder(location)) else []
            return {name for name in names if name.endswith(".ndjson.gz")}
        sluice.wait_until(finished, "a file is complete")
        kept = {name: os.stat(os.path.join(self.folder(location), name)) for name in finished()}
        self.restart(failpoints=SLOW)
        self.assertEqual(self.client.request(location)[0], 202, "it was over before the stop")
        self.assertFalse(self.server.events("job completed"))
        self.wait_for(location, "Completed")
        self.assertEqual(self.files(location), undisturbed)
        for name, stat in kept.items():
            now = os.stat(os.path.join(self.folder(location), name))
            self.assertEqual((now.st_ino, now.st_mtime_ns), (stat.st_ino, stat.st_mtime_ns))

    # ---- progress ----

    def test_the_percentage_moves_and_never_falls(self):
        """Over a stop and a crash too."""
        load(self.site, 40)
        self.start(SLOW)
        location = self.kick_off()
        seen, crossings = [], [30, 60]
        while True:
            status, fields, _ = self.client.request(location)
            if status == 200:
                break
            self.assertEqual(status, 202)
            self.assertIn(int(fields["retry-after"]), range(1, 121))
            found = re.fullmatch(r"Pending|In Progress \((\d+)%\)", fields["x-progress"])
            self.assertTrue(found, fields["x-progress"])
            seen.append(int(found[1] or 0))
            if crossings and seen[-1] >= crossings[0]:
                self.restart(kill=crossings.pop(0) == 60, failpoints=SLOW)
        self.assertEqual(crossings, [])
        self.assertEqual(seen, sorted(seen))
        self.assertEqual(fields["x-progress"], "Completed")
        self.assertLess(seen[-1], 100)
        self.assertGreater(seen[-1], 80)
        self.assertGreater(len(set(seen)), 30)
        self.assertLess(max(after - before for before, after in zip(seen, seen[1:])), 20)

    # ---- documents ----

    def test_the_manifest_byte_for_byte(self):
        self.start()
        path = wire.GROUP + "?_type=Patient,ExplanationOfBenefit&_since=2020-06-01T00:00:00Z&_elements=id"
        status, fields, _ = self.client.request(path, fields=dict(wire.KICK_OFF, Prefer="respond-async, handling=lenient"))
        self.assertEqual(status, 202)
        location = self.path(fields["content-location"])
        _, _, body = self.wait_for(location, "Completed")
        uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        settled = re.sub(uuid, "UUID", re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "INSTANT", body.decode()))
        settled = re.sub(r'"fileSize":[1-9]\d*', '"fileSize":N', settled)
        data = f'"url":"{PUBLIC}/data/1/UUID'
        self.assertEqual(settled, (
            f'{{"transactionTime":"INSTANT","request":"{PUBLIC}{path}","requiresAccessToken":true,"output":['
            f'{{"type":"Patient",{data}.ndjson","count":{BENEFICIARIES},"fileSize":N}},'
            f'{{"type":"ExplanationOfBenefit",{data}.ndjson","count":{2 * BENEFICIARIES},"fileSize":N}}],"deleted":[],"error":['
            f'{{"type":"OperationOutcome",{data}-error.ndjson","count":1,"fileSize":N}}],"JobID":1}}'))

    def test_the_list_is_filtered_by_state(self):
        self.start()
        expired = self.complete()
        self.clock.shift(25 * HOUR)
        archived = self.complete()
        self.wait_for(expired, "Archived")
        sluice.wait_until(lambda: self.server.events("job archived"), "it is written down")
        self.clock.shift(49 * HOUR + 120)
        self.wait_for(expired, "Expired")
        self.wait_for(archived, "Archived")
        completed, cancelled = self.complete(), self.complete()
        self.assertEqual(self.client.request(cancelled, "DELETE")[0], 202)
        self.restart(failpoints="export.file.write=error")
        failed = self.kick_off()
        self.wait_for(failed, "Failed")
        self.restart(failpoints=SLOW)
        working = self.kick_off()
        self.wait_for(working, "In Progress")
        pending = self.kick_off(wire.GROUP)
        jobs = [("Expired", expired), ("Archived", archived), ("Completed", completed), ("Cancelled", cancelled),
                ("Failed", failed), ("In Progress", working), ("Pending", pending)]
        wanted = [(int(location.rsplit("/", 1)[1]), state) for state, location in reversed(jobs)]
        self.assertEqual(self.list_states(), wanted)
        for number, state in wanted:
            self.assertEqual(self.list_states("?_status=" + state.replace(" ", "%20")), [(number, state)])
        self.assertEqual(self.list_states("?_status=Failed,Expired"), [wanted[2], wanted[6]])
        self.assertEqual(self.list_states("?_status=Failed&_status=In+Progress"), [wanted[1], wanted[2]])
        self.assertEqual(self.list_states("?_status=Failed,Failed"), [wanted[2]])
        for wrong in ("failed", "", "Failed,", "In", "completed", "Busy"):
            self.assertEqual(self.client.request("/api/v1/jobs?_status=" + wrong)[0], 400, wrong)
        self.assertEqual([state for _, state in wanted if state != "Cancelled"],
                         [self.client.request(location)[1]["x-progress"].split(" (")[0]
                          for state, location in reversed(jobs) if state != "Cancelled"])
        other = wire.Client(self.server, "A9995")
        self.addCleanup(other.close)
        self.assertEqual(json.loads(other.request("/api/v1/jobs")[2])["total"], 0)


if __name__ == "__main__":
    unittest.main()
