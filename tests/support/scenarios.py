"""What is interrupted in tests of crashes and power cuts: a table of commands, and what must hold whenever each dies.

The model is small: what a store shows (`content`) before a command and after an undisturbed run of it. Whatever
happens in between, each line that it shows is one of these two; if the command had said that it was done, or is
atomic, all lines are those of one. And running it again gives what an undisturbed run gives.
"""

import copy
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import crash
import sluice
import wire

ACOS = ("A9994", "A9995")
BENEFICIARIES = 16
BESIDE = "BESIDE"
KEPT_SECONDS = 25 * 3600  # past one keep_hours, not past two


class Scenario:
    """One command. `prepare(material, site)` brings a copy of the base to where it begins; `command(material, site)`
    gives sluicectl's words, in which BESIDE is the folder of the data directory."""

    def __init__(self, name, prepare, command, atomic=False, served=True, makes=None):
        self.name = name
        self.prepare = prepare
        self.command = command
        self.atomic = atomic  # all of it or nothing
        self.served = served  # a server may do it instead
        self.makes = makes    # a store elsewhere, "BESIDE/...": is there as a whole or not at all


def content(site):
    """What the store shows: name -> line. Without what may differ between two runs: instants of now, ids of jobs' files,
    and counts that tell of both."""
    shown = {}
    if not os.path.exists(os.path.join(site.store, "store.mdb")):
        return shown
    for aco in ACOS:
        for line in site.ctl("dump", "--aco", aco).stdout.splitlines():
            resource = json.loads(line)
            shown[aco, resource["resourceType"], resource["id"]] = line
        for member in json.loads(site.ctl("attribution", "list", aco, "--json").stdout):
            member.pop("suppressedSince", None)
            member.pop("suppressed", None)
            shown[aco, "member", member["mbi"] or member["beneficiary"]] = json.dumps(member, sort_keys=True)
    for item in json.loads(site.ctl("aco", "list", "--json").stdout):
        shown["aco", item["id"]] = item["name"]
    for item in json.loads(site.ctl("credentials", "list", "--json").stdout):
        shown["credential", item["clientId"]] = json.dumps(item, sort_keys=True)
    for job in json.loads(site.ctl("jobs", "list", "--json").stdout):
        shown["job", job["id"]] = job["state"]
    return shown


def check_between(found, before, after, exactly):
    """Raises AssertionError unless `found` may be what an interrupted command left. `exactly`: as a whole one of these."""
    if found in exactly:
        return
    wrong = [name for name in {**before, **after, **found}
             if found.get(name) not in (before.get(name), after.get(name))]
    if wrong or exactly:
        several = [name for name in {**before, **after, **found}
                   if any(found.get(name) != other.get(name) for other in exactly)]
        names = wrong or several
        shown = [f"{name}: {str(found.get(name))[:120]} (before: {str(before.get(name))[:120]}, after: "
                 f"{str(after.get(name))[:120]})" for name in names[:3]]
        raise AssertionError(f"{len(names)} lines are neither as before nor as after: " + "; ".join(shown))


# ---- The table ----------------------------------------------------------------------------------------------

class Material:
    """A site with two ACOs, and the files that the commands take."""

    def __init__(self, seed):
        self.seed = seed
        resources = crash.Resources(random.Random(seed), BENEFICIARIES, claims=4, text_bytes=6 * 1024)
        self.clock = wire.Clock()
        self.site = sluice.Site(ACOS, environment=self.clock.environment)
        self.base = self.file("base", resources.base())
        self.updates = [self.file(f"update-{version}", resources.update(version)) for version in (2, 3)]
        self.first_rosters = [self.roster("A9994", 5, range(0, 11)), self.roster("A9995", 5, range(8, 14))]
        # Joins, leaves, and beneficiaries that go from one to the other, whose segments then move.
        self.later_roster = self.roster("A9994", 6, range(4, 16))
        self.exchange = [self.roster("A9994", 7, range(6, 8)), self.roster("A9995", 7, range(0, 14))]
        self.deletions = self.site.write("deleted.json", json.dumps({
            "resourceType": "Bundle", "type": "transaction", "timestamp": "2022-01-01T00:00:00Z", "entry": [
                {"request": {"method": "DELETE", "url": url}}
                for number in range(0, BENEFICIARIES, 2)
                for url in (f"ExplanationOfBenefit/carrier--{number:05}-1", f"Coverage/part-a--{number:05}")]}))
        today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d")
        rows = [wire.optout_row(crash.mbi(number), "N", today) for number in range(2, 10)]
        self.optouts = self.site.write(wire.optout_name("2026-03-01T00:00:00"), wire.optout_file(rows))

    def file(self, name, lines):
        return self.site.write(name + ".ndjson", b"\n".join(lines) + b"\n")

    def roster(self, aco, day, numbers):
        path = self.site.path(f"P.BCD.{aco}.ZC8Y21.D2101{day:02}.T0000000")
        with open(path, "w", encoding="ascii") as file:
            for number in numbers:
                file.write(crash.mbi(number).ljust(549) + "\n")
        return path

    def close(self):
        self.site.close()


