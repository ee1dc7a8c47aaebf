"""What tests of crashes share: seeded random moments, data that keeps the writer busy, and fast requests.

Data is our own: resources with a long random text, which no deflate shrinks, so that a small import has many
batches and a small export many files. Each test starts from a copy of a prepared folder.
"""

import base64
import concurrent.futures
import gzip
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

import sluice

ACO = "A9994"
ENDPOINT = "/api/v1/Patient/$export"
NO_LATER_THAN = 1.1  # a random moment lies within so many durations of the undisturbed command


def seed():
    """Of this run; printed, so that a failure can be had again."""
    value = int(os.environ.get("SLUICE_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SLUICE_TEST_SEED={value}", file=sys.stderr)
    return value


def crashes():
    """How many kills each of import and export must survive."""
    return int(os.environ.get("SLUICE_CRASHES") or 100)


def median(values):
    return sorted(values)[len(values) // 2]


# ---- Data ---------------------------------------------------------------------------------------------------

def mbi(number):
    """1S00A00AA00 and on; `number` below 10000."""
    return f"1S{number // 1000}0A0{number // 100 % 10}AA{number % 100:02}"


class Resources:
    """Beneficiaries with their resources, and newer versions of some of them."""

    def __init__(self, generator, beneficiaries, claims, text_bytes):
        self.generator = generator
        self.beneficiaries = beneficiaries
        self.claims = claims
        self.text_bytes = text_bytes

    def text(self):
        return base64.b64encode(self.generator.randbytes(self.text_bytes)).decode()

    def line(self, kind, number, item, version):
        beneficiary = f"-{number:05}"
        resource = {"resourceType": kind, "meta": {"lastUpdated": f"2021-{version:02}-03T04:05:06.789+00:00"}}
        if kind == "Patient":
            resource.update(id=beneficiary, identifier=[
                {"system": "http://hl7.org/fhir/sid/us-mbi", "value": mbi(number)}])
        elif kind == "Coverage":
            resource.update(id=f"part-a-{beneficiary}", beneficiary={"reference": f"Patient/{beneficiary}"})
        else:
            resource.update(id=f"carrier-{beneficiary}-{item}", patient={"reference": f"Patient/{beneficiary}"},
                            billablePeriod={"start": "2020-05-06", "end": "2020-05-07"})
        resource["extension"] = [{"url": "https://example.org/text", "valueString": self.text()}]
        return json.dumps(resource, separators=(",", ":")).encode()

    def lines(self, version, numbers, claims=None):
        """All kinds, mixed, of these beneficiaries: [line]."""
        found = []
        for number in numbers:
            found.append(self.line("Patient", number, 0, version))
            found.append(self.line("Coverage", number, 0, version))
            for item in range(self.claims) if claims is None else claims:
                found.append(self.line("ExplanationOfBenefit", number, item, version))
        self.generator.shuffle(found)
        return found

    def base(self):
        return self.lines(1, range(self.beneficiaries))

    def update(self, version, share=0.5):
        """Newer versions of some claims of some beneficiaries, and a claim that is new."""
        numbers = self.generator.sample(range(self.beneficiaries), int(self.beneficiaries * share))
        claims = [*range(0, self.claims, 2), self.claims + version]
        return self.lines(version, sorted(numbers), claims)


def newest(batches):
    """What stands after these lists of lines were imported, whatever their order: (type, id) -> line."""
    found = {}
    for line in (line for lines in batches for line in lines):
        resource = json.loads(line)
        key = resource["resourceType"], resource["id"]
        version = resource["meta"]["lastUpdated"]
        if key not in found or found[key][0] <= version:
            found[key] = version, line
    return {key: line for key, (_, line) in found.items()}


def beneficiary_of(line):
    resource = json.loads(line)
    reference = resource.get("patient") or resource.get("beneficiary")
    return reference["reference"].split("/")[1] if reference else resource["id"]


def write_roster(folder, day, numbers):
    """A CCLF8 file of that day of January 2021."""
    path = os.path.join(folder, f"P.BCD.{ACO}.ZC8Y21.D2101{day:02}.T0000000")
    with open(path, "w", encoding="ascii") as file:
        for number in numbers:
            file.write(mbi(number).ljust(549) + "\n")
    return path


# ---- Sites, servers, kills ----------------------------------------------------------------------------------

def copy_of(site):
    """A site of its own with the same store, credentials and files."""
    copy = object.__new__(sluice.Site)
    copy.__dict__.update(site.__dict__)
    copy.folder = site.folder + f"-{random.SystemRandom().randrange(1 << 48):x}"
    copy.store = os.path.join(copy.folder, "store")
    copy.credentials = dict(site.credentials)
    shutil.copytree(site.store, copy.store, ignore=shutil.ignore_patterns("control.sock"))
    return copy


def kill_after(process, seconds):
    """kill -9 at a moment; True if it was still running."""
    time.sleep(seconds)
    was_running = process.poll() is None
    process.kill()
    return process.wait() == -signal.SIGKILL and was_running


class Server(sluice.Server):
    """Over plain HTTP, with requests that cost little, so that a crash has many moments."""

    def __init__(self, site, settings=None, failpoints=None):
        environment = {"SLUICE_FAILPOINTS": failpoints} if failpoints else None
        super().__init__(site, plaintext=True, settings=settings, environment=environment)

    def abandon(self):
        """Ends it however it stands: for the end of a test that failed."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process:
            self.process.stdout.close()

    def request(self, method, target, token=None, fields=None, body=None):
        """(status, fields by lower-case name, body); the errors of http.client and OSError if the server dies."""
        address = urllib.parse.urlsplit(self.base).netloc
        fields = dict(fields or {})
        if token:
            fields["Authorization"] = f"Bearer {token}"
        connection = http.client.HTTPConnection(address, timeout=sluice.DEADLINE_SECONDS)
        try:
            connection.request(method, target, body=body, headers=fields)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def token(self, aco=ACO):
        status, _, body = self.login(*self.site.credentials[aco])
        if status != 200:
            raise AssertionError(f"no token for {aco}: {status} {body!r}")
        return json.loads(body)["access_token"]

    def login(self, client, secret):
        pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
        return self.request("POST", "/auth/token", fields={"Authorization": f"Basic {pair}"}, body=b"")

    def ask(self, token):
        """A kick-off: (status, job's id or None)."""
        status, fields, body = self.request("GET", ENDPOINT, token, {"Accept": "application/fhir+json",
                                                                    "Prefer": "respond-async"})
        if status not in (202, 429):
            raise AssertionError(f"kick-off: {status} {body!r}")
        return status, int(fields["content-location"].rsplit("/", 1)[1]) if status == 202 else None

    def kick_off(self, token, path=ENDPOINT):
        status, job = self.ask(token)
        if status != 202:
            raise AssertionError(f"kick-off: {status}")
        return job

    def poll(self, token, job):
        """(status, manifest or None)."""
        status, _, body = self.request("GET", f"/api/v1/jobs/{job}", token)
        return status, json.loads(body) if status == 200 else None

    def wait_for_job(self, token, job, expected=200):
        def look():
            status, manifest = self.poll(token, job)
            if status not in (202, expected):
                raise AssertionError(f"job {job}: {status}, not {expected}; the log:\n{self.log()}")
            return status == expected and (manifest or True)
        return sluice.wait_until(look, f"job {job} answers {expected}")

    def fetch(self, token, item, coding):
        """A file's bytes as sent."""
        status, fields, body = self.request("GET", urllib.parse.urlsplit(item["url"]).path, token,
                                            {"Accept-Encoding": coding})
        if status != 200 or fields.get("content-encoding", "identity") != coding:
            raise AssertionError(f"{item['url']}: {status} {fields} {body[:300]!r}")
        return body

    def sums(self, token, manifest):
        """What must not depend on crashes: of each file type, count and both forms' SHA-256, in order."""
        found = []
        for item in manifest["output"]:
            packed, text = self.fetch(token, item, "gzip"), self.fetch(token, item, "identity")
            if gzip.decompress(packed) != text or len(text) != item["fileSize"]:
                raise AssertionError(f"{item}: gzip and identity differ")
            found.append((item["type"], item["count"], hashlib.sha256(packed).hexdigest(),
                          hashlib.sha256(text).hexdigest()))
        return found

    def lines(self, token, manifest):
        """All exported lines, sorted."""
        found = []
        for item in manifest["output"]:
            found += gzip.decompress(self.fetch(token, item, "gzip")).splitlines()
        return sorted(found)

    def exported(self):
        """A whole export's lines, sorted."""
        token = self.token()
        return self.lines(token, self.wait_for_job(token, self.kick_off(token)))


def spread(work, arguments, threads=4):
    """Calls work(argument) for all, some at a time: most of a crash is waiting. Raises the first failure."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(work, argument) for argument in arguments]
        try:
            return [call.result() for call in calls]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def verify(site):
    """Raises AssertionError with what sluicectl says unless the store is without a fault."""
    done = site.ctl("verify", "--json")
    if json.loads(done.stdout)["faults"]:
        raise AssertionError(done.stdout)


def jobs(site):
    """id -> the job as sluicectl lists it."""
    return {job["id"]: job for job in json.loads(site.ctl("jobs", "list", "--json").stdout)}


def job_files(site, job):
    """uuid -> the file as sluicectl shows it."""
    return {file["file"]: file for file in json.loads(site.ctl("jobs", "show", job, "--json").stdout)["files"]}


def files_in_jobs(site):
    """Every name below DIR/jobs -> (inode, time of change): a file that was written again has another."""
    found = {}
    folder = os.path.join(site.store, "jobs")
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.stat(os.path.join(path, name))
            except FileNotFoundError:
                continue  # a server works there
            found[os.path.relpath(os.path.join(path, name), folder)] = stat.st_ino, stat.st_mtime_ns
    return found


def popen_ctl(site, *arguments, failpoints=None):
    environment = dict(site.environment, **({"SLUICE_FAILPOINTS": failpoints} if failpoints else {}))
    return subprocess.Popen([sluice.program("sluicectl"), "--data", site.store, "--quiet", *map(str, arguments)],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
