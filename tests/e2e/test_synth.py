"""sluice-synth makes the same realistic dataset from the same arguments, and refuses what it cannot do."""

import collections
import datetime
import gc
import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import unittest
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SLUICE_BUILD", os.path.join(ROOT, "build", "release"))
SYNTH = os.path.join(BUILD, "sluice-synth")
SLUICECTL = os.path.join(BUILD, "sluicectl")

KINDS = ["Patient", "Coverage", "ExplanationOfBenefit"]
FAMILIES = ["carrier", "dme", "hha", "hospice", "inpatient", "outpatient", "pde", "snf"]
VARIABLES = "https://bluebutton.cms.gov/resources/variables/"
UNRECORDED = "2020-01-01T00:00:00.000+00:00"
INSTANT = re.compile(r"20(2[0-5])-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d-0[45]:00")
# Median bytes of a line, about a tenth around those of the source's samples (with the ACO's mark).
MEDIANS = {"carrier": (8300, 9800), "dme": (8600, 10300), "hha": (5700, 7400), "hospice": (8600, 10900),
           "inpatient": (12000, 17200), "outpatient": (9700, 12000), "pde": (8500, 9600), "snf": (12600, 15600)}


def synth(*arguments, **options):
    return subprocess.run([SYNTH, *map(str, arguments)], capture_output=True, text=True, check=False, **options)


def digest(folder):
    """Names and bytes of all files below a folder."""
    sums = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            with open(path, "rb") as file:
                sums[os.path.relpath(path, folder)] = hashlib.sha256(file.read()).hexdigest()
    return sums


def number_of(reference):
    """-10000000000066 behind the prefix of an id or a reference."""
    return re.search(r"-\d{14}$", reference).group()


def members_of(folder):
    """For each ACO's archive: its inner files, by the digit of their kind."""
    rosters = {}
    for name in sorted(os.listdir(f"{folder}/attribution")):
        with zipfile.ZipFile(f"{folder}/attribution/{name}") as archive:
            assert archive.testzip() is None
            rosters[name] = {info.filename: (archive.read(info).decode("ascii"), info) for info in archive.infolist()}
    return rosters


def mbis_of(patient):
    """A Patient's MBIs: the current one, and the historic ones, the newest first."""
    mbis = {"current": [], "historic": []}
    for identifier in patient["identifier"]:
        if identifier["system"].endswith("us-mbi"):
            mbis[identifier["extension"][0]["valueCoding"]["code"]].append(identifier["value"])
    return mbis


