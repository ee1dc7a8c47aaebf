"""The whole cycle with the real programs, over TLS, with real curl."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import unittest
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

BENEFICIARIES = 40


def synthetic_site(acos, beneficiaries=BENEFICIARIES, seed=1, shared=0):
    """A site with synthetic beneficiaries, attributed by their rosters."""
    site = sluice.Site(acos)
    sluice.run(sluice.program("sluice-synth"), "--out", site.path("synthetic"), "--aco-ids",
               ",".join(acos), "--beneficiaries", beneficiaries, "--years", 1, "--seed", seed, "--shared", shared)
    site.ctl("attribution", "import", site.path("synthetic", "attribution"))
    site.ctl("import", site.path("synthetic", "base"))
    return site


class CycleTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.site = synthetic_site(["A9994"])
        cls.server = sluice.Server(cls.site).start()
        cls.token = cls.server.token()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def export(self, path="/api/v1/Patient/$export"):
        return self.server.wait_for_job(self.server.kick_off(self.token, path), self.token)

    def test_every_line_that_was_imported_is_exported_once(self):
        _, found = self.server.export()
        for kind in ("Patient", "Coverage", "ExplanationOfBenefit"):
            with open(self.site.path("synthetic", "base", kind + ".ndjson"), "rb") as file:
                self.assertEqual(sorted(found[kind]), sorted(file.read().splitlines()), kind)

    def test_the_manifest_has_its_keys_in_order_and_true_counts(self):
        manifest = self.export()
        self.assertEqual(list(manifest), ["transactionTime", "request", "requiresAccessToken", "output", "deleted",
                                          "error", "JobID"])
        self.assertEqual(manifest["request"], self.server.base + "/api/v1/Patient/$export")
        self.assertEqual([item["type"] for item in manifest["output"]],
                         ["ExplanationOfBenefit", "Coverage", "Patient"])
        for item in manifest["output"]:
            body = self.server.download(item["url"], self.token)
            self.assertEqual(item["fileSize"], len(body))
            self.assertEqual(item["count"], body.count(b"\n"))

    def test_types_are_filtered_and_keep_the_order_of_the_request(self):
        manifest = self.export("/api/v1/Group/all/$export?_type=Patient,ExplanationOfBenefit")
        self.assertEqual([item["type"] for item in manifest["output"]], ["Patient", "ExplanationOfBenefit"])

    def test_since_selects_what_is_later(self):
        since = "2024-01-01T00:00:00Z"
        _, found = self.server.export(path=f"/api/v1/Patient/$export?_since={since}")
        _, everything = self.server.export()
        for kind, lines in everything.items():
            later = [line for line in lines if self.updated(line) > since]
            self.assertEqual(found.get(kind, []), later, kind)
        manifest = self.export("/api/v1/Patient/$export?_since=" + self.export()["transactionTime"])
        self.assertEqual(manifest["output"], [])

    @staticmethod
    def updated(line):
        from datetime import datetime, timezone
        text = json.loads(line)["meta"]["lastUpdated"]
        return datetime.fromisoformat(text).astimezone(timezone.utc).isoformat()

    def test_every_file_is_one_gzip_member_that_everybody_reads(self):
        for item in self.export()["output"]:
            path = self.site.path("download")
            packed = self.server.download(item["url"], self.token, "gzip")
            with open(path + ".gz", "wb") as file:
                file.write(packed)
            sluice.run("gzip", "-t", path + ".gz")
            one = zlib.decompressobj(wbits=31)
            text = one.decompress(packed)
            self.assertTrue(one.eof)
            self.assertEqual(one.unused_data, b"", "more than one member")
            self.assertEqual(len(text), item["fileSize"])
            node = subprocess.run(["node", "-e", "const z=require('zlib'),f=require('fs');"
                                   "process.stdout.write(require('crypto').createHash('sha256').update("
                                   "z.gunzipSync(f.readFileSync(process.argv[1]))).digest('hex'))", path + ".gz"],
                                  capture_output=True, text=True, check=True)
            self.assertEqual(node.stdout, hashlib.sha256(text).hexdigest())
            self.server.curl(item["url"], "--compressed", token=self.token, output=path)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), text)
            self.assertEqual(self.server.download(item["url"], self.token), text)

    def test_two_exports_of_one_snapshot_give_the_same_bytes(self):
        sums = []
        for _ in range(2):
            sums.append([hashlib.sha256(self.server.download(item["url"], self.token, "gzip")).hexdigest()
                         for item in self.export()["output"]])
        self.assertEqual(sums[0], sums[1])

    def test_a_second_kick_off_while_a_job_is_active_is_refused(self):
        fields = ["Accept: application/fhir+json", "Prefer: respond-async"]
        paths = ["/api/v1/Patient/$export"] * 12
        answers = sluice.parallel(lambda path: self.server.curl(path, token=self.token, fields=fields), paths)
        accepted = [headers for status, headers, _ in answers if status == 202]
        for status, headers, body in answers:
            self.assertIn(status, (202, 429))
            if status == 429:
                self.assertGreater(int(headers["retry-after"]), 0)
                self.assertEqual(json.loads(body)["issue"][0]["code"], "throttled")
        self.assertGreaterEqual(len(accepted), 1)
        for headers in accepted:
            self.server.wait_for_job(headers["content-location"], self.token)

    def test_a_revoked_credential_is_refused_at_once(self):
        self.site.ctl("aco", "add", "A9990")
        lines = self.site.ctl("credentials", "create", "A9990").stdout.split("\n")
        self.site.credentials["A9990"] = (lines[1], lines[2])
        token = self.server.token("A9990")
        self.assertEqual(self.server.curl("/auth/welcome", token=token)[0], 200)
        self.site.ctl("credentials", "revoke", lines[1])
        status, headers, body = self.server.curl("/auth/welcome", token=token)
        self.assertEqual(status, 401)
        self.assertEqual(headers["www-authenticate"], "Bearer")
        self.assertNotIn(b"revoked", body)

    def test_the_log_holds_no_token_secret_or_beneficiary(self):
        _, found = self.server.export()
        log = self.server.log()
        client, secret = self.site.credentials["A9994"]
        patient = json.loads(found["Patient"][0])
        mbi = next(item["value"] for item in patient["identifier"] if item["system"].endswith("us-mbi"))
        for private in (self.token, secret, mbi, patient["id"], patient["name"][0]["family"]):
            self.assertNotIn(private, log)
        done = self.server.events("job completed") or self.server.events("job_completed")
        self.assertTrue(done, "a finished job logs its phases")

    def test_the_open_routes_answer_without_a_token(self):
        self.assertEqual(self.server.curl("/_health")[0], 200)
        self.assertEqual(list(json.loads(self.server.curl("/_version")[2])), ["version"])
        self.assertEqual(json.loads(self.server.curl("/_auth")[2])["auth_provider"], "alpha")
        status, headers, body = self.server.curl("/api/v1/metadata")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body)["resourceType"], "CapabilityStatement")
        self.assertIn("strict-transport-security", headers)
        self.assertEqual(headers["x-content-type-options"], "nosniff")


class ManyAcosTest(unittest.TestCase):
    timeout_seconds = 300
    ACOS = [f"A999{digit}" for digit in range(10)]

    def test_ten_acos_at_once_see_their_own_lines_and_nobody_elses(self):
        site = synthetic_site(self.ACOS, beneficiaries=12)
        self.addCleanup(site.close)
        with sluice.Server(site) as server:
            exports = sluice.parallel(lambda aco: server.export(aco), self.ACOS)
            seen = 0
            for aco, (_, found) in zip(self.ACOS, exports):
                self.assertEqual(len(found["Patient"]), 12)
                for lines in found.values():
                    for line in lines:
                        marks = {other for other in self.ACOS if other.encode() in line}
                        self.assertEqual(marks, {aco}, line[:200])
                        seen += 1
            total = sum(open(site.path("synthetic", "base", kind + ".ndjson"), "rb").read().count(b"\n")
                        for kind in ("Patient", "Coverage", "ExplanationOfBenefit"))
            self.assertEqual(seen, total)
            # Another ACO's job and file do not exist for it.
            manifest = exports[0][0]
            token = server.token(self.ACOS[1])
            name = manifest["output"][0]["url"].rsplit("/", 1)[1]
            for route in ("/api/v1/jobs/{}", "/data/{}/" + name):
                status, _, body = server.curl(route.format(manifest["JobID"]), token=token)
                self.assertEqual(status, 404)
                unknown = server.curl(route.format(987654321), token=token)
                self.assertEqual((status, body), (unknown[0], unknown[2]))


class OneServerTest(unittest.TestCase):
    def test_a_second_server_on_one_directory_is_refused(self):
        site = sluice.Site()
        self.addCleanup(site.close)
        with sluice.Server(site):
            second = sluice.run(sluice.program("sluiced"), "--data", site.store, "--plaintext", "--listen",
                                "127.0.0.1:0", check=False)
        self.assertEqual(second.returncode, 1)
        self.assertIn("another process", second.stderr)

    def test_without_a_certificate_it_refuses_to_serve(self):
        site = sluice.Site()
        self.addCleanup(site.close)
        done = sluice.run(sluice.program("sluiced"), "--data", site.store, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--plaintext", done.stderr)


if __name__ == "__main__":
    unittest.main()
