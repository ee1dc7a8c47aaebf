"""kill -9 in the middle of exports: the job goes on at the next start, and its bytes are those of an undisturbed one.

Each crash has a data directory of its own, a copy of one whose export is known. SLUICE_CRASHES is the number of
kills while the job was active.
"""

import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import crash_export

KILLS_OF_ONE_JOB_MAX = 3
WORKERS = 4
WIDENED = (None, "export.file.write=sleep", "export.file.rename=sleep", "export.file.before-commit=sleep",
           "engine.commit.before=sleep")  # what makes jobs of one run last longer


class ExportCrashTest(crash_export.ExportCase, unittest.TestCase):
    timeout_seconds = 300
    beneficiaries, claims, settings = 24, 6, {"file_bytes_max": "640KiB", "small_job_bytes": 0}
    share = 1  # of the crashes

    def test_a_killed_job_goes_on_and_gives_the_bytes_of_an_undisturbed_one(self):
        wanted = -(-crash.crashes() // self.share)
        self.hits = []  # of each kill: files done; None: before the plan
        self.kills_late = 0
        self.refused = 0
        self.updates = 0
        self.seconds = {failpoints: self.material.undisturbed(failpoints) for failpoints in WIDENED}
        crash.spread(lambda index: self.jobs(random.Random(f"{self.seed}/{index}"), wanted), range(WORKERS), WORKERS)
        done = sorted(hit for hit in self.hits if hit is not None) or [0]
        print(f"{len(self.hits)} kills of active jobs ({self.kills_late} came too late): {self.hits.count(None)} before "
              f"the plan stood; files done of {len(self.material.sums)}, quartiles: {done[0]}, {done[len(done) // 4]}, "
              f"{crash.median(done)}, {done[3 * len(done) // 4]}, {done[-1]}; in {self.updates} jobs newer versions were "
              f"imported between crash and start; a kick-off beside the job was refused {self.refused} times; "
              f"undisturbed jobs take ms: {[round(1000 * seconds) for seconds in self.seconds.values()]}",
              file=sys.stderr)

    def jobs(self, generator, wanted):
        while len(self.hits) < wanted:
            self.one_job(generator)

    def one_job(self, generator):
        """Kicks off, kills, starts again, until the job is completed."""
        site = self.copy()
        failpoints = generator.choice(WIDENED)
        server = self.start(site, failpoints)
        token = server.token()
        job = server.kick_off(token)
        kept, first, updated = {}, None, False
        for _ in range(generator.randint(1, KILLS_OF_ONE_JOB_MAX)):
            left = 1 - len(kept) / 2 / len(self.material.sums)
            time.sleep(generator.uniform(0, left * self.seconds[failpoints]))
            server.kill()
            record, now_kept = self.look(site, job)
            first = first or record
            self.assertEqual(record["transactionTime"], first["transactionTime"])
            self.assertLessEqual(kept.items(), now_kept.items(), "what one crash left, the next start kept")
            kept = now_kept
            active = record["state"] in ("Pending", "In Progress")
            if active:
                self.hits.append(None if record["state"] == "Pending" else len(kept) // 2)
            else:
                self.kills_late += 1
            if active and not updated and generator.random() < 0.3:
                site.ctl("import", self.material.update)
                crash.verify(site)
                updated = True
                self.updates += 1
            server = self.start(site, failpoints)
            token = server.token()
            second = self.check_bucket(server, token, job)
            self.refused += second is None
            if second is not None:
                server.wait_for_job(token, second)
                break
        self.check_completed(site, server, token, job, first, kept)
        if updated or generator.random() < 0.2:
            self.check_next(site, server, token, updated)
        server.kill()
        crash.verify(site)
        site.close()

    def test_sigterm_in_the_middle_ends_with_0_and_the_job_goes_on(self):
        generator = random.Random(self.seed + 1)
        stopped = 0
        seconds = self.material.undisturbed(WIDENED[-1])
        for _ in range(5):
            site = self.copy()
            server = self.start(site, WIDENED[-1])
            token = server.token()
            job = server.kick_off(token)
            time.sleep(generator.uniform(0, 0.8 * seconds))
            server.stop(expected=0)
            record, kept = self.look(site, job)
            stopped += record["state"] in ("Pending", "In Progress")
            server = self.start(site)
            token = server.token()
            self.check_completed(site, server, token, job, record, kept)
            self.check_next(site, server, token)
            server.stop()
            crash.verify(site)
            site.close()
        self.assertGreater(stopped, 0)


class SmallJobCrashTest(ExportCrashTest):
    """A job that is written as a whole: nothing of it stands before its end, and it is done again to the same bytes."""

    beneficiaries, claims, settings = 24, 6, {}
    share = 3
    test_sigterm_in_the_middle_ends_with_0_and_the_job_goes_on = None  # it is one slice, which SIGTERM lets end


if __name__ == "__main__":
    unittest.main()