class Fixture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="synth-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def path(self, name=None):
        return os.path.join(self.folder, name or self.id().rsplit(".", 1)[-1])

    def make(self, name, *arguments, **options):
        done = synth("--out", self.path(name), *arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return self.path(name)


class RepeatTest(Fixture):
    def test_the_same_arguments_give_the_same_bytes_in_any_zone_and_locale(self):
        arguments = ["--acos", 2, "--beneficiaries", 12, "--seed", 5, "--shared", 2, "--gzip"]
        first = digest(self.make("first", *arguments, env={"TZ": "Asia/Tokyo", "LC_ALL": "C"}))
        second = digest(self.make("second", *arguments, env={"TZ": "America/St_Johns", "LC_ALL": "de_DE.UTF-8"}))
        self.assertEqual(first, second)
        self.assertEqual(len(first), 5, first)

    def test_another_seed_gives_other_bytes_everywhere(self):
        first = digest(self.make("one", "--seed", 1, "--beneficiaries", 5))
        second = digest(self.make("two", "--seed", 2, "--beneficiaries", 5))
        self.assertEqual(first.keys(), second.keys())
        for name, value in first.items():
            self.assertNotEqual(value, second[name], name)

    def test_gzip_holds_the_plain_lines(self):
        plain = self.make("plain", "--beneficiaries", 8)
        packed = self.make("packed", "--beneficiaries", 8, "--gzip")
        for kind in KINDS:
            with open(f"{plain}/base/{kind}.ndjson", "rb") as lines, gzip.open(f"{packed}/base/{kind}.ndjson.gz") as same:
                self.assertEqual(lines.read(), same.read(), kind)

    def test_a_larger_dataset_begins_with_the_smaller_ones_beneficiaries(self):
        few = self.make("few", "--beneficiaries", 6)
        many = self.make("many", "--beneficiaries", 9)
        for kind in KINDS:
            with open(f"{few}/base/{kind}.ndjson", "rb") as small, open(f"{many}/base/{kind}.ndjson", "rb") as large:
                beginning = small.read()
                self.assertEqual(beginning, large.read(len(beginning)), kind)

    def test_more_years_keep_the_claims_of_fewer(self):
        claims = []
        for years in (1, 3):
            folder = self.make(f"years-{years}", "--beneficiaries", 10, "--years", years)
            with open(f"{folder}/base/ExplanationOfBenefit.ndjson", encoding="utf-8") as file:
                claims.append(set(file))
        self.assertTrue(claims[0] < claims[1], (len(claims[0]), len(claims[1])))


class ContentTest(Fixture):
    """One dataset with two ACOs, read once."""
    ARGUMENTS = ["--aco-ids", "A9994,A0001", "--beneficiaries", "120", "--years", "2", "--shared", "3", "--seed", "7"]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = os.path.join(cls.folder, "content")
        done = synth("--out", cls.out, *cls.ARGUMENTS)
        assert done.returncode == 0, done.stderr
        cls.lines = {}
        cls.resources = {}
        for kind in KINDS:
            with open(f"{cls.out}/base/{kind}.ndjson", "rb") as file:
                cls.lines[kind] = file.read().split(b"\n")
            assert cls.lines[kind].pop() == b"", "the last line has its newline"
            cls.resources[kind] = [json.loads(line) for line in cls.lines[kind]]
        cls.rosters = members_of(cls.out)
        cls.aco_of = {patient["id"]: patient["name"][0]["family"].rsplit("-", 1)[1]
                      for patient in cls.resources["Patient"]}

    def claims(self, family):
        return [claim for claim in self.resources["ExplanationOfBenefit"] if claim["id"].startswith(family + "-")]

    def test_every_line_is_minified_json_with_sorted_keys_and_shortest_numbers(self):
        for kind in KINDS:
            for line, parsed in zip(self.lines[kind], self.resources[kind]):
                text = json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
                text = text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
                if text.encode() != line:
                    self.fail(f"{kind} {parsed['id']}:\n{line.decode()}\n{text}")

    def test_numbers_have_at_most_two_decimals(self):
        for line in self.lines["ExplanationOfBenefit"]:
            self.assertNotRegex(line, rb'"value":-?\d+\.(\d{3,}|\d?0[,}])')

    def test_ids_are_negative_and_come_once(self):
        for kind in KINDS:
            ids = [parsed["id"] for parsed in self.resources[kind]]
            self.assertEqual([i for i, count in collections.Counter(ids).items() if count > 1], [])
            self.assertEqual([i for i in ids if not re.fullmatch(r"([a-z]+(-[abcd])?-)?-\d{14}", i)], [])

    def test_resources_are_grouped_by_beneficiary_and_refer_to_what_exists(self):
        patients = [patient["id"] for patient in self.resources["Patient"]]
        place = {patient: index for index, patient in enumerate(patients)}
        coverages = {coverage["id"] for coverage in self.resources["Coverage"]}
        self.assertEqual(len(coverages), 4 * len(patients))
        for kind, field in (("Coverage", "beneficiary"), ("ExplanationOfBenefit", "patient")):
            places = [place[parsed[field]["reference"].removeprefix("Patient/")] for parsed in self.resources[kind]]
            self.assertEqual(places, sorted(places), kind)
        for claim in self.resources["ExplanationOfBenefit"]:
            reference = claim["insurance"]["coverage"]["reference"]
            self.assertIn(reference.removeprefix("Coverage/"), coverages)
            self.assertEqual(number_of(reference), claim["patient"]["reference"].removeprefix("Patient/"))

    def test_every_family_comes_with_its_type_and_part(self):
        parts = {"inpatient": "a", "snf": "a", "hospice": "a", "pde": "d"}
        for family in FAMILIES:
            claims = self.claims(family)
            self.assertGreater(len(claims), 10, family)
            for claim in claims:
                types = [c["code"] for c in claim["type"]["coding"] if c["system"].endswith("/eob-type")]
                self.assertEqual(types, [family.upper()])
                self.assertIn(f"/part-{parts.get(family, 'b')}-", claim["insurance"]["coverage"]["reference"])

    def test_every_resource_bears_its_acos_mark(self):
        self.assertEqual(collections.Counter(self.aco_of.values()), {"A9994": 120, "A0001": 120})
        for coverage in self.resources["Coverage"]:
            bene = coverage["beneficiary"]["reference"].removeprefix("Patient/")
            self.assertEqual(coverage["grouping"]["group"], self.aco_of[bene])
        for claim in self.resources["ExplanationOfBenefit"]:
            marks = [e["valueIdentifier"]["value"] for e in claim["extension"] if e["url"] == VARIABLES + "aco_id_num"]
            self.assertEqual(marks, [self.aco_of[claim["patient"]["reference"].removeprefix("Patient/")]], claim["id"])

    def test_median_sizes_are_those_of_the_source(self):
        sizes = collections.defaultdict(list)
        for line, claim in zip(self.lines["ExplanationOfBenefit"], self.resources["ExplanationOfBenefit"]):
            sizes[claim["id"].split("-")[0]].append(len(line))
        medians = {family: statistics.median(sizes[family]) for family in FAMILIES}
        wrong = {family: (median, MEDIANS[family]) for family, median in medians.items()
                 if not MEDIANS[family][0] <= median <= MEDIANS[family][1]}
        self.assertEqual(wrong, {})
        self.assertTrue(1000 <= statistics.median(map(len, self.lines["Patient"])) <= 1150)
        part_d = [len(line) for line in self.lines["Coverage"] if b'"Part D"' in line and len(line) > 5000]
        self.assertTrue(26000 <= statistics.median(part_d) <= 33000, statistics.median(part_d))
        self.assertTrue(0.6 <= len(part_d) / len(self.resources["Patient"]) <= 0.8, len(part_d))

    def test_claims_come_in_the_proportions_of_medicare(self):
        counts = {family: len(self.claims(family)) / 480 for family in FAMILIES}  # a beneficiary and year
        expected = {"carrier": 22, "outpatient": 4.6, "dme": 1.9, "pde": 21}
        for family, mean in expected.items():
            self.assertTrue(0.7 * mean < counts[family] < 1.3 * mean, (family, counts[family]))
        lines = {family: statistics.mean(len(c["item"]) for c in self.claims(family)) for family in FAMILIES}
        for family, (low, high) in {"carrier": (1.7, 2.1), "outpatient": (3.3, 4.7), "inpatient": (9, 16)}.items():
            self.assertTrue(low <= lines[family] <= high, (family, lines[family]))
        claims = collections.Counter(c["patient"]["reference"] for c in self.resources["ExplanationOfBenefit"])
        idle = 1 - len(claims) / len(self.resources["Patient"])
        self.assertTrue(0.03 <= idle <= 0.15, idle)

    def test_gzip_takes_what_varied_claims_take(self):
        text = b"\n".join(self.lines["ExplanationOfBenefit"][:4000])
        ratio = len(text) / len(gzip.compress(text, 6))
        self.assertTrue(15 <= ratio <= 30, ratio)

    def test_last_updated_is_a_load_before_2026_of_some_dozens_of_resources(self):
        for kind in KINDS:
            for parsed in self.resources[kind]:
                stamp = parsed["meta"]["lastUpdated"]
                if stamp != UNRECORDED:
                    self.assertRegex(stamp, INSTANT)
        stamps = collections.Counter(c["meta"]["lastUpdated"] for c in self.resources["ExplanationOfBenefit"])
        self.assertTrue(20 <= statistics.median(stamps.values()) <= 60, statistics.median(stamps.values()))
        self.assertEqual({stamp[-6:] for stamp in stamps}, {"-04:00", "-05:00"})

    def test_a_claim_is_loaded_after_it_was_processed_and_processed_after_it_was_served(self):
        for claim in self.resources["ExplanationOfBenefit"]:
            end = claim["billablePeriod"]["end"]
            self.assertLessEqual(claim["billablePeriod"]["start"], end)
            self.assertLess(end, claim["meta"]["lastUpdated"][:10], claim["id"])
            for entry in claim["information"]:
                if "timingDate" in entry and "wkly_proc" in json.dumps(entry["category"]):
                    self.assertLess(end, entry["timingDate"])
                    self.assertLess(entry["timingDate"], claim["meta"]["lastUpdated"][:10])

    def test_an_adjustment_shares_its_originals_group(self):
        groups = collections.defaultdict(list)
        for claim in self.resources["ExplanationOfBenefit"]:
            group = [i["value"] for i in claim["identifier"] if i["system"].endswith("claim-group")]
            groups[group[0]].append(claim)
        pairs = [claims for claims in groups.values() if len(claims) == 2]
        self.assertGreater(len(pairs), 50)
        self.assertEqual([c for c in groups.values() if len(c) > 2], [])
        for first, second in pairs:
            self.assertLess(first["meta"]["lastUpdated"], second["meta"]["lastUpdated"])
            self.assertNotEqual(first["id"], second["id"])

    def test_archives_have_the_names_of_their_era_and_a_fixed_time(self):
        self.assertEqual(list(self.rosters), ["P.BCD.A0001.ZCY26.D260101.T0000000", "P.BCD.A9994.ZCY26.D260101.T0000000"])
        for name, members in self.rosters.items():
            aco = name.split(".")[2]
            self.assertEqual(list(members), [f"P.BCD.{aco}.ZC{kind}Y26.D260101.T0000000" for kind in "089"])
            for _, info in members.values():
                self.assertEqual(info.date_time, (2026, 1, 1, 12, 0, 0))
                self.assertEqual(info.compress_type, zipfile.ZIP_DEFLATED)

    def roster(self, aco, kind):
        name = f"P.BCD.{aco}.ZCY26.D260101.T0000000"
        text, _ = self.rosters[name][f"P.BCD.{aco}.ZC{kind}Y26.D260101.T0000000"]
        self.assertTrue(text.endswith("\n"))
        return text[:-1].split("\n")

    def test_rows_have_the_widths_of_the_layout_and_the_summary_counts_them(self):
        for aco in ("A9994", "A0001"):
            header, *summary = self.roster(aco, "0")
            self.assertEqual((len(header), [len(row) for row in summary]), (69, [69, 69]))
            for row, kind, width in zip(summary, "89", (549, 55)):
                rows = self.roster(aco, kind)
                self.assertEqual({len(line) for line in rows}, {width})
                self.assertEqual((row[:7].strip(), row[7], row[51], row[63]), (f"CCLF{kind}", "|", "|", "|"))
                self.assertEqual((int(row[52:63]), int(row[64:69])), (len(rows), width))

    def test_the_roster_lists_the_acos_own_and_the_shared_beneficiaries(self):
        patients = collections.defaultdict(list)
        for patient in self.resources["Patient"]:
            mbis = {i["extension"][0]["valueCoding"]["code"]: i["value"]
                    for i in patient["identifier"] if i["system"].endswith("us-mbi")}
            patients[self.aco_of[patient["id"]]].append((mbis["current"], mbis.get("historic"), patient))
        for aco, other in (("A9994", "A0001"), ("A0001", "A9994")):
            listed = patients[aco] + patients[other][:3]
            rows = self.roster(aco, "8")
            self.assertEqual([row[:11] for row in rows], [mbi for mbi, _, _ in listed])
            for row, (_, _, patient) in zip(rows, listed):
                self.assertEqual(row[32:42], patient["birthDate"])
                self.assertEqual(row[42], {"male": "1", "female": "2"}[patient["gender"]])
                self.assertEqual(row[51:61].strip(), patient.get("deceasedDateTime", "")[:10])
            changes = [f"M{mbi}{former}" for mbi, former, _ in listed if former]
            self.assertEqual([row[:23] for row in self.roster(aco, "9")], changes)

    def test_beneficiaries_of_different_acos_have_different_mbis(self):
        mbis = [i["value"] for patient in self.resources["Patient"] for i in patient["identifier"]
                if i["system"].endswith("us-mbi")]
        self.assertEqual(len(mbis), len(set(mbis)))
        letters = "[AC-HJKMNP-RT-Y]"
        form = re.compile(f"[1-9]S[0-9AC-HJKMNP-RT-Y]\\d{letters}[0-9AC-HJKMNP-RT-Y]\\d{letters}{letters}\\d\\d")
        self.assertEqual([mbi for mbi in mbis if not form.fullmatch(mbi)], [])


class OldClaimsTest(Fixture):
    def test_what_was_loaded_before_2020_has_the_constant_instant(self):
        folder = self.make("ten-years", "--beneficiaries", 10, "--years", 10)
        old = 0
        with open(f"{folder}/base/ExplanationOfBenefit.ndjson", encoding="utf-8") as file:
            for line in file:
                claim = json.loads(line)
                if claim["billablePeriod"]["end"] < "2019-01-01":
                    self.assertEqual(claim["meta"]["lastUpdated"], UNRECORDED, claim["id"])
                    old += 1
        self.assertGreater(old, 100)


class WeeksTest(Fixture):
    """One dataset with 53 weeks, the second yearly load among them, read once: what each folder brings, compared with what stood before it."""
    ARGUMENTS = ["--aco-ids", "A9994,A0001", "--beneficiaries", "40", "--years", "1", "--shared", "3", "--seed", "2"]
    WEEKS = 53

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = os.path.join(cls.folder, "weeks")
        done = synth("--out", cls.out, *cls.ARGUMENTS, "--weeks", cls.WEEKS, "--deletions")
        assert done.returncode == 0, done.stderr
        gc.disable()  # what is read here stays
        cls.addClassCleanup(gc.enable)
        cls.names = [f"week-{week:02}" for week in range(1, cls.WEEKS + 1)]
        cls.known = {}        # (type, id) -> resource, as of the last week
        cls.changes = []      # (week's name, kind, before or None, now)
        cls.deleted = collections.defaultdict(set)
        cls.first_of = {}     # (type, id) -> the folder that brought it first
        for name in ["base"] + cls.names:
            for kind in KINDS:
                with open(f"{cls.out}/{name}/{kind}.ndjson", encoding="utf-8") as file:
                    for line in file:
                        parsed = json.loads(line)
                        key = kind, parsed["id"]
                        if name != "base":
                            cls.changes.append((name, kind, cls.known.get(key), parsed))
                        cls.first_of.setdefault(key, name)
                        cls.known[key] = parsed
            try:
                with open(f"{cls.out}/{name}/deleted.json", encoding="utf-8") as file:
                    bundle = json.load(file)
            except FileNotFoundError:
                continue
            assert (bundle["resourceType"], bundle["type"]) == ("Bundle", "transaction")
            for entry in bundle["entry"]:
                assert entry.keys() == {"request"} and entry["request"]["method"] == "DELETE"
                cls.deleted[name].add(tuple(entry["request"]["url"].split("/")))

    def day_of(self, name):
        first = datetime.date(2026, 1, 3)
        return (first + datetime.timedelta(weeks=int(name[5:]) - 1)).isoformat()

    def changed(self, kind):
        return [(before, now) for _, changed, before, now in self.changes if changed == kind and before]

    def roster(self, name, aco, kind):
        folder = f"{self.out}/{name}/attribution" if name != "base" else f"{self.out}/attribution"
        file = next(file for file in os.listdir(folder) if f".{aco}." in file)
        with zipfile.ZipFile(f"{folder}/{file}") as archive:
            member = next(member for member in archive.namelist() if f"ZC{kind}Y" in member)
            return archive.read(member).decode("ascii").splitlines()

    def test_weeks_leave_the_base_and_the_weeks_before_as_they_are(self):
        few = ["--beneficiaries", 8, "--acos", 2, "--shared", 1]
        none, two, three = (digest(self.make(f"weeks-{weeks}", *few, "--weeks", weeks)) for weeks in (0, 2, 3))
        self.assertEqual({**none, **two}, two)
        self.assertEqual({**two, **three}, three)
        self.assertEqual({name.split("/")[0] for name in three.keys() - two.keys()}, {"week-03"})

    def test_the_same_arguments_give_the_same_weeks_in_any_zone(self):
        arguments = ["--beneficiaries", 8, "--weeks", 5, "--deletions", "--gzip"]
        first = digest(self.make("first", *arguments, env={"TZ": "Asia/Tokyo"}))
        self.assertEqual(first, digest(self.make("second", *arguments, env={"TZ": "America/St_Johns"})))

    def test_what_a_week_writes_is_of_its_saturday_and_newer_than_what_it_replaces(self):
        for name, kind, before, now in self.changes:
            self.assertEqual(now["meta"]["lastUpdated"][:10], self.day_of(name), now["id"])
            if before:
                self.assertLess(before["meta"]["lastUpdated"][:10], now["meta"]["lastUpdated"][:10], now["id"])
        stamps = collections.Counter(now["meta"]["lastUpdated"] for _, _, _, now in self.changes)
        self.assertGreater(len(stamps), self.WEEKS)

    def test_a_resource_stays_with_its_beneficiary(self):
        for name, kind, before, now in self.changes:
            owner = {"Patient": "id", "Coverage": "beneficiary", "ExplanationOfBenefit": "patient"}[kind]
            if before:
                self.assertEqual(before[owner], now[owner])
            self.assertIn(("Patient", number_of(now["id"] if kind == "Patient" else now[owner]["reference"])), self.known)

    def test_a_week_brings_a_52nd_of_a_years_claims_and_changes_one_in_twenty(self):
        joined = {key[1] for key, name in self.first_of.items() if key[0] == "Patient" and name != "base"}
        weekly = [(before, now) for _, kind, before, now in self.changes if kind == "ExplanationOfBenefit"
                  and number_of(now["patient"]["reference"]) not in joined]
        new = sum(not before for before, _ in weekly)
        year = sum(key[0] == "ExplanationOfBenefit" and name == "base" for key, name in self.first_of.items())
        self.assertTrue(0.8 < new / self.WEEKS / (year / 52) < 1.3, (new, year))
        self.assertTrue(0.03 < (len(weekly) - new) / new < 0.08, (len(weekly), new))

    def test_claims_are_revised_cancelled_or_written_again_under_their_id(self):
        kinds = collections.Counter()
        for before, now in self.changed("ExplanationOfBenefit"):
            same = {**before, "meta": None} == {**now, "meta": None}
            kinds["again" if same else now["status"]] += 1
            if now["status"] == "cancelled":
                self.assertEqual(now.get("payment", {}).get("amount", {}).get("value", 0), 0, now["id"])
            self.assertEqual(before["status"], "active", "what is cancelled stays so")
            for field in ("billablePeriod", "type", "insurance", "diagnosis", "provider"):
                if field != "billablePeriod" or "extension" not in now["billablePeriod"]:
                    self.assertEqual(before.get(field), now.get(field), now["id"])
        self.assertGreater(min(kinds[kind] for kind in ("again", "active", "cancelled")), 20, kinds)

    def test_deleted_claims_were_there_and_do_not_come_back(self):
        self.assertGreater(sum(map(len, self.deleted.values())), 5)
        order = ["base"] + self.names
        last = {(kind, now["id"]): name for name, kind, _, now in self.changes}
        for name, keys in self.deleted.items():
            for key in keys:
                self.assertLess(order.index(self.first_of[key]), order.index(name), key)
                self.assertLess(order.index(last.get(key, "base")), order.index(name), key)

    def test_without_the_option_no_deletions_are_told_and_all_else_is_the_same(self):
        few = ["--beneficiaries", 25, "--weeks", 4]
        without, told = digest(self.make("without", *few)), digest(self.make("told", *few, "--deletions"))
        self.assertEqual({**told, **without}, told)
        self.assertEqual({os.path.basename(name) for name in told.keys() - without.keys()}, {"deleted.json"})

    def test_persons_move_marry_die_and_get_other_mbis(self):
        seen = collections.Counter()
        for before, now in self.changed("Patient"):
            old, new = (mbis_of(patient) for patient in (before, now))
            seen["mbi"] += old != new
            if old != new:
                self.assertEqual(new["historic"][:1], old["current"])
                self.assertEqual(new["historic"][1:], old["historic"])
            seen["address"] += before["address"] != now["address"]
            seen["name"] += before["name"] != now["name"]
            seen["death"] += "deceasedDateTime" not in before and "deceasedDateTime" in now
            self.assertEqual([before[field] for field in ("birthDate", "gender")], [now[field] for field in ("birthDate", "gender")])
            self.assertLessEqual(before.get("deceasedDateTime", ""), now.get("deceasedDateTime", ""))
        self.assertEqual([kind for kind in ("mbi", "address", "name", "death") if not seen[kind]], [], seen)
        current = [mbi for (kind, _), parsed in self.known.items() if kind == "Patient"
                   for mbis in mbis_of(parsed).values() for mbi in mbis]
        self.assertEqual(len(current), len(set(current)))

    def test_rosters_change_a_little_and_list_the_current_mbis_of_who_is_known(self):
        before, moves = {}, collections.Counter()
        owner = {mbi: key[1] for key, parsed in self.known.items() if key[0] == "Patient"
                 for mbis in mbis_of(parsed).values() for mbi in mbis}
        order = ["base"] + self.names
        for name in order:
            now = {}
            for aco in ("A9994", "A0001"):
                mbis = [row[:11] for row in self.roster(name, aco, "8")]
                now[aco] = {owner[mbi] for mbi in mbis}
                self.assertEqual(len(now[aco]), len(mbis), "nobody is listed twice")
                for patient in now[aco]:
                    self.assertLessEqual(order.index(self.first_of["Patient", patient]), order.index(name))
            for aco, other in (("A9994", "A0001"), ("A0001", "A9994")):
                if before:
                    self.assertLess(len(now[aco] ^ before[aco]), 12)
                    moves["joined"] += sum(self.first_of["Patient", patient] == name for patient in now[aco] - before[aco])
                    moves["left"] += len(before[aco] - now["A9994"] - now["A0001"])
                    moves["moved"] += len((now[aco] - before[aco]) & (before[other] - now[other]))
            before = now
        self.assertEqual([kind for kind in ("joined", "left", "moved") if not moves[kind]], [], moves)

    def test_a_new_mbi_comes_with_its_row_of_cross_references(self):
        rows = {row[1:23] for aco in ("A9994", "A0001") for row in self.roster(self.names[-1], aco, "9")}
        listed = {row[:11] for aco in ("A9994", "A0001") for row in self.roster(self.names[-1], aco, "8")}
        expected = set()
        for key, parsed in self.known.items():
            if key[0] == "Patient" and mbis_of(parsed)["current"][0] in listed:
                chain = mbis_of(parsed)["current"] + mbis_of(parsed)["historic"]
                expected.update(newer + older for newer, older in zip(chain, chain[1:]))
        self.assertEqual(rows, expected)
        self.assertGreater(len(rows), 4)

    def test_opt_out_files_have_the_layout_and_name_who_is_known(self):
        known = {mbi for key, parsed in self.known.items() if key[0] == "Patient"
                 for mbis in mbis_of(parsed).values() for mbi in mbis}
        preferences = collections.Counter()
        for name in self.names:
            folder = f"{self.out}/{name}/suppression"
            for file in os.listdir(folder) if os.path.isdir(folder) else []:
                day = self.day_of(name)
                self.assertEqual(file, f"P#EFT.ON.ACO.NGD1800.DPRF.D{day[2:].replace('-', '')}.T0000000")
                with open(f"{folder}/{file}", encoding="ascii") as text:
                    header, *rows, trailer = text.read().splitlines()
                self.assertEqual(header, "HDR_BENEDATASHR" + day.replace("-", ""))
                self.assertEqual(trailer, "TRL_BENEDATASHR" + day.replace("-", "") + str(len(rows)).ljust(10))
                for row in rows:
                    self.assertEqual(len(row), 459)
                    self.assertIn(row[:11], known)
                    self.assertTrue("20251201" < row[354:362] < day.replace("-", ""), row[354:362])
                    preferences[row[368]] += 1
        self.assertGreater(preferences["N"], 0)
        self.assertEqual(preferences.keys() - {"N", "Y"}, set())

    def test_the_importer_takes_every_week(self):
        data = self.path("data")
        def sluicectl(*arguments):
            done = subprocess.run([SLUICECTL, "--data", data, *arguments], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, (arguments, done.stderr))
        sluicectl("init")
        for aco in ("A9994", "A0001"):
            sluicectl("aco", "add", aco)
        sluicectl("import", f"{self.out}/base")
        sluicectl("attribution", "import", f"{self.out}/attribution")
        for name in self.names[:6]:
            sluicectl("import", *(f"{self.out}/{name}/{kind}.ndjson" for kind in KINDS))
            sluicectl("attribution", "import", f"{self.out}/{name}/attribution")
        sluicectl("verify")


class UsageTest(Fixture):
    def test_wrong_usage_exits_2_and_writes_nothing(self):
        out = self.path()
        for arguments in ([], ["--out", ""], ["--out", out, "--acos", "0"], ["--out", out, "--acos", "801"],
                          ["--out", out, "--beneficiaries", "1e3"], ["--out", out, "--beneficiaries", "-1"],
                          ["--out", out, "--years", "11"], ["--out", out, "--seed", "x"], ["--out", out, "--weeks", "107"],
                          ["--out", out, "--aco-ids", "A999"], ["--out", out, "--aco-ids", "A9990,A9990"],
                          ["--out", out, "--aco-ids", "A9990", "--acos", "2"], ["--out", out, "--shared", "1"],
                          ["--out", out, "--acos", "2", "--beneficiaries", "2", "--shared", "3"],
                          ["--out", out, "more"], ["--out", out, "--nonsense"]):
            with self.subTest(arguments=arguments):
                done = synth(*arguments)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn("sluice-synth", done.stderr)
                self.assertFalse(os.path.exists(out))

    def test_weeks_of_0_are_accepted(self):
        self.make("weeks", "--beneficiaries", 1, "--weeks", 0)

    def test_help_and_version_exit_0(self):
        for argument, text in (("--help", "Examples:"), ("--version", "sluice-synth")):
            done = synth(argument)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn(text, done.stdout)

    def test_ids_of_other_models_get_their_own_inner_names(self):
        folder = self.make("models", "--aco-ids", "V001,SBXBA002,IOTA003,CEC", "--beneficiaries", 1)
        inner = {list(members)[1] for members in members_of(folder).values()}
        self.assertEqual(inner, {f"P.{name}.ZC8Y26.D260101.T0000000"
                                 for name in ("V001.ACO", "SBXBA002.ACO", "IOTA003.PRT", "CEC")})

    def test_quiet_says_nothing(self):
        done = synth("--out", self.path(), "--beneficiaries", 1, "--quiet")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_a_directory_with_something_in_it_stays_as_it_is(self):
        os.makedirs(self.path())
        with open(self.path() + "/mine", "w", encoding="utf-8") as file:
            file.write("mine")
        done = synth("--out", self.path(), "--beneficiaries", 1)
        self.assertEqual(done.returncode, 1)
        self.assertIn("not empty", done.stderr)
        self.assertEqual(os.listdir(self.path()), ["mine"])

    def test_an_empty_directory_is_used(self):
        os.makedirs(self.path())
        self.make(None, "--beneficiaries", 1)

    def test_a_failed_write_exits_1_and_names_the_file(self):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        for arguments in ([], ["--gzip"]):
            with self.subTest(arguments=arguments):
                folder = self.path(f"full{len(arguments)}")
                done = synth("--out", folder, "--beneficiaries", 60, *arguments, preexec_fn=limited)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertRegex(done.stderr, r"cannot write .*\.ndjson(\.gz)?: .*not complete")

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_a_summary_that_cannot_be_written_exits_1(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([SYNTH, "--out", self.path(), "--beneficiaries", "1"], stdout=full,
                                  stderr=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 1)


if __name__ == "__main__":
    unittest.main()
