"""Looking into a store beside its server: dump, and what is due of jobs."""

import json
import os
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

HOUR = 3600
SINCE = "2021-03-01T00:00:00Z"


def dump_process(site, *arguments, **options):
    return subprocess.Popen([sluice.program("sluicectl"), "--data", site.store, "--quiet", "dump", *arguments],
                            stdout=subprocess.PIPE, **options)


class DumpTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site(["A9994", "A9995"])
        cls.addClassCleanup(cls.site.close)
        for aco, first, time in (("A9994", 0, "2021-01-01T00:00:00Z"), ("A9994", 10, "2021-06-01T00:00:00Z"),
                                 ("A9995", 5, "2021-03-01T00:00:00Z")):
            lines = [line for number in range(first, first + 10) for line in wire.lines_of(number, time, 2)]
            cls.site.ctl("import", "--aco", aco, cls.site.write("claims.ndjson", "\n".join(lines) + "\n"))
        cls.server = sluice.Server(cls.site, plaintext=True).start()
        cls.addClassCleanup(cls.server.stop)

    def dump(self, *arguments):
        return self.site.ctl("dump", *arguments).stdout.encode()

    def exported(self, aco, path=wire.PATIENT):
        client = wire.Client(self.server, aco)
        self.addCleanup(client.close)
        manifest, files = client.export(path)
        return b"".join(line + b"\n" for item, lines in zip(manifest["output"], files) for line in lines)

    def test_it_is_byte_for_byte_what_an_export_holds(self):
        for aco in ("A9994", "A9995"):
            self.assertEqual(self.dump("--aco", aco), self.exported(aco), aco)
            self.assertEqual(self.dump("--aco", aco, "--since", SINCE), self.exported(aco, f"{wire.PATIENT}?_since={SINCE}"))
        self.assertEqual(self.dump("--aco", "A9994", "--type", "Patient"),
                         self.exported("A9994", f"{wire.PATIENT}?_type=Patient"))

    def test_without_an_aco_each_resource_comes_once(self):
        lines = self.dump().splitlines()
        names = [(found["resourceType"], found["id"]) for found in map(json.loads, lines)]
        self.assertEqual(len(names), len(set(names)))
        both = set((self.dump("--aco", "A9994") + self.dump("--aco", "A9995")).splitlines())
        self.assertEqual(set(lines), both)

    def test_types_come_in_the_order_in_which_they_are_asked_for(self):
        text = self.dump("--type", "Patient,Coverage")
        self.assertEqual(text, self.dump("--type", "Patient") + self.dump("--type", "Coverage"))

    def test_wrong_words_are_wrong_usage(self):
        for words, text in ((["--type", "Claim"], "Claim"), (["--type", "Patient,"], "missing"),
                            (["--type", "Patient,Patient"], "twice"), (["--since", "yesterday"], "--since: ")):
            done = self.site.ctl("dump", *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(text, done.stderr)
        done = self.site.ctl("dump", "--aco", "A0001", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("A0001", done.stderr)

    def test_nobody_waits_for_a_slow_pipe_within_a_transaction(self):
        process = dump_process(self.site, pipesize=4096)
        self.addCleanup(process.wait)
        self.addCleanup(process.stdout.close)

        def is_blocked():
            with open(f"/proc/{process.pid}/wchan", encoding="ascii") as file:
                return "pipe" in file.read()
        sluice.wait_until(is_blocked, "the pipe is full")
        for _ in range(3):
            self.site.ctl("credentials", "create", "A9994")
        told = json.loads(self.site.ctl("stat", "--json").stdout)
        self.assertEqual(told["oldestReaderAge"], 0)

    def test_a_reader_that_goes_away_ends_it(self):
        process = dump_process(self.site)
        process.stdout.read(1)
        process.stdout.close()
        self.assertIn(process.wait(sluice.DEADLINE_SECONDS), (-signal.SIGPIPE, 0))


class BesideTest(unittest.TestCase):
    """Whoever looks while everything changes."""

    def setUp(self):
        self.site = sluice.Site()
        self.addCleanup(self.site.close)
        self.server = sluice.Server(self.site, plaintext=True, settings={"token_lifetime_seconds": 86400}).start()
        self.addCleanup(lambda: self.server.process.stdout.closed or self.server.stop(None))
        self.rounds, self.failure = 0, None
        self.stopping = threading.Event()

    def change(self):
        """Claims, rosters and jobs come and go."""
        try:
            client = wire.Client(self.server)
            while not self.stopping.is_set():
                self.rounds += 1
                day = self.rounds % 28 + 1
                lines = [line for number in range(self.rounds % 7, 40) for line in
                         wire.lines_of(number, f"2021-{self.rounds // 28 % 12 + 1:02}-{day:02}T00:00:00Z", 3)]
                self.site.ctl("import", "--quiet", self.site.write("claims.ndjson", "\n".join(lines) + "\n"))
                self.site.ctl("attribution", "import", "--quiet", wire.write_roster(
                    self.site, "A9994", f"2022-{self.rounds // 28 % 12 + 1:02}-{day:02}T00:00:00Z",
                    range(self.rounds % 5, 40 - self.rounds % 3)))
                location = client.kick_off(wire.GROUP)
                if self.rounds % 2:
                    client.wait_for_job(location)
                client.request(location, "DELETE")
            client.close()
        except BaseException as failure:
            self.failure = failure

    def test_verify_and_stat_are_right_at_every_moment_and_keep_nobody(self):
        worker = threading.Thread(target=self.change)
        worker.start()
        try:
            sluice.wait_until(lambda: self.rounds > 1 or self.failure, "the work runs")
            for _ in range(4):
                done = self.site.ctl("verify", check=False)
                self.assertEqual(done.returncode, 0, done.stdout)
                told = json.loads(self.site.ctl("stat", "--json").stdout)
                self.assertLess(told["oldestReaderAge"], 50)  # commits, of which one takes a millisecond or so
                self.site.ctl("jobs", "list")
                self.site.ctl("attribution", "list", "A9994")
        finally:
            self.stopping.set()
            worker.join()
        if self.failure:
            raise self.failure
        self.server.stop()
        self.assertEqual(self.site.ctl("verify").returncode, 0)
        self.tables_fit()

    def tables_fit(self):
        """A terminal is 100 columns wide."""
        for words in (["stat"], ["jobs", "list"], ["jobs", "show", "1"], ["attribution", "status"], ["aco", "list"]):
            for line in self.site.ctl(*words).stdout.splitlines():
                self.assertLessEqual(len(line), 100, line)


class ExpireTest(unittest.TestCase):
    def setUp(self):
        self.clock = wire.Clock()
        self.site = sluice.Site(environment=self.clock.environment)
        self.addCleanup(self.site.close)
        self.site.ctl("import", "--aco", "A9994",
                      self.site.write("claims.ndjson", "\n".join(wire.lines_of(1, "2021-01-01T00:00:00Z", 2)) + "\n"))

    def complete(self, count, **settings):
        with sluice.Server(self.site, plaintext=True, settings=dict(settings, token_lifetime_seconds=86400)) as server:
            client = wire.Client(server)
            for _ in range(count):
                client.export()
            client.close()

    def expire(self):
        return json.loads(self.site.ctl("jobs", "expire", "--json").stdout)

    def states(self):
        return [job["state"] for job in json.loads(self.site.ctl("jobs", "list", "--json").stdout)]

    def folders(self):
        return sorted(os.listdir(os.path.join(self.site.store, "jobs")))

    def test_without_a_server_it_does_what_is_due_and_no_more(self):
        self.complete(2)
        self.assertEqual(self.expire(), {"jobs": [], "freedBytes": 0})
        self.assertIn("no job is due", self.site.ctl("jobs", "expire").stdout)
        self.clock.shift(24 * HOUR + 60)
        self.assertEqual([(job["id"], job["state"]) for job in self.expire()["jobs"]], [(1, "Archived"), (2, "Archived")])
        self.assertEqual(self.folders(), ["1", "2"])
        self.clock.shift(47 * HOUR)
        self.assertEqual(self.expire()["jobs"], [])
        self.clock.shift(49 * HOUR)
        told = self.expire()
        self.assertEqual([job["state"] for job in told["jobs"]], ["Expired", "Expired"])
        self.assertGreater(told["freedBytes"], 0)
        self.assertEqual((self.states(), self.folders()), (["Expired", "Expired"], []))
        self.site.ctl("verify")

    def test_a_job_that_is_long_over_goes_both_steps_at_once(self):
        self.complete(1, keep_hours=1)
        self.clock.shift(3 * HOUR)
        self.assertEqual([job["state"] for job in self.expire()["jobs"]], ["Archived", "Expired"])
        self.assertEqual(self.folders(), [])

    def test_files_of_a_job_that_was_cancelled_without_a_server_go(self):
        self.complete(1)
        self.site.ctl("jobs", "cancel", "1")
        self.assertEqual(self.folders(), ["1"])
        told = self.expire()
        self.assertEqual(told["jobs"], [])
        self.assertGreater(told["freedBytes"], 0)
        self.assertEqual(self.folders(), [])

    def test_beside_a_server_the_server_does_it(self):
        self.complete(1)
        with sluice.Server(self.site, plaintext=True):
            self.clock.shift(49 * HOUR)
            self.expire()  # unless the server was faster by itself
            sluice.wait_until(lambda: self.states() == ["Expired"] and self.folders() == [], "the job is gone")


if __name__ == "__main__":
    unittest.main()
