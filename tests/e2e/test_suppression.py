"""Opt-outs, from 1-800-MEDICARE's files to what an ACO downloads: who is left out, from when on, and until when."""

import glob
import gzip
import json
import os
import shutil
import sys
import unittest
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

DAY = 86400
ACOS = ("A9994", "A9995")


class SuppressionTest(unittest.TestCase):
    timeout_seconds = 120

    def setUp(self):
        self.clock = wire.Clock()
        self.site = sluice.Site(ACOS, environment=self.clock.environment)
        self.addCleanup(self.site.close)
        self.server = None
        self.files = 0
        self.addCleanup(lambda: self.server and (self.server.process.stdout.closed or self.server.stop(None)))

    def start(self, **settings):
        self.server = sluice.Server(self.site, plaintext=True, settings=settings).start()
        self.clients = {aco: wire.Client(self.server, aco) for aco in ACOS}
        for client in self.clients.values():
            self.addCleanup(client.close)

    def load(self, numbers, claims=1):
        """Attributed to both ACOs, long ago."""
        lines = [line for number in numbers for line in wire.lines_of(number, "2021-01-01T00:00:00Z", claims)]
        self.site.ctl("import", self.site.write("claims.ndjson", "\n".join(lines) + "\n"))
        for aco in ACOS:
            self.site.ctl("attribution", "import", wire.write_roster(self.site, aco, "2021-02-01T00:00:00", numbers))

    def date(self, days=0):
        """CCYYMMDD, some days from now."""
        return (datetime.fromtimestamp(self.clock.now(), timezone.utc) + timedelta(days=days)).strftime("%Y%m%d")

    def opt(self, *preferences):
        """Imports a file of (number, preference, days from now)."""
        rows = [wire.optout_row(wire.mbi(number), preference, self.date(days)) for number, preference, days in preferences]
        self.files += 1
        path = self.site.write(wire.optout_name(f"2021-03-01T00:00:{self.files:02}"), wire.optout_file(rows))
        return json.loads(self.site.ctl("suppression", "import", path, "--json").stdout)[0]

    def export(self, aco="A9994", path=wire.GROUP):
        """(transactionTime, {beneficiary: [ids of its resources]})."""
        manifest, files = self.clients[aco].export(path)
        found = {}
        for lines in files:
            for line in lines:
                resource = json.loads(line)
                found.setdefault(wire.beneficiary_of(resource), []).append(resource["id"])
        return manifest["transactionTime"], {who: sorted(ids) for who, ids in found.items()}

    def who(self, *numbers):
        return sorted(wire.beneficiary_id(number) for number in numbers)

    def test_who_opted_out_is_in_no_export_of_any_aco_and_no_message_names_him(self):
        self.load(range(3))
        self.start()
        before = self.clients["A9994"].kick_off(wire.PATIENT)
        outcome = self.opt((1, "N", -3))
        self.assertEqual((outcome["state"], outcome["suppressed"], outcome["unknown"]), ("applied", 1, 0))
        for aco in ACOS:
            for path in (wire.GROUP, wire.PATIENT) if aco != "A9994" else (wire.GROUP,):
                self.assertEqual(sorted(self.export(aco, path)[1]), self.who(0, 2), (aco, path))
        # A job of before gives what it began with.
        manifest = self.clients["A9994"].wait_for_job(before)
        self.assertEqual(sum(item["count"] for item in manifest["output"]), 9)
        self.assertNotIn(wire.mbi(1), self.server.log())
        self.assertEqual(self.site.ctl("verify").returncode, 0)

    def test_since_on_group_tells_lifted_from_hidden_between(self):
        self.load(range(4), claims=2)
        self.start()
        self.opt((2, "N", -9))
        since, found = self.export()
        self.assertEqual(sorted(found), self.who(0, 1, 3))
        self.opt((1, "N", -8), (2, "Y", -8), (3, "N", -8))
        _, found = self.export(path=wire.since(wire.GROUP, since))
        self.assertEqual(sorted(found), self.who(2))  # lifted since: new, with all it has
        self.assertEqual(len(found[wire.beneficiary_id(2)]), 4)
        # A claim comes for one who is hidden, dated long before `since`; then he is lifted again.
        self.site.ctl("import", self.site.write("late.ndjson", wire.line("ExplanationOfBenefit", 1, "2021-01-01T00:00:00Z", 7) + "\n"))
        self.opt((1, "Y", -7))
        _, found = self.export(path=wire.since(wire.GROUP, since))
        self.assertEqual(found[wire.beneficiary_id(1)], [f"carrier-{wire.beneficiary_id(1)}-7"])  # existing: what is new of it
        self.assertEqual(len(found[wire.beneficiary_id(2)]), 4)
        self.assertEqual(sorted(found), self.who(1, 2))
        self.assertEqual(sorted(self.export()[1]), self.who(0, 1, 2))

    def test_dates_come_and_run_out_while_the_server_runs(self):
        self.load(range(3))
        self.start(token_lifetime_seconds=86400)
        self.opt((0, "N", 2), (1, "N", -1))
        self.assertEqual(sorted(self.export()[1]), self.who(0, 2))
        self.clock.shift(3 * DAY)
        self.assertEqual(sorted(self.export()[1]), self.who(2))  # at once: the kick-off applies what is due
        self.clock.shift(60 * DAY)
        sluice.wait_until(lambda: any(event["lifted"] for event in self.server.events("opt-outs settled")),
                          "the server does it by itself")
        listed = json.loads(self.site.ctl("suppression", "list", "--json").stdout)
        self.assertEqual([(row["mbi"], row["suppressed"]) for row in listed["mbis"]], [(wire.mbi(0), True), (wire.mbi(1), False)])
        self.assertEqual(sorted(self.export()[1]), self.who(1, 2))
        self.assertEqual(self.site.ctl("verify").returncode, 0)

    def test_the_look_back_is_a_setting_and_the_store_remembers_it(self):
        self.load(range(3))
        self.start()
        self.opt((0, "N", -70), (1, "N", -10))
        self.assertEqual(sorted(self.export()[1]), self.who(0, 2))
        self.server.stop()
        self.start(suppression_lookback_days=0)
        self.assertEqual(sorted(self.export()[1]), self.who(2))
        self.server.stop()
        # Without a server: the same.
        self.assertEqual(self.opt((2, "N", -500))["suppressed"], 1)
        self.start(suppression_lookback_days=0)
        self.assertEqual(self.export()[1], {})
        self.assertEqual(len(self.server.events("suppression look-back changed")), 0)

    def test_list_tells_preference_date_and_file(self):
        self.load(range(2))
        self.opt((0, "N", -3), (1, "N", -5), (1, "Y", -4), (7, "N", 3), (8, "N", -61))
        listed = json.loads(self.site.ctl("suppression", "list", "--json").stdout)
        self.assertEqual(listed["lookbackDays"], 60)

        def iso(days):
            return datetime.strptime(self.date(days), "%Y%m%d").strftime("%Y-%m-%d")
        name = wire.optout_name("2021-03-01T00:00:01")
        found = [(row["mbi"], row["beneficiary"], row["preference"], row["effective"], row["suppressed"], row["changes"],
                  row["file"]) for row in listed["mbis"]]
        self.assertEqual(found, [(wire.mbi(0), wire.beneficiary_id(0), "N", iso(-3), True, iso(57), name),
                                 (wire.mbi(1), wire.beneficiary_id(1), "Y", iso(-4), False, None, name),
                                 (wire.mbi(7), "", "", None, False, iso(3), ""),
                                 (wire.mbi(8), "", "N", iso(-61), False, None, name)])  # over
        self.assertIsNotNone(listed["mbis"][0]["since"])
        text = self.site.ctl("suppression", "list").stdout
        self.assertIn("60 days", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100, text)
        self.assertRegex(text, rf"(?m)^{wire.mbi(0)}.* N .*{iso(-3)}  [-0-9]{{10}} [:0-9]{{5}}Z  {iso(57)}  {name[-16:]}$")
        self.assertRegex(text, rf"(?m)^{wire.mbi(1)}.* Y .*{iso(-4)}  - ")
        members = json.loads(self.site.ctl("attribution", "list", "A9994", "--json").stdout)
        self.assertEqual([row["suppressed"] for row in members], [True, False])
        stat = json.loads(self.site.ctl("stat", "--json").stdout)
        self.assertEqual({row["aco"]: row["beneficiaries"] for row in stat["types"]}, {"A9994": 1, "A9995": 1, "all": 2})


