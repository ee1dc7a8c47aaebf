"""Beneficiaries change their ACO beside exports and deaths, and move to the new home: nobody sees anything of it.

Two ACOs swap all their beneficiaries. What exports give that were kicked off before, and after, is compared byte for
byte with the exports of a store in which nothing moved (there the failpoint homes.step fails).
"""

import hashlib
import json
import os
import random
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

ACOS = ("A0001", "A0002")
MEMBERS = 200  # of each
SINCE = "2021-01-15T00:00:00.000Z"  # between the two loads; the rosters' ACOs had their beneficiaries already
TARGETS = ("/api/v1/Patient/$export", f"/api/v1/Group/all/$export?_since={SINCE}")
SETTINGS = {"file_bytes_max": "1MiB", "export_workers": 2}


def write_roster(site, aco, day, numbers):
    """A CCLF8 file of that day of January 2021."""
    path = site.path(f"P.BCD.{aco}.ZC8Y21.D2101{day:02}.T0000000")
    with open(path, "w", encoding="ascii") as file:
        file.write("".join(crash.mbi(number).ljust(549) + "\n" for number in numbers))
    return path


def waiting(site):
    return json.loads(site.ctl("stat", "--json").stdout)["moving"]


def kick_off(server):
    """All exports of both ACOs: [(ACO, target, job)]."""
    found = []
    for aco in ACOS:
        token = server.token(aco)
        for target in TARGETS:
            status, fields, body = server.request("GET", target, token, {"Accept": "application/fhir+json",
                                                                         "Prefer": "respond-async"})
            if status != 202:
                raise AssertionError(f"kick-off: {status} {body!r}")
            found.append((aco, target, int(fields["content-location"].rsplit("/", 1)[1])))
    return found


def sums(server, jobs):
    """(ACO, target) -> what its files are, in order."""
    found = {}
    for aco, target, job in jobs:
        token = server.token(aco)
        manifest = server.wait_for_job(token, job)
        if manifest["error"] or not manifest["output"]:
            raise AssertionError(f"{target} of {aco}: {manifest}")
        found[aco, target] = [
            (item["type"], item["count"], hashlib.sha256(server.fetch(token, item, "identity")).hexdigest())
            for item in manifest["output"]]
    return found


def exports(server):
    return sums(server, kick_off(server))


class HomesTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        resources = crash.Resources(random.Random(crash.seed()), 2 * MEMBERS, 2, 3000)
        cls.site = sluice.Site(ACOS)
        cls.addClassCleanup(cls.site.close)
        halves = range(MEMBERS), range(MEMBERS, 2 * MEMBERS)
        for name, lines in (("base", resources.base()), ("update", resources.update(2))):
            cls.site.ctl("import", cls.site.write(f"{name}.ndjson", b"".join(line + b"\n" for line in lines)))
        for aco, numbers in zip(ACOS, halves):
            cls.site.ctl("attribution", "import", write_roster(cls.site, aco, 10, numbers))
        cls.halves = halves
        cls.unmoved = cls.exports_where_nothing_moves()

    @classmethod
    def exports_where_nothing_moves(cls):
        """Before and after the swap."""
        site = crash.copy_of(cls.site)
        server = crash.Server(site, SETTINGS, "homes.step=error")
        try:
            server.start()
            before = exports(server)
            site.ctl("attribution", "import", *cls.rosters(20, True))
            after = exports(server)
            assert waiting(site) == 2 * MEMBERS and before != after, (waiting(site), before)
            return before, after
        finally:
            server.abandon()
            site.close()

    @classmethod
    def rosters(cls, day, swapped):
        halves = reversed(cls.halves) if swapped else cls.halves
        return [write_roster(cls.site, aco, day, numbers) for aco, numbers in zip(ACOS, halves)]

    def copy(self):
        site = crash.copy_of(self.site)
        os.makedirs(site.folder, exist_ok=True)
        self.addCleanup(site.close)
        return site

    def server(self, site, failpoints=None):
        server = crash.Server(site, SETTINGS, failpoints)
        self.addCleanup(server.abandon)
        return server

    def test_exports_from_before_and_after_are_those_of_a_store_where_nothing_moved(self):
        before, after = self.unmoved
        site = self.copy()
        server = self.server(site, "export.statvfs=sleep").start()  # slow: all are active for some seconds
        jobs = kick_off(server)
        server.kill()
        done = crash.popen_ctl(site, "attribution", "import", *self.rosters(20, True), failpoints="homes.step=kill@2")
        done.communicate()
        self.assertEqual(done.returncode, -signal.SIGKILL)
        crash.verify(site)
        self.assertIn(waiting(site), range(1, 2 * MEMBERS))
        with self.server(site) as server:
            self.assertEqual(sums(server, jobs), before)
            sluice.wait_until(lambda: waiting(site) == 0, "all have moved")
            self.assertEqual(exports(server), after)
            crash.verify(site)
            self.assertEqual(server.events("homes moved")[-1]["waiting"], 0)

    def test_a_server_that_dies_while_it_moves_goes_on_when_it_is_back(self):
        """There and back and there again, with exports that run and a death in each."""
        before, after = self.unmoved
        site = self.copy()
        for day, name in enumerate(("homes.step", "homes.copied", "homes.switched"), 20):
            with self.subTest(name):
                server = self.server(site, f"{name}=kill@2,export.statvfs=sleep").start()
                site.ctl("attribution", "import", *self.rosters(day, day % 2 == 0))
                jobs = kick_off(server)
                self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGKILL)
                server.abandon()
                crash.verify(site)
                self.assertGreater(waiting(site), 0)
                with self.server(site) as server:
                    self.assertEqual(sums(server, jobs), after if day % 2 == 0 else before)
                    sluice.wait_until(lambda: waiting(site) == 0, "all have moved")
                    crash.verify(site)
                    self.assertEqual(exports(server), after if day % 2 == 0 else before)


if __name__ == "__main__":
    unittest.main()
