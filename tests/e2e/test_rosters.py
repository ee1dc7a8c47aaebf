"""Rosters from files to exports: every sample of CMS's, cross references, and the order in which things come."""

import glob
import gzip
import json
import os
import sys
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

NO_MBI = "CCLF8 line 1: what stands in columns 1 to 11 is no MBI"
NO_CCLF8_IN = "no CCLF8 file in the archive"
NO_CCLF0_IN = "no CCLF0 file in the archive"
NOT_CCLF8 = "is no CCLF8 file: only that one names beneficiaries"
NOT_CCLF8_ARCHIVE = "is no archive of a CCLF8 file: only that one names beneficiaries"
NO_ACO = "not a CCLF name: its second and third part name no ACO that is known here"
NO_NAME = "not a CCLF name: it does not begin with"
NO_DATE = "not a CCLF name: the date should look like"
NO_TIME = "not a CCLF name: the time should look like"

# Every file below cms-bcda-cclf/<era>/cclf: why it is refused; or (ACO, beneficiaries).
SAMPLES = {
    "2019-10": {
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181121.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181122.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/8/valid/T.BCD.ACO.ZC8Y18.D181120.T0001000": NO_MBI,  # an archive in the archive
        "archives/8/valid/T.BCD.ACO.ZC8Y18.D181121.T0001000": NO_MBI,
        "archives/8/valid/T.BCD.ACO.ZC8Y18.D181122.T0001000": NO_MBI,
        "archives/8/valid/T.BCD.ACO.ZC8Y18.D181123.T0001000": NO_MBI,
        "archives/8/valid/T.BCD.ACO.ZC8Y18.D181124.T0001000": NO_MBI,
        "archives/bcd/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/bcd/T.BCD.ACO.ZC8Y18.D181120.T0001000": ("A0001", 6),
        "archives/bcd/T.BCD.ACO.ZC9Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/split/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/split/T.BCD.ACO.ZC8Y18.D181120.T0001000": ("A0001", 6),  # in two parts
        "archives/split/T.BCD.ACO.ZC9Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/valid/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/valid/T.BCD.ACO.ZC8Y18.D181120.T0001000": ("A0001", 6),
        "archives/valid/T.BCD.ACO.ZC9Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "files/9/valid_names/T.A0001.ACO.ZC9Y18.D181120.T1000010": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181120.T1000009": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181121.T1000010": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181122.T1000011": NOT_CCLF8,
        "mixed/0/valid_names/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/0/valid_names/T.BCD.ACO.ZC0Y18.D181121.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/0/valid_names/T.BCD.ACO.ZC0Y18.D181122.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/with_folders/T.A0001.ACO.ZC0Y18.D181120.T1000025/T.A0001.ACO.ZC0Y18.D181120.T1000009": NOT_CCLF8,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000011": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000012": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000013": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC9Y18.D181120.T1000010": NOT_CCLF8,
        "mixed/with_folders/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/with_folders/T.BCD.ACO.ZC8Y18.D181120.T0001000": "CCLF0 has no line for CCLF8",
        "mixed/with_folders/T.BCD.ACO.ZC9Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/with_invalid_filenames/T#EFT.ON.ACO.NGD1800.DPRF.D181120.T1000009": NO_NAME,
        "mixed/with_invalid_filenames/T.A0001.ACO.ZC8Y18.D18NOV20.T1000009": NO_DATE,
        "mixed/with_invalid_filenames/T.ABCDE.ACO.ZC9Y18.D181120.T1000010": NO_ACO,
        "mixed/with_invalid_filenames/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "mixed/with_invalid_filenames/T.BCD.ACO.ZC8Y18.D181120.T0001000": "CCLF0 says 50 beneficiaries, the CCLF8 file has 6 rows",
        "mixed/with_invalid_filenames/T.BCDE.ACO.ZC0Y18.D181120.T0001000": NO_ACO,
    },
    "2026": {
        "archives/0/invalid/T.A0001.ACO.ZC0Y18.D181120.Z1000000": NO_TIME,
        "archives/0/invalid/T.BCD.ACOB.ZC0Y18.D181120.E0001000": NO_ACO,
        "archives/0/missing_data/T.BCD.A0001.ZCY18.D181120.T1000000": NO_CCLF8_IN,
        "archives/0/missing_data/T.BCD.A0001.ZCY18.D181122.T1000000": NO_CCLF8_IN,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181120.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181120.T0001098": NOT_CCLF8_ARCHIVE,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181121.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/0/missing_data/T.BCD.ACO.ZC0Y18.D181122.T0001000": NOT_CCLF8_ARCHIVE,
        "archives/8/valid/T.BCD.A0001.ZCY18.D181122.T1000000": NO_CCLF0_IN,
        "archives/8/valid/T.BCD.A0001.ZCY18.D181124.T1000000": NO_CCLF0_IN,
        "archives/8/valid/T.BCD.A0001.ZCY18.D181125.T1000000": NO_CCLF0_IN,
        "archives/corrupted/T.BCD.A0001.ZCY18.D181120.T1000000": "cannot be read as a zip archive",
        "archives/csv/P.PCPB.M2411.D181120.T1000000": ("M2411", 5),
        "archives/csv/T.ACCESS.ACCES00001.Y25.D250630.T1000000": ("ACCES00001", 5),
        "archives/invalid_bcd/P.BCD.A0001.ZCY18.D181121.T2000000": NO_CCLF0_IN,
        "archives/invalid_bcd/P.BCD.A0009.ZCY18.D181120.T0001000": NO_CCLF8_IN,
        "archives/invalid_bcd/P.BCD.A9989.ZCY18.D181121.T1000000": NO_CCLF0_IN,
        "archives/skip/T.BCD.ACOB.ZC0Y18.D181120.T0001000": NO_ACO,
        "archives/valid/T.BCD.A0001.ZCY18.D181120.T1000000": ("A0001", 6),  # 7 rows, one MBI twice
        "archives/valid/T.BCD.A9989.ZCY18.D181120.T1000000": ("A9989", 6),
        "archives/valid/T.BCD.ACOB.ZC0Y18.D181120.T0001000": NO_ACO,
        "files/9/valid_names/T.A0001.ACO.ZC9Y18.D181120.T1000010": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181120.T1000009": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181121.T1000010": NOT_CCLF8,
        "mixed/0/valid_names/T.A0001.ACO.ZC0Y18.D181122.T1000011": NOT_CCLF8,
        "mixed/0/valid_names/T.BCD.A0001.ZCY18.D181120.T1000000": NO_CCLF8_IN,
        "mixed/0/valid_names/T.BCD.A0001.ZCY18.D181122.T1000000": NO_CCLF8_IN,
        "mixed/with_folders/T.A0001.ACO.ZC0Y18.D181120.T1000025/T.A0001.ACO.ZC0Y18.D181120.T1000009": NOT_CCLF8,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000011": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000012": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC8Y18.D181120.T1000013": NO_MBI,
        "mixed/with_folders/T.A0001.ACO.ZC9Y18.D181120.T1000010": NOT_CCLF8,
        "mixed/with_folders/T.BCD.A0001.ZCY18.D181120.T1000000": "CCLF9 line 1 begins with neither M nor H",
        "mixed/with_invalid_filenames/T#EFT.ON.ACO.NGD1800.DPRF.D181120.T1000009": NO_NAME,
        "mixed/with_invalid_filenames/T.A0001.ACO.ZC8Y18.D18NOV20.T1000009": NO_DATE,
        "mixed/with_invalid_filenames/T.ABCDE.ACO.ZC9Y18.D181120.T1000010": NO_ACO,
        "mixed/with_invalid_filenames/T.BCD.A0001.ZCY18.D181120.T1000000": ("A0001", 6),
        "mixed/with_invalid_filenames/T.BCDE.ACO.ZC0Y18.D181120.T0001000": NO_ACO,
        "mixed/with_invalid_filenames/T.UNKNOWNACO.ACO.ZC0Y18.D181120.T1000010": NO_ACO,
    },
}

