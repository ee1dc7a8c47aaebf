"""The benchmarks in smoke size: they run, check their results and report. No time is judged here."""

import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

IDLE = os.path.join(sluice.ROOT, "tests", "bench", "idle_connections.py")
MOVES = os.path.join(sluice.ROOT, "tests", "bench", "kickoff_beside_moves.py")
SCRIPT = os.path.join(sluice.ROOT, "tests", "bench", "export_against_copy.py")


class ExportAgainstCopyTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        # The script itself compares every exported line with what was imported, and ends with 1 if one differs.
        cls.report = json.loads(sluice.run(sys.executable, SCRIPT, "--smoke", "--json").stdout)

    def test_every_round_is_measured_in_every_way(self):
        self.assertEqual(self.report["rounds"], 2)
        self.assertEqual(set(self.report["seconds"]), {"import", "export", "export_client", "copy", "floor", "wait",
                                                       "plan", "write", "sync", "commit"})
        for kind, seconds in self.report["seconds"].items():
            self.assertEqual(len(seconds), 2, kind)
            self.assertTrue(all(second >= 0 for second in seconds), kind)

    def test_the_report_says_what_was_measured_and_where(self):
        self.assertGreater(self.report["raw_bytes"], 1_000_000)
        self.assertGreater(self.report["raw_bytes"], 5 * self.report["stored_bytes"])
        self.assertEqual(self.report["files"], 3)
        for key in ("cpu", "cores", "disk", "file_system", "kernel"):
            self.assertTrue(self.report["machine"][key], key)
        self.assertIn("--smoke", self.report["command"])

    def test_it_prints_a_section_of_markdown(self):
        sys.path.insert(0, os.path.dirname(SCRIPT))
        import export_against_copy
        text = export_against_copy.markdown(self.report)
        self.assertIn("times mean nothing", text)
        for title in ("export", "copy", "floor", "import", "export / copy", "export / floor", "Machine", "Commit"):
            self.assertIn(title, text)


class KickoffBesideImportTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        # The script itself checks that every kick-off was accepted and what every import counted.
        script = os.path.join(sluice.ROOT, "tests", "bench", "kickoff_beside_import.py")
        cls.report = json.loads(sluice.run(sys.executable, script, "--smoke", "--json").stdout)
        sys.path.insert(0, os.path.dirname(script))

    def test_every_import_is_timed_and_every_kick_off_has_its_latency(self):
        for kind, seconds in self.report["seconds"].items():
            self.assertEqual(len(seconds), 1, kind)
            self.assertGreater(seconds[0], 0, kind)
        for kind, rounds in self.report["latencies"].items():
            for result in rounds:
                self.assertEqual(len(result["seconds"]), len(result["server"]), kind)
                self.assertEqual(len(result["seconds"]), len(result["lag"]), kind)
        self.assertGreater(len(self.report["latencies"]["kick-offs idle"][0]["seconds"]), 0)

    def test_it_prints_a_section_of_markdown(self):
        import kickoff_beside_import
        text = kickoff_beside_import.markdown(self.report)
        for title in ("times mean nothing", "beside kick-offs", "p99", "over 50 ms", "Machine", "Commit", "--smoke"):
            self.assertIn(title, text)


class CompactionTest(unittest.TestCase):
    timeout_seconds = 300

    def test_the_store_is_measured_after_each_step_and_exports_are_compared(self):
        # The script itself checks that nothing but space changed, and that both stores export the same lines.
        script = os.path.join(sluice.ROOT, "tests", "bench", "compaction.py")
        report = json.loads(sluice.run(sys.executable, script, "--smoke", "--json").stdout)
        space = report["space"]
        self.assertEqual(set(space), {"load", "weeks", "compacted"})
        self.assertLess(space["compacted"]["store"], space["weeks"]["store"])
        self.assertEqual(space["compacted"]["raw"], space["weeks"]["raw"])
        self.assertGreater(space["weeks"]["raw"], space["load"]["raw"])
        self.assertEqual({name: len(seconds) for name, seconds in report["seconds"].items()}, {"compacted": 2, "fresh": 2})
        sys.path.insert(0, os.path.dirname(script))
        import compaction
        text = compaction.markdown(report)
        for title in ("times mean nothing", "after the compaction", "store / gzip", "round by round", "Machine", "Commit"):
            self.assertIn(title, text)


class WeeklyLoadTest(unittest.TestCase):
    def test_every_week_is_loaded_and_the_last_one_exported(self):
        # The script itself checks how many lines were imported, and how many the export has.
        script = os.path.join(sluice.ROOT, "tests", "bench", "weekly_load.py")
        report = json.loads(sluice.run(sys.executable, script, "--smoke", "--json").stdout)
        self.assertEqual(len(report["weeks"]), 2)
        for row in (report["first"], *report["weeks"]):
            self.assertGreater(row["cpu"], 0)
            self.assertTrue(1 <= row["touched"] <= 6 + 2, row)
        self.assertGreater(report["export"]["raw_bytes"], report["export"]["stored_bytes"])
        sys.path.insert(0, os.path.dirname(script))
        import weekly_load
        text = weekly_load.markdown(report)
        for title in ("mean nothing", "first load", "ns a byte", "An export of the last week", "Machine", "Commit"):
            self.assertIn(title, text)


