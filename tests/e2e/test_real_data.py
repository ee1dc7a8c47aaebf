"""Real resources that nobody here wrote go in and come out as the same JSON values."""

import glob
import gzip
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

TYPES = ["Patient", "Coverage", "ExplanationOfBenefit"]
DEFAULT = "2020-01-01T00:00:00.000+00:00"


def instant_key(text):
    """Orders instants of the samples: all have seconds and a zone."""
    from datetime import datetime
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def expected_versions(folder):
    """(type, id) -> the line that must survive: the newest; at equal instants the later one."""
    versions, count = {}, 0
    for kind in TYPES:
        for line in gzip.open(os.path.join(folder, kind + ".ndjson.gz")):
            resource = json.loads(line)
            count += 1
            key = (resource["resourceType"], resource["id"])
            when = instant_key(resource.get("meta", {}).get("lastUpdated", DEFAULT))
            if key not in versions or when >= versions[key][0]:
                versions[key] = (when, line)
    return {key: line for key, (_, line) in versions.items()}, count


class RealDataTest(unittest.TestCase):
    def check_folder(self, *parts):
        folder = sluice.shared_data(*parts)
        expected, count = expected_versions(folder)
        site = sluice.Site()
        self.addCleanup(site.close)
        files = [os.path.join(folder, kind + ".ndjson.gz") for kind in TYPES]
        counts = json.loads(site.ctl("import", *files, "--aco", "A9994", "--json").stdout)
        self.assertEqual(counts["lines"], count)
        self.assertEqual(counts["refused"], 0)
        self.assertEqual(counts["added"], len(expected))
        self.assertEqual(site.ctl("verify").stdout.split(" ")[0], "0")
        with sluice.Server(site) as server:
            _, from_gzip = server.export(coding="gzip")
            _, plain = server.export(coding=None)
        self.assertEqual(from_gzip, plain)
        found = {}
        for kind, lines in plain.items():
            for line in lines:
                resource = json.loads(line)
                self.assertEqual(resource["resourceType"], kind)
                self.assertNotIn((kind, resource["id"]), found, "a resource came twice")
                found[kind, resource["id"]] = line
        self.assertEqual(found.keys(), expected.keys())
        for key, line in found.items():
            source, exported = sluice.exact_json(expected[key]), sluice.exact_json(line)
            if "lastUpdated" in source.get("meta", {}):
                self.assertEqual(exported, source, key)
            else:
                self.assertEqual(exported["meta"]["lastUpdated"], DEFAULT, key)
                self.assertEqual(sluice.without_last_updated(exported), sluice.without_last_updated(source), key)

    def test_bcda_output_of_four_beneficiaries_comes_out_as_it_went_in(self):
        self.check_folder("bcda-coherent")

    def test_ab2d_samples_come_out_as_they_went_in(self):
        self.check_folder("cms-ab2d", "stu3")

    def test_dpc_samples_come_out_as_they_went_in(self):
        self.check_folder("cms-dpc", "stu3")

    def test_blue_button_samples_come_out_as_they_went_in(self):
        self.check_folder("cms-bluebutton", "stu3")

    def test_other_resource_types_are_refused_with_a_count_and_the_rest_goes_on(self):
        folder = sluice.shared_data("cms-dpc", "stu3")
        site = sluice.Site()
        self.addCleanup(site.close)
        done = site.ctl("import", folder, "--json", check=False)
        counts = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1)
        others = sum(len(gzip.open(path).read().splitlines()) for path in glob.glob(folder + "/*.gz")
                     if os.path.basename(path).split(".")[0] not in TYPES)
        self.assertEqual(counts["unsupported"], others)
        self.assertEqual(counts["added"], len(expected_versions(folder)[0]))

    def test_a_cclf8_roster_makes_its_beneficiaries_exportable(self):
        """The roster of 10,000 MBIs contains the four beneficiaries; rosters may come before the Patients."""
        roster = gzip.open(sluice.shared_data("cms-bcda-cclf", "2026", "cclf", "files", "synthetic", "improved",
                                              "large", "ZC8.gz")).read()
        name = "T.BCD.A9994.ZC8Y26.D260101.T0000000"
        exports = []
        for roster_first in (True, False):
            site = sluice.Site()
            self.addCleanup(site.close)
            steps = [("attribution", "import", site.write(name, roster)),
                     ("import", sluice.shared_data("bcda-coherent"))]
            for step in steps if roster_first else reversed(steps):
                site.ctl(*step)
            listed = json.loads(site.ctl("attribution", "list", "A9994", "--json").stdout)
            self.assertEqual(len(listed), len({row[:11] for row in roster.splitlines()}))
            self.assertEqual(sum(bool(row["beneficiary"]) for row in listed), 4)
            self.assertEqual(site.ctl("verify").stdout.split(" ")[0], "0")
            with sluice.Server(site) as server:
                exports.append(server.export()[1])
        self.assertEqual({kind: len(lines) for kind, lines in exports[0].items()},
                         {"Patient": 4, "Coverage": 16, "ExplanationOfBenefit": 305})
        self.assertEqual(exports[0], exports[1])


