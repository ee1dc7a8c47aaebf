"""Every kind of write, killed at its system calls and at random moments.

tests/support/scenarios.py has the table: what is run, and what must hold afterwards. A command dies as it enters the
n-th write, sync, rename, removal, … of one of its threads (strace), or at a moment; in either case it is sluicectl
alone, or the sluiced that works for it. Then the store is verified, compared with the model, and the command is run
again.

SLUICE_CRASHES is the number of kills of each kind of write; in the check it is CRASHES_IN_CHECK.
"""

import os
import random
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import faults
import scenarios
import sluice

CRASHES_IN_CHECK = 12
TRIES_MAX = 5  # for each crash that is wanted: some come too late
CALLS = ("pwrite64", "writev", "fdatasync", "fsync", "rename", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "copy_file_range", "write", "ftruncate", "fallocate")


class ScenarioCrashTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        cls.material = scenarios.Material(cls.seed)
        cls.addClassCleanup(cls.material.close)
        cls.wanted = int(os.environ.get("SLUICE_CRASHES") or CRASHES_IN_CHECK)

    def ways(self, prepared, generator):
        """Endless: (whether a server works for it, injection or None, part of the duration)."""
        site = crash.copy_of(prepared.site)
        trace = site.path("trace")
        process = prepared.popen(site, faults.traced(trace, calls=CALLS))
        self.assertEqual(process.communicate() and process.returncode, 0)
        calls = [faults.kill(call, at) for call, count in sorted(faults.counts(trace).items()) if call in CALLS
                 for at in range(1, count + 1)]
        site.close()
        generator.shuffle(calls)
        for turn in range(1 << 20):
            served = prepared.scenario.served and turn % 4 == 3
            if turn % 3 == 2 or not calls:
                yield served, None, generator.uniform(0, crash.NO_LATER_THAN)
            else:
                yield served, calls[turn * 2 // 3 % len(calls)], None

    def run_and_kill(self, prepared, site, way):
        """(whether something was killed, whether the command said that it was done)."""
        served, injection, moment = way
        trace = site.path("trace")
        prefix = faults.traced(trace, [injection], calls=CALLS) if injection else []
        server = None
        if served:
            server = crash.Server(site, {"disk_reserve_bytes": 0})
            server.prefix = prefix
            self.addCleanup(server.abandon)
            try:
                server.start()
            except AssertionError:
                self.assertEqual(server.process.wait(), -signal.SIGKILL)  # in its own first writes
                return True, False
        began = time.monotonic()
        process = prepared.popen(site, () if served else prefix)
        if moment is not None:
            time.sleep(moment * prepared.seconds)
            killed = (server or process).process if server else process
            was_running = process.poll() is None
            killed.kill()
        _, complaint = process.communicate(timeout=sluice.DEADLINE_SECONDS)
        self.assertLess(time.monotonic() - began, sluice.DEADLINE_SECONDS)
        if server:
            hit = server.process.poll() is not None or moment is not None
            server.abandon()
            self.assertTrue(process.returncode == 0 or complaint, "a failure says why")
        else:
            hit = process.returncode == -signal.SIGKILL
        if moment is not None:
            hit = was_running
        self.assertIn(process.returncode, (0, 1, -signal.SIGKILL), complaint)
        return hit, process.returncode == 0

    def crash(self, prepared, way):
        site = crash.copy_of(prepared.site)
        try:
            hit, is_done = self.run_and_kill(prepared, site, way)
            if hit:
                prepared.check(site, is_done)
                prepared.check_again(site)
            return hit
        except AssertionError as failure:
            raise AssertionError(f"{prepared.scenario.name}, {way}: {failure}") from failure
        finally:
            site.close()

    def scenario(self, scenario):
        """How many kills it survived, and of them at system calls."""
        generator = random.Random(f"{self.seed}/{scenario.name}")
        prepared = scenarios.Prepared(self.material, scenario)
        kills = {"calls": 0, "moments": 0, "served": 0, "missed": 0}
        for turn, way in enumerate(self.ways(prepared, generator)):
            if kills["calls"] + kills["moments"] >= self.wanted or turn >= TRIES_MAX * self.wanted:
                break
            hit = self.crash(prepared, way)
            kills["missed"] += not hit
            kills["served"] += hit and way[0]
            kills["calls" if way[1] else "moments"] += hit
        prepared.close()
        return kills

    def test_what_was_acknowledged_stands_and_the_store_is_sound(self):
        kills = dict(zip([scenario.name for scenario in scenarios.TABLE],
                         crash.spread(self.scenario, scenarios.TABLE)))
        for name, of_it in kills.items():
            print(f"{name}: {of_it}", file=sys.stderr)
            self.assertGreater(of_it["calls"] + of_it["moments"], 0, name)


if __name__ == "__main__":
    unittest.main()
