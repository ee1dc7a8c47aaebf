"""What sluicectl says and how it ends: right and wrong words, bad files, a full disk, its tables and its JSON."""

import json
import os
import resource
import shutil
import subprocess
import sys
import unittest
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

CCLF_A, CCLF_B = "1S00A00AA00", "1S00A00AA01"


def patient(number, **more):
    return json.dumps({"resourceType": "Patient", "id": f"p{number}",
                       "meta": {"lastUpdated": "2021-01-01T00:00:00.000+00:00"}, **more}) + "\n"


class SluicectlTest(unittest.TestCase):
    def setUp(self):
        self.site = sluice.Site()
        self.addCleanup(self.site.close)

    def ctl(self, *arguments, status=0):
        done = self.site.ctl(*arguments, check=False)
        self.assertEqual(done.returncode, status, f"{arguments}: {done.stdout}{done.stderr}")
        return done

    def roster(self, name, *mbis):
        return self.site.write(name, "".join(mbi + "\n" for mbi in mbis))

    # ---- words

    def test_a_command_that_is_not_there_is_named_whole(self):
        for words, text in [(["frob"], "no such command: frob"), (["jobs", "frob"], "no such command: jobs frob"),
                            (["dumps"], "no such command: dumps"), (["aco"], "aco is half a command")]:
            done = self.ctl(*words, status=2)
            self.assertIn(text, done.stderr)
            self.assertIn("Try: sluicectl --help", done.stderr)
            self.assertEqual(done.stdout, "")

    def test_a_wrong_number_of_arguments_is_answered_with_the_right_one(self):
        self.assertIn("it goes: sluicectl aco add ID", self.ctl("aco", "add", status=2).stderr)
        self.assertIn("it goes: sluicectl init\n", self.ctl("init", "x", status=2).stderr)

    def test_options_with_impossible_values_are_wrong_usage(self):
        self.assertIn("--at: ", self.ctl("attribution", "list", "A9994", "--at", "2026", status=2).stderr)
        self.assertIn("--at: ", self.ctl("attribution", "import", "x", "--at", "2026", status=2).stderr)
        done = self.ctl("jobs", "list", "--state", "Bogus", status=2)
        self.assertIn("Bogus", done.stderr)
        self.assertIn("In Progress", done.stderr)
        self.ctl("jobs", "list", "--state", "in progress")

    def test_without_a_data_directory_it_asks_for_one(self):
        environment = {name: value for name, value in os.environ.items() if name != "SLUICE_DATA"}
        done = sluice.run(sluice.program("sluicectl"), "aco", "list", check=False, env=environment)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--data DIR", done.stderr)

    def test_a_directory_that_may_not_be_read_is_not_called_empty(self):
        if os.getuid() == 0 and not shutil.which("setpriv"):
            self.fail("as root this test needs setpriv (util-linux)")
        other = ["setpriv", "--reuid=65534", "--clear-groups"] if os.getuid() == 0 else []
        os.chmod(self.site.folder, 0o755)
        os.chmod(self.site.store, 0o700 if other else 0)
        self.addCleanup(os.chmod, self.site.store, 0o700)
        done = sluice.run(*other, sluice.program("sluicectl"), "--data", self.site.store, "aco", "list", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Permission denied", done.stderr)

    def test_an_output_that_takes_nothing_is_a_failure(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            status = subprocess.run([sluice.program("sluicectl"), "--data", self.site.store, "stat"], stdout=full,
                                    stderr=subprocess.DEVNULL, check=False).returncode
        self.assertEqual(status, 1)

    def test_an_init_that_found_no_room_leaves_nothing_and_can_be_repeated(self):
        path = self.site.path("small")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        command = [sluice.program("sluicectl"), "--data", path, "init"]
        done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
        self.assertNotEqual(done.returncode, 0)
        if done.returncode == 1:
            self.assertFalse(os.path.exists(path), done.stderr)
        else:  # by SIGXFSZ: nobody could tidy up
            shutil.rmtree(path)
        sluice.run(*command)

    def test_a_store_that_was_cut_short_stops_every_command_with_a_message(self):
        os.truncate(os.path.join(self.site.store, "store.mdb"), 8192)
        for words in (["aco", "list"], ["verify"], ["aco", "add", "A0001"]):
            done = self.site.ctl(*words, check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertRegex(done.stderr, "restore it from a backup|Sanitizer", words)
            self.assertEqual(done.stdout, "", words)

    # ---- imports

    def test_strict_reads_no_pipe(self):
        path = self.site.path("fifo")
        os.mkfifo(path)
        good = self.site.write("good.ndjson", patient(1))
        for pipe in (path, "-", "/dev/stdin"):
            done = subprocess.run([sluice.program("sluicectl"), "--data", self.site.store, "import", "--strict", good,
                                   pipe], input=patient(2), capture_output=True, text=True, check=False,
                                  timeout=sluice.DEADLINE_SECONDS)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"{pipe}: --strict reads each file twice", done.stderr)
        self.ctl("get", "Patient/p1", status=1)

    def test_a_damaged_file_costs_only_itself(self):
        good = self.site.write("good.ndjson", patient(1))
        empty = self.site.write("empty.ndjson.gz", "")
        done = self.ctl("import", empty, self.site.write("b.json", '{"resourceType":"Bundle","entry":[{"resource":1}]}'),
                        good, "--json", status=1)
        self.assertIn(f"{empty}: is empty, and so no gzip file", done.stderr)
        self.assertIn("b.json:1: ", done.stderr)
        counts = json.loads(done.stdout)
        self.assertEqual((counts["added"], counts["refused"], counts["filesFailed"]), (1, 1, 1))

    # ---- tables and JSON

    def test_columns_stand_under_their_titles_also_behind_umlauts(self):
        self.ctl("aco", "add", "A0001", "--name", "Ärzte in Köln")
        lines = self.ctl("aco", "list").stdout.splitlines()
        at = lines[0].index("added")
        self.assertEqual([line[at - 2:at + 2] for line in lines[1:]], ["  20", "  20"])

    def test_what_is_not_there_is_null_in_json(self):
        aco, = json.loads(self.ctl("aco", "list", "--json").stdout)
        self.assertIsNone(aco["newestTransactionTime"])
        self.assertRegex(aco["added"], r"^\d{4}-\d\d-\d\dT.*Z$")

    def test_stat_says_the_same_to_people_and_programs(self):
        self.ctl("import", self.site.write("a.ndjson", patient(1)), "--aco", "A9994")
        told = json.loads(self.ctl("stat", "--json").stdout)
        row, = [row for row in told["types"] if (row["aco"], row["type"]) == ("A9994", "Patient")]
        self.assertEqual((row["beneficiaries"], row["resources"], row["segments"]), (1, 1, 1))
        self.assertEqual(row["newest"], "2021-01-01T00:00:00.000000Z")
        self.assertGreater(told["diskFreeBytes"], 0)
        self.assertGreater(told["mapBytes"], told["fileBytes"])
        self.assertEqual(told["readersMax"], 512)
        text = self.ctl("stat").stdout
        self.assertRegex(text, r"A9994  Patient +1 +1 +1 ")
        self.assertIn("free on the disk", text)

    def test_jobs_are_listed_and_shown_with_what_they_made(self):
        self.ctl("import", self.site.write("a.ndjson", patient(1) + patient(2)), "--aco", "A9994")
        with sluice.Server(self.site, plaintext=True) as server:
            server.export(coding="gzip")
            listed, = json.loads(self.ctl("jobs", "list", "--json").stdout)
            shown = json.loads(self.ctl("jobs", "show", "1", "--json").stdout)
            text = self.ctl("jobs", "show", "1").stdout
            self.ctl("jobs", "cancel", "1")
        self.assertEqual((listed["state"], listed["files"], listed["resources"]), ("Completed", 1, 2))
        self.assertEqual(shown["state"], "Completed")
        self.assertEqual(shown["aco"], "A9994")
        self.assertIsNone(shown["since"])
        self.assertIn("/api/v1/Patient/$export", shown["request"])
        kept, = [file for file in shown["files"] if file["resources"]]
        self.assertEqual((kept["type"], kept["state"], kept["bytes"]), ("Patient", "complete", listed["bytes"]))
        self.assertRegex(text, r"(?m)^state +Completed$")
        self.assertIn(kept["file"], text)
        # Its files are gone, but not what is known of it.
        self.assertRegex(self.ctl("jobs", "show", "1").stdout, r"(?m)^state +Cancelled$")
        self.assertIn("there is no job 7", self.ctl("jobs", "show", "7", status=1).stderr)

    def test_the_files_of_a_job_fit_a_terminal(self):
        claims = [{"resourceType": "ExplanationOfBenefit", "id": f"c{number}", "patient": {"reference": "Patient/p1"},
                   "note": "x" * 100000} for number in range(11)]
        text = "".join(json.dumps(claim) + "\n" for claim in claims)
        self.ctl("import", self.site.write("a.ndjson", patient(1)), "--aco", "A9994")
        with sluice.Server(self.site, plaintext=True) as server:
            since = server.export()[0]["transactionTime"]
            self.ctl("import", self.site.write("b.ndjson", text))
            server.export("A9994", f"/api/v1/Group/all/$export?_since={since}")
            lines = self.ctl("jobs", "show", "2").stdout.splitlines()
        self.assertLessEqual(max(map(len, lines)), 100, lines)
        self.assertTrue([line for line in lines if "ExplanationOfBenefit  existing" in line and "1.1 MB" in line], lines)

    def test_rosters_are_told_in_json_applied_skipped_or_refused(self):
        first = self.roster("P.BCD.A9994.ZC8Y26.D260101.T0000000", CCLF_A, CCLF_B)
        told = json.loads(self.ctl("attribution", "import", first, "--json").stdout)
        self.assertEqual(told, [{"file": os.path.basename(first), "state": "applied", "aco": "A9994",
                                 "beneficiaries": 2, "joined": 2, "unknown": 2, "left": 0, "linked": 0}])
        bad = self.roster("P.BCD.A9994.ZC8Y26.D260201.T0000000", "no MBI")
        done = self.ctl("attribution", "import", first, bad, "--json", status=1)
        self.assertEqual([item["state"] for item in json.loads(done.stdout)], ["skipped", "refused"])
        self.assertIn(bad, done.stderr)

    def test_a_member_of_then_is_listed_since_then(self):
        self.ctl("attribution", "import", self.roster("P.BCD.A9994.ZC8Y26.D260101.T0000000", CCLF_A, CCLF_B),
                 self.roster("P.BCD.A9994.ZC8Y26.D260201.T0000000", CCLF_B),
                 self.roster("P.BCD.A9994.ZC8Y26.D260301.T0000000", CCLF_A, CCLF_B))

        def members(*at):
            rows = json.loads(self.ctl("attribution", "list", "A9994", "--json", *at).stdout)
            return {row["mbi"]: row["since"][:10] for row in rows}

        self.assertEqual(members(), {CCLF_A: "2026-03-01", CCLF_B: "2026-01-01"})
        self.assertEqual(members("--at", "2026-01-15T00:00:00Z"), {CCLF_A: "2026-01-01", CCLF_B: "2026-01-01"})
        self.assertEqual(members("--at", "2026-02-15T00:00:00Z"), {CCLF_B: "2026-01-01"})


class RosterFileTest(unittest.TestCase):
    """A roster that is not whole, or not what its name says, changes nothing."""

    ARCHIVE, AT = "P.BCD.A9994.ZCY26", "D260101.T0000000"

    def setUp(self):
        self.site = sluice.Site()
        self.addCleanup(self.site.close)

    def archive(self, entries, name=None):
        path = self.site.path(name or f"{self.ARCHIVE}.{self.AT}")
        with zipfile.ZipFile(path, "w") as archive:
            for kind, text in entries:
                archive.writestr(f"P.BCD.A9994.ZC{kind}Y26.{self.AT}" if len(kind) == 1 else kind, text)
        return path

    @staticmethod
    def summary(count):
        return f"File Number |File Description |Total Records Count |Record Length\nCCLF8 |Beneficiaries | {count}| 549\n"

    def check_refused(self, path, reason):
        done = self.site.ctl("attribution", "import", path, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(reason, done.stderr)
        self.assertIn(path, done.stderr)
        self.assertEqual(json.loads(self.site.ctl("attribution", "status", "--json").stdout), [])

    def test_counts_must_be_what_the_summary_says(self):
        rows = f"{CCLF_A}\n{CCLF_B}\n"
        for count in (1, 3):
            self.check_refused(self.archive([("0", self.summary(count)), ("8", rows)]), f"CCLF0 says {count} ")
        path = self.archive([("0", self.summary(2)), ("8", rows)])
        self.assertIn("2 joined", self.site.ctl("attribution", "import", path).stdout)

    def test_an_archive_holds_one_file_of_each_kind(self):
        rows = f"{CCLF_A}\n"
        self.check_refused(self.archive([("0", self.summary(1))]), "no CCLF8 file")
        self.check_refused(self.archive([("8", rows), ("9", "")]), "no CCLF0 file")
        self.check_refused(self.archive([("0", self.summary(1)), ("8", rows),
                                         (f"P.BCD.A9994.ZC8Y26.{self.AT}-2", rows)]), "several CCLF8 files")

    def test_what_the_name_says_must_be_true(self):
        rows = f"{CCLF_A}\n"
        other = f"P.BCD.A9990.ZC8Y26.{self.AT}"
        self.check_refused(self.archive([("0", self.summary(1)), (other, rows)]), "of ACO A9994, its CCLF8 file of A9990")
        self.check_refused(self.site.write(f"{self.ARCHIVE}.{self.AT}", rows), "no zip archive")
        self.check_refused(self.site.write(f"P.BCD.A9994.ZC0Y26.{self.AT}", rows), "no CCLF8 file")
        self.check_refused(self.site.write(f"P.BCD.A9994.ZC8R26.{self.AT}", rows), "run-out")
        self.check_refused(self.site.write("members.txt", rows), "not a CCLF name")
        self.check_refused(self.site.write(other, rows), "A9990")

    def test_the_parts_of_a_file_are_bounded_together(self):
        parts = [(f"P.BCD.A9994.ZC8Y26.{self.AT}-{part}", f"{CCLF_A}\n") for part in (1, 2)]
        path = self.archive([("0", self.summary(2)), *parts])
        with open(path, "rb") as file:
            whole = bytearray(file.read())
        size = (2**31 - 4).to_bytes(4, "little")  # by itself it would pass
        entry = whole.rindex(b"PK\x03\x04")
        listed = whole.rindex(b"PK\x01\x02")
        whole[entry + 22:entry + 26] = size
        whole[listed + 24:listed + 28] = size
        self.check_refused(self.site.write(os.path.basename(path), bytes(whole)), "is over 2147483648 bytes")

    def test_a_pipe_is_not_waited_for(self):
        path = self.site.path(f"{self.ARCHIVE}.{self.AT}")
        os.mkfifo(path)
        self.check_refused(path, "is no regular file")

    def test_damage_and_emptiness_are_refused(self):
        path = self.archive([("0", self.summary(1)), ("8", f"{CCLF_A}\n")])
        with open(path, "rb") as file:
            whole = file.read()
        at = whole.index(CCLF_A.encode())
        self.check_refused(self.site.write(os.path.basename(path), whole[:at] + b"2" + whole[at + 1:]), "damaged")
        self.check_refused(self.site.write(os.path.basename(path), whole[:-30]), "zip archive")
        self.check_refused(self.archive([("0", self.summary(0)), ("8", "")]), "names no beneficiary")
        self.check_refused(self.site.write(f"P.BCD.A9994.ZC8Y26.{self.AT}", ""), "names no beneficiary")


if __name__ == "__main__":
    unittest.main()
