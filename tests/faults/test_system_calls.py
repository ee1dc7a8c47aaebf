"""System calls that fail under real programs (strace injects it): an error with its reason, and nothing acknowledged is lost.

A sync of the store that failed stops the process: what the page cache shows is then not what is on the disk.
"""

import json
import http.client
import os
import random
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import faults
import sluice

BENEFICIARIES = 10
SETTINGS = {"disk_reserve_bytes": 0, "export_workers": 1}
BROKEN = (OSError, http.client.HTTPException)
STOPS = "the store cannot be written and the process stops"
PASSAGES_MAX = 40


class SystemCallTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        resources = crash.Resources(random.Random(cls.seed), BENEFICIARIES, claims=3, text_bytes=6 * 1024)
        cls.base, update = resources.base(), resources.update(2)
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("attribution", "import", crash.write_roster(cls.site.folder, 5, range(BENEFICIARIES)))
        cls.site.ctl("import", cls.site.write("base.ndjson", b"\n".join(cls.base) + b"\n"))
        cls.update = cls.site.write("update.ndjson", b"\n".join(update) + b"\n")
        cls.lines = sorted(cls.base)
        cls.updated = sorted(crash.newest([cls.base, update]).values())

    def copy(self):
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        return site

    def dumped(self, site):
        return sorted(site.ctl("dump").stdout.encode().splitlines())

    # ---- sluicectl, which writes ----

    def stumble(self, argument):
        """An import of which one call on store.mdb fails. How it ended, or None if there was no such call."""
        call, error, at = argument
        site = self.copy()
        trace = site.path("trace")
        store = os.path.join(site.store, "store.mdb")
        prefix = faults.traced(trace, [f"{call}:error={error}:when={at}"], calls=(call,), paths=(store,))
        done = sluice.run(*prefix, sluice.program("sluicectl"), "--data", site.store, "--quiet", "import", "--json",
                          self.update, check=False)
        if not faults.injected(trace):
            site.close()
            return None
        what = f"{call} fails with {error} at its {at}. time: {done.returncode} {done.stderr}"
        self.assertIn(done.returncode, (0, 1, -signal.SIGABRT), what)
        if done.returncode == 1:
            self.assertIn(store, done.stderr, what)
        elif done.returncode < 0:
            self.assertIn(STOPS, done.stderr, what)
        crash.verify(site)
        found = self.dumped(site)
        self.assertTrue(set(found) <= {*self.lines, *self.updated} and len(found) >= len(self.lines), what)
        if done.returncode != 0:
            site.ctl("import", self.update)
        self.assertTrue(self.dumped(site) == self.updated, what)
        site.close()
        return done.returncode

    def each(self, argument):
        call, error = argument
        ends = []
        for at in range(1, PASSAGES_MAX):
            status = self.stumble((call, error, at))
            if status is None:
                break
            ends.append(status)
        return ends

    def test_a_call_on_the_store_that_fails_is_told_and_costs_nothing(self):
        cases = [(call, error) for call in ("pwrite64", "writev", "fdatasync", "openat", "pread64", "mmap")
                 for error in ("EIO", "ENOSPC")]
        ends = dict(zip(cases, crash.spread(self.each, cases)))
        print(f"ends of imports: { {' '.join(case): found for case, found in ends.items()} }", file=sys.stderr)
        for (call, error), found in ends.items():
            self.assertTrue(found, f"no {call} on the store")
            if call == "fdatasync":
                self.assertEqual(set(found), {-signal.SIGABRT}, f"after a sync that failed ({error})")

    # ---- file systems that cannot all ----

    def injected(self, site, calls, injection, *command):
        """(done, how often it was injected)."""
        trace = site.path("trace")
        prefix = faults.traced(trace, [injection], calls=calls)
        done = sluice.run(*prefix, sluice.program("sluicectl"), "--data", site.store, "--quiet", *command, check=False)
        return done, faults.injected(trace)

    def check_compacted(self, site, done):
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("segments were replaced by", done.stdout)
        self.assertIn("the file system makes no holes in files: free pages keep their space, and are used again",
                      done.stdout)
        crash.verify(site)
        self.assertEqual(self.dumped(site), self.lines)

    def test_on_a_file_system_without_holes_compaction_does_all_but_give_space_back(self):
        site = self.copy()
        size = os.stat(os.path.join(site.store, "store.mdb")).st_blocks
        done, count = self.injected(site, ("fallocate",), "fallocate:error=EOPNOTSUPP", "compact")
        self.check_compacted(site, done)
        self.assertGreater(count, 0)
        self.assertGreaterEqual(os.stat(os.path.join(site.store, "store.mdb")).st_blocks, size)
        again = site.ctl("compact").stdout  # where holes can be made, what it left is given back
        self.assertIn("nothing to compact", again)
        self.assertNotIn("no holes", again)

    def test_a_server_on_a_file_system_without_holes_goes_on(self):
        site = self.copy()
        server = self.serve(site, "fallocate:error=EOPNOTSUPP", ("fallocate",))
        self.check_compacted(site, site.ctl("compact", check=False))
        self.assertGreater(faults.injected(site.path("trace")), 0)
        site.ctl("import", self.update)
        self.assertEqual(server.exported(), self.updated)
        server.stop()

    def test_a_backup_goes_to_a_file_system_that_cannot_rename_without_replacing(self):
        site = self.copy()
        path = site.path("backup")
        done, count = self.injected(site, ("renameat2",), "renameat2:error=EINVAL", "backup", path)
        self.assertEqual((done.returncode, count), (0, 1), done.stderr)
        self.assertEqual([name for name in os.listdir(site.folder) if name.startswith("backup")], ["backup"])
        site.store = site.path("back")
        site.ctl("restore", path)
        self.assertEqual(self.dumped(site), self.lines)

    # ---- sluiced ----

    def serve(self, site, injection=None, calls=("fdatasync",)):
        server = crash.Server(site, SETTINGS)
        if injection:
            server.prefix = faults.traced(site.path("trace"), [injection], calls=calls)
        self.addCleanup(server.abandon)
        return server.start()

    def test_after_a_sync_that_failed_the_server_stops_and_the_next_has_all_that_was_acknowledged(self):
        site = self.copy()
        server = crash.Server(site, SETTINGS)
        server.prefix = faults.traced(site.path("trace"), calls=("fdatasync",))
        server.start().stop()
        syncs_of_a_start = faults.counts(site.path("trace")).get("fdatasync", 0)
        for error in ("EIO", "ENOSPC", "EDQUOT"):
            for at in (1, 3):
                site = self.copy()
                acknowledged = []
                server = self.serve(site, f"fdatasync:error={error}:when={at + syncs_of_a_start}")
                for number in range(6):
                    done = site.ctl("aco", "add", f"A100{number}", check=False)
                    if done.returncode != 0:
                        self.assertTrue(done.stderr)
                        break
                    acknowledged.append(f"A100{number}")
                self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGABRT)
                self.assertIn(STOPS, server.log())
                self.assertEqual(len(acknowledged), at - 1)
                crash.verify(site)
                server = self.serve(site)
                known = {aco["id"] for aco in json.loads(site.ctl("aco", "list", "--json").stdout)}
                self.assertLessEqual(set(acknowledged), known)
                self.assertEqual(server.exported(), self.lines)
                server.stop()
                site.close()

    def export(self, argument):
        """One job and its downloads, with a call that fails once in each thread. What came of it."""
        call, error, at = argument
        site = self.copy()
        try:
            server = self.serve(site, f"{call}:error={error}:when={at}", (call,))
        except AssertionError:  # the call was one of the start's own
            return "did not start"
        came = "whole"
        try:
            token = server.token()
            job = server.kick_off(token)
            status = sluice.wait_until(lambda: server.poll(token, job)[0] != 202 and server.poll(token, job)[0], "end")
            if status == 200:
                try:
                    manifest = server.wait_for_job(token, job)
                    self.assertTrue(server.lines(token, manifest) == self.lines, argument)
                    server.sums(token, manifest)
                except BROKEN:
                    came = "a download broke off"
                except AssertionError as failure:
                    self.assertRegex(str(failure), r"data/.*: (404|500|503) ", argument)
                    came = "a download was refused"
            else:
                came = "the job failed"
                self.assertTrue(server.events("job failed"), "a job that fails says why")
            self.assertIsNone(server.process.poll(), "the server goes on")
        except BROKEN:
            self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGABRT, argument)
            self.assertIn(STOPS, server.log())
            came = "the server stopped"
        if server.process.poll() is None:
            server.kill()  # another thread may still have its failure before it
        server = self.serve(site)
        sluice.wait_until(lambda: not {job["state"] for job in crash.jobs(site).values()} & {"Pending", "In Progress"},
                          "what was active is finished")
        self.assertTrue(server.exported() == self.lines, argument)
        server.stop()
        crash.verify(site)
        site.close()
        return came

    def test_a_call_that_fails_in_an_export_or_download_fails_that_alone(self):
        cases = [(call, error, at) for call, error, passages in (
            ("fsync", "EIO", (1, 2, 3, 4, 6)), ("rename", "EIO", (1, 2, 5)), ("mkdir", "ENOSPC", (1, 2)),
            ("unlink", "EIO", (1, 2)), ("preadv2", "EIO", (1, 2, 4)), ("pread64", "EIO", (1, 3)), ("writev", "ENOSPC", (1, 2, 5)),
            ("statfs", "EIO", (1, 3)), ("sync_file_range", "EIO", (1,)), ("lseek", "EIO", (1, 2)), ("pwrite64", "EIO", (1, 3, 5)),
        ) for at in passages]
        came = dict(zip(cases, crash.spread(self.export, cases)))
        print(f"exports: { {' '.join(map(str, case)): how for case, how in came.items()} }", file=sys.stderr)
        self.assertIn("the job failed", came.values())
        self.assertIn("the server stopped", came.values())
        self.assertTrue({"a download broke off", "a download was refused"} & set(came.values()))


if __name__ == "__main__":
    unittest.main()