class BadInputTest(unittest.TestCase):
    def setUp(self):
        self.site = sluice.Site()
        self.addCleanup(self.site.close)

    def patient(self, number, updated="2021-01-01T00:00:00.000+00:00", **more):
        resource = {"resourceType": "Patient", "id": f"p{number}", "meta": {"lastUpdated": updated}, **more}
        return json.dumps(resource, separators=(",", ":"))

    def test_ignored_field_is_refused_with_file_and_line_and_the_rest_goes_on(self):
        path = self.site.write("mixed.ndjson", "\n".join([
            self.patient(1), self.patient(2, "IGNORED_FIELD"), "{broken", self.patient(3)]) + "\n")
        done = self.site.ctl("import", path, "--json", check=False)
        self.assertEqual(done.returncode, 1)
        counts = json.loads(done.stdout)
        self.assertEqual((counts["added"], counts["refused"]), (2, 2))
        refused = done.stderr.splitlines()
        self.assertTrue(refused[0].startswith(f"{path}:2: "), refused)
        self.assertIn("lastUpdated", refused[0])
        self.assertTrue(refused[1].startswith(f"{path}:3: "), refused)
        self.assertEqual(json.loads(self.site.ctl("get", "Patient/p3").stdout)["id"], "p3")

    def test_a_resource_without_last_updated_gets_the_first_of_2020(self):
        self.site.ctl("import", self.site.write("a.ndjson", '{"resourceType":"Patient","id":"x"}'))
        self.assertEqual(json.loads(self.site.ctl("get", "Patient/x").stdout)["meta"]["lastUpdated"], DEFAULT)

    def test_of_two_versions_the_newer_wins_and_at_equal_instants_the_later_line(self):
        old, new = "2021-01-01T00:00:00.000+00:00", "2021-01-01T00:00:00.001+00:00"
        self.site.ctl("import", self.site.write("a.ndjson", "\n".join([
            self.patient(1, new, gender="male"), self.patient(1, old, gender="female"),
            self.patient(2, old, gender="male"), self.patient(2, old, gender="female")])))
        self.assertEqual(json.loads(self.site.ctl("get", "Patient/p1").stdout)["gender"], "male")
        self.assertEqual(json.loads(self.site.ctl("get", "Patient/p2").stdout)["gender"], "female")

    def test_a_second_patient_key_is_refused(self):
        line = ('{"resourceType":"ExplanationOfBenefit","id":"e","patient":{"reference":"Patient/a"},'
                '"patient":{"reference":"Patient/b"}}')
        done = self.site.ctl("import", self.site.write("a.ndjson", line), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a.ndjson:1: ", done.stderr)

    def test_wrong_usage_is_told_apart_from_failed_work(self):
        self.assertEqual(self.site.ctl("import", "/nonexistent", check=False).returncode, 1)
        self.assertEqual(self.site.ctl("import", check=False).returncode, 2)
        self.assertEqual(self.site.ctl("imprt", "x", check=False).returncode, 2)
        self.assertEqual(self.site.ctl("init", check=False).returncode, 1)
        self.assertEqual(self.site.ctl("stat", "--aco", "A9994", check=False).returncode, 2)

    def test_rosters_that_are_broken_change_nothing(self):
        site = self.site
        site.add_aco("A0001")
        base = sluice.shared_data("cms-bcda-cclf", "2026", "cclf", "archives")
        good = os.path.join(base, "valid", "T.BCD.A0001.ZCY18.D181120.T1000000")
        site.ctl("attribution", "import", good)
        before = site.ctl("attribution", "list", "A0001", "--json").stdout
        self.assertTrue(json.loads(before))
        broken = [os.path.join(base, "corrupted", "T.BCD.A0001.ZCY18.D181120.T1000000")]
        broken += sorted(glob.glob(os.path.join(base, "0", "missing_data", "*")))
        broken += sorted(glob.glob(os.path.join(base, "0", "invalid", "*")))
        for path in broken:
            done = site.ctl("attribution", "import", path, check=False)
            if "skipped" in done.stdout:
                continue
            self.assertEqual(done.returncode, 1, path)
            self.assertIn("sluicectl: ", done.stderr)
            self.assertEqual(site.ctl("attribution", "list", "A0001", "--json").stdout, before, path)
        self.assertEqual(site.ctl("attribution", "import", good).stdout.strip()[-7:], "skipped")


if __name__ == "__main__":
    unittest.main()
