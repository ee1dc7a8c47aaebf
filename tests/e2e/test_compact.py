"""sluicectl compact beside a live server: exports, kick-offs and imports go on, and give what they would have given."""

import datetime
import json
import os
import re
import signal
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

ACO = crash.ACO
BENEFICIARIES = 60
LOADS = 6


def claim(beneficiary, number, load, text=600):
    body = {"resourceType": "ExplanationOfBenefit", "id": f"claim-{beneficiary}-{number}",
            "meta": {"lastUpdated": f"2021-{load % 12 + 1:02}-03T00:00:00.000Z"},
            "patient": {"reference": f"Patient/p{beneficiary}"},
            "note": " ".join(f"{(beneficiary * 7919 + number * 104729 + i * i) % 997}" for i in range(text // 4))}
    return json.dumps(body, separators=(",", ":"))


class CompactTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prepared = sluice.Site((ACO,))
        cls.addClassCleanup(cls.prepared.close)
        for number in range(LOADS):
            cls.load(cls.prepared, number)

    def setUp(self):
        self.site = crash.copy_of(self.prepared)
        self.addCleanup(self.site.close)

    @staticmethod
    def load(site, number):
        lines = [claim(beneficiary, number, number) for beneficiary in range(BENEFICIARIES)]
        site.ctl("import", site.write(f"load-{number}.ndjson", "\n".join(lines) + "\n"), "--aco", ACO)

    def compact(self, *options, status=0):
        done = self.site.ctl("compact", "--json", *options, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return json.loads(done.stdout)

    @staticmethod
    def catches_interrupts(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            caught = re.search(r"^SigCgt:\s*(\w+)", file.read(), flags=re.MULTILINE)[1]
        return int(caught, 16) >> (signal.SIGINT - 1) & 1

    def test_it_says_what_it_gained_and_then_that_there_is_nothing(self):
        told = self.compact()
        self.assertTrue(told["complete"])
        self.assertEqual((told["before"]["segments"], told["after"]["segments"]), (BENEFICIARIES * LOADS, BENEFICIARIES))
        self.assertLess(told["after"]["storedBytes"], told["before"]["storedBytes"])
        self.assertGreater(told["after"]["fileBytes"], 0)
        self.assertEqual(self.compact()["replaced"], 0)
        self.assertIn("nothing to compact", self.site.ctl("compact").stdout)
        crash.verify(self.site)

    def test_what_is_younger_than_asked_for_is_merged_by_its_months_only(self):
        months = {(datetime.date(2021, load + 1, 3) - datetime.date(1970, 1, 1)).days // 30 for load in range(LOADS)}
        self.assertLess(len(months), LOADS)
        self.assertEqual(self.compact("--older-than-days", "36500")["after"]["segments"], BENEFICIARIES * len(months))
        self.assertEqual(self.compact("--older-than-days", "0")["after"]["segments"], BENEFICIARIES)

    def test_wrong_numbers_are_wrong_usage(self):
        for days in ("", "x", "-1", "1.5", "36501"):
            self.assertEqual(self.site.ctl("compact", "--older-than-days", days, check=False).returncode, 2, days)
        done = self.site.ctl("compact", "--history-years", "6", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("6 are too few", done.stderr)

    def test_claims_older_than_is_kept_leave(self):
        days = {100: "2001-02-03", 101: "2025-02-03"}
        lines = [json.dumps({**json.loads(claim(0, number, 1)), "billablePeriod": {"start": day, "end": day}})
                 for number, day in days.items()]
        self.site.ctl("import", self.site.write("served.ndjson", "\n".join(lines) + "\n"), "--aco", ACO)
        self.assertEqual(self.compact("--history-years", "7")["expired"], 1)
        self.site.ctl("get", "ExplanationOfBenefit/claim-0-101")
        self.assertEqual(self.site.ctl("get", "ExplanationOfBenefit/claim-0-100", check=False).returncode, 1)
        crash.verify(self.site)

    def test_beside_a_server_exports_are_the_same_and_the_rest_goes_on(self):
        since = "/api/v1/Group/all/$export?_since=2021-03-15T00:00:00Z"
        with sluice.Server(self.site) as server:
            before = [server.export(ACO)[1], server.export(ACO, since)[1]]
            told = {}
            worker = threading.Thread(target=lambda: told.update(self.compact()))
            worker.start()
            during = []
            while worker.is_alive() or not during:
                during.append(server.export(ACO)[1])
            worker.join()
            self.load(self.site, LOADS)
            self.assertEqual(told["after"]["segments"], BENEFICIARIES)
            for lines in during:
                self.assertEqual({kind: sorted(found) for kind, found in lines.items()},
                                 {kind: sorted(found) for kind, found in before[0].items()})
            bounded = server.export(ACO, since)[1]["ExplanationOfBenefit"]
            known = set(before[1]["ExplanationOfBenefit"])
            self.assertEqual(len(bounded), len(known) + BENEFICIARIES)
            self.assertLessEqual(known, set(bounded))
        crash.verify(self.site)

    def test_an_interrupt_ends_it_in_order_and_the_next_run_goes_on(self):
        process = subprocess.Popen([sluice.program("sluicectl"), "--data", self.site.store, "compact", "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=dict(self.site.environment, SLUICE_FAILPOINTS="engine.commit.before=sleep"))
        sluice.wait_until(lambda: self.catches_interrupts(process.pid), "it catches interrupts")
        process.send_signal(signal.SIGINT)
        output, complaint = process.communicate(timeout=sluice.DEADLINE_SECONDS)
        self.assertIn(process.returncode, (0, 1), complaint)
        self.assertEqual(json.loads(output)["complete"], process.returncode == 0)
        if process.returncode == 1:
            self.assertIn(f"of {BENEFICIARIES} beneficiaries; run it again", complaint)
        self.assertEqual(self.compact()["after"]["segments"], BENEFICIARIES)
        crash.verify(self.site)


if __name__ == "__main__":
    unittest.main()
