"""Damage to what lies on the disk: an answer that is right, or an error that says what is wrong. Never another one.

SLUICE_FLIPS is the number of bits that are flipped in the store; in the check it is FLIPS_IN_CHECK. A share of the
damaged stores is served, too.
"""

import glob
import http.client
import gzip
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

FLIPS_IN_CHECK = 300
SERVED_SHARE = 0.06
PAGE = 4096
ROOTS = 2 * PAGE  # LMDB's two roots: one that is damaged may leave the other, which is the commit before
BENEFICIARIES = 30
SETTINGS = {"disk_reserve_bytes": 0}
BROKEN = (OSError, http.client.HTTPException)
# What ends a program that LMDB was led astray in: its own assertion, a page that is not there, memory that is not.
EXPLAINED = {-signal.SIGABRT: "is damaged and the process stops", -signal.SIGBUS: "a page of the store cannot be read",
             -signal.SIGSEGV: "used memory that is not there"}
SECONDS_MAX = 20


def crc32c(data):
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    return value ^ 0xffffffff


def lines_of(command, text):
    """As a set. Columns of a table are as wide as what stands in them: another row that is missing moves them."""
    lines = text.splitlines()
    return {" ".join(line.split()) for line in lines} if "list" in command else set(lines)


class DamageTest(unittest.TestCase):
    timeout_seconds = 600

    @classmethod
    def setUpClass(cls):
        cls.seed = crash.seed()
        resources = crash.Resources(random.Random(cls.seed), BENEFICIARIES, claims=3, text_bytes=60)
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("attribution", "import", crash.write_roster(cls.site.folder, 5, range(BENEFICIARIES)))
        for name, lines in (("base", resources.base()), ("update", resources.update(2))):
            cls.site.ctl("import", cls.site.write(name + ".ndjson", b"\n".join(lines) + b"\n"))
        with open(os.path.join(cls.site.store, "store.mdb"), "rb") as file:
            cls.bytes = file.read()
        cls.commands = [("dump",), ("get", "Patient/-00007"), ("get", "ExplanationOfBenefit/carrier--00003-0"),
                        ("attribution", "list", crash.ACO), ("aco", "list"), ("credentials", "list")]
        cls.shown = {command: cls.site.ctl(*command).stdout for command in cls.commands}
        cls.lines = sorted(cls.shown["dump",].encode().splitlines())

    def copy(self):
        site = crash.copy_of(self.site)
        self.addCleanup(site.close)
        return site

    def run_ctl(self, site, *command):
        try:
            return subprocess.run([sluice.program("sluicectl"), "--data", site.store, "--quiet", *command],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=SECONDS_MAX, check=False)
        except subprocess.TimeoutExpired as hang:
            raise AssertionError(f"{command} hangs") from hang

    # ---- bits of the store ----

    def check_ended(self, status, complaint):
        if status < 0:
            self.assertIn(EXPLAINED.get(status, "an end that is explained"), complaint)
        else:
            self.assertEqual(status, 1)
            self.assertTrue(complaint.strip(), "a failure says why")

    def check_commands(self, site):
        """What each came to: right, an error, or stopped."""
        found = {}
        verified = self.run_ctl(site, "verify", "--json")
        complaint = verified.stderr.decode()
        if verified.returncode not in (0, 1) or not verified.stdout:
            self.check_ended(verified.returncode, complaint)
        elif verified.returncode == 1:
            self.assertTrue(json.loads(verified.stdout)["faults"])
        found["verify",] = verified.returncode
        for command in self.commands:
            done = self.run_ctl(site, *command)
            found[command] = done.returncode
            # Also what it had printed before it noticed is right.
            whole = lines_of(command, done.stdout[:done.stdout.rfind(b"\n") + 1].decode())
            self.assertLessEqual(whole, lines_of(command, self.shown[command]), f"{command} printed what is not")
            hides = done.returncode == 0 and done.stdout.decode() != self.shown[command]
            if hides or (command[0] == "get" and "there is none" in done.stderr.decode()):
                # A key that changed into another that may stand there, too (docs/faults.md, What is not covered).
                self.assertNotEqual(verified.returncode, 0, f"{command} hides something, and verify does not notice")
                found[command] = "hides"
            if done.returncode != 0:
                self.check_ended(done.returncode, done.stderr.decode())
        if verified.returncode == 0:
            self.assertEqual(set(found.values()), {0}, "verify finds what others stumble over")
        return found

    def check_server(self, site, verified=0):
        """An export: all lines, or fewer and a note of it, or a failure; the server stops only with an explanation."""
        server = crash.Server(site, SETTINGS)
        self.addCleanup(server.abandon)
        try:
            server.start()
            token = server.token()
            status, job = server.ask(token)
            self.assertEqual(status, 202)

            def poll():
                code, _, _ = server.request("GET", f"/api/v1/jobs/{job}", token)
                return code != 202 and code
            status = sluice.wait_until(poll, "the job ends")
            if status == 200:
                manifest = server.poll(token, job)[1]
                lines = server.lines(token, manifest)
                self.assertLessEqual(set(lines), set(self.lines), "an export has what is not")
                if lines != self.lines:
                    self.assertTrue(manifest["error"] or verified != 0, "an export that lacks something says so")
                    return "in part" if manifest["error"] else "hides"
            server.stop()
            return "whole" if status == 200 else "failed"
        except (AssertionError, *BROKEN) as failure:
            if server.process.poll() is None and "hangs" in str(failure):
                raise
            try:
                status = server.process.wait(1)
            except subprocess.TimeoutExpired:
                if "kick-off" in str(failure) or "no token" in str(failure):
                    return "refused"  # with a 5xx: the server goes on
                raise failure
            self.check_ended(status, server.log())
            return "stopped"

    def flip(self, number):
        generator = random.Random(f"{self.seed}/{number}")
        pages = [page for page in range(2, len(self.bytes) // PAGE)
                 if struct.unpack_from("<H", self.bytes, page * PAGE + 10)[0] & 3]  # branches and leaves
        if generator.random() < 0.4:
            offset = generator.randrange(ROOTS, len(self.bytes))
        else:  # where LMDB's own fields are
            page = generator.choice(pages)
            lower = struct.unpack_from("<H", self.bytes, page * PAGE + 12)[0]
            offset = page * PAGE + generator.randrange(max(16, min(lower, PAGE)))
        bit = generator.randrange(8)
        site = crash.copy_of(self.site)
        try:
            with open(os.path.join(site.store, "store.mdb"), "r+b") as file:
                file.seek(offset)
                file.write(bytes([self.bytes[offset] ^ 1 << bit]))
            found = self.check_commands(site)
            served = self.check_server(site, found["verify",]) if generator.random() < self.served_share else None
            return found, served
        except AssertionError as failure:
            raise AssertionError(f"bit {bit} of byte {offset} of store.mdb is flipped: {failure}") from failure
        finally:
            site.close()

    def test_a_flipped_bit_in_the_store_is_right_or_named_and_never_wrong(self):
        count = int(os.environ.get("SLUICE_FLIPS") or FLIPS_IN_CHECK)
        self.served_share = 1 if "SLUICE_FLIPS" in os.environ else SERVED_SHARE
        results = crash.spread(self.flip, range(count))
        tally = {}
        for found, served in results:
            for command, status in found.items():
                name = command[0], {0: "right", 1: "error", "hides": "hides"}.get(status, "stopped")
                tally[name] = tally.get(name, 0) + 1
            if served:
                tally["export", served] = tally.get(("export", served), 0) + 1
        print(f"{count} flips: { {' '.join(name): times for name, times in sorted(tally.items())} }", file=sys.stderr)
        self.assertGreater(tally["verify", "error"], 0)
        # Of the flips; one that hides something does so from each command that would tell of it.
        hidden = sum("hides" in (*found.values(), served) for found, served in results)
        self.assertLessEqual(hidden, max(3, count // 50))

    # ---- the store as a file ----

    def check_refused(self, site, what):
        for command in (("verify",), ("get", "Patient/-00007"), ("import", self.site.path("update.ndjson"))):
            done = self.run_ctl(site, *command)
            self.assertEqual(done.returncode, 1, command)
            self.assertRegex(done.stderr.decode(), what)
        server = crash.Server(site, SETTINGS)
        self.addCleanup(server.abandon)
        with self.assertRaises(AssertionError):
            server.start()
        self.assertEqual(server.process.wait(), 1)
        self.assertRegex(server.log(), what)

    def test_a_store_of_another_format_is_refused_by_number_and_left_alone(self):
        known = struct.unpack("<I", self.value_of(b"format"))[0]
        for version in (known - 1, known + 1, 1000):
            site = self.copy()
            value = struct.pack("<I", version)
            data = self.bytes
            place = data.find(b"format" + self.value_of(b"format"))
            while place >= 0:
                data = data[:place + 6] + value + struct.pack("<I", crc32c(b"format" + value)) + data[place + 14:]
                place = data.find(b"format" + self.value_of(b"format"), place + 1)
            path = os.path.join(site.store, "store.mdb")
            with open(path, "wb") as file:
                file.write(data)
            self.check_refused(site, f"has format {version}, this program reads format {known}")
            with open(path, "rb") as file:
                self.assertEqual(file.read(), data)

    def value_of(self, key):
        """Four bytes of meta, wherever they stand with their checksum."""
        place = -1
        while True:
            place = self.bytes.find(key, place + 1)
            self.assertGreaterEqual(place, 0)
            value = self.bytes[place + len(key):place + len(key) + 4]
            if self.bytes[place + len(key) + 4:place + len(key) + 8] == struct.pack("<I", crc32c(key + value)):
                return value

    def test_a_store_that_was_cut_short_gives_no_wrong_answer(self):
        size = len(self.bytes)
        for left in (0, 1, PAGE, ROOTS, size // 3, size // 2, size - 8 * PAGE, size - PAGE, size - 1):
            site = self.copy()
            os.truncate(os.path.join(site.store, "store.mdb"), left)
            with self.subTest(f"{left} of {size} bytes"):
                if left < ROOTS:
                    self.check_refused(site, "holds no store yet|not an LMDB file")
                else:
                    for command in self.commands:
                        done = self.run_ctl(site, *command)
                        if done.returncode == 0:
                            self.assertEqual(done.stdout.decode(), self.shown[command])
                        else:
                            self.check_ended(done.returncode, done.stderr.decode())
                    self.check_server(site)

    def test_another_file_in_place_of_the_store_is_refused(self):
        site = self.copy()
        with open(os.path.join(site.store, "store.mdb"), "wb") as file:
            file.write(random.Random(self.seed).randbytes(1 << 20))
        self.check_refused(site, "not an LMDB file")

    def test_a_damaged_beneficiary_costs_stat_and_compact_only_itself(self):
        site = self.copy()
        summary = b"\0\0\0\1-00007\0U\x02"
        self.assertIn(summary, self.bytes)
        with open(os.path.join(site.store, "store.mdb"), "wb") as file:
            file.write(self.bytes.replace(summary, summary[:-1] + b"\x03"))
        done = self.run_ctl(site, "stat", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        counts = {(row["aco"], row["type"]): row["beneficiaries"] for row in json.loads(done.stdout)["types"]}
        for aco in (crash.ACO, "all"):
            self.assertEqual(counts[aco, "Patient"], BENEFICIARIES - 1)
            self.assertIn(f"{aco}: 1 beneficiaries cannot be read", done.stderr.decode())
        done = self.run_ctl(site, "compact", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual((told["complete"], told["damaged"]), (True, 1))
        self.assertGreater(told["made"], BENEFICIARIES)
        self.assertIn(f"beneficiary {b'-00007'.hex()}00: table summary", done.stderr.decode())

    def test_a_damaged_aco_costs_lists_only_itself(self):
        site = self.copy()
        lists = (("aco", "list"), ("credentials", "list"), ("attribution", "status"), ("stat",))
        shown = {words: site.ctl(*words, "--json").stdout for words in lists}
        site.ctl("aco", "add", "A9995")
        path = os.path.join(site.store, "store.mdb")
        with open(path, "rb") as file:
            data = file.read()
        record = b"\0\0\0\2O\1\0"
        self.assertIn(record, data)
        with open(path, "wb") as file:
            file.write(data.replace(record, record[:-1] + b"\2"))
        for words in lists:
            done = self.run_ctl(site, *words, "--json")
            self.assertEqual(done.returncode, 0 if words[0] == "credentials" else 1, words)
            if words[0] == "stat":
                self.assertEqual(json.loads(done.stdout)["types"], json.loads(shown[words])["types"])
            else:
                self.assertEqual(done.stdout.decode(), shown[words])
            if done.returncode:
                self.assertIn("table aco, key 00000002", done.stderr.decode(), words)

    def test_what_can_be_made_again_is_and_what_cannot_is_named(self):
        for name, what in (("store.mdb", "holds no store"), ("keys/token.pem", "key of the access tokens"),
                           ("store.mdb-lock", None), ("lock", None), ("jobs", None)):
            with self.subTest(name):
                site = self.copy()
                path = os.path.join(site.store, name)
                if os.path.isdir(path):
                    shutil.rmtree(path)
                elif os.path.exists(path):
                    os.unlink(path)
                server = crash.Server(site, SETTINGS)
                self.addCleanup(server.abandon)
                if what:
                    with self.assertRaises(AssertionError):
                        server.start()
                    self.assertEqual(server.process.wait(), 1)
                    self.assertIn(what, server.log())
                else:
                    self.assertEqual(server.start().exported(), self.lines)
                    server.stop()

    # ---- files of exports ----

    def spoil(self, path, how, gzip_bytes):
        size = os.path.getsize(path)
        if how == "removed":
            os.unlink(path)
        elif how == "empty":
            os.truncate(path, 0)
        elif how == "cut":
            os.truncate(path, size - 3)
        elif how == "longer":
            with open(path, "ab") as file:
                file.write(b"\0\0\0")
        elif how == "folder":
            os.unlink(path)
            os.mkdir(path)
        else:
            place = {"begin": 0, "middle": gzip_bytes // 2, "end": gzip_bytes - 5, "index": gzip_bytes + 3,
                     "index's end": size - 5}[how]
            with open(path, "r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 0x10]))

    def test_a_damaged_file_of_an_export_never_looks_complete(self):
        site = self.copy()
        server = crash.Server(site, SETTINGS)
        self.addCleanup(server.abandon)
        server.start()
        token = server.token()
        outcomes = {}
        for how in ("removed", "empty", "cut", "longer", "folder", "begin", "middle", "end", "index", "index's end"):
            job = server.kick_off(token)
            manifest = server.wait_for_job(token, job)
            item = next(item for item in manifest["output"] if item["type"] == "ExplanationOfBenefit")
            right = server.fetch(token, item, "identity")
            path = urllib.parse.urlsplit(item["url"]).path
            gzip_bytes = len(server.request("GET", path, token, {"Accept-Encoding": "gzip"})[2])
            uuid = item["url"].rsplit("/", 1)[1].removesuffix(".ndjson")
            self.spoil(os.path.join(site.store, "jobs", str(job), uuid + ".ndjson.gz"), how, gzip_bytes)
            for coding in ("gzip", "identity"):
                outcomes[how, coding] = self.fetch_damaged(server, token, item, coding, right)
            server.request("DELETE", f"/api/v1/jobs/{job}", token)
        server.stop()
        print(f"damaged files of exports: {outcomes}", file=sys.stderr)
        self.assertIn("wrong by its own checksum", outcomes["middle", "gzip"])
        self.assertNotEqual(outcomes["middle", "identity"], "right")
        self.assertEqual(outcomes["index", "gzip"], "right")
        self.assertNotEqual(outcomes["index", "identity"], "right")
        # Whether the file has its length is seen by the end of its index.
        self.assertEqual((outcomes["index's end", "gzip"], outcomes["index's end", "identity"]), ("500", "500"))
        self.assertEqual(glob.glob(os.path.join(site.store, "jobs", "*", "*.part")), [])

    def fetch_damaged(self, server, token, item, coding, right):
        path = urllib.parse.urlsplit(item["url"]).path
        try:
            status, fields, body = server.request("GET", path, token, {"Accept-Encoding": coding})
        except BROKEN:
            return "broken off"
        if status != 200:
            self.assertIn(status, (404, 410, 500, 503))
            return str(status)
        if fields.get("content-encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError, ValueError, gzip.zlib.error):
                return "wrong by its own checksum"
        self.assertEqual(body, right)
        return "right"


if __name__ == "__main__":
    unittest.main()
