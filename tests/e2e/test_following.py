"""Files of an export that are followed while they are written (docs/api.md sections 4 and 5)."""

import gzip
import http.client
import json
import os
import random
import socket
import ssl
import string
import subprocess
import sys
import threading
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

SEED = int(os.environ.get("SLUICE_TEST_SEED", "1"))
BENEFICIARIES = 40
CURL_BROKEN = (18, 56)  # a body that ended too early; a connection that was reset
# A slice that begins 50 ms late is over after one beneficiary.
SLOW = {"SLUICE_FAILPOINTS": "export.statvfs=sleep"}
SETTINGS = {"export_workers": 1, "stop_grace_seconds": 1}
FOLLOWED = wire.PATIENT + "?allowPartialManifests=true"
CLAIMS = FOLLOWED + "&_type=ExplanationOfBenefit"


def make_site(text_bytes=20000, environment=None):
    chance = random.Random(SEED)
    lines = []
    for number in range(BENEFICIARIES):
        text = "".join(chance.choices(string.ascii_letters, k=text_bytes))
        lines += [wire.line("Patient", number), wire.line("Coverage", number)]
        lines += [wire.line("ExplanationOfBenefit", number, item=item, text=text) for item in range(2)]
    site = sluice.Site(environment=environment)
    site.ctl("import", "--aco", "A9994", site.write("claims.ndjson", "\n".join(lines) + "\n"))
    return site


