"""Every failpoint by its name: the program dies there at each passage, or the place fails.

docs/operating/failpoints.md names them all; a name that is only there or only in the sources is a failure. In
the check, passages far from the first are sampled; with SLUICE_CRASHES of 1000 or more each is taken.
"""

import glob
import http.client
import json
import os
import re
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import crash_export
import sluice

ENGINE = ["engine.begin-write", "engine.put", "engine.commit.before", "engine.commit.after"]
AT_START = ["export.mkdir", "export.dir-fsync"]  # these are passed before anybody is served, too
KEYS = ["token.key-write", "token.key-link"]
HOMES = ["homes.step", "homes.copied", "homes.switched"]  # tests/crash/test_homes.py
BACKUP = ["backup.file.open", "backup.file.read", "backup.file.write", "backup.file.fsync", "backup.store.piece",
          "backup.rename", "restore.rename"]  # test_backup.py
COMPACTION = ["engine.release"]  # tests/crash/test_compact.py
DOWNLOADS = ["download.open", "download.read"]
JOBS = ["export.statvfs", "export.plan.before-commit", "export.plan.after-commit", "export.file.open",
        "export.file.write", "export.file.fsync", "export.file.rename", "export.file.before-commit",
        "export.file.after-commit", "export.complete.before-commit", "export.complete.after-commit"]
AFTER_FAILURE = ["export.fail.before-commit", "export.fail.after-commit"]
NEVER_FAIL = [name for name in JOBS if name.endswith(".after-commit")]  # the commit stands
BROKEN = (OSError, http.client.HTTPException)


