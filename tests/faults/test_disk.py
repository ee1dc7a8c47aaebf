"""Disks that are full or read-only, and a map that is full: refused with a reason, nothing lost, and it goes on.

The small disk is a tmpfs in a mount namespace of the test's own, so these tests need root and say so.
"""

import errno
import json
import os
import random
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import mounts
import sluice

BENEFICIARIES = 40
SETTINGS = {"disk_reserve_bytes": 0}


def sparse_copy(source, target):
    sluice.run("cp", "--sparse=always", source, target)


class DiskTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        mounts.private()
        generator = random.Random(crash.seed())
        resources = crash.Resources(generator, BENEFICIARIES, claims=6, text_bytes=24 * 1024)
        cls.base = resources.base()
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("attribution", "import", crash.write_roster(cls.site.folder, 5, range(BENEFICIARIES)))
        cls.file = cls.site.write("base.ndjson", b"\n".join(cls.base) + b"\n")

    def on(self, disk):
        """A copy of the site with its store on that disk."""
        self.addCleanup(disk.close)
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        target = os.path.join(disk.path, "store")
        shutil.move(site.store, target)
        site.store = target
        return site

    def serve(self, site, **settings):
        server = crash.Server(site, dict(SETTINGS, **settings))
        self.addCleanup(server.abandon)
        return server.start()

    def refused(self, site, what, file=None):
        """An import that finds no room: what it said is durable, is. Gives how much that is."""
        done = site.ctl("import", "--json", file or self.file, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(what, done.stderr)
        counts = json.loads(done.stdout)
        crash.verify(site)
        durable = counts["added"] + counts["identical"]
        dumped = set(site.ctl("dump").stdout.encode().splitlines())
        self.assertEqual(len(dumped), durable)
        return durable

    def test_a_full_disk_refuses_an_import_that_is_completed_when_there_is_room(self):
        disk = mounts.Small("6m")
        site = self.on(disk)
        durable = self.refused(site, "No space left on device")
        self.assertGreater(durable, 0)
        disk.remount("size=40m")
        counts = json.loads(site.ctl("import", "--json", self.file).stdout)
        self.assertEqual((counts["identical"], counts["added"]), (durable, len(self.base) - durable))

    def test_a_server_with_a_full_disk_answers_and_goes_on_without_a_restart_when_there_is_room(self):
        disk = mounts.Small("6m")
        site = self.on(disk)
        server = self.serve(site)
        self.refused(site, "No space left on device")
        try:
            with open(os.path.join(disk.path, "filler"), "wb", buffering=0) as filler:
                while True:
                    filler.write(b"x" * 4096)
        except OSError as full:
            self.assertEqual(full.errno, errno.ENOSPC)
        token = server.token()
        status, _, _ = server.request("GET", crash.ENDPOINT, token, {"Accept": "application/fhir+json",
                                                                   "Prefer": "respond-async"})
        self.assertIn(status, (202, 503), "a job that cannot be stored is refused, one that cannot be written fails")
        if status == 202:
            job = max(crash.jobs(site))
            server.wait_for_job(token, job, 500)
            self.assertIn("No space left on device", server.log())
            sluice.wait_until(lambda: not os.listdir(os.path.join(site.store, "jobs")), "what it wrote is given back")
        self.assertEqual(server.request("GET", "/_health")[0], 200)
        disk.remount("size=40m")
        self.assertEqual(json.loads(site.ctl("import", "--json", self.file).stdout)["lines"], len(self.base))
        self.assertEqual(len(server.exported()), len(self.base))
        server.stop()
        crash.verify(site)

    def test_exports_stop_before_the_disk_is_full_and_imports_have_the_rest(self):
        disk = mounts.Small("40m")
        site = self.on(disk)
        server = self.serve(site, disk_reserve_bytes="36MiB")
        site.ctl("import", self.file)
        token = server.token()
        job = server.kick_off(token)
        server.wait_for_job(token, job, 500)
        self.assertIn("reserve", server.log())
        disk.remount("size=80m")
        self.assertEqual(len(server.exported()), len(self.base))
        server.stop()

    def test_a_read_only_disk_is_read_and_what_would_write_says_so(self):
        disk = mounts.Small("40m")
        site = self.on(disk)
        site.ctl("import", self.file)
        shown = {command: site.ctl(*command).stdout for command in (("dump",), ("verify",), ("aco", "list"))}
        disk.remount("ro")
        for command, output in shown.items():
            self.assertEqual(site.ctl(*command).stdout, output)
        for command in (("aco", "add", "A9995"), ("import", self.file), ("compact",)):
            done = site.ctl(*command, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("Read-only file system", done.stderr)
        server = crash.Server(site)
        with self.assertRaises(AssertionError):
            server.start()
        self.assertEqual(server.process.wait(), 1)
        self.assertIn("Read-only file system", server.log())
        server.abandon()
        disk.remount("rw")
        self.assertEqual(len(self.serve(site).exported()), len(self.base))

    def test_holes_need_no_room_in_a_backup_nor_where_it_is_restored(self):
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        old = b"\n".join(self.base).replace(b'"2020-05-0', b'"2001-05-0')
        site.ctl("import", site.write("old.ndjson", old + b"\n"))
        site.ctl("compact", "--history-years", "7")
        store = os.stat(os.path.join(site.store, "store.mdb"))
        room = store.st_blocks * 512 + (1 << 20)
        self.assertLess(room, store.st_size)
        shown = site.ctl("dump").stdout
        for command in ("backup", "restore"):
            disk = mounts.Small(room)
            self.addCleanup(disk.close)
            path = site.path("backup")
            if command == "backup":
                site.ctl("backup", os.path.join(disk.path, "backup"))
                shutil.copytree(os.path.join(disk.path, "backup"), path, copy_function=sparse_copy)
            else:
                site.store = os.path.join(disk.path, "back")
                site.ctl("restore", path)
        self.assertEqual(site.ctl("dump").stdout, shown)

    def test_a_full_map_is_refused_with_the_setting_that_helps(self):
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        lines = crash.Resources(random.Random(1), BENEFICIARIES, claims=8, text_bytes=60 * 1024).base()
        file = site.write("large.ndjson", b"\n".join(lines) + b"\n")
        server = self.serve(site, map_bytes="16MiB")
        durable = self.refused(site, "raise map_bytes", file)
        self.assertGreater(durable, 0)
        self.assertEqual(len(server.exported()), durable, "what is there is served")
        server.stop()
        server = self.serve(site, map_bytes="64MiB")
        counts = json.loads(site.ctl("import", "--json", file).stdout)
        self.assertEqual((counts["identical"], counts["added"]), (durable, len(lines) - durable))
        server.stop()
        crash.verify(site)

    def test_a_file_size_limit_is_a_full_disk(self):
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        done = sluice.run("prlimit", f"--fsize={3 << 20}", sluice.program("sluicectl"), "--data", site.store, "--quiet",
                          "import", self.file, check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, "File too large|No space left")
        crash.verify(site)


if __name__ == "__main__":
    unittest.main()