class ColdLoadTest(unittest.TestCase):
    def test_reads_are_counted_for_each_read_ahead(self):
        script = os.path.join(sluice.ROOT, "tests", "bench", "cold_load.py")
        report = json.loads(sluice.run(sys.executable, script, "--smoke", "--json").stdout)
        self.assertEqual(list(report["cold"]), ["0", "128", "4096"])
        for read_ahead, found in report["cold"].items():
            self.assertGreater(found["load"]["bytes"], 4096, read_ahead)
            self.assertGreater(found["export"]["bytes"], found["stored"][0], f"{read_ahead}: the store was in memory")
        self.assertLess(report["cold"]["0"]["load"]["bytes"], report["cold"]["4096"]["load"]["bytes"])
        sys.path.insert(0, os.path.dirname(script))
        import cold_load
        text = cold_load.markdown(report)
        for title in ("mean nothing", "read ahead", "bytes read / stored", "Machine", "Commit"):
            self.assertIn(title, text)


class LimitsTest(unittest.TestCase):
    SCRIPT = os.path.join(sluice.ROOT, "tests", "bench", "limits.py")

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp()
        compared = {"facts": {"stored_bytes": 10_000_000, "cipher": "TLS_AES_256_GCM_SHA384"},
                    "values": {"export": [0.02, 0.01, 0.03], "download.tls.gzip.sluiced.cpu": [1.0], "status.plain.sluiced.cpu": [2e-5]}}
        path = os.path.join(folder, "compare.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(compared, file)
        cls.report = json.loads(sluice.run(sys.executable, cls.SCRIPT, "--smoke", "--json", "--compare", path).stdout)
        sys.path.insert(0, os.path.dirname(cls.SCRIPT))

    def test_every_limit_is_measured(self):
        import limits
        wanted = {name for name, _, _, _ in limits.LIMITS} - {"cipher.aes-128-gcm", "cipher.chacha20-poly1305"}
        self.assertEqual(set(self.report["values"]), wanted)
        for name, values in self.report["values"].items():
            self.assertEqual(len(values), 1, name)
            self.assertGreater(values[0], 0, name)

    def test_what_is_done_one_after_another_with_a_byte_takes_the_sum_of_the_times(self):
        import limits
        self.assertAlmostEqual(limits.chain(2.0, 2.0), 1)
        machine = {name: 4e9 for name in self.report["values"]}
        rows = {what.rsplit("`", 2)[1]: (ours, limit) for what, ours, limit, _ in
                limits.ours(machine, self.report["micro"], self.report["compared"])}
        self.assertEqual([round(value) for value in rows["export"]], [500_000_000, 4_000_000_000])
        self.assertEqual([round(value) for value in rows["download.tls.gzip.sluiced.cpu"]], [10**9, 2 * 10**9])
        self.assertEqual(round(rows["status.plain.sluiced.cpu"][0]), 50_000)
        self.assertIn("codec/encode_verbatim", rows)

    def test_it_prints_a_section_of_markdown(self):
        import limits
        text = limits.markdown(self.report)
        for title in ("mean nothing", "memory, copied", "AES-256-GCM", "loopback", "ours / limit", "Machine", "Commit", "--smoke"):
            self.assertIn(title, text)


class CompareTest(unittest.TestCase):
    timeout_seconds = 300

    def test_every_part_is_measured_beside_its_peer_and_reported(self):
        folder = tempfile.mkdtemp()
        script = os.path.join(sluice.ROOT, "tests", "bench", "compare")
        picture = os.path.join(folder, "plot.svg")
        text = sluice.run(script, "--smoke", "--plot", picture).stdout
        self.assertIn("times mean nothing", text)
        for name in ("export.postgres.jsonb", "download.tls.gzip.nginx.cpu", "download.plain.identity.sluiced.seconds",
                     "status.tls.sluiced.cpu", "import.yajl", "size.compacted"):
            self.assertIn(f"`{name}`", text)
        with open(picture, encoding="utf-8") as file:
            self.assertGreaterEqual(file.read().count("<rect"), 20)


class KickoffBesideMovesTest(unittest.TestCase):
    def test_all_move_and_every_kick_off_is_counted(self):
        report = json.loads(sluice.run(sys.executable, MOVES, "--smoke", "--json").stdout)
        self.assertEqual([found["moves"]["beneficiaries"] for found in report["rounds"]], [6])
        for kind in ("idle", "moving"):
            self.assertGreater(len(report["rounds"][0][kind]["seconds"]), 0)
        sys.path.insert(0, os.path.dirname(MOVES))
        import kickoff_beside_moves
        self.assertIn("times mean nothing", kickoff_beside_moves.markdown(report))


class TargetsTest(unittest.TestCase):
    timeout_seconds = 300

    def test_every_target_is_measured_and_judged(self):
        # The script itself checks counts, bytes and statuses.
        script = os.path.join(sluice.ROOT, "tests", "bench", "targets")
        text = sluice.run(script, "--smoke").stdout
        rows = [line for line in text.splitlines() if line.endswith(("| met |", "| **missed** |"))]
        self.assertEqual(len(rows), 11, text)
        for part in ("times mean nothing", "1 % changed", "ten times larger", "p99", "64 at once", "RssAnon", "`start.cold.ms`",
                     "Machine", "Commit", "--smoke"):
            self.assertIn(part, text)


class IdleConnectionsTest(unittest.TestCase):
    def test_every_connection_is_held_and_its_memory_and_the_polls_beside_it_are_reported(self):
        # The script itself polls on each connection before and after the load, and ends with 1 if one was closed.
        report = json.loads(sluice.run(sys.executable, IDLE, "--smoke", "--json").stdout)
        self.assertEqual(report["connections"], 20)
        self.assertEqual(report["status"]["done"], 100)
        self.assertGreater(report["rss_anon"], 0)
        sys.path.insert(0, os.path.dirname(IDLE))
        import idle_connections
        self.assertIn("figures mean nothing", idle_connections.markdown(report))


if __name__ == "__main__":
    unittest.main()
