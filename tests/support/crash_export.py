"""What tests of crashes in exports share: a site whose export is known, and what must hold after each crash."""

import random
import time

import crash
import sluice


class Material:
    """A site whose export is known, and newer versions that may be imported meanwhile."""

    def __init__(self, seed, beneficiaries, claims, settings):
        generator = random.Random(seed)
        resources = crash.Resources(generator, beneficiaries, claims, text_bytes=24 * 1024)
        base, update = resources.base(), resources.update(2)
        self.settings = dict(settings, disk_reserve_bytes=0)
        self.site = sluice.Site([crash.ACO])
        self.update = self.site.write("update.ndjson", b"\n".join(update) + b"\n")
        self.site.ctl("attribution", "import",
                      crash.write_roster(self.site.folder, 5, range(beneficiaries)))
        self.site.ctl("import", self.site.write("base.ndjson", b"\n".join(base) + b"\n"))
        self.lines = sorted(base)
        self.updated = crash.newest([base, update])
        self.sums = None
        self.undisturbed(None)

    def undisturbed(self, failpoints):
        """How long a job takes; holds it to what was imported, and to the jobs before."""
        site = crash.copy_of(self.site)
        with crash.Server(site, self.settings, failpoints) as server:
            token = server.token()
            began = time.monotonic()
            job = server.kick_off(token)
            manifest = server.wait_for_job(token, job)
            seconds = time.monotonic() - began
            sums = server.sums(token, manifest)
            if self.sums not in (None, sums) or server.lines(token, manifest) != self.lines:
                raise AssertionError("undisturbed exports differ")
        self.sums = sums
        site.close()
        return seconds


class ExportCase:
    """To be mixed into a TestCase that says how much there is to export."""

    beneficiaries, claims, settings = None, None, None

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        cls.material = Material(cls.seed, cls.beneficiaries, cls.claims, cls.settings)
        cls.addClassCleanup(cls.material.site.close)

    def copy(self):
        site = crash.copy_of(self.material.site)
        self.addCleanup(site.close)
        return site

    def start(self, site, failpoints=None):
        server = crash.Server(site, self.material.settings, failpoints)
        self.addCleanup(server.abandon)
        return server.start()

    # ---- what holds after each crash ----

    def look(self, site, job):
        """While no server runs: the store is without a fault, and what it knows of the job's files is there."""
        crash.verify(site)
        record = crash.jobs(site).get(job)
        self.assertIsNotNone(record, "a kick-off that was answered stands")
        complete = {uuid for uuid, file in crash.job_files(site, job).items()
                    if file["state"] == "complete" and file["resources"]}
        names = crash.files_in_jobs(site)
        kept = {name: names.get(name) for name in (f"{job}/{uuid}.ndjson.gz" for uuid in complete)}
        self.assertNotIn(None, kept.values(), "a file that is recorded is there")
        return record, kept

    def check_bucket(self, server, token, job):
        """A second kick-off is refused exactly as long as the job is active. Gives a second job if there is one."""
        status, second = server.ask(token)
        if status == 202:
            self.assertEqual(server.poll(token, job)[0], 200, "a second job was accepted beside an active one")
        return second

    def check_completed(self, site, server, token, job, record, kept):
        """The job, of which `record` and `kept` were seen after the last crash."""
        manifest = server.wait_for_job(token, job)
        self.assertEqual(manifest["transactionTime"], record["transactionTime"])
        self.assertEqual(manifest["JobID"], job)
        self.assertEqual(manifest["error"], [])
        self.assertEqual(server.sums(token, manifest), self.material.sums)
        names = crash.files_in_jobs(site)
        for name, identity in kept.items():
            self.assertEqual(names.get(name), identity, "a finished file is kept, not written again")
        uuids = [item["url"].rsplit("/", 1)[1].removesuffix(".ndjson") for item in manifest["output"]]
        expected = {f"{job}/{uuid}.ndjson.gz" for uuid in uuids}
        # What served the job while it was active goes right after its last commit.
        sluice.wait_until(lambda: expected == {name for name in crash.files_in_jobs(site)
                                               if name.startswith(f"{job}/")}, f"job {job} has its files and no others")
        return manifest

    def check_next(self, site, server, token, updated=False):
        """After the job's end a further one is accepted, and has what is there now."""
        status, second = server.ask(token)
        self.assertEqual(status, 202, "the bucket is free again")
        manifest = server.wait_for_job(token, second)
        if not updated:
            self.assertEqual(server.sums(token, manifest), self.material.sums)
            return
        lines = [server.lines(token, manifest), self.material.updated.values()]
        found, expected = (sorted(str(sluice.without_last_updated(sluice.exact_json(line))) for line in some)
                           for some in lines)
        self.assertEqual(found, expected)
