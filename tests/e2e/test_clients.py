"""The sample clients of docs/guides/clients against the real server over TLS: whole exports, byte by byte; tokens that
stop being valid and connections that break on the way; no secret where others could read it.
"""

import hashlib
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), folder) for folder in ("../support", ".")]
import sluice
from test_cycle import synthetic_site

CLIENTS = os.path.join(sluice.ROOT, "docs", "guides", "clients")
CLIENT_SECONDS = 100
BREAK_BYTES = 30_000  # of a download's body, before the connection ends


class Meddler(http.server.ThreadingHTTPServer):
    """Stands between client and server: spoils the token of one request of each kind, breaks each file's first download."""

    daemon_threads = True

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), MeddlerHandler)
        self.target = server.base.split("//")[1]
        self.requests = []  # (path, fields by lower-case name, status)
        self.met = set()
        self.lock = threading.Lock()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*sluice.Site.tls())
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.base = f"https://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever)

    def first(self, what):
        with self.lock:
            new = what not in self.met
            self.met.add(what)
            return new

    def handle_error(self, request, client_address):
        pass  # connections that the client gives up

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()


class MeddlerHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        meddler = self.server
        fields = {name.lower(): value for name, value in self.headers.items()}
        sent = dict(fields)
        kind = "file" if self.path.startswith("/data/") else "job" if "/jobs/" in self.path else "export"
        if "authorization" in sent and self.path != "/auth/token" and meddler.first(kind):
            sent["authorization"] = "Bearer expired"
        body = self.rfile.read(int(fields.get("content-length", 0)))
        upstream = http.client.HTTPSConnection(meddler.target, timeout=sluice.DEADLINE_SECONDS,
                                               context=ssl.create_default_context(cafile=sluice.Site.tls()[0]))
        upstream.request(self.command, self.path, body=body or None, headers=sent)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        with meddler.lock:
            meddler.requests.append((self.path, fields, answer.status))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        breaks = kind == "file" and answer.status == 200 and len(content) > BREAK_BYTES
        self.wfile.write(content[:BREAK_BYTES] if breaks else content)
        if breaks:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    do_POST = do_GET