def nothing(material, site):
    pass


def attributed(material, site):
    site.ctl("attribution", "import", *material.first_rosters)


def loaded(material, site):
    attributed(material, site)
    site.ctl("import", material.base)


def updated(material, site):
    loaded(material, site)
    for update in material.updates:
        site.ctl("import", update)


def exported(material, site):
    """With finished jobs, whose time has come."""
    loaded(material, site)
    with crash.Server(site, {"disk_reserve_bytes": 0, "file_bytes_max": "64KiB"}) as server:
        for aco in ACOS:
            token = server.token(aco)
            server.wait_for_job(token, server.kick_off(token))


def overdue(material, site):
    exported(material, site)
    site.clock = wire.Clock()
    site.environment = dict(site.environment, **site.clock.environment)
    site.clock.shift(KEPT_SECONDS)


def lost(material, site):
    """With nothing but a backup of it."""
    exported(material, site)
    material.backup = material.site.path("backup")
    site.ctl("backup", material.backup)
    shutil.rmtree(site.store)
    os.mkdir(site.store)


def archived(material, site):
    overdue(material, site)
    site.ctl("jobs", "expire")
    site.clock.shift(2 * KEPT_SECONDS)


TABLE = [
    Scenario("import", attributed, lambda material, site: ("import", "--json", material.base)),
    Scenario("update", loaded, lambda material, site: ("import", "--json", *material.updates)),
    Scenario("deletions", updated, lambda material, site: ("import", "--json", material.deletions)),
    # Several rosters are a transaction each, and segments move after them.
    Scenario("roster", loaded, lambda material, site: ("attribution", "import", material.later_roster), atomic=True),
    Scenario("move of homes", updated, lambda material, site: ("attribution", "import", *material.exchange)),
    Scenario("opt-outs", loaded, lambda material, site: ("suppression", "import", material.optouts), atomic=True),
    Scenario("compaction", updated, lambda material, site: ("compact", "--older-than-days", "0", "--json")),
    Scenario("archiving", overdue, lambda material, site: ("jobs", "expire", "--json")),
    Scenario("expiry", archived, lambda material, site: ("jobs", "expire", "--json")),
    Scenario("cancelling", exported, lambda material, site: ("jobs", "cancel", "1"), atomic=True),
    Scenario("backup", exported, lambda material, site: ("backup", BESIDE + "/backup"), served=False,
             makes=BESIDE + "/backup"),
    Scenario("restore", lost, lambda material, site: ("restore", material.backup), atomic=True, served=False),
    Scenario("account", nothing, lambda material, site: ("aco", "add", "A9996", "--name", "New"), atomic=True),
]


class Prepared:
    """A scenario at its beginning, and what an undisturbed run makes of it."""

    def __init__(self, material, scenario):
        self.material = material
        self.scenario = scenario
        self.site = crash.copy_of(material.site)
        scenario.prepare(material, self.site)
        self.words = scenario.command(material, self.site)
        self.before = content(self.site)
        site = crash.copy_of(self.site)
        began = time.monotonic()
        site.ctl(*self.words_for(site))
        self.seconds = time.monotonic() - began
        self.after = content(site)
        crash.verify(site)
        site.close()

    def close(self):
        self.site.close()

    def words_for(self, site):
        return [word.replace(BESIDE, os.path.dirname(site.store)) for word in self.words]

    def popen(self, site, prefix=()):
        words = self.words_for(site)
        return subprocess.Popen([*prefix, sluice.program("sluicectl"), "--data", site.store, "--quiet", *words],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=site.environment)

    def check(self, site, is_done):
        """While nobody uses the store: after the command died, or (`is_done`) said that it was done."""
        if os.path.exists(os.path.join(site.store, "store.mdb")):
            crash.verify(site)
        self.check_made(site, is_done)
        exactly = [self.after] if is_done else [self.before, self.after] if self.scenario.atomic else []
        check_between(content(site), self.before, self.after, exactly)

    def check_made(self, site, is_done):
        if not self.scenario.makes:
            return
        path = self.scenario.makes.replace(BESIDE, os.path.dirname(site.store))
        if not os.path.exists(path):
            if is_done:
                raise AssertionError(f"{path} is not there")
            return
        sluice.run("sha256sum", "--check", "--quiet", "MANIFEST", cwd=path)
        made = copy.copy(site)
        made.store = path
        crash.verify(made)
        check_between(content(made), self.before, self.after, [self.before])
        os.unlink(os.path.join(path, "store.mdb-lock"))

    def check_again(self, site):
        """Running it (again) gives what an undisturbed run gives."""
        done = site.ctl(*self.words_for(site), check=False)
        path = (self.scenario.makes or "").replace(BESIDE, os.path.dirname(site.store))
        was_done_before = (self.scenario.atomic and content(site) == self.after) or os.path.exists(path)
        if done.returncode != 0 and not (done.returncode == 1 and was_done_before and done.stderr):
            raise AssertionError(f"running it again: {done.returncode} {done.stdout}{done.stderr}")
        self.check(site, True)
