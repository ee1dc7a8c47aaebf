"""kill -9 in the middle of backup and restore: what stands under the name is whole, or nothing stands there.

At every failpoint that they pass, the command dies; and at random moments. Then it is run again. SLUICE_CRASHES is
twenty times the number of random kills of each.
"""

import os
import random
import shutil
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

POINTS = ["backup.file.open", "backup.file.read", "backup.file.write", "backup.file.fsync", "backup.store.piece",
          "backup.rename", "restore.rename", "export.dir-fsync", "engine.begin-write", "engine.commit.before",
          "engine.commit.after"]
PASSAGES = [1, 3]


class BackupCrashTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        generator = random.Random(crash.seed())
        cls.random = random.Random(generator.random())
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        lines = crash.Resources(generator, 12, claims=4, text_bytes=16 * 1024).base()
        cls.site.ctl("import", "--aco", crash.ACO, cls.site.write("base.ndjson", b"\n".join(lines) + b"\n"))
        server = crash.Server(cls.site).start()
        token = server.token()
        server.wait_for_job(token, server.kick_off(token))
        server.stop()
        cls.dump = cls.site.ctl("dump").stdout
        cls.copy, cls.back = cls.site.path("copy"), cls.site.path("back")

    def command(self, site, *words, failpoints=""):
        return sluice.run(sluice.program("sluicectl"), "--data", site.store, "--quiet", *words, check=False,
                          env=dict(site.environment, SLUICE_FAILPOINTS=failpoints))

    def check_backup(self):
        """Whole, or not there."""
        back = crash.copy_of(self.site)
        self.addCleanup(back.close)
        shutil.rmtree(back.store)
        if os.path.exists(self.copy):
            back.ctl("restore", self.copy)
            crash.verify(back)
            self.assertEqual(back.ctl("dump").stdout, self.dump)
        back.close()

    def check_restored(self, back):
        done = back.ctl("dump", check=False)
        if os.path.exists(os.path.join(back.store, "store.mdb")):
            self.assertEqual(done.stdout, self.dump)
            crash.verify(back)
        else:
            self.assertEqual(done.returncode, 1)
            self.assertIn("holds no store", done.stderr)

    def kills_by_failpoint(self, run, check):
        """How often it died."""
        kills = 0
        for point in POINTS:
            for passage in PASSAGES:
                done = run(f"{point}=kill@{passage}")
                if done.returncode != -signal.SIGKILL:
                    self.assertEqual(done.returncode, 0, f"{point}@{passage}: {done.stderr}")
                    break
                kills += 1
                check()
        return kills

    def random_kills(self, popen, check):
        began = time.monotonic()
        self.assertEqual(popen().wait(sluice.DEADLINE_SECONDS), 0)
        duration = time.monotonic() - began
        for _ in range(crash.crashes() // 20):
            crash.kill_after(popen(), self.random.uniform(0, duration * crash.NO_LATER_THAN))
            check()

    def test_of_a_backup(self):
        def run(failpoints):
            shutil.rmtree(self.copy, ignore_errors=True)
            return self.command(self.site, "backup", self.copy, failpoints=failpoints)

        def popen():
            shutil.rmtree(self.copy, ignore_errors=True)
            return crash.popen_ctl(self.site, "backup", self.copy)

        def check():
            self.assertEqual(self.site.ctl("dump").stdout, self.dump)
            self.check_backup()
        self.assertGreater(self.kills_by_failpoint(run, check), 8)
        self.random_kills(popen, check)
        self.assertEqual(run("").returncode, 0)
        self.check_backup()
        self.assertFalse(os.path.exists(self.copy + ".part"))

    def test_of_a_restore(self):
        back = crash.copy_of(self.site)
        self.addCleanup(back.close)
        shutil.rmtree(self.copy, ignore_errors=True)
        self.site.ctl("backup", self.copy)

        def clear():
            if os.path.exists(os.path.join(back.store, "store.mdb")):
                shutil.rmtree(back.store)

        def run(failpoints):
            clear()
            return self.command(back, "restore", self.copy, failpoints=failpoints)

        def popen():
            clear()
            return crash.popen_ctl(back, "restore", self.copy)
        self.assertGreater(self.kills_by_failpoint(run, lambda: self.check_restored(back)), 10)
        self.random_kills(popen, lambda: self.check_restored(back))
        self.assertEqual(run("").returncode, 0)
        self.check_restored(back)
        self.assertEqual(sorted(os.listdir(back.store)), ["jobs", "keys", "store.mdb", "store.mdb-lock"])


if __name__ == "__main__":
    unittest.main()