def passages():
    """1, 2, 3, ...: every one in a long run, else ever fewer."""
    at = 1
    while True:
        yield at
        at += 1 if crash.crashes() >= 1000 else max(1, at // 2)


class NamesTest(unittest.TestCase):
    def test_the_documentation_and_these_tests_know_every_name(self):
        found = set()
        for folder in ("codec", "storage", "server", "tools"):
            for path in glob.glob(os.path.join(sluice.ROOT, folder, "**", "*.c"), recursive=True):
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                found.update(re.findall(r'failpoint_hit\("([^"]+)"\)', text))
                found.update(re.findall(r'"(export\.[a-z]+\.(?:before|after)-commit)"', text))
        with open(os.path.join(sluice.ROOT, "docs", "operating", "failpoints.md"), encoding="utf-8") as file:
            rows = re.findall(r"^\| (`[^|]+`) \|", file.read(), re.MULTILINE)
        listed = [name for row in rows for name in re.findall(r"`([^`]+\.[^`]+)`", row)]
        self.assertEqual(sorted(listed), sorted(found))
        self.assertEqual(sorted(ENGINE + AT_START + KEYS + HOMES + BACKUP + COMPACTION + DOWNLOADS + JOBS + AFTER_FAILURE),
                         sorted(found))


class ExportFailpointTest(crash_export.ExportCase, unittest.TestCase):
    timeout_seconds = 300
    beneficiaries, claims, settings = 6, 3, {"file_bytes_max": "256KiB", "small_job_bytes": 0}
    names = [*ENGINE, *AT_START, *JOBS, *DOWNLOADS]
    # The first passages of AT_START are the start's: two of each, and then the job's own.
    places = [(name, at) for name in JOBS if name not in NEVER_FAIL for at in (1, 2, 4)
              if at == 1 or name.startswith("export.file.") or name == "export.statvfs"]
    places += [("export.mkdir", 2), ("export.dir-fsync", 2), ("export.dir-fsync", 3), ("export.dir-fsync", 5)]

    # ---- death ----

    def start_or_not(self, site, failpoints):
        """None if it ended before it served."""
        server = crash.Server(site, self.material.settings, failpoints)
        self.addCleanup(server.abandon)
        try:
            return server.start(), None
        except AssertionError:
            return None, server.process.wait()

    def cycle(self, server):
        """Kick-off to the last download; gives (job or None, whether the server still lives)."""
        job = None
        try:
            token = server.token()
            job = server.kick_off(token)
            manifest = server.wait_for_job(token, job)
            self.assertEqual(server.sums(token, manifest), self.material.sums)
        except BROKEN:
            self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGKILL)
            return job, False
        return job, True

    def die(self, failpoints):
        """One cycle under failpoints that may kill. False if they did not."""
        site = crash.copy_of(self.material.site)
        try:
            return self.die_at(site, failpoints)
        except AssertionError as failure:
            raise AssertionError(f"SLUICE_FAILPOINTS={failpoints}: {failure}") from failure
        finally:
            site.close()

    def die_at(self, site, failpoints):
        job = None
        server, status = self.start_or_not(site, failpoints)
        if server:
            job, lives = self.cycle(server)
            if lives:
                server.kill()
                return False
        else:
            self.assertEqual(status, -signal.SIGKILL)
        crash.verify(site)
        known = crash.jobs(site)
        if job is None and known:  # made, and killed before the answer
            job = next(iter(known))
        record, kept = self.look(site, job) if job else (None, {})
        server = self.start(site)
        token = server.token()
        if job is None:
            job = server.kick_off(token)
            record = crash.jobs(site)[job]
        else:
            self.check_bucket(server, token, job)
        self.check_completed(site, server, token, job, record, kept)
        server.kill()
        crash.verify(site)
        return True

    def die_at_each(self, name):
        """At how many passages it died."""
        times = 0
        for at in passages():
            if not self.die(f"{name}=kill@{at}"):
                return times
            times += 1

    def test_death_at_each_place_costs_nothing(self):
        times = dict(zip(self.names, crash.spread(self.die_at_each, self.names)))
        print(f"deaths: {sum(times.values())}: {times}", file=sys.stderr)
        self.assertNotIn(0, times.values(), f"each place was passed: {times}")

    def test_death_while_a_failure_is_written_down(self):
        failpoints = "export.file.fsync=error@1,export.fail.before-commit=kill@1"
        self.assertTrue(self.die(failpoints), "the job was not failed yet, and goes on")
        site = self.copy()
        server = self.start(site, "export.file.fsync=error@1,export.fail.after-commit=kill@1")
        token = server.token()
        job = server.kick_off(token)
        self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGKILL)
        crash.verify(site)
        self.check_failed(site, self.start(site), job)

    # ---- failure ----

    def check_failed(self, site, server, job):
        """A job that failed: the client hears of it, nothing of it is left, and the next one is right."""
        token = server.token()
        server.wait_for_job(token, job, expected=500)
        sluice.wait_until(lambda: not any(name.startswith(f"{job}/") for name in crash.files_in_jobs(site)),
                          "the failed job's files are removed")
        self.check_next(site, server, token)
        server.stop()
        self.assertEqual(crash.jobs(site)[job]["state"], "Failed")
        crash.verify(site)

    def fail_at(self, argument):
        """One cycle in which a place of the job fails."""
        name, action, at = argument
        failpoints = f"{name}={action}@{at}"
        site = crash.copy_of(self.material.site)
        try:
            server = self.start(site, failpoints)
            job = server.kick_off(server.token())
            self.check_failed(site, server, job)
        except AssertionError as failure:
            raise AssertionError(f"SLUICE_FAILPOINTS={failpoints}: {failure}") from failure
        finally:
            site.close()

    def test_a_place_that_fails_fails_the_job_and_nothing_else(self):
        crash.spread(self.fail_at, [(name, action, at) for name, at in self.places for action in ("error", "nospace")])

    def test_what_failed_after_its_commit_stands(self):
        for name in NEVER_FAIL:
            with self.subTest(name):
                site = self.copy()
                server = self.start(site, f"{name}=error")
                self.assertEqual(self.cycle(server)[1], True)
                server.stop()

    def test_a_failure_that_cannot_be_written_down_is_tried_again(self):
        site = self.copy()
        server = self.start(site, "export.file.fsync=error@1,export.fail.before-commit=error@1")
        job = server.kick_off(server.token())
        self.check_failed(site, server, job)

    def test_a_start_that_cannot_prepare_says_why(self):
        for name in AT_START:
            for action in ("error", "nospace"):
                with self.subTest(name, action=action):
                    site = self.copy()
                    server = crash.Server(site, self.material.settings, f"{name}={action}@1")
                    with self.assertRaises(AssertionError):
                        server.start()
                    self.assertEqual(server.process.wait(), 1)
                    self.assertIn("/jobs: cannot" if name == "export.mkdir" else "cannot sync", server.log())
                    server.abandon()
                    server = self.start(site)
                    self.assertTrue(self.cycle(server)[1])

    def test_a_download_that_cannot_be_read_is_no_wrong_answer(self):
        for name in DOWNLOADS:
            for action in ("error", "nospace"):
                with self.subTest(name, action=action):
                    site = self.copy()
                    server = self.start(site, f"{name}={action}@1")
                    token = server.token()
                    manifest = server.wait_for_job(token, server.kick_off(token))
                    with self.assertRaises((*BROKEN, AssertionError)):
                        server.fetch(token, manifest["output"][0], "gzip")
                    self.assertEqual(server.sums(token, manifest), self.material.sums)
                    server.stop()

    # ---- the store ----

    def stumble(self, argument):
        """A cycle in which the store fails once, wherever that is. Gives how it showed."""
        name, action, at = argument
        failpoints = f"{name}={action}@{at}"
        site = crash.copy_of(self.material.site)
        try:
            return self.stumble_at(site, failpoints)
        except AssertionError as failure:
            raise AssertionError(f"SLUICE_FAILPOINTS={failpoints}: {failure}") from failure
        finally:
            site.close()

    def stumble_at(self, site, failpoints):
        server, status = self.start_or_not(site, failpoints)
        if not server:
            self.assertIn(status, (1, -signal.SIGABRT))
            self.assertTrue(self.cycle(self.start(site))[1])
            return "did not start"
        token, shown, job = server.token(), "not at all", None
        try:
            status, fields, _ = server.request("GET", crash.ENDPOINT, token, {
                "Accept": "application/fhir+json", "Prefer": "respond-async"})
            if status >= 500:
                shown = f"kick-off {status}"
                self.assertEqual(crash.jobs(site), {}, "a refused kick-off made no job")
                job = server.kick_off(token)
            else:
                job = int(fields["content-location"].rsplit("/", 1)[1])
            status = sluice.wait_until(lambda: server.poll(token, job)[0] != 202 and server.poll(token, job)[0],
                                       "the job ends")
            if status == 500:
                shown = "job failed"
                self.check_failed(site, server, job)
                return shown
            manifest = server.wait_for_job(token, job)
            self.assertEqual(server.sums(token, manifest), self.material.sums)
        except BROKEN:
            self.assertEqual(server.process.wait(sluice.DEADLINE_SECONDS), -signal.SIGABRT)
            self.assertIn("the store cannot be written and the process stops", server.log())
            shown = "stopped"
            crash.verify(site)
            record, kept = self.look(site, job) if job else (None, {})
            server = self.start(site)
            token = server.token()
            if job is None:
                known = crash.jobs(site)
                job = next(iter(known)) if known else server.kick_off(token)
                record = crash.jobs(site)[job]
            self.check_completed(site, server, token, job, record, kept)
        if shown == "not at all":  # it may lie in wait for the next job
            server.kill()
            server = self.start(site)
        self.check_next(site, server, token)
        server.stop()
        crash.verify(site)
        return shown

    def test_a_store_that_fails_once_refuses_or_stops_and_never_lies(self):
        # commit.after with nospace would be a commit that stands and says that it does not: there is none.
        cases = [(name, action, at) for name in ENGINE for action in ("error", "nospace") for at in (1, 2, 3, 5, 8)
                 if (name, action) != ("engine.commit.after", "nospace")]
        shown = dict(zip(cases, crash.spread(self.stumble, cases)))
        print(f"store failures: { {' '.join(map(str, case)): how for case, how in shown.items()} }", file=sys.stderr)
        for (name, action, _), how in shown.items():
            if name.startswith("engine.commit") and action == "error":
                self.assertIn(how, ("stopped", "did not start", "not at all"), (name, action))


class ImportFailpointTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.material = crash_export.Material(crash.seed(), 6, 3, {})
        cls.addClassCleanup(cls.material.site.close)
        cls.updated = sorted(cls.material.updated.values())

    def interrupted(self, argument):
        """An import of newer versions that dies or fails at a place. False if it passed without harm."""
        name, action, at = argument
        site = crash.copy_of(self.material.site)
        self.addCleanup(site.close)
        process = crash.popen_ctl(site, "import", "--json", self.material.update, failpoints=f"{name}={action}@{at}")
        output, complaint = process.communicate()
        if process.returncode == 0:
            site.close()
            return False
        what = f"{name}={action}@{at}: {process.returncode} {complaint}"
        self.assertIn(process.returncode, (-signal.SIGKILL,) if action == "kill" else (1, -signal.SIGABRT), what)
        self.assertTrue(action == "kill" or complaint, what)
        crash.verify(site)
        counts = json.loads(output) if output else {"added": 0, "replaced": 0}
        again = json.loads(site.ctl("import", "--json", self.material.update).stdout)
        self.assertGreaterEqual(again["identical"], counts["added"] + counts["replaced"], what)
        with crash.Server(site) as server:
            self.assertEqual(server.exported(), self.updated, what)
        crash.verify(site)
        site.close()
        return True

    def each(self, argument):
        name, action = argument
        if action != "kill":  # a group that failed is tried again request by request: some are not hurt
            return sum(self.interrupted((name, action, at)) for at in (1, 2, 3, 5, 8))
        times = 0
        for at in passages():
            if not self.interrupted((name, action, at)):
                return times
            times += 1

    def test_an_import_that_dies_or_fails_at_each_place_is_run_again(self):
        cases = [(name, action) for name in ENGINE for action in ("kill", "error", "nospace")
                 if (name, action) != ("engine.commit.after", "nospace")]
        times = dict(zip(cases, crash.spread(self.each, cases)))
        print(f"interrupted imports: { {' '.join(case): count for case, count in times.items()} }", file=sys.stderr)
        self.assertNotIn(0, [count for (_, action), count in times.items() if action == "kill"])


