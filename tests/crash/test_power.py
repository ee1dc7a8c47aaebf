"""Power cuts: a disk of its own loses what was not synced, in the middle of every kind of write and of exports.

The disk is ext4 in a file, shut down without a flush of its journal, unmounted, mounted again with a replay. Then
holds what holds after a crash (tests/support/scenarios.py, crash_export.py).

SLUICE_CRASHES is the number of cuts of each kind of write, and of exports; in the check it is CUTS_IN_CHECK.
"""

import os
import random
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import crash_export
import mounts
import scenarios
import sluice

CUTS_IN_CHECK = 3
IN_CHECK = ("import", "update", "roster", "compaction", "expiry")  # of the table; all in a long run


def wanted():
    return int(os.environ.get("SLUICE_CRASHES") or CUTS_IN_CHECK)


def on_disk(site, disk):
    """A copy of the site whose store lies on that disk, synced."""
    copy = crash.copy_of(site)
    target = os.path.join(disk.path, "store")
    for name in os.listdir(disk.path):
        if name != "lost+found":
            shutil.rmtree(os.path.join(disk.path, name))
    shutil.move(copy.store, target)
    copy.store = target
    sluice.run("sync", "--file-system", disk.path)
    return copy


class Case(unittest.TestCase):
    timeout_seconds = 600

    @classmethod
    def setUpClass(cls):
        mounts.private()
        cls.seed = crash.seed()

    def setUp(self):
        self.disk = mounts.PowerCut()
        self.addCleanup(self.disk.close)


class ScenarioPowerTest(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.material = scenarios.Material(cls.seed)
        cls.addClassCleanup(cls.material.close)

    def cut(self, prepared, generator):
        """One cut; whether the command had said that it was done."""
        site = on_disk(prepared.site, self.disk)
        self.addCleanup(site.close)
        process = prepared.popen(site)
        moment = generator.uniform(0, crash.NO_LATER_THAN) * prepared.seconds
        time.sleep(moment)
        status = process.poll()
        self.disk.cut()
        process.kill()
        process.communicate()
        self.disk.restore()
        try:
            prepared.check(site, status == 0)
            prepared.check_again(site)
        except AssertionError as failure:
            raise AssertionError(f"{prepared.scenario.name}, cut after {1000 * moment:.1f} ms: {failure}") from failure
        site.close()
        return status == 0

    def test_a_cut_loses_what_was_not_synced_and_nothing_else(self):
        for name, synced in (("kept", True), ("lost", False)):
            with open(os.path.join(self.disk.path, name), "wb") as file:
                file.write(b"x" * 100_000)
                file.flush()
                if synced:
                    os.fsync(file.fileno())
        self.disk.cut()
        self.disk.restore()
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self.disk.path) if entry.is_file()}
        self.assertEqual(sizes.get("kept"), 100_000)
        self.assertIn(sizes.get("lost"), (None, 0))

    def test_what_was_acknowledged_is_there_when_power_comes_back(self):
        for scenario in scenarios.TABLE:
            if scenario.name not in IN_CHECK and "SLUICE_CRASHES" not in os.environ:
                continue
            generator = random.Random(f"{self.seed}/{scenario.name}")
            prepared = scenarios.Prepared(self.material, scenario)
            done = sum(self.cut(prepared, generator) for _ in range(wanted()))
            prepared.close()
            print(f"{scenario.name}: {wanted()} cuts, {done} of them after its end", file=sys.stderr)


class ExportPowerTest(crash_export.ExportCase, Case):
    beneficiaries, claims, settings = 12, 4, {"file_bytes_max": "256KiB", "small_job_bytes": 0}
    widened = "export.file.before-commit=sleep"

    @classmethod
    def setUpClass(cls):
        mounts.private()
        super().setUpClass()

    def test_a_job_goes_on_when_power_comes_back_and_gives_the_same_bytes(self):
        generator = random.Random(f"{self.seed}/exports")
        seconds = self.material.undisturbed(self.widened)
        states = []
        for _ in range(2 * wanted()):
            site = on_disk(self.material.site, self.disk)
            self.addCleanup(site.close)
            server = self.start(site, self.widened)
            token = server.token()
            job = server.kick_off(token)
            time.sleep(generator.uniform(0, crash.NO_LATER_THAN) * seconds)
            self.disk.cut()
            server.kill()
            self.disk.restore()
            record, kept = self.look(site, job)
            states.append(f"{record['state']}, {len(kept) // 2} files")
            server = self.start(site)
            token = server.token()
            self.check_completed(site, server, token, job, record, kept)
            self.check_next(site, server, token)
            server.stop()
            crash.verify(site)
            site.close()
        print(f"jobs after {len(states)} cuts: {sorted(states)}", file=sys.stderr)


class SmallJobPowerTest(ExportPowerTest):
    """A job that is written as a whole."""

    settings = {}
    widened = "export.file.rename=sleep"


del Case  # only a base

if __name__ == "__main__":
    unittest.main()
