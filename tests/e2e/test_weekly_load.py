"""Six weeks of loads into a live server: what an ACO's next `_since` holds is what that week changed for it.

sluice-synth makes base and weeks; the test reads the same files, keeps a model of what each ACO must get, and
compares line by line. The clock stands on the Monday after each load, so that every time in the files is later
than the transactionTime before it and is kept to the letter.
"""

import collections
import json
import os
import sys
import time
import unittest
import zipfile
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

ACOS = ("A9990", "A9991")
KINDS = ("Patient", "Coverage", "ExplanationOfBenefit")
WEEKS = 6
BENEFICIARIES = 56  # of each ACO: one joins within six weeks
SEED = 1           # of six weeks with every kind of change; the test checks that they have
FIRST_LOAD = datetime(2026, 1, 3, 9, tzinfo=timezone.utc)


class Model:
    """What the files say: the current line of each resource, who owns it, and who is on which roster."""

    def __init__(self):
        self.lines = {}                          # (type, id) -> line
        self.of = collections.defaultdict(dict)  # beneficiary -> (type, id) -> line
        self.mbis = {}                           # MBI -> beneficiary
        self.rosters = {aco: set() for aco in ACOS}
        self.kinds = collections.Counter()       # of changes

    def load(self, folder):
        """Takes a folder's lines; gives what it brought: beneficiary -> set of keys."""
        brought = collections.defaultdict(set)
        for kind in KINDS:
            with open(f"{folder}/{kind}.ndjson", "rb") as file:
                for line in file.read().split(b"\n")[:-1]:
                    resource = json.loads(line)
                    key = kind, resource["id"]
                    bene = wire.beneficiary_of(resource)
                    before = self.lines.get(key)
                    self.count(kind, before and json.loads(before), resource)
                    self.lines[key] = self.of[bene][key] = line
                    brought[bene].add(key)
                    for identifier in resource["identifier"] if kind == "Patient" else ():
                        if identifier["system"] == wire.MBI_SYSTEM:
                            self.mbis[identifier["value"]] = bene
        return brought

    def count(self, kind, before, now):
        if not before:
            self.kinds["new " + kind] += 1
        elif {**before, "meta": None} == {**now, "meta": None}:
            self.kinds["written again"] += 1
        elif kind == "Patient":
            self.kinds["new MBI"] += before["identifier"] != now["identifier"]
            self.kinds["changed Patient"] += 1
        else:
            self.kinds[now.get("status", "") + " " + kind] += 1

    def roster(self, aco, folder):
        name = next(name for name in os.listdir(folder) if f".{aco}." in name)
        with zipfile.ZipFile(f"{folder}/{name}") as archive:
            member = next(member for member in archive.namelist() if "ZC8Y" in member)
            rows = archive.read(member).decode("ascii").splitlines()
        before, self.rosters[aco] = self.rosters[aco], {self.mbis[row[:11]] for row in rows}
        return before