class InitFailpointTest(unittest.TestCase):
    def test_a_directory_that_was_not_finished_is_never_taken_for_one_that_was(self):
        for name in ENGINE + KEYS:
            for action in ("kill", "error", "nospace"):
                with self.subTest(name, action=action):
                    site = object.__new__(sluice.Site)
                    site.environment, site.credentials = dict(os.environ), {}
                    site.folder = tempfile.mkdtemp(prefix="sluice-")
                    self.addCleanup(site.close)
                    site.store = site.path("store")
                    done = site.ctl("init", check=False, environment={"SLUICE_FAILPOINTS": f"{name}={action}@1"})
                    self.assertEqual(done.returncode, -signal.SIGKILL if action == "kill" else 1)
                    self.assertTrue(action == "kill" or done.stderr)
                    server = crash.Server(site)
                    with self.assertRaises(AssertionError):
                        server.start()
                    self.assertEqual(server.process.wait(), 1)
                    self.assertTrue(server.log())
                    server.abandon()
                    again = site.ctl("init", check=False)
                    if action != "kill" and name in ENGINE:
                        # A creation that failed took back what it had made.
                        self.assertEqual(again.returncode, 0, again.stderr)
                    else:
                        self.assertEqual(again.returncode, 1)
                        self.assertIn("choose a new data directory", again.stderr)


class SmallJobFailpointTest(ExportFailpointTest):
    """The same for a job that is written as a whole: what it passes stands in neither plan nor file."""

    settings = {"file_bytes_max": "256KiB"}
    names = [name for name in JOBS if not name.startswith("export.plan.") and not name.endswith("-commit")]
    names += ["engine.commit.before", "engine.commit.after", *AT_START, "export.complete.before-commit",
              "export.complete.after-commit"]
    places = [(name, at) for name in ("export.file.open", "export.file.write", "export.file.fsync", "export.file.rename")
              for at in (1, 2, 4)]
    places += [("export.statvfs", 1), ("export.statvfs", 2), ("export.mkdir", 2), ("export.dir-fsync", 2),
               ("export.dir-fsync", 3), ("export.complete.before-commit", 1)]
    test_a_start_that_cannot_prepare_says_why = None  # nothing of the job is in it
    test_a_download_that_cannot_be_read_is_no_wrong_answer = None


if __name__ == "__main__":
    unittest.main()