# Of the synthetic packages, which come as three files without names.
SYNTHETIC = {
    "2019-10": {"test/dev": "CCLF8 line 1 has no MBI in columns 1 to 11", "unit-test/dev": "CCLF8 line 1 has no MBI in columns 1 to 11"},
    "2026": {"test/dev": ("A0001", 40), "test/paca": ("A0001", 40)},
}
ACOS = ("A0001", "A0009", "A9989", "M2411", "ACCES00001")


def tell(site, *arguments, status=None):
    """What `attribution import` told of each file, and what it said."""
    done = site.ctl("attribution", "import", *arguments, "--json", check=False)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{done.returncode} instead of {status}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout) if done.stdout else [], done.stderr


def statuses(site):
    return json.loads(site.ctl("attribution", "status", "--json").stdout)


class SamplesTest(unittest.TestCase):
    """Each sample of CMS's is applied as it should be, or refused with its reason, and then nothing changes."""

    timeout_seconds = 120

    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site([])
        cls.addClassCleanup(cls.site.close)
        for aco in ACOS:
            cls.site.ctl("aco", "add", aco)

    def test_the_table_names_every_sample(self):
        for era, samples in SAMPLES.items():
            folder = sluice.shared_data("cms-bcda-cclf", era, "cclf")
            found = [os.path.relpath(path, folder) for path in glob.glob(os.path.join(folder, "**", "*"), recursive=True)
                     if os.path.isfile(path)]
            self.assertEqual(sorted(name for name in found if "/synthetic/" not in name), sorted(samples))

    def test_every_broken_one_is_refused_with_its_reason(self):
        before = statuses(self.site)
        for era, samples in SAMPLES.items():
            folder = sluice.shared_data("cms-bcda-cclf", era, "cclf")
            broken = {os.path.join(folder, name): reason for name, reason in samples.items() if isinstance(reason, str)}
            told, errors = tell(self.site, *broken, status=1)
            self.assertEqual(sorted(item["file"] for item in told), sorted(broken))
            for item in told:
                self.assertEqual(item["state"], "refused", item)
                self.assertIn(broken[item["file"]], item["reason"], item["file"])
                self.assertIn(item["file"], errors)
        self.assertEqual(statuses(self.site), before)

    def test_every_good_one_is_applied(self):
        applied = linked = 0
        for era, samples in SAMPLES.items():
            for name, expected in samples.items():
                if isinstance(expected, str):
                    continue
                path = os.path.join(sluice.shared_data("cms-bcda-cclf", era, "cclf"), name)
                applied += 1
                # Each an hour after the one before, lest it be older than that.
                told, errors = tell(self.site, path, "--at", f"2025-07-01T{applied:02}:00:00Z", status=0)
                self.assertEqual((told[0]["aco"], told[0]["beneficiaries"]), expected, name)
                self.assertEqual(errors, "")
                linked += told[0]["linked"]
        self.assertEqual((applied, linked), (8, 3))  # the same three in each package
        self.assertEqual(self.site.ctl("verify").returncode, 0)

    def test_a_directory_of_2019_is_one_package(self):
        folder = sluice.shared_data("cms-bcda-cclf", "2019-10", "cclf", "archives", "split")
        site = self.own_site()
        told, _ = tell(site, folder, status=0)
        self.assertEqual([(item["state"], item["beneficiaries"], item["linked"]) for item in told], [("applied", 6, 3)])

    def own_site(self):
        site = sluice.Site([])
        self.addCleanup(site.close)
        site.ctl("aco", "add", "A0001")
        return site

    def test_the_synthetic_packages_as_archives(self):
        site = self.own_site()
        for era, packages in SYNTHETIC.items():
            folder = sluice.shared_data("cms-bcda-cclf", era, "cclf", "files", "synthetic")
            for number, (name, expected) in enumerate(packages.items()):
                at = f"D2101{number + 1:02}.T0000000"
                path = site.path(f"P.BCD.A0001.ZCY21.{at}")
                with zipfile.ZipFile(path, "w") as archive:
                    for kind in "089":
                        with open(os.path.join(folder, name, f"ZC{kind}"), "rb") as file:
                            archive.writestr(f"P.BCD.A0001.ZC{kind}Y21.{at}", file.read())
                told, errors = tell(site, path)
                if isinstance(expected, str):
                    self.assertIn(expected, errors)
                else:
                    self.assertEqual((told[0].get("aco"), told[0].get("beneficiaries")), expected, (name, errors))


