"""What tests of whole programs share: data directories, a real server with a real certificate, real curl.

A test makes a `Site` (a data directory with ACOs and credentials) and starts a `Server` on it. Nothing here
waits for a fixed time: what must happen is watched for until a deadline.
"""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SLUICE_BUILD", os.path.join(ROOT, "build", "release"))
SHARED = os.environ.get("SLUICE_SHARED", os.path.join(os.path.dirname(ROOT), "shared"))
DEADLINE_SECONDS = 60


def program(name):
    return os.path.join(BUILD, name)


def shared_data(*parts):
    """A path in ../shared/data; its absence is a failure that says so."""
    path = os.path.join(SHARED, "data", *parts)
    if not os.path.exists(path):
        raise AssertionError(f"{path} is absent: this test reads the shared sample data beside the repository")
    return path


def run(*command, check=True, **options):
    """Runs a program; on an unexpected failure says what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def wait_until(condition, what, seconds=DEADLINE_SECONDS):
    """Polls a condition that another process makes true; gives back its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s still not: {what}")
        time.sleep(0.01)


class Site:
    """A folder with a data directory `store`, and the credentials of its ACOs."""

    certificate = None  # made once a process: (certificate, key)

    def __init__(self, acos=("A9994",), environment=None):
        self.folder = tempfile.mkdtemp(prefix="sluice-")
        self.store = os.path.join(self.folder, "store")
        self.environment = dict(os.environ, **(environment or {}))
        self.credentials = {}  # ACO id -> (client id, secret)
        self.ctl("init")
        for aco in acos:
            self.add_aco(aco)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def ctl(self, *arguments, check=True, environment=None):
        return run(program("sluicectl"), "--data", self.store, "--quiet", *arguments, check=check,
                   env=dict(self.environment, **(environment or {})))

    def add_aco(self, aco):
        self.ctl("aco", "add", aco)
        lines = self.ctl("credentials", "create", aco).stdout.split("\n")
        self.credentials[aco] = (lines[1], lines[2])

    def write(self, name, text):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())
        return path

    @classmethod
    def tls(cls):
        if not cls.certificate:
            folder = tempfile.mkdtemp(prefix="sluice-tls-")
            pair = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
            run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", pair[0],
                "-keyout", pair[1])
            cls.certificate = pair
        return cls.certificate


