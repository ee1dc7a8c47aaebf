"""kill -9 in the middle of imports: what was acknowledged is there, and running them again completes them.

A round is a sequence of commands on one data directory: rosters, files of claims, newer versions of them,
deletions, an ACO, credentials. Each is killed at random moments, and run again until it has said that it is done. At the end
of the round the export is that of an undisturbed one. Only commands that were killed are repeated, so whatever
a finished one had brought and a later crash lost would be missing there.

SLUICE_CRASHES is the number of kills of imports, a third of it each of the three ways; those of the other
commands come on top.
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

BENEFICIARIES = 60
KILLS_OF_ONE_COMMAND_MAX = 3
DELETED_AT = "2021-02-15T00:00:00.000+00:00"  # behind the first newer versions, before the second


class Material:
    """A site without claims, the commands of a round, and what is exported after them."""

    def __init__(self, seed):
        generator = random.Random(seed)
        resources = crash.Resources(generator, BENEFICIARIES, claims=6, text_bytes=24 * 1024)
        base, updates = resources.base(), [resources.update(2), resources.update(3)]
        self.site = sluice.Site([crash.ACO])
        first = crash.write_roster(self.site.folder, 5, range(50))
        second = crash.write_roster(self.site.folder, 6, range(10, BENEFICIARIES))
        half = len(base) // 2
        deleted = [("ExplanationOfBenefit", f"carrier--{number:05}-{item}") for number in range(0, BENEFICIARIES, 2)
                   for item in (0, 1)]
        self.steps = [
            ("attribution", "import", first),
            ("import", "--json", self.file("base-1", base[:half])),
            ("import", "--json", self.file("base-2", base[half:])),
            ("aco", "add", "A9995"),
            ("import", "--json", self.file("update-2", updates[0])),
            ("import", "--json", self.file("deleted", map(self.deletion, deleted))),
            ("attribution", "import", second),
            ("credentials", "create", crash.ACO),
            ("import", "--json", self.file("update-3", updates[1])),
        ]
        members = {f"-{number:05}" for number in range(10, BENEFICIARIES)}
        newest = crash.newest([base, *updates])
        for key in deleted:
            if json.loads(newest[key])["meta"]["lastUpdated"] <= DELETED_AT:
                del newest[key]
        self.expected = sorted(line for line in newest.values() if crash.beneficiary_of(line) in members)

    @staticmethod
    def deletion(key):
        return json.dumps({"resourceType": "Bundle", "meta": {"lastUpdated": DELETED_AT},
                           "entry": [{"request": {"method": "DELETE", "url": "/".join(key)}}]}).encode()

    def file(self, name, lines):
        return self.site.write(name + ".ndjson", b"\n".join(lines) + b"\n")


class ImportCrash:
    """One way of dying: how a command is begun and what is killed."""

    timeout_seconds = 300
    has_server = False

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        cls.material = Material(cls.seed)
        cls.addClassCleanup(cls.material.site.close)

    def setUp(self):
        self.random = random.Random(self.seed + 1)
        self.kills = {"import": 0, "attribution": 0, "credentials": 0, "aco": 0}
        self.left = {"nothing": 0, "a part": 0, "all": 0}  # of an import, by a kill
        self.server = None

    # ---- a round ----

    def begin(self):
        self.site = crash.copy_of(self.material.site)
        self.addCleanup(self.site.close)
        self.credentials = [self.site.credentials[crash.ACO]]
        if self.has_server:
            self.serve()

    def serve(self):
        self.server = crash.Server(self.site)
        self.addCleanup(self.server.abandon)
        self.server.start()

    def end(self):
        if not self.server:
            self.serve()
        server = self.server
        self.assertEqual(server.exported(), self.material.expected)
        for pair in self.credentials:
            self.assertEqual(server.login(*pair)[0], 200, "credentials that were shown")
        self.assertIn("A9995", self.site.ctl("aco", "list", "--json").stdout)
        server.stop()
        crash.verify(self.site)
        self.site.close()
        self.server = None

    def undisturbed(self):
        """How long each command takes, and that the round's end is what the files say."""
        self.begin()
        durations = []
        for step in self.material.steps:
            began = time.monotonic()
            self.assertEqual(self.finish(crash.popen_ctl(self.site, *step), step), 0)
            durations.append(time.monotonic() - began)
        self.end()
        return durations

    # ---- a command ----

    def finish(self, process, step):
        """Waits; notes what was acknowledged. Gives the exit status."""
        output, complaint = process.communicate(timeout=sluice.DEADLINE_SECONDS)
        if step[0] == "credentials" and output.count("\n") == 3:
            self.credentials.append(tuple(output.split("\n")[1:3]))
        self.counts = json.loads(output) if step[0] == "import" and output else None
        if process.returncode not in (0, -signal.SIGKILL):
            self.assertEqual(process.returncode, 1)
            self.assertTrue(complaint, "a failure says why")
        if process.returncode == 1 and step[0] == "aco" and "exists already" in complaint:
            return 0  # killed between its commit and its answer
        return process.returncode

    def run_until_done(self, step, duration):
        acknowledged, was_killed = 0, False
        for _ in range(self.random.randint(0, KILLS_OF_ONE_COMMAND_MAX)):
            process = crash.popen_ctl(self.site, *step)
            killed = self.kill(process, self.random.uniform(0, crash.NO_LATER_THAN * duration))
            status = self.finish(process, step)
            self.recover()
            if killed:
                self.kills[step[0]] += 1
                was_killed = True
            crash.verify(self.site)
            self.check_acknowledged(acknowledged)
            if self.counts:
                acknowledged = self.there()
            if status == 0:
                return
            self.assertTrue(killed, f"{step}: {status}")
        self.assertEqual(self.finish(crash.popen_ctl(self.site, *step), step), 0, step)
        self.check_acknowledged(acknowledged)
        if was_killed and self.counts:
            found = self.counts["identical"]
            self.left["nothing" if not found else "all" if found == self.counts["lines"] else "a part"] += 1

    def there(self):
        """Resources, and deletions, that the last import says are durable."""
        return sum(self.counts[name] for name in ("added", "replaced", "identical", "deleted"))

    def check_acknowledged(self, acknowledged):
        """What an interrupted import had said is durable, the next one finds there already."""
        if self.counts and self.counts["lines"] == self.there():
            self.assertGreaterEqual(self.counts["identical"], acknowledged)

    def kill(self, process, seconds):
        raise NotImplementedError

    def recover(self):
        pass

    def test_what_was_acknowledged_survives_and_running_it_again_completes_it(self):
        durations = self.undisturbed()
        kills_wanted = -(-crash.crashes() // 3)
        rounds = 0
        while self.kills["import"] < kills_wanted:
            self.begin()
            for step, duration in zip(self.material.steps, durations):
                self.run_until_done(step, duration)
            self.end()
            rounds += 1
        print(f"kills in {rounds} rounds: {self.kills}; what killed imports had left: {self.left}; undisturbed "
              f"commands take ms: {[round(1000 * seconds) for seconds in durations]}", file=sys.stderr)


class LocalImportCrashTest(ImportCrash, unittest.TestCase):
    """sluicectl alone: it is the writer."""

    def kill(self, process, seconds):
        return crash.kill_after(process, seconds)


class RemoteImportCrashTest(ImportCrash, unittest.TestCase):
    """sluicectl beside a sluiced, which writes and must not mind."""

    has_server = True

    def kill(self, process, seconds):
        return crash.kill_after(process, seconds)

    def recover(self):
        self.assertIsNone(self.server.process.poll(), "sluiced lives on")


class ServerImportCrashTest(ImportCrash, unittest.TestCase):
    """The sluiced that writes for a sluicectl, which must notice."""

    has_server = True

    def kill(self, process, seconds):
        time.sleep(seconds)
        was_running = process.poll() is None
        self.server.kill()
        return was_running

    def recover(self):
        self.serve()


if __name__ == "__main__":
    unittest.main()