def summary(rows, links):
    return ("File Number  |File Description    |Total Records Count |Record Length\n"
            f"CCLF8  |Beneficiary Demographics File              |{rows:>11}|  549\n"
            f"CCLF9  |BENE XREF File                             |{links:>11}|   55\n")


def reference(current, previous, kind="M"):
    return f"{kind}{current:11}{previous:11}1959-12-312017-12-31".ljust(55) + "\n"


class PackageTest(unittest.TestCase):
    """What belongs to a CCLF8 file, and what is missing from it."""

    def setUp(self):
        self.site = sluice.Site(["A9994"])
        self.addCleanup(self.site.close)
        self.rows = [wire.mbi(number).ljust(549) + "\n" for number in range(4)]
        self.links = reference(wire.mbi(2), wire.mbi(7)) + reference("203031401A", "203031401B", "H")

    def archive(self, name, entries):
        path = self.site.path(name)
        with zipfile.ZipFile(path, "w") as archive:
            for entry, text in entries:
                archive.writestr(entry, text)
        return path

    def refused(self, path, reason):
        told, errors = tell(self.site, path, status=1)
        self.assertEqual(told[0]["state"], "refused")
        self.assertIn(reason, errors)

    def tearDown(self):
        """What was applied is the one good roster of a test: nothing of those that were refused."""
        self.assertLessEqual(len(statuses(self.site)), 2)

    def test_parts_are_one_file_and_none_may_be_missing(self):
        name = "P.BCD.A9994.ZC{}Y26.D260101.T0000000{}"
        outer = "P.BCD.A9994.ZCY26.D260101.T0000000"
        count = (name.format(0, ""), summary(4, 2))
        first, second = (name.format(8, "-1"), "".join(self.rows[:2])), (name.format(8, "-2"), "".join(self.rows[2:]))
        self.refused(self.archive(outer, [count, first]), "CCLF0 says 4 beneficiaries, the CCLF8 file has 2 rows")
        self.refused(self.archive(outer, [count, second]), "none of them is part 1")
        self.refused(self.archive(outer, [count, first, (name.format(8, "-3"), self.rows[2])]), "none of them is part 2")
        self.refused(self.archive(outer, [count, first, second, (name.format(8, ""), self.rows[0])]), "several CCLF8 files")
        other = ("P.BCD.A9994.ZC8Y26.D260101.T0000009-2", "".join(self.rows[2:]))
        self.refused(self.archive(outer, [count, first, other]), "none of them is part 2")
        self.refused(self.site.write(name.format(8, "-1"), "".join(self.rows[:2])), "is one part of a file")
        told, _ = tell(self.site, self.archive(outer, [second, count, (name.format(9, ""), self.links), first]), status=0)
        self.assertEqual([told[0][key] for key in ("file", "beneficiaries", "linked")], [name.format(8, ""), 4, 1])

    def test_counts_of_cross_references_are_checked_too(self):
        name, outer = "P.BCD.A9994.ZC{}Y26.D260101.T0000000", "P.BCD.A9994.ZCY26.D260101.T0000000"
        rows = (name.format(8), "".join(self.rows))
        self.refused(self.archive(outer, [(name.format(0), summary(4, 3)), rows, (name.format(9), self.links)]),
                     "CCLF0 says 3 cross references, the CCLF9 file has 2 rows")
        self.refused(self.archive(outer, [(name.format(0), summary(4, 1)), rows, (name.format(9), "M" + wire.mbi(1) + "1234")]),
                     "CCLF9 line 1: what stands in columns 2 to 12 or 13 to 23 is no MBI")
        told, _ = tell(self.site, self.archive(outer, [(name.format(0), summary(4, 3)), rows]), status=0)
        self.assertEqual(told[0]["linked"], 0)

    def test_to_2019_counts_and_cross_references_stand_beside(self):
        name, inner = "P.BCD.ACO.ZC{}Y18.D181120.T9994000", "P.A9994.ACO.ZC{}Y18.D181120.T1000000"
        rows = self.archive(name.format(8), [(inner.format(8), "".join(self.rows))])
        self.archive(name.format(0), [(inner.format(0), summary(5, 2))])
        self.refused(rows, "CCLF0 says 5 beneficiaries")
        self.archive(name.format(0), [(inner.format(8), "")])
        self.refused(rows, name.format(0) + " beside it: no CCLF0 file in the archive")
        self.archive(name.format(0), [(inner.format(0), summary(4, 2))])
        self.archive(name.format(9), [(inner.format(9), self.links)])
        self.assertEqual(tell(self.site, self.site.folder, status=0)[0][0]["linked"], 1)

    def test_files_without_an_archive_are_taken_together_by_aco_and_day(self):
        name = "P.A9994.ACO.ZC{}Y18.D181120.T10000{}"
        rows = self.site.write(name.format(8, "00"), "".join(self.rows))
        self.site.write(name.format(0, "11"), summary(3, 2))
        self.refused(rows, "CCLF0 says 3 beneficiaries")
        self.site.write(name.format(0, "11"), summary(4, 2))
        self.site.write("P.A9994.ACO.ZC0Y18.D181121.T1000000", summary(9, 2))  # of another day
        self.site.write("P.A9995.ACO.ZC0Y18.D181120.T1000000", summary(9, 2))  # of another ACO
        self.site.write(name.format(9, "10"), self.links)
        self.assertEqual(tell(self.site, rows, status=0)[0][0]["linked"], 1)

    def test_an_archive_that_is_cut_anywhere_changes_nothing(self):
        name, outer = "P.BCD.A9994.ZC{}Y26.D260101.T0000000", "P.BCD.A9994.ZCY26.D260101.T0000000"
        path = self.archive(outer, [(name.format(0), summary(4, 2)), (name.format(8), "".join(self.rows)), (name.format(9), self.links)])
        with open(path, "rb") as file:
            whole = file.read()
        paths = []
        for size in range(0, len(whole), len(whole) // 12):
            folder = self.site.path(f"cut{size}")
            os.mkdir(folder)
            paths.append(self.site.write(os.path.join(folder, outer), whole[:size]))
        told, _ = tell(self.site, *paths, status=1)
        self.assertEqual([item["state"] for item in told], ["refused"] * len(paths))
        self.assertEqual(statuses(self.site), [])

    def test_csv_rosters_tell_their_aco_or_are_told(self):
        text = "MBIs\n" + "".join(wire.mbi(number) + "\n" for number in range(3))
        path = self.site.write("P.PCPB.M2411.D260101.T0000000", text)
        self.refused(path, "M2411")  # no such ACO here
        told, _ = tell(self.site, path, "--aco", "A9994", status=0)
        self.assertEqual((told[0]["aco"], told[0]["joined"]), ("A9994", 3))
        told, _ = tell(self.site, path, "--aco", "A9994", status=0)
        self.assertEqual(told[0]["state"], "skipped")
        _, errors = tell(self.site, self.site.write("P.BCD.A9995.ZC8Y26.D260101.T0000000", self.rows[0]), "--aco", "A9994", status=1)
        self.assertIn("is of ACO A9995, by its name", errors)
        told, _ = tell(self.site, self.site.write("P.CEC.ZC8Y26.D260201.T0000000", self.rows[0]), "--aco", "A9994", status=0)
        self.assertEqual((told[0]["joined"], told[0]["left"]), (0, 2))
        for text, reason in (("MBIs\n", "names no beneficiary"), ("MBI\n1\n", "line 1 is not the title"), ("", "is empty"),
                             ("MBIs\n1S00A00AA00;\n", "line 2 is no MBI")):
            _, errors = tell(self.site, self.site.write("T.GUIDE.GUIDE-0001.Y25.D250630.T1000000", text), status=1)
            self.assertIn(reason, errors)


class OrderTest(unittest.TestCase):
    """Whatever comes first, rosters or Patients: each ACO gets the same bytes."""

    timeout_seconds = 120
    ACOS = ("A9994", "A9995")
    SHARED, MOVED, RENAMED = 1, 2, 3  # in both; of the other ACO; listed by a new MBI that no Patient carries

    def steps(self, site):
        """Attribution of two ACOs, and the claims, each as a command."""
        def package(aco, mbis, links):
            at = "D260101.T0000000"
            path = site.path(f"P.BCD.{aco}.ZCY26.{at}")
            with zipfile.ZipFile(path, "w") as archive:
                for kind, text in (("0", summary(len(mbis), links.count("\n"))), ("9", links),
                                   ("8", "".join(mbi.ljust(549) + "\n" for mbi in mbis))):
                    archive.writestr(f"P.BCD.{aco}.ZC{kind}Y26.{at}", text)
            return path
        new = [wire.mbi(900), wire.mbi(901)]
        links = reference(new[1], new[0]) + reference(new[0], wire.mbi(self.RENAMED))
        claims = [line for number in range(5) for line in wire.lines_of(number, "2021-01-01T00:00:00Z", 2)]
        return {
            "first": ("attribution", "import", package("A9994", [wire.mbi(0), wire.mbi(self.SHARED), new[1]], links)),
            "second": ("attribution", "import", package("A9995", [wire.mbi(self.SHARED), wire.mbi(self.MOVED)], "")),
            "claims": ("import", site.write("claims.ndjson", "\n".join(claims) + "\n")),
        }

    def exported(self, order):
        """ACO -> bytes of its files as gzip, in the order of the manifest."""
        site = sluice.Site(self.ACOS)
        found = {}
        try:
            steps = self.steps(site)
            for name in order:
                site.ctl(*steps[name])
            site.ctl("verify")
            with sluice.Server(site, plaintext=True) as server:
                for aco in self.ACOS:
                    client = wire.Client(server, aco)
                    manifest, files = client.export(wire.PATIENT)
                    found[aco] = [(item["type"], b"\n".join(lines)) for item, lines in zip(manifest["output"], files)]
                    packed = [client.request(item["url"], fields={"Accept-Encoding": "gzip"})[2] for item in manifest["output"]]
                    self.assertEqual([gzip.decompress(body).rstrip(b"\n") for body in packed], [text for _, text in found[aco]])
                    client.close()
        finally:
            site.close()
        return found

    def test_rosters_before_or_after_the_patients_give_the_same_bytes(self):
        whole = self.exported(("claims", "first", "second"))
        self.assertEqual(self.exported(("first", "claims", "second")), whole)
        self.assertEqual(self.exported(("second", "first", "claims")), whole)
        people = {aco: {wire.beneficiary_of(json.loads(line)) for _, text in files for line in text.split(b"\n")}
                  for aco, files in whole.items()}
        self.assertEqual(people, {"A9994": {wire.beneficiary_id(number) for number in (0, self.SHARED, self.RENAMED)},
                                  "A9995": {wire.beneficiary_id(number) for number in (self.SHARED, self.MOVED)}})


if __name__ == "__main__":
    unittest.main()