class WeeklyLoadTest(unittest.TestCase):
    timeout_seconds = 240

    @classmethod
    def setUpClass(cls):
        cls.clock = wire.Clock()
        cls.stand_at(FIRST_LOAD - timedelta(days=1))
        cls.site = sluice.Site(ACOS, cls.clock.environment)
        cls.addClassCleanup(cls.site.close)
        cls.data = cls.site.path("data")
        sluice.run(sluice.program("sluice-synth"), "--out", cls.data, "--acos", len(ACOS), "--beneficiaries",
                   BENEFICIARIES, "--years", 1, "--shared", 2, "--weeks", WEEKS, "--seed", SEED, "--quiet")
        cls.server = sluice.Server(cls.site, plaintext=True).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))
        cls.clients = {aco: wire.Client(cls.server, aco) for aco in ACOS}
        for client in cls.clients.values():
            cls.addClassCleanup(client.close)

    @classmethod
    def stand_at(cls, instant):
        cls.clock.shift(int(instant.timestamp() - time.time()))

    def load(self, folder):
        """Imports a folder's resources; gives the counts."""
        return json.loads(self.site.ctl("import", *(f"{folder}/{kind}.ndjson" for kind in KINDS), "--json").stdout)

    def attribute(self, folder):
        return self.site.ctl("attribution", "import", folder).stdout

    def pull(self, aco, since=None):
        """(transactionTime, sorted lines) of an export of Group/all."""
        manifest, files = self.clients[aco].export(wire.since(wire.GROUP, since) if since else wire.GROUP)
        self.assertEqual(manifest["error"], [])
        return manifest["transactionTime"], sorted(line for lines in files for line in lines)

    def assert_lines(self, found, expected, what):
        if found == expected:
            return
        ids = [sorted({json.loads(line)["id"] for line in set(lines)})[:5]
               for lines in (set(found) - set(expected), set(expected) - set(found))]
        self.fail(f"{what}: {len(found)} lines, {len(expected)} expected; too much: {ids[0]}, missing: {ids[1]}")

    def test_each_weeks_export_holds_what_that_week_changed_and_nothing_else(self):
        model = Model()
        model.load(f"{self.data}/base")
        self.load(f"{self.data}/base")
        self.attribute(f"{self.data}/attribution")
        last = {}
        for aco in ACOS:
            model.roster(aco, f"{self.data}/attribution")
            last[aco], lines = self.pull(aco)
            everything = sorted(line for bene in model.rosters[aco] for line in model.of[bene].values())
            self.assert_lines(lines, everything, f"base, {aco}")
        model.kinds.clear()

        moves = collections.Counter()
        for week in range(1, WEEKS + 1):
            folder = f"{self.data}/week-{week:02}"
            self.stand_at(FIRST_LOAD + timedelta(days=7 * (week - 1) + 2))
            with self.subTest(week=week):
                if week % 2:  # rosters come before the Patients, or after them
                    self.attribute(f"{folder}/attribution")
                counts = self.load(folder)
                if not week % 2:
                    self.attribute(f"{folder}/attribution")
                self.assertEqual([counts[name] for name in ("identical", "late", "refused", "stamped", "future")], [0] * 5)
                known = set(model.lines)
                brought = model.load(folder)
                keys = set().union(*brought.values())
                self.assertEqual((counts["added"], counts["replaced"]), (len(keys - known), len(keys & known)))

                before = {aco: model.roster(aco, f"{folder}/attribution") for aco in ACOS}
                for aco in ACOS:
                    now = model.rosters[aco]
                    others = set().union(*(before[other] for other in ACOS if other != aco))
                    moves.update(joined=len(now - before[aco] - others), moved=len((now - before[aco]) & others),
                                 left=len(before[aco] - now))
                    expected = [model.lines[key] for bene in now & before[aco] for key in brought[bene]]
                    expected += [line for bene in now - before[aco] for line in model.of[bene].values()]
                    last[aco], lines = self.pull(aco, last[aco])
                    self.assert_lines(lines, sorted(expected), f"week {week}, {aco}")

                again = self.load(folder)
                self.assertEqual((again["added"], again["replaced"], again["late"]), (0, 0, 0))
                self.assertEqual(again["identical"], counts["added"] + counts["replaced"])
                self.assertEqual(self.attribute(f"{folder}/attribution").count("skipped"), len(ACOS))
                last[ACOS[0]], lines = self.pull(ACOS[0], last[ACOS[0]])
                self.assertEqual(lines, [])
        for kind in ("new Patient", "new ExplanationOfBenefit", "active ExplanationOfBenefit",
                     "cancelled ExplanationOfBenefit", "written again", "changed Patient", "new MBI"):
            self.assertGreater(model.kinds[kind], 0, f"the six weeks have no {kind}: {model.kinds}")
        self.assertGreater(min(moves[kind] for kind in ("joined", "moved", "left")), 0, moves)

        # All of it once more, the old versions last: nothing comes back.
        for folder in [f"{self.data}/week-{week:02}" for week in range(WEEKS, 0, -1)] + [f"{self.data}/base"]:
            counts = self.load(folder)
            self.assertEqual((counts["added"], counts["replaced"], counts["refused"]), (0, 0, 0), folder)
        for aco in ACOS:
            _, lines = self.pull(aco)
            everything = sorted(line for bene in model.rosters[aco] for line in model.of[bene].values())
            self.assert_lines(lines, everything, f"in the end, {aco}")
            self.assertEqual(self.pull(aco, last[aco])[1], [])
        self.site.ctl("verify")


if __name__ == "__main__":
    unittest.main()