class ClientsTest(unittest.TestCase):
    timeout_seconds = 2 * CLIENT_SECONDS + 60

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="clients-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.site = synthetic_site(["A9994"], beneficiaries=15)
        cls.addClassCleanup(cls.site.close)
        cls.server = sluice.Server(cls.site).start()
        cls.addClassCleanup(cls.server.stop)
        cls.go = os.path.join(cls.folder, "export-go")
        environment = dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local", GOPROXY="off", CGO_ENABLED="0",
                           GOCACHE=os.path.join(cls.folder, "cache"), GOPATH=os.path.join(cls.folder, "path"))
        if not shutil.which("go"):
            raise AssertionError("go is absent: tools/install-packages test")
        sluice.run("go", "build", "-o", cls.go, os.path.join(CLIENTS, "export.go"), env=environment, cwd=cls.folder)

    def command(self, name, base, out, endpoint="Patient", types="", since="", client=None, job=None):
        """The command and its environment, with the secret as each of the clients takes it."""
        client, secret = client or self.site.credentials["A9994"]
        certificate = sluice.Site.tls()[0]
        environment = {**os.environ, "CLIENT_ID": client}
        if name == "sh":
            environment.update(CLIENT_SECRET_FILE=self.site.write(f"secret-{os.path.basename(out)}", secret + "\n"),
                               CACERT=certificate, **({"RESUME_JOB": job} if job else {}))
            return [os.path.join(CLIENTS, "export.sh"), base, out, endpoint, types, since], environment
        if name == "py":
            environment["CLIENT_SECRET"] = secret
            command = [os.path.join(CLIENTS, "export.py"), "--host", base, "--out", out, "--cacert", certificate,
                       "--endpoint", endpoint]
            command += ["--type", types] if types else []
            return command + (["--since", since] if since else []) + (["--job", job] if job else []), environment
        command = [self.go, f"-host={base.split('//')[1]}", f"-clientID={client}", f"-clientSecret={secret}",
                   f"-endpoint={endpoint}", f"-resourceType={types}", f"-cacert={certificate}", f"-out={out}"]
        return command + ([f"-since={since}"] if since else []) + ([f"-job={job}"] if job else []), environment

    def run_client(self, name, base, expected=0, **options):
        """Runs a client; gives the folder that it filled and what it said."""
        out = options.pop("out", None) or tempfile.mkdtemp(dir=self.folder)
        command, environment = self.command(name, base, out, **options)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=CLIENT_SECONDS,
                              check=False)
        said = done.stdout + done.stderr
        self.assertEqual(done.returncode, expected, f"{name}: {said}")
        self.assertNotIn((options.get("client") or self.site.credentials["A9994"])[1], said)
        self.assertNotRegex(said, r"eyJ[\w-]{20}", "a token")
        return out, said

    def compare(self, out):
        """Each file of the manifest is there, with the bytes that the server sends; and nothing else is."""
        with open(os.path.join(out, "manifest.json"), "rb") as file:
            manifest = json.load(file)
        token = self.server.token()
        names = {"manifest.json"}
        for item in manifest["output"] + manifest["deleted"]:
            url = self.server.base + re.sub(r"^https://[^/]+", "", item["url"])
            name = f"{item['type']}-{url.split('/')[-1]}"
            names.add(name)
            with open(os.path.join(out, name), "rb") as file:
                self.assertEqual(hashlib.sha256(file.read()).hexdigest(),
                                 hashlib.sha256(self.server.download(url, token)).hexdigest(), name)
        self.assertEqual(set(os.listdir(out)), names)
        return manifest

    def test_all_types_arrive_byte_by_byte(self):
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                manifest = self.compare(self.run_client(name, self.server.base)[0])
                self.assertEqual([item["type"] for item in manifest["output"]],
                                 ["ExplanationOfBenefit", "Coverage", "Patient"])

    def test_the_group_with_types_and_a_bound(self):
        since = "2024-06-13T20:00:00.000+05:00"
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                out, _ = self.run_client(name, self.server.base, endpoint="Group/all",
                                         types="Patient,ExplanationOfBenefit", since=since)
                manifest = self.compare(out)
                self.assertRegex(manifest["request"], r"(?i)/Group/all/\$export\?.*_since=2024-06-13T20%3A00%3A00.000%2B05%3A00")
                self.assertEqual({item["type"] for item in manifest["output"]}, {"ExplanationOfBenefit", "Patient"})

    def test_deletions_arrive_too(self):
        manifest, lines = self.server.export()
        gone = [json.loads(line)["id"] for line in lines["ExplanationOfBenefit"][:3]]
        entries = [{"request": {"method": "DELETE", "url": f"ExplanationOfBenefit/{name}"}} for name in gone]
        self.site.ctl("import", self.site.write("deleted.ndjson", json.dumps({"resourceType": "Bundle", "entry": entries})))
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                out, _ = self.run_client(name, self.server.base, since=manifest["transactionTime"])
                self.assertEqual([item["type"] for item in self.compare(out)["deleted"]], ["Bundle"])
                text = "".join(open(os.path.join(out, file)).read() for file in os.listdir(out) if "-deleted" in file)
                self.assertEqual(sorted(re.findall(r'"ExplanationOfBenefit/([^"]+)"', text)), sorted(gone))

    def test_tokens_are_renewed_and_broken_downloads_resumed(self):
        for name in ("sh", "py", "go"):
            with self.subTest(name), Meddler(self.server) as meddler:
                manifest = self.compare(self.run_client(name, meddler.base)[0])
                refused = [path for path, _, status in meddler.requests if status == 401]
                self.assertEqual(len(refused), 3, meddler.requests)  # the export, a status, a file
                self.assertEqual(len([path for path, _, _ in meddler.requests if path == "/auth/token"]), 4)
                files = [(path, fields, status) for path, fields, status in meddler.requests
                         if path.startswith("/data/") and status != 401]
                self.assertEqual({fields.get("accept-encoding") for _, fields, _ in files}, {"gzip"})
                resumed = [fields["range"] for _, fields, status in files if status == 206]
                self.assertGreaterEqual(len(resumed), 1)
                self.assertEqual(len(files), len(manifest["output"]) + len(resumed), "each file at once, or resumed once")
                for text in resumed:
                    self.assertLessEqual(int(re.fullmatch(r"bytes=(\d+)-", text)[1]), BREAK_BYTES)

    def test_a_second_call_fetches_what_is_not_there_yet(self):
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                out, said = self.run_client(name, self.server.base)
                job = re.search(r"^job (\S+)$", said, flags=re.MULTILINE)[1]
                whole = max((os.path.join(out, file) for file in os.listdir(out)), key=os.path.getsize)
                url = f"/data/{job.split('/')[-1]}/{os.path.basename(whole).split('-', 1)[1]}"
                packed = self.server.download(url, self.server.token(), "gzip")
                os.remove(whole)
                with open(whole + ".gz", "wb") as file:
                    file.write(packed[:5000])
                self.run_client(name, self.server.base, out=out, job=job)
                self.compare(out)

    def test_a_wrong_secret_ends_it_at_once(self):
        client = self.site.credentials["A9994"][0]
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                _, said = self.run_client(name, self.server.base, expected=1, client=(client, "0" * 80))
                self.assertIn("no token", said)

    def test_a_refusal_is_told(self):
        for name in ("sh", "py", "go"):
            with self.subTest(name):
                _, said = self.run_client(name, self.server.base, expected=1, types="Practitioner")
                self.assertIn("Invalid resource type", said)


if __name__ == "__main__":
    unittest.main()