class Follower:
    """Real curl, at work in the background."""

    def __init__(self, server, url, token, coding=None, *arguments):
        self.folder = sluice.tempfile.mkdtemp(dir=server.site.folder)
        command = ["curl", "-sS", "--no-buffer", "--max-time", "120", "-D", self.path("head"), "-o", self.path("body"),
                   "-H", f"Authorization: Bearer {token}", *arguments]
        if coding:
            command += ["-H", f"Accept-Encoding: {coding}"]
        if not server.plaintext:
            command += ["--cacert", sluice.Site.tls()[0]]
        self.process = subprocess.Popen(command + [url], stderr=subprocess.PIPE, text=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def body(self):
        if not os.path.exists(self.path("body")):
            return b""
        with open(self.path("body"), "rb") as file:
            return file.read()

    def head(self):
        with open(self.path("head"), encoding="latin-1") as file:
            lines = file.read().replace("\r\n", "\n").strip().split("\n")
        return lines[0], {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def wait_for_bytes(self):
        sluice.wait_until(self.body, "the follower has got the first bytes")

    def finish(self):
        """curl's exit status."""
        _, self.complaint = self.process.communicate(timeout=sluice.DEADLINE_SECONDS)
        return self.process.returncode


def partial_manifest(server, location, token):
    """The manifest of an active job; None once it has ended."""
    status, fields, body = server.curl(location, token=token)
    if status != 202:
        return None
    if fields.get("content-type") != "application/json":
        raise AssertionError(f"{fields} {body!r}")
    return json.loads(body)


def wait_for_file(server, location, token, resource_type="ExplanationOfBenefit"):
    """The URL of a file in progress."""
    def look():
        manifest = partial_manifest(server, location, token)
        if manifest is None:
            raise AssertionError(f"the job ended before a file could be followed: {server.events('job failed')}")
        return [item["url"] for item in manifest["extension"]["inProgress"] if item["type"] == resource_type]
    return sluice.wait_until(look, "a file is in progress")[0]


class FollowingTest(unittest.TestCase):
    """One server; each test runs jobs of its own, one after another."""

    timeout_seconds = 300
    plaintext = True

    @classmethod
    def setUpClass(cls):
        print(f"SLUICE_TEST_SEED={SEED}")
        cls.site = make_site()
        cls.server = sluice.Server(cls.site, plaintext=cls.plaintext, settings=SETTINGS, environment=SLOW).start()
        cls.token = cls.server.token()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def follow(self, url, coding=None, *arguments):
        return Follower(self.server, url, self.token, coding, *arguments)

    def test_what_was_followed_is_the_finished_file(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        followers = {coding: self.follow(url, coding) for coding in ("gzip", None)}
        for follower in followers.values():
            follower.wait_for_bytes()
        self.assertIsNotNone(partial_manifest(self.server, location, self.token), "bytes came while it was written")
        manifest = self.server.wait_for_job(location, self.token)
        self.assertEqual([item["url"] for item in manifest["output"]], [url])
        self.assertNotIn("extension", manifest)
        for coding, follower in followers.items():
            self.assertEqual(follower.finish(), 0, follower.complaint)
            self.assertEqual(follower.body(), self.server.download(url, self.token, coding), coding)
            status, fields = follower.head()
            self.assertEqual(status, "HTTP/1.1 200 OK")
            self.assertEqual(fields["transfer-encoding"], "chunked")
            self.assertEqual(fields["content-type"], "application/fhir+ndjson")
            self.assertEqual(fields["vary"], "Accept-Encoding")
            self.assertEqual(fields.get("content-encoding"), coding)
            for absent in ("content-length", "etag", "last-modified", "expires", "accept-ranges"):
                self.assertNotIn(absent, fields)
        self.assertEqual(len(gzip.decompress(followers["gzip"].body())), manifest["output"][0]["fileSize"])

    def test_bytes_come_while_they_are_written(self):
        """Many arrivals, each a prefix of the file, long before the end."""
        location = self.server.kick_off(self.token, CLAIMS)
        follower = self.follow(wait_for_file(self.server, location, self.token))
        sizes = set()
        while follower.process.poll() is None:
            sizes.add(len(follower.body()))
        self.assertEqual(follower.finish(), 0)
        self.assertGreater(len(sizes), BENEFICIARIES // 4)
        self.server.wait_for_job(location, self.token)

    def test_the_manifest_of_an_active_job_grows(self):
        location = self.server.kick_off(self.token, FOLLOWED)
        complete, followed, progress = [], set(), []
        while True:
            status, fields, body = self.server.curl(location, token=self.token)
            if status != 202:
                break
            self.assertRegex(fields["x-progress"], r"^(Pending|In Progress \(\d+%\))$")
            self.assertIn(int(fields["retry-after"]), range(1, 121))
            self.assertEqual(fields["content-type"], "application/json")
            manifest = json.loads(body)
            self.assertEqual(list(manifest), ["transactionTime", "request", "requiresAccessToken", "output", "deleted",
                                              "error", "JobID", "extension"])
            self.assertEqual((manifest["deleted"], manifest["error"]), ([], []))
            self.assertEqual(manifest["request"], self.server.base + FOLLOWED)
            self.assertEqual(list(manifest["extension"]), ["inProgress"])
            self.assertEqual(manifest["output"][:len(complete)], complete, "what was listed stays as it was")
            for item in manifest["output"][len(complete):]:
                # It is served as any complete file, to its last field but the dates of the job's end.
                status, fields, body = self.server.curl(item["url"], token=self.token)
                self.assertEqual((status, len(body)), (200, item["fileSize"]))
                self.assertEqual(fields["content-length"], str(len(body)))
                self.assertIn("etag", fields)
                status, _, part = self.server.curl(item["url"], token=self.token, fields=["Range: bytes=5-9"])
                self.assertEqual((status, part), (206, body[5:10]))
            complete = manifest["output"]
            urls = {item["url"] for item in manifest["extension"]["inProgress"]}
            self.assertFalse(urls & {item["url"] for item in complete})
            followed |= urls
            progress.append(manifest["transactionTime"])
        self.assertEqual(status, 200, self.server.events("job failed"))
        manifest = json.loads(body)
        self.assertEqual(manifest["output"][:len(complete)], complete)
        self.assertEqual({item["url"] for item in manifest["output"]}, followed)
        self.assertEqual(set(progress), {manifest["transactionTime"]})

    def test_without_the_parameter_nothing_can_be_seen(self):
        for path in (wire.PATIENT, wire.PATIENT + "?allowPartialManifests=false"):
            location = self.server.kick_off(self.token, path)
            folder = os.path.join(self.site.store, "jobs", location.rsplit("/", 1)[1])

            def begun():
                names = os.listdir(folder) if os.path.isdir(folder) else []
                return [name for name in names if name.endswith(".ndjson.gz.part")]
            name = sluice.wait_until(begun, "a file is begun")[0].replace(".gz.part", "")
            url = location.replace("/api/v1/jobs/", "/data/") + "/" + name
            status, fields, body = self.server.curl(location, token=self.token)
            self.assertEqual((status, body), (202, b""))
            self.assertNotIn("content-type", fields)
            self.assertEqual(self.server.curl(url, token=self.token)[0], 404)
            self.assertEqual(self.server.curl(location, token=self.token, method="DELETE")[0], 202)

    def test_range_and_conditions_are_ignored(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        followers = [self.follow(url, None, "-H", field) for field in
                     ("Range: bytes=10-19", "If-None-Match: *", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
                      'If-Match: "none"')]
        status, fields, body = self.server.curl(url, token=self.token, method="HEAD")
        self.assertEqual(status, 200)
        self.assertNotIn("content-length", fields)
        self.assertEqual(self.server.curl(url, token=self.token, fields=["Accept-Encoding: identity;q=0, br"])[0], 406)
        self.server.wait_for_job(location, self.token)
        whole = self.server.download(url, self.token)
        for follower in followers:
            self.assertEqual(follower.finish(), 0, follower.complaint)
            self.assertEqual(follower.head()[0], "HTTP/1.1 200 OK")
            self.assertEqual(follower.body(), whole)

    def test_http_1_0_cannot_follow(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        for coding in ("gzip", "identity"):
            status, fields, body = self.server.curl(url, "--http1.0", token=self.token,
                                                    fields=[f"Accept-Encoding: {coding}"])
            self.assertEqual(status, 503)
            self.assertGreater(int(fields["retry-after"]), 0)
            self.assertEqual(wire.issue(body)["code"], "transient")
            self.assertNotIn("content-encoding", fields)
        self.server.wait_for_job(location, self.token)
        status, _, body = self.server.curl(url, "--http1.0", token=self.token)
        self.assertEqual((status, body), (200, self.server.download(url, self.token)))

    def test_other_names_and_other_acos_are_not_found(self):
        self.site.add_aco("A9995")
        foreign = self.server.token("A9995")
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        folder, name = url.rsplit("/", 1)
        self.assertEqual(self.server.curl(url, token=foreign)[0], 404)
        for other in (name.replace(".ndjson", "-error.ndjson"), name + ".part", name.replace(".ndjson", ""),
                      "00000000-0000-4000-8000-000000000000.ndjson"):
            self.assertEqual(self.server.curl(folder + "/" + other, token=self.token)[0], 404, other)
        self.assertEqual(self.server.curl(location, token=self.token, method="DELETE")[0], 202)
        self.assertEqual(self.server.curl(url, token=self.token)[0], 404)

    def test_a_deleted_job_breaks_its_followers_off(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        followers = [self.follow(url, coding) for coding in ("gzip", None) for _ in range(3)]
        for follower in followers:
            follower.wait_for_bytes()
        self.assertEqual(self.server.curl(location, token=self.token, method="DELETE")[0], 202)
        for follower in followers:
            self.assertIn(follower.finish(), CURL_BROKEN, follower.complaint)

    def test_many_follow_and_a_slow_one_holds_nobody_up(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        slow = {coding: self.connect(url, coding) for coding in ("gzip", "identity")}
        followers = [self.follow(url, coding) for coding in ("gzip", None) for _ in range(4)]
        self.server.wait_for_job(location, self.token)
        whole = {"gzip": self.server.download(url, self.token, "gzip"), "identity": self.server.download(url, self.token)}
        for index, follower in enumerate(followers):
            self.assertEqual(follower.finish(), 0, follower.complaint)
            self.assertEqual(follower.body(), whole["gzip" if index < 4 else "identity"])
        # The files are deleted; who began before gets them to the end.
        folder = os.path.join(self.site.store, "jobs", location.rsplit("/", 1)[1])
        self.assertEqual(self.server.curl(location, token=self.token, method="DELETE")[0], 202)
        sluice.wait_until(lambda: not os.path.exists(folder), "the files are deleted")
        for coding, connection in slow.items():
            self.assertEqual(read_body(connection), whole[coding])

    def connect(self, url, coding):
        """A connection that has asked for the file and reads nothing yet, with as small a buffer as there is."""
        parts = urllib.parse.urlsplit(url)
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((parts.hostname, parts.port))
        connection.settimeout(sluice.DEADLINE_SECONDS)
        if not self.plaintext:
            context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
            connection = context.wrap_socket(connection, server_hostname=parts.hostname)
        connection.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {self.token}\r\n"
                           f"Accept-Encoding: {coding}\r\n\r\n".encode())
        return connection


def read_body(connection):
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    with connection, answer:
        return answer.read()  # raises IncompleteRead without the last chunk


class FollowingOverTlsTest(FollowingTest):
    plaintext = False


class BrokenTest(unittest.TestCase):
    """Followers of files that are never complete, or only after a restart."""

    timeout_seconds = 300

    def setUp(self):
        self.site = make_site(2000)
        self.addCleanup(self.site.close)

    def start(self, failpoints=SLOW["SLUICE_FAILPOINTS"], plaintext=True):
        self.server = sluice.Server(self.site, plaintext=plaintext, settings=SETTINGS,
                                    environment={"SLUICE_FAILPOINTS": failpoints}).start()
        self.addCleanup(lambda: self.server.process.stdout.closed or self.server.stop(None))
        self.token = self.server.token()

    def begin(self):
        location = self.server.kick_off(self.token, CLAIMS)
        url = wait_for_file(self.server, location, self.token)
        followers = [Follower(self.server, url, self.token, coding) for coding in ("gzip", None)]
        for follower in followers:
            follower.wait_for_bytes()
        return location, url, followers

    def assert_broken(self, followers):
        for follower in followers:
            self.assertIn(follower.finish(), CURL_BROKEN, follower.complaint)
            self.assertEqual(follower.head()[0], "HTTP/1.1 200 OK")

    def test_a_job_that_fails_breaks_its_followers_off(self):
        # Data and index are written in every slice: two passages for one.
        self.start("export.statvfs=sleep,export.file.write=nospace@41")
        location, url, followers = self.begin()
        self.assert_broken(followers)
        sluice.wait_until(lambda: self.server.curl(location, token=self.token)[0] == 500, "the job is Failed")
        self.assertEqual(self.server.curl(url, token=self.token)[0], 404)

    def test_a_file_that_cannot_be_recorded_breaks_its_followers_off(self):
        """All its bytes are written, and still it is not complete."""
        self.start("export.statvfs=sleep,export.file.before-commit=error")
        location, _, followers = self.begin()
        self.assert_broken(followers)
        sluice.wait_until(lambda: self.server.curl(location, token=self.token)[0] == 500, "the job is Failed")

    def go_on(self, location, url):
        """After a restart the file is written anew, to the same bytes; and can be followed again."""
        base = self.server.base
        self.start()
        location, url = (text.replace(base, self.server.base) for text in (location, url))

        def ask():
            follower = Follower(self.server, url, self.token)
            self.assertEqual(follower.finish(), 0, follower.complaint)
            status, fields = follower.head()
            if status == "HTTP/1.1 200 OK":
                return follower
            self.assertEqual(status, "HTTP/1.1 503 Service Unavailable")
            self.assertGreater(int(fields["retry-after"]), 0)
            return None
        follower = sluice.wait_until(ask, "the file is begun again")
        manifest = self.server.wait_for_job(location, self.token)
        self.assertEqual(manifest["output"][0]["url"], url)
        self.assertEqual(follower.body(), self.server.download(url, self.token))

    def test_kill_9_breaks_followers_off(self):
        for plaintext in (True, False):
            self.start(plaintext=plaintext)
            location, url, followers = self.begin()
            self.server.kill()
            self.assert_broken(followers)
            if plaintext:
                self.go_on(location, url)
                self.server.stop()

    def test_a_restart_breaks_followers_off(self):
        self.start()
        location, url, followers = self.begin()
        self.server.stop()
        self.assert_broken(followers)
        self.go_on(location, url)

    def test_a_stop_lets_followers_finish_that_are_soon_through(self):
        self.start()
        self.server.stop()
        self.server = sluice.Server(self.site, plaintext=True, settings=dict(SETTINGS, stop_grace_seconds=60),
                                    environment=SLOW).start()
        self.token = self.server.token()
        _, _, followers = self.begin()
        stopping = threading.Thread(target=self.server.stop)
        stopping.start()
        for follower in followers:
            self.assertEqual(follower.finish(), 0, follower.complaint)
        stopping.join()
        self.assertEqual(gzip.decompress(followers[0].body()), followers[1].body())


if __name__ == "__main__":
    unittest.main()
