"""Backup while serving, and restore: what comes back is what was there, or nothing comes back."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice
import wire

ACO = "A9994"
BENEFICIARIES = 40
PUBLIC = {"public_url": "https://claims.example.org", "token_lifetime_seconds": 86400}


def load(site, numbers, updated, claims=3, text="", aco=ACO):
    lines = [line for number in numbers for line in wire.lines_of(number, updated, claims)]
    lines += [wire.line("ExplanationOfBenefit", number, updated, 100, text) for number in numbers if text]
    path = site.path(f"claims-{threading.get_ident()}.ndjson")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    site.ctl("import", "--aco", aco, path)


def restore(site, path, store):
    """The site as it comes back: same credentials, a data directory of its own."""
    copy = unrestored(site, store)
    copy.ctl("restore", path)
    return copy


def unrestored(site, store):
    """The site without a data directory yet."""
    copy = object.__new__(sluice.Site)
    copy.__dict__.update(site.__dict__)
    copy.store = store
    return copy


def local(url):
    """Below the public base, which is not where the server is."""
    return url[len(PUBLIC["public_url"]):] if url.startswith("https://") else url


class BackupCase(unittest.TestCase):
    timeout_seconds = 120

    def serve(self, site, failpoints="", **settings):
        server = sluice.Server(site, plaintext=True, settings=dict(PUBLIC, **settings),
                               environment={"SLUICE_FAILPOINTS": failpoints}).start()
        self.addCleanup(lambda: server.process.stdout.closed or server.stop(None))
        client = wire.Client(server)
        self.addCleanup(client.close)
        return server, client

    def completed(self, client, location):
        """(manifest, [(identity bytes, gzip bytes) of each file])."""
        manifest = client.wait_for_job(local(location))
        return manifest, [tuple(client.request(local(item["url"]), fields={"Accept-Encoding": coding})[2]
                                for coding in ("identity", "gzip")) for item in manifest["output"]]

    def refused(self, words, *texts, site=None, status=1):
        done = (site or self.site).ctl(*words, check=False)
        self.assertEqual((done.returncode, done.stdout), (status, ""), done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)


class Load(threading.Thread):
    """Imports and exports without a pause until told to stop."""

    def __init__(self, site, server):
        super().__init__()
        self.site, self.server = site, server
        self.stopping = threading.Event()
        self.rounds, self.failure = 0, None

    def run(self):
        try:
            client = wire.Client(self.server, "A9995")
            while not self.stopping.is_set():
                self.rounds += 1
                load(self.site, range(BENEFICIARIES), f"2022-01-{self.rounds % 28 + 1:02}T00:00:00Z", 2, "x" * 5000)
                load(self.site, range(100, 110), f"2022-01-{self.rounds % 28 + 1:02}T00:00:00Z", 2, aco="A9995")
                client.wait_for_job(local(client.kick_off()))
            client.close()
        except BaseException as failure:
            self.failure = failure


class LiveTest(BackupCase):
    def setUp(self):
        self.site = sluice.Site([ACO, "A9995"])
        self.addCleanup(self.site.close)

    def test_under_load_the_copy_is_whole_and_serves_the_same_files(self):
        load(self.site, range(BENEFICIARIES), "2021-01-01T00:00:00Z")
        server, client = self.serve(self.site)
        location = client.kick_off()
        before = self.completed(client, location)
        work = Load(self.site, server)
        work.start()
        sluice.wait_until(lambda: work.rounds > 1 or work.failure, "the load runs")
        for name in ("one", "two"):
            self.site.ctl("backup", self.site.path(name))
        rounds = work.rounds
        sluice.wait_until(lambda: work.rounds > rounds or work.failure, "it runs on")
        work.stopping.set()
        work.join()
        if work.failure:
            raise work.failure
        server.stop()
        for name in ("one", "two"):
            back = restore(self.site, self.site.path(name), self.site.path("back-" + name))
            crash.verify(back)
            lines = [json.loads(line) for line in back.ctl("dump", "--aco", ACO).stdout.splitlines()]
            self.assertEqual(len({(line["resourceType"], line["id"]) for line in lines}), BENEFICIARIES * 6)
        server, client = self.serve(back)
        after = self.completed(client, location)
        self.assertEqual(after, before)
        self.assertEqual([gzip.decompress(packed) for _, packed in after[1]], [plain for plain, _ in after[1]])
        server.stop()

    def test_a_new_export_is_that_of_the_lost_store(self):
        load(self.site, range(BENEFICIARIES), "2021-01-01T00:00:00Z")
        server, client = self.serve(self.site)
        self.site.ctl("backup", self.site.path("copy"))
        _, before = self.completed(client, client.kick_off())
        server.stop()
        server, client = self.serve(restore(self.site, self.site.path("copy"), self.site.path("back")))
        _, after = self.completed(client, client.kick_off())
        self.assertEqual(after, before)
        server.stop()

    def test_an_active_job_goes_on_with_its_view(self):
        load(self.site, range(BENEFICIARIES), "2021-01-01T00:00:00Z")
        server, client = self.serve(self.site, "export.statvfs=sleep", export_workers=1, small_job_bytes=0)
        location = local(client.kick_off())
        job = location.rsplit("/", 1)[1]
        sluice.wait_until(lambda: "complete" in self.site.ctl("jobs", "show", job, "--json").stdout, "a file is done")
        load(self.site, range(BENEFICIARIES), "2022-01-01T00:00:00Z")
        self.site.ctl("backup", self.site.path("copy"))
        self.assertEqual(client.request(location)[0], 202, "it was still active")
        _, before = self.completed(client, location)
        server.stop()
        back = restore(self.site, self.site.path("copy"), self.site.path("back"))
        self.assertIn("In Progress", back.ctl("jobs", "list").stdout)
        server, client = self.serve(back)
        _, after = self.completed(client, location)
        self.assertEqual(after, before)
        server.stop()
        crash.verify(back)

    def test_nothing_that_comes_after_it_is_missed_by_who_exported_from_the_lost_store(self):
        load(self.site, [1], "2021-01-01T00:00:00Z")
        server, client = self.serve(self.site)
        client.wait_for_job(local(client.kick_off()))
        self.site.ctl("backup", self.site.path("copy"))
        manifest = client.wait_for_job(local(client.kick_off()))
        jobs = len(self.site.ctl("jobs", "list").stdout.splitlines()) - 1
        server.stop()
        back = restore(self.site, self.site.path("copy"), self.site.path("back"))
        # Dated between what the copy knows and what the client was given.
        load(back, [1], manifest["transactionTime"], 4)
        server, client = self.serve(back)
        location = local(client.kick_off(wire.since(wire.PATIENT, manifest["transactionTime"])))
        found, files = self.completed(client, location)
        self.assertEqual(sum(item["count"] for item in found["output"]), 6)
        self.assertGreater(found["transactionTime"], manifest["transactionTime"])
        self.assertGreater(int(location.rsplit("/", 1)[1]), jobs + 1, "no id of the lost store's jobs is given again")
        server.stop()


class OfflineTest(BackupCase):
    """Of one store with one finished job, and one backup of it that nobody changes."""

    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site([ACO])
        cls.addClassCleanup(cls.site.close)
        load(cls.site, range(3), "2021-01-01T00:00:00Z")
        with sluice.Server(cls.site, plaintext=True, settings=PUBLIC) as server:
            client = wire.Client(server)
            cls.location = local(client.kick_off())
            client.wait_for_job(cls.location)
            client.close()
        cls.good = cls.site.path("good")
        cls.site.ctl("backup", cls.good)

    def setUp(self):
        self.copy = self.site.path("copy")
        self.back = self.site.path("back")
        for path in (self.copy, self.back):
            self.addCleanup(shutil.rmtree, path, ignore_errors=True)

    def test_without_job_files_those_jobs_are_cancelled(self):
        told = json.loads(self.site.ctl("backup", self.copy, "--without-job-files", "--json").stdout)
        self.assertEqual(told["files"], 2)
        back = restore(self.site, self.copy, self.back)
        self.assertEqual([job["state"] for job in json.loads(back.ctl("jobs", "list", "--json").stdout)], ["Cancelled"])

    def test_files_and_folders_are_the_owners_alone(self):
        restore(self.site, self.good, self.back)
        for top in (self.good, self.back):
            for folder, folders, files in os.walk(top):
                for name in folders + files:
                    self.assertEqual(os.stat(os.path.join(folder, name)).st_mode & 0o077, 0, name)
            self.assertEqual(os.stat(top).st_mode & 0o777, 0o700)

    def test_its_manifest_is_one_that_sha256sum_checks(self):
        done = subprocess.run(["sha256sum", "--check", "--strict", "MANIFEST"], cwd=self.good, capture_output=True,
                              text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(len(done.stdout.splitlines()), 2 + 3)

    def test_a_backup_belongs_under_a_new_name_elsewhere(self):
        self.refused(["backup", self.good], self.good, "is there already")
        self.refused(["backup", os.path.join(self.site.store, "copy")], "within")
        self.refused(["backup", os.path.join(self.site.store, "jobs", "..", "copy")], "within")
        self.refused(["backup", self.site.path("nowhere", "copy")], "nowhere")
        os.mkdir(self.site.path("other.part"))
        self.site.write("other.part/mine", "mine")
        self.refused(["backup", self.site.path("other")], "other.part: is in the way")
        self.assertTrue(os.path.exists(self.site.path("other.part", "mine")))

    def test_a_data_directory_is_restored_only_where_nothing_is(self):
        self.refused(["restore", self.good], self.site.store, "not empty")
        os.mkdir(self.back)
        back = restore(self.site, self.good, self.back)
        crash.verify(back)
        self.refused(["restore", self.good], self.back, "not empty", site=back)
        self.refused(["restore", self.site.folder], "holds no backup", site=unrestored(self.site, self.copy))

    def test_a_full_disk_is_said_and_leaves_nothing(self):
        full = {"SLUICE_FAILPOINTS": "backup.file.write=nospace@2"}
        done = self.site.ctl("backup", self.copy, check=False, environment=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)
        self.assertEqual([name for name in os.listdir(self.site.folder) if name.startswith("copy")], [])
        done = unrestored(self.site, self.back).ctl("restore", self.good, check=False, environment=full)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)
        self.assertFalse(os.path.exists(self.back))

    def test_what_was_damaged_or_changed_is_refused_by_its_name(self):
        shutil.copytree(self.good, self.copy)
        folder = os.path.join("jobs", os.listdir(os.path.join(self.copy, "jobs"))[0])
        names = sorted(os.listdir(os.path.join(self.copy, folder)))
        chosen = {"MANIFEST": "all", "store.mdb": "all", "keys/token.pem": "flipped",
                  os.path.join(folder, names[0]): "cut", os.path.join(folder, names[1]): "gone"}
        back = unrestored(self.site, self.back)
        for name, kinds in chosen.items():
            path = os.path.join(self.copy, name)
            with open(path, "rb") as file:
                good = file.read()
            flipped = bytearray(good)
            flipped[len(good) // 2] ^= 4
            for kind, bad in {"flipped": bytes(flipped), "cut": good[:-1], "longer": good + b"\n", "gone": None}.items():
                if kinds not in ("all", kind):
                    continue
                os.unlink(path)
                if bad is not None:
                    self.site.write(os.path.join("copy", name), bad)
                self.refused(["restore", self.copy], name, site=back)
                self.assertFalse(os.path.exists(self.back), name)
            self.site.write(os.path.join("copy", name), good)
        back.ctl("restore", self.copy)

    def test_a_manifest_of_another_version_or_with_other_paths_is_refused(self):
        shutil.copytree(self.good, self.copy)
        with open(os.path.join(self.copy, "MANIFEST"), encoding="ascii") as file:
            lines = file.read().splitlines()[:-1]

        def write(changed):
            text = "".join(line + "\n" for line in changed)
            count = sum(not line.startswith("#") for line in changed)
            digest = subprocess.run(["sha256sum"], input=text.encode(), capture_output=True, check=True).stdout[:64]
            self.site.write("copy/MANIFEST", f"{text}# end {count} {digest.decode()}\n")

        back = unrestored(self.site, self.back)
        write(["# sluice backup 9"] + lines[1:])
        self.refused(["restore", self.copy], "version 9", site=back)
        write([line.replace("store format ", "store format 9") for line in lines])
        self.refused(["restore", self.copy], "has format 9", site=back)
        for name in ("../evil", "keys/../../evil", "/etc/passwd", "jobs/1/x/y", "lock", "keys/.hidden", "jobs//x"):
            write(lines + ["0" * 64 + "  " + name])
            self.refused(["restore", self.copy], "MANIFEST", site=back)
        write(lines)
        back.ctl("restore", self.copy)


if __name__ == "__main__":
    unittest.main()