class FilesTest(unittest.TestCase):
    """What is taken and what is refused, as files."""

    def setUp(self):
        self.site = sluice.Site(["A9994"])
        self.addCleanup(self.site.close)

    def ctl(self, *arguments, status=0):
        done = self.site.ctl("suppression", "import", *arguments, check=False)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def count(self):
        return len(json.loads(self.site.ctl("suppression", "list", "--json").stdout)["mbis"])

    def samples(self, era):
        return sluice.shared_data("cms-bcda-cclf", era, "suppression")

    def test_every_sample_is_taken_or_refused_with_its_reason_and_changes_nothing(self):
        name = "T#EFT.ON.ACO.NGD1800.DPRF.D181120.T10000{}"
        broken = {
            "suppressionfile_BadFileNames/T#EFT.ON.ACO.NGD1800.FRPD.D191220.T1000009": "not an opt-out file's name",
            "suppressionfile_BadHeader/" + name.format("09"): "line 1: the file does not begin with \"HDR_BENEDATASHR\"",
            "suppressionfile_MissingData/" + name.format("09"): "line 6: the trailer's count is no number",
            "suppressionfile_MissingData/" + name.format("10"): "line 6: the trailer counts 5 rows, the file has 4",
            "suppressionfile_MissingData/" + name.format("12"): "line 2: the SAMHSA effective date",
        }
        for era in ("2019-10", "2026"):
            folder = self.samples(era)
            found = [path for path in glob.glob(os.path.join(folder, "**", "*#*"), recursive=True) if os.path.isfile(path)]
            self.assertEqual(len(found), len(broken) + 2)
            done = self.ctl(*(os.path.join(folder, sample) for sample in broken), status=1)
            for sample, reason in broken.items():
                self.assertIn(f"{os.path.join(folder, sample)}: {reason}", done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), len(broken))
            self.assertEqual(self.count(), 0)
        done = self.ctl(os.path.join(self.samples("2019-10"), "synthetic1800MedicareFiles", "test"), "--json")
        first, second = json.loads(done.stdout)
        self.assertEqual([first[key] for key in ("state", "rows", "preferences", "added", "foreign", "trailer")],
                         ["applied", 4, 3, 3, 4, True])
        self.assertEqual([second[key] for key in ("state", "rows", "preferences", "foreign", "trailer")],
                         ["applied", 250, 157, 250, False])
        self.assertIn("warning: it has no trailer", done.stderr)
        self.assertIn("250 rows name no MBI", done.stderr)
        self.assertEqual(self.site.ctl("verify").returncode, 0)

    def test_a_file_again_is_skipped_and_another_of_its_name_is_refused(self):
        rows = [wire.optout_row(wire.mbi(number), "N", "20990101") for number in range(3)]
        folder = self.site.path("incoming")
        os.mkdir(folder)
        name = wire.optout_name("2021-03-01T00:00:00")
        with gzip.open(os.path.join(folder, name + ".gz"), "wt") as file:
            file.write(wire.optout_file(rows))
        with open(os.path.join(folder, "notes.txt"), "w", encoding="ascii") as file:
            file.write("no opt-outs\n")
        self.assertIn("3 rows, 3 preferences (3 of them new)", self.ctl(folder).stdout)
        plain = self.site.write(name, wire.optout_file(rows))
        done = self.ctl(plain)
        self.assertEqual(done.stdout, f"{name}: was imported before: skipped\n")
        self.site.write(name, wire.optout_file(rows[:2]))
        done = self.ctl(plain, status=1)
        self.assertIn("with other contents", done.stderr)
        self.assertEqual(self.count(), 3)

    def test_damage_is_refused_whole(self):
        row = wire.optout_row(wire.mbi(1), "N", "20210101")
        packed = gzip.compress(wire.optout_file([row] * 50).encode())
        name = wire.optout_name("2021-03-01T00:00:00")
        for text, reason in (("", "is empty"), (wire.optout_file([row, row[:200]]), "line 3: has 200 characters instead of 459"),
                             (wire.optout_file([row])[:-3] + "x", "line 3"), (packed[:-20], "cut short"),
                             (packed[:30] + b"\xff\xff\xff" + packed[33:], "gzip"),
                             (wire.optout_file([row.replace("N20", "X20").replace("TN", "TX")]), "line 2: the preference")):
            done = self.ctl(self.site.write(name, text), status=1)
            self.assertIn(reason, done.stderr)
            self.assertNotIn(wire.mbi(1), done.stderr)
            self.assertNotIn("Janice", done.stderr)
        self.assertEqual(self.count(), 0)
        os.mkfifo(self.site.path(wire.optout_name("2021-03-02T00:00:00")))
        self.assertIn("no regular file", self.ctl(self.site.path(wire.optout_name("2021-03-02T00:00:00")), status=1).stderr)
        shutil.rmtree(self.site.path("none"), ignore_errors=True)
        os.mkdir(self.site.path("none"))
        self.assertIn("no opt-out file found", self.ctl(self.site.path("none"), status=1).stderr)

    def test_more_rows_than_one_part_are_applied_in_order(self):
        rows = [wire.optout_row(wire.mbi(number), preference, "20990101" if preference == "N" else "20990102")
                for number in range(700) for preference in "YN"]
        path = self.site.write(wire.optout_name("2021-03-01T00:00:00"), wire.optout_file(rows, trailer=False))
        outcome = json.loads(self.ctl(path, "--json").stdout)[0]
        self.assertEqual((outcome["rows"], outcome["added"], outcome["unknown"]), (1400, 1400, 700))
        self.assertEqual(self.count(), 700)


if __name__ == "__main__":
    unittest.main()