class Server:
    """A running sluiced. Use as a context; stops by SIGTERM and checks that it ended with 0."""

    def __init__(self, site, plaintext=False, settings=None, environment=None, file_limit=None):
        self.site = site
        self.plaintext = plaintext
        self.file_limit = file_limit
        self.settings = settings or {}
        self.environment = dict(site.environment, **(environment or {}))
        self.process = None
        self.prefix = []  # words before the command: a tracer
        self.log_path = tempfile.mkstemp(prefix="log-", dir=site.folder)[1]

    def start(self):
        command = [program("sluiced"), "--data", self.site.store, "--listen", "127.0.0.1:0"]
        if self.settings:
            text = "".join(f"{name} = {value}\n" for name, value in self.settings.items())
            command += ["--config", self.site.write("settings", text)]
        if self.plaintext:
            command += ["--plaintext"]
        else:
            certificate, key = Site.tls()
            command += ["--tls-cert", certificate, "--tls-key", key]
        if self.file_limit:
            command = ["prlimit", f"--nofile={self.file_limit}:{self.file_limit}", *command]
        command = [*self.prefix, *command]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                            env=self.environment)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on (https?://127\.0\.0\.1:\d+)\n", line)
        if not match:
            raise AssertionError(f"sluiced did not start; it printed {line!r} and logged:\n{self.log()}")
        self.base = match[1]
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def events(self, name):
        """The log's lines of one event."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    def stop(self, expected=0):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE_SECONDS)
        self.process.stdout.close()
        if expected is not None and status != expected:
            raise AssertionError(f"sluiced ended with {status}, not {expected}; its log:\n{self.log()}")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None and not self.process.stdout.closed:
            self.stop(0 if kind is None else None)

    # ---- real curl ----

    def curl(self, target, *arguments, method=None, token=None, fields=(), output=None):
        """One request. Gives (status, headers by lower-case name, body)."""
        folder = tempfile.mkdtemp(dir=self.site.folder)
        body_path = output or os.path.join(folder, "body")
        command = ["curl", "-sS", "--max-time", "120", "-D", os.path.join(folder, "head"), "-o", body_path, "-w",
                   "%{http_code}"]
        if not self.plaintext:
            command += ["--cacert", Site.tls()[0]]
        if method == "HEAD":
            command += ["-I"]
        elif method:
            command += ["-X", method]
        for field in fields:
            command += ["-H", field]
        if token:
            command += ["-H", f"Authorization: Bearer {token}"]
        url = target if target.startswith("http") else self.base + target
        done = run(*command, *arguments, url)
        with open(os.path.join(folder, "head"), encoding="latin-1") as file:
            blocks = [block for block in file.read().replace("\r\n", "\n").split("\n\n") if block]
        headers = {}
        for line in blocks[-1].split("\n")[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            if name in headers and name.startswith("content-"):
                raise AssertionError(f"{url}: {name} stands twice: {blocks[-1]}")
            headers[name] = value.strip()
        body = b""
        if not output and os.path.exists(body_path):
            with open(body_path, "rb") as file:
                body = file.read()
        shutil.rmtree(folder, ignore_errors=True)
        return int(done.stdout), headers, body

    def token(self, aco="A9994"):
        client, secret = self.site.credentials[aco]
        status, _, body = self.curl("/auth/token", "--user", f"{client}:{secret}", "-d", "", method="POST")
        if status != 200:
            raise AssertionError(f"no token for {aco}: {status} {body!r}")
        return json.loads(body)["access_token"]

    def kick_off(self, token, path="/api/v1/Patient/$export"):
        status, headers, body = self.curl(path, token=token,
                                          fields=["Accept: application/fhir+json", "Prefer: respond-async"])
        if status != 202:
            raise AssertionError(f"kick-off: {status} {body!r}")
        return headers["content-location"]

    def wait_for_job(self, url, token, seconds=DEADLINE_SECONDS):
        """Polls until the job is Completed; gives its manifest."""
        def poll():
            status, headers, body = self.curl(url, token=token)
            if status == 202:
                return None
            if status != 200:
                raise AssertionError(f"{url}: {status} {headers} {body!r}")
            return json.loads(body)
        return wait_until(poll, f"{url} is Completed", seconds)

    def download(self, url, token, coding=None):
        """The bytes as sent: of the gzip file with coding "gzip", of the lines without."""
        fields = [f"Accept-Encoding: {coding}"] if coding else []
        status, headers, body = self.curl(url, token=token, fields=fields)
        if status != 200:
            raise AssertionError(f"{url}: {status} {body[:300]!r}")
        if (headers.get("content-encoding") == "gzip") != (coding == "gzip"):
            raise AssertionError(f"{url}: asked for {coding}, got {headers.get('content-encoding')}")
        return body

    def export(self, aco="A9994", path="/api/v1/Patient/$export", coding="gzip"):
        """A whole cycle. Gives (manifest, type -> list of lines in order)."""
        token = self.token(aco)
        manifest = self.wait_for_job(self.kick_off(token, path), token)
        lines = {}
        for item in manifest["output"]:
            body = self.download(item["url"], token, coding)
            if coding == "gzip":
                body = gzip.decompress(body)
            found = body.split(b"\n")
            if found.pop() != b"" or len(found) != item["count"]:
                raise AssertionError(f"{item}: {len(found)} lines")
            lines.setdefault(item["type"], []).extend(found)
        return manifest, lines


def parallel(function, arguments):
    """Calls function(argument) for all at once, each in a thread; gives the results, raises the first failure."""
    results = [None] * len(arguments)
    failures = []

    def body(index):
        try:
            results[index] = function(arguments[index])
        except BaseException as failure:  # handed on to the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=body, args=(index,)) for index in range(len(arguments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results


def without_last_updated(resource):
    """For comparing a resource with what went in where the import stamped it."""
    copy = dict(resource)
    if "meta" in copy:
        copy["meta"] = {key: value for key, value in copy["meta"].items() if key != "lastUpdated"}
        if not copy["meta"]:
            del copy["meta"]
    return copy


def exact_json(text):
    """A JSON value whose numbers are compared by their text."""
    return json.loads(text, parse_float=lambda number: ("number", number), parse_int=lambda number: ("number", number))
