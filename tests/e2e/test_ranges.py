"""Downloads that were broken off go on at the byte, in both codings; conditional requests and HEAD."""

import hashlib
import os
import random
import re
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice

SEED = int(os.environ.get("SLUICE_TEST_SEED", "1"))
CUTS = 200


class RangesTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        print(f"SLUICE_TEST_SEED={SEED}")
        cls.site = sluice.Site()
        sluice.run(sluice.program("sluice-synth"), "--out", cls.site.path("synthetic"), "--aco-ids", "A9994",
                   "--beneficiaries", 30, "--years", 1)
        cls.site.ctl("import", cls.site.path("synthetic", "base"), "--aco", "A9994")
        cls.server = sluice.Server(cls.site).start()
        cls.token = cls.server.token()
        manifest = cls.server.wait_for_job(cls.server.kick_off(cls.token), cls.token)
        cls.url = manifest["output"][0]["url"]
        cls.whole = {coding: cls.server.download(cls.url, cls.token, coding) for coding in ("gzip", None)}

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def get(self, coding, *fields, method=None):
        fields = list(fields) + ([f"Accept-Encoding: {coding}"] if coding else [])
        return self.server.curl(self.url, token=self.token, fields=fields, method=method)

    def test_a_download_cut_at_random_bytes_and_resumed_is_the_same(self):
        """curl -C - on a file that was cut, as a person would do it."""
        chance = random.Random(SEED)
        for coding, whole in self.whole.items():
            wanted = hashlib.sha256(whole).hexdigest()
            path = self.site.path("part")
            for _ in range(CUTS // 2):
                cut = chance.randrange(1, len(whole))
                with open(path, "wb") as file:
                    file.write(whole[:cut])
                fields = [f"Accept-Encoding: {coding}"] if coding else []
                status, _, _ = self.server.curl(self.url, "-C", "-", token=self.token, fields=fields, output=path)
                self.assertEqual(status, 206)
                with open(path, "rb") as file:
                    self.assertEqual(hashlib.sha256(file.read()).hexdigest(), wanted, cut)

    def test_one_range_has_its_fields(self):
        for coding, whole in self.whole.items():
            status, headers, body = self.get(coding, "Range: bytes=10-19")
            self.assertEqual(status, 206)
            self.assertEqual(body, whole[10:20])
            self.assertEqual(headers["content-range"], f"bytes 10-19/{len(whole)}")
            self.assertEqual(headers["content-length"], "10")
            self.assertEqual(headers["accept-ranges"], "bytes")
            self.assertEqual(headers["content-type"], "application/fhir+ndjson")
            self.assertEqual(headers.get("content-encoding"), coding)
            self.assertEqual(headers["vary"], "Accept-Encoding")
            self.assertEqual(self.get(coding, "Range: bytes=-7")[2], whole[-7:])

    def test_several_ranges_come_as_parts(self):
        for coding, whole in self.whole.items():
            asked = [(0, 9), (len(whole) // 2, len(whole) // 2 + 99999), (5, 5)]
            field = "Range: bytes=" + ",".join(f"{first}-{last}" for first, last in asked)
            status, headers, body = self.get(coding, field)
            self.assertEqual(status, 206)
            boundary = re.fullmatch(r"multipart/byteranges; boundary=(\S+)", headers["content-type"])[1].encode()
            self.assertEqual(int(headers["content-length"]), len(body))
            parts = body.split(b"\r\n--" + boundary)
            self.assertEqual(parts[0], b"")
            self.assertEqual(parts[-1], b"--\r\n")
            for (first, last), part in zip(asked, parts[1:-1], strict=True):
                head, _, content = part.partition(b"\r\n\r\n")
                last = min(last, len(whole) - 1)
                self.assertIn(f"Content-Range: bytes {first}-{last}/{len(whole)}".encode(), head)
                self.assertEqual(content, whole[first:last + 1])

    def test_a_range_outside_is_416(self):
        for coding, whole in self.whole.items():
            status, headers, _ = self.get(coding, f"Range: bytes={len(whole)}-")
            self.assertEqual(status, 416)
            self.assertEqual(headers["content-range"], f"bytes */{len(whole)}")

    def test_what_is_unchanged_is_304_and_if_range_guards_a_resume(self):
        tags = {}
        for coding, whole in self.whole.items():
            headers = self.get(coding)[1]
            tags[coding] = headers["etag"]
            self.assertEqual(self.get(coding, "If-None-Match: " + headers["etag"])[0], 304)
            self.assertEqual(self.get(coding, "If-Modified-Since: " + headers["last-modified"])[0], 304)
            status, _, body = self.get(coding, "Range: bytes=5-", "If-Range: " + headers["etag"])
            self.assertEqual((status, body), (206, whole[5:]))
            status, _, body = self.get(coding, "Range: bytes=5-", 'If-Range: "another"')
            self.assertEqual((status, body), (200, whole))
        self.assertNotEqual(tags["gzip"], tags[None], "each coding has a tag of its own")

    def test_a_file_that_is_gone_is_404_without_the_fields_of_a_file(self):
        job = self.server.kick_off(self.token, "/api/v1/Group/all/$export")
        url = self.server.wait_for_job(job, self.token)["output"][0]["url"]
        folder = self.site.path("store", "jobs", job.rsplit("/", 1)[1])
        for name in os.listdir(folder):
            os.remove(os.path.join(folder, name))
        for fields in ([], ["Range: bytes=1-2"], ["Range: bytes=1-2,5-9"], ["Accept-Encoding: gzip"]):
            status, headers, _ = self.server.curl(url, token=self.token, fields=fields)
            self.assertEqual((status, headers["content-type"]), (404, "application/fhir+json"), fields)
            self.assertFalse({"content-range", "content-encoding", "etag"} & set(headers), headers)

    def test_head_tells_the_length_of_each_coding(self):
        for coding, whole in self.whole.items():
            status, headers, _ = self.get(coding, method="HEAD")
            self.assertEqual((status, headers["content-length"]), (200, str(len(whole))))

    def test_accept_encoding_is_understood(self):
        for field, coding in [("gzip", "gzip"), ("gzip;q=0", None), ("identity", None), ("*", "gzip"),
                              ("gzip;q=0.5, identity;q=0.9", None), ("br", None), ("identity;q=0, gzip", "gzip"),
                              ("*;q=0", 406), ("identity;q=0, gzip;q=0", 406), ("", None)]:
            status, headers, _ = self.server.curl(self.url, token=self.token, fields=[f"Accept-Encoding: {field}" if field
                                                                                   else "Accept-Encoding;"])
            if coding == 406:
                self.assertEqual(status, 406, field)
            else:
                self.assertEqual((status, headers.get("content-encoding")), (200, coding), field)


if __name__ == "__main__":
    unittest.main()
