"""The loop that clients live by: export, keep transactionTime, export _since that. It misses nothing and repeats
nothing, whatever is imported meanwhile and whatever the clocks do (docs/decisions/time.md).

Importers run beside the loop without a pause, with source times old, new, of tomorrow and none; the clock of
server and sluicectl jumps back and forth by hours. SLUICE_TEST_SEED repeats a run's choices, SLUICE_TEST_ROUNDS
sets their number.
"""

import json
import os
import random
import subprocess
import sys
import threading
import unittest
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

ACO = "A9994"
ROUNDS = int(os.environ.get("SLUICE_TEST_ROUNDS") or 220)
JUMP_SECONDS = 6 * 3600
SETTINGS = {"token_lifetime_seconds": 86400, "keep_hours": 8760, "log_level": "warning"}


def microseconds(instant):
    """Of a FHIR instant, exactly."""
    found = datetime.fromisoformat(instant)
    return (found - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def instant_text(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")


def content(text):
    """A resource without its lastUpdated, to be compared."""
    return json.dumps(sluice.without_last_updated(json.loads(text)), sort_keys=True)


class Importer(threading.Thread):
    """Imports a few lines at a time until told to stop; keeps what it sent."""

    def __init__(self, loop, number, seed):
        super().__init__()
        self.loop = loop
        self.number = number
        self.generator = random.Random(seed)
        self.sent = set()  # the lines without lastUpdated, as text
        self.last = []
        self.loads = 0
        self.failure = None

    def run(self):
        try:
            while not self.loop.stopping.is_set():
                self.load(self.loop.make_lines(self))
        except BaseException as failure:
            self.failure = failure

    def updated(self):
        """A source time: of long ago, of this moment by the wrong clock or the right one, of tomorrow, or none."""
        generator = self.generator
        return generator.choice([
            lambda: f"2021-0{generator.randint(1, 9)}-03T04:05:06.{generator.randrange(1000):03}Z",
            lambda: instant_text(self.loop.clock.now() - generator.random() * 2),
            lambda: instant_text(self.loop.clock.now() - generator.random() * JUMP_SECONDS),
            lambda: instant_text(self.loop.clock.now() + 3600 * generator.random() * 30),
            lambda: None,
        ])()

    def load(self, lines):
        again = self.last if self.generator.random() < 0.2 else []
        self.last = lines
        for text in lines:
            self.sent.add(content(text))
        self.loop.ctl("import", "-", text="".join(text + "\n" for text in lines + again))
        self.loads += 1


class Loop:
    """Site, server, clock and importers of one test."""

    def __init__(self, test, importers):
        self.seed = int(os.environ.get("SLUICE_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"SLUICE_TEST_SEED={self.seed}", file=sys.stderr)
        self.generator = random.Random(self.seed)
        self.clock = wire.Clock()
        self.site = sluice.Site([ACO], self.clock.environment)
        test.addCleanup(self.site.close)
        self.server = sluice.Server(self.site, plaintext=True, settings=SETTINGS).start()
        test.addCleanup(lambda: self.server.stop(None))
        self.client = wire.Client(self.server)
        test.addCleanup(self.client.close)
        self.stopping = threading.Event()
        self.importers = [Importer(self, number, self.seed + number + 1) for number in range(importers)]
        test.addCleanup(self.stop_importers)
        self.make_lines = test.make_lines

    def ctl(self, *arguments, text=None):
        done = subprocess.run([sluice.program("sluicectl"), "--data", self.site.store, "--quiet", *map(str, arguments)],
                              input=text, capture_output=True, text=True, env=self.site.environment, check=False)
        if done.returncode != 0:
            raise AssertionError(f"sluicectl {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop_importers(self):
        self.stopping.set()
        for importer in self.importers:
            if importer.is_alive():
                importer.join()
            if importer.failure:
                raise importer.failure

    def jump(self):
        if self.generator.random() < 0.3:
            self.clock.shift(self.generator.randint(-JUMP_SECONDS, JUMP_SECONDS))


class Model:
    """What a client has that applies each delta as it comes."""

    def __init__(self, path):
        self.path = path
        self.lines = {}      # (type, id) -> the line's bytes
        self.since = None
        self.known = set()   # beneficiaries whose Patient came
        self.repeated = []   # (since, beneficiary, line) of lines that were here already, byte for byte
        self.outside = []    # the same of lines whose lastUpdated is not later than _since
        self.in_full = []    # (since, beneficiary) of those of `outside` whose Patient had come before
        self.told = set()    # (type, id, instant) of the deletions that came

    def pull(self, client):
        manifest, files = client.export(wire.since(self.path, self.since) if self.since else self.path)
        if self.since and microseconds(manifest["transactionTime"]) <= microseconds(self.since):
            raise AssertionError(f"{manifest['transactionTime']} after {self.since}")
        seen = set()
        for text in (text for lines in files for text in lines):
            resource = json.loads(text)
            key = resource["resourceType"], resource["id"]
            if key in seen:
                raise AssertionError(f"{key} stands twice in the export since {self.since}")
            seen.add(key)
            who = wire.beneficiary_of(resource)
            if self.lines.get(key) == text:
                self.repeated.append((self.since, who, text))
            updated = microseconds(resource["meta"]["lastUpdated"])
            if updated > microseconds(manifest["transactionTime"]):
                raise AssertionError(f"later than {manifest['transactionTime']}: {text}")
            if self.since and updated <= microseconds(self.since):
                self.outside.append((self.since, who, text))
                if who in self.known:
                    self.in_full.append((self.since, who))
            self.lines[key] = text
        for item in manifest["deleted"]:
            self.apply_deletions(manifest, client.download(item), seen)
        self.known |= {name for kind, name in seen if kind == "Patient"}
        self.since = manifest["transactionTime"]
        return seen

    def apply_deletions(self, manifest, lines, seen):
        for line in map(json.loads, lines):
            instant = microseconds(line["meta"]["lastUpdated"])
            if not self.since or not microseconds(self.since) < instant <= microseconds(manifest["transactionTime"]):
                raise AssertionError(f"a deletion outside {self.since} to {manifest['transactionTime']}: {line}")
            for entry in line["entry"]:
                key = tuple(entry["request"]["url"].split("/"))
                if key in seen:
                    raise AssertionError(f"{key} is in output and deleted since {self.since}")
                if (key, instant) in self.told:
                    raise AssertionError(f"{key} was told as deleted before: {line}")
                self.told.add((key, instant))
                self.lines.pop(key, None)


class ClaimsTest(unittest.TestCase):
    """Claims come and change; the beneficiaries stay. Both endpoints."""

    timeout_seconds = 400
    BENEFICIARIES = 12
    CLAIMS = 60

    def make_lines(self, importer):
        generator = importer.generator
        found = []
        for _ in range(generator.randint(1, 4)):
            kind = generator.choice(["ExplanationOfBenefit"] * 6 + ["Coverage", "Patient"])
            found.append(wire.line(kind, generator.randrange(self.BENEFICIARIES), importer.updated(),
                                   generator.randrange(self.CLAIMS), f"{importer.number}-{generator.randrange(1 << 30)}"))
        return found

    def test_nothing_is_missed_and_nothing_comes_twice(self):
        loop = Loop(self, importers=2)
        base = [text for number in range(self.BENEFICIARIES) for text in wire.lines_of(number, "2021-01-01T00:00:00Z", 2)]
        loop.ctl("import", "--aco", ACO, "-", text="".join(text + "\n" for text in base))
        models = [Model(wire.GROUP), Model(wire.PATIENT)]
        deltas = 0
        for importer in loop.importers:
            importer.start()
        for _ in range(ROUNDS):
            for model in models:
                deltas += len(model.pull(loop.client)) > 0
            loop.jump()
        loop.stop_importers()
        for model in models:
            model.pull(loop.client)
            self.assertEqual(model.pull(loop.client), set(), "nothing changed any more")
            self.assertEqual(model.repeated, [])
            self.assertEqual(model.outside, [])
            full = Model(model.path)
            full.pull(loop.client)
            self.assertEqual(full.lines, model.lines)
        self.check_against_sent(models[0], {content(text) for text in base}.union(
            *(importer.sent for importer in loop.importers)))
        loads = sum(importer.loads for importer in loop.importers)
        print(f"{ROUNDS} rounds, {loads} loads, {deltas} deltas that were not empty", file=sys.stderr)
        self.assertGreater(deltas, ROUNDS, "the importers kept the loop busy")

    def check_against_sent(self, model, sent):
        """Every resource that was sent is there, in one of the forms in which it was sent."""
        keys = {(item["resourceType"], item["id"]) for item in map(json.loads, sent)}
        self.assertEqual(keys, set(model.lines))
        for key, text in model.lines.items():
            self.assertTrue(content(text) in sent, f"{key} was never sent so: {text}")


class DeletionsTest(unittest.TestCase):
    """Claims come, change, go and come back, in one load and in others. Both endpoints."""

    timeout_seconds = 400
    BENEFICIARIES = 6
    CLAIMS = 8

    def make_lines(self, importer):
        generator = importer.generator
        found = []
        for _ in range(generator.randint(1, 5)):
            number, item = generator.randrange(self.BENEFICIARIES), generator.randrange(self.CLAIMS)
            if generator.random() < 0.5:
                found.append(wire.line("ExplanationOfBenefit", number, importer.updated(), item, f"{generator.randrange(1 << 30)}"))
                continue
            updated = importer.updated()
            found.append(json.dumps({
                "resourceType": "Bundle", **({"meta": {"lastUpdated": updated}} if updated else {}),
                "entry": [{"request": {"method": "DELETE", "url": f"ExplanationOfBenefit/carrier-{wire.beneficiary_id(number)}-{item}"}}]}))
        return found

    def test_each_deletion_is_told_once_and_nothing_is_missed(self):
        loop = Loop(self, importers=2)
        base = [text for number in range(self.BENEFICIARIES) for text in wire.lines_of(number, "2021-01-01T00:00:00Z", 2)]
        loop.ctl("import", "--aco", ACO, "-", text="".join(text + "\n" for text in base))
        models = [Model(wire.GROUP), Model(wire.PATIENT)]
        for importer in loop.importers:
            importer.start()
        for _ in range(ROUNDS // 8):
            for model in models:
                model.pull(loop.client)
            loop.jump()
        loop.stop_importers()
        for model in models:
            model.pull(loop.client)
            told = len(model.told)
            self.assertEqual(model.pull(loop.client), set(), "nothing changed any more")
            self.assertEqual(len(model.told), told, "and nothing is told twice")
            self.assertEqual(model.repeated, [])
            self.assertEqual(model.outside, [])
            full = Model(model.path)
            full.pull(loop.client)
            self.assertEqual(full.lines, model.lines)
            self.assertGreater(told, ROUNDS // 16, "much was deleted")
        self.assertIn("0 faults", loop.ctl("verify"))


class RostersTest(unittest.TestCase):
    """Beneficiaries join, leave and come back, and Patients come later than their claims. Group/all."""

    timeout_seconds = 400
    BENEFICIARIES = 30
    CLAIMS = 3

    def make_lines(self, importer):
        generator = importer.generator
        number = generator.randrange(self.BENEFICIARIES)
        kind = generator.choice(["ExplanationOfBenefit"] * 4 + ["Coverage", "Patient"])
        return [wire.line(kind, number, importer.updated(), generator.randrange(self.CLAIMS),
                          f"{generator.randrange(1 << 30)}")]

    def import_roster(self, loop, number):
        """A roster of about two thirds: dated years ago in the first half of the rounds, then near the clock's time
        of then. Each is dated later than the one before, as the server demands."""
        generator = loop.generator
        members = [one for one in range(self.BENEFICIARIES) if generator.random() < 0.66]
        self.dated += timedelta(seconds=1)
        if number > ROUNDS / 2:
            self.dated = max(self.dated, datetime.utcfromtimestamp(loop.clock.now()) - generator.random() * timedelta(0, 60))
        path = wire.write_roster(loop.site, ACO, self.dated.isoformat(timespec="seconds"), members)
        try:
            loop.ctl("attribution", "import", path)
        finally:
            os.unlink(path)

    def attributed_at(self, loop, instant):
        members = json.loads(loop.ctl("attribution", "list", ACO, "--at", instant, "--json"))
        return {member["beneficiary"] for member in members if member.get("beneficiary")}

    def test_nothing_is_missed_and_only_who_is_new_comes_in_full(self):
        loop = Loop(self, importers=2)
        self.dated = datetime(2021, 1, 1)
        self.import_roster(loop, 0)
        model = Model(wire.GROUP)
        for importer in loop.importers:
            importer.start()
        for number in range(1, ROUNDS + 1):
            roster = None
            if loop.generator.random() < 0.4:
                roster = threading.Thread(target=self.import_roster, args=(loop, number))
                roster.start()
            model.pull(loop.client)
            if roster:
                roster.join()
            loop.jump()
        loop.stop_importers()
        model.pull(loop.client)
        full = Model(wire.GROUP)
        full.pull(loop.client)
        self.assertGreater(len(full.lines), self.BENEFICIARIES)
        # Who left stays with the client as he was; all others are complete and right.
        for key, text in full.lines.items():
            self.assertEqual(model.lines.get(key), text, key)
        # Who came in full had either no Patient yet, or was not attributed at _since. So had whoever came twice.
        self.assertTrue(model.in_full, "somebody came back")
        attributed = {}
        for instant, who in model.in_full + [(instant, who) for instant, who, _ in model.repeated]:
            if instant not in attributed:
                attributed[instant] = self.attributed_at(loop, instant)
            self.assertFalse(who in attributed[instant], f"{who} was attributed at {instant}")


if __name__ == "__main__":
    unittest.main()
