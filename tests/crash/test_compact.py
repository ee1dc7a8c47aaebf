"""kill -9 in the middle of a compaction, and between the holes that it makes: the store stays clean, what it holds
stays the same, and the next run goes on.

SLUICE_CRASHES is the number of kills at random moments times 25; every passage of its failpoints comes on top, as
in test_failpoints.py.
"""

import json
import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

BENEFICIARIES = 16
PLACES = ["engine.begin-write", "engine.put", "engine.commit.before", "engine.commit.after", "engine.release"]


class CompactCrashTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        resources = crash.Resources(random.Random(cls.seed), BENEFICIARIES, claims=4, text_bytes=6 * 1024)
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        for number, lines in enumerate([resources.base(), resources.update(2), resources.update(3)]):
            path = cls.site.write(f"load-{number}.ndjson", b"\n".join(lines) + b"\n")
            cls.site.ctl("import", path, "--aco", crash.ACO)
        cls.held = cls.lines(cls.site)

    @staticmethod
    def lines(site):
        return sorted(site.ctl("dump").stdout.splitlines())

    def begin(self, site, failpoints=None):
        return crash.popen_ctl(site, "compact", "--json", failpoints=failpoints)

    def finish(self, site):
        """Runs it to its end; gives what it says."""
        told = json.loads(site.ctl("compact", "--json").stdout)
        self.assertTrue(told["complete"])
        return told

    def check(self, site):
        crash.verify(site)
        self.assertEqual(self.lines(site), self.held)

    def test_death_at_random_moments(self):
        generator = random.Random(self.seed + 1)
        site = crash.copy_of(self.site)
        began = time.monotonic()
        self.finish(site)
        duration = time.monotonic() - began
        self.check(site)
        site.close()
        kills = left = 0
        while kills < max(3, crash.crashes() // 25):
            site = crash.copy_of(self.site)
            self.addCleanup(site.close)
            process = self.begin(site)
            killed = crash.kill_after(process, generator.random() * crash.NO_LATER_THAN * duration)
            process.communicate()
            kills += killed
            self.check(site)
            left += self.finish(site)["replaced"] > 0
            self.check(site)
            self.assertEqual(self.finish(site)["replaced"], 0)
            site.close()
        print(f"kills: {kills}; something was left to do after {left}", file=sys.stderr)

    def die_at_each(self, place):
        """At how many passages it died."""
        at, times = 1, 0
        while True:
            site = crash.copy_of(self.site)
            try:
                process = self.begin(site, f"{place}=kill@{at}")
                process.communicate(timeout=sluice.DEADLINE_SECONDS)
                if process.returncode == 0:
                    return times
                self.assertEqual(process.returncode, -signal.SIGKILL, place)
                self.check(site)
                self.finish(site)
                self.check(site)
            finally:
                site.close()
            times += 1
            at += 1 if crash.crashes() >= 1000 else at * 5

    def test_death_at_each_place(self):
        times = dict(zip(PLACES, crash.spread(self.die_at_each, PLACES)))
        print(f"deaths: {times}", file=sys.stderr)
        self.assertNotIn(0, times.values(), "each place was passed")


if __name__ == "__main__":
    unittest.main()
