#!/usr/bin/env python3
"""Exports an ACO's claims into a folder; Python's standard library only.

CLIENT_ID=... CLIENT_SECRET_FILE=secret ./export.py --host https://host --out FOLDER [--endpoint Group/all]
    [--type Patient,Coverage] [--since INSTANT] [--cacert FILE] [--job URL]

The secret may also stand in CLIENT_SECRET. A download that breaks goes on where it stopped; with --job, a second call
fetches the files of a job that are not there yet.
"""

import argparse
import base64
import gzip
import http.client
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

TRIES_MAX = 20  # of one request, or one file
WAIT_SECONDS_MAX = 120  # between two of them
TIMEOUT_SECONDS = 60
PIECE_BYTES = 64 * 1024
BROKEN = (OSError, http.client.HTTPException)  # what a lost connection raises; HTTPError is answered before it


class Client:
    def __init__(self, host, client_id, secret, cacert=None):
        self.host = host.rstrip("/")
        self.basic = "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        self.context = ssl.create_default_context(cafile=cacert)
        self.bearer = None

    def send(self, url, authorization, headers=None, method="GET"):
        request = urllib.request.Request(url, headers=dict(headers or {}, Authorization=authorization), method=method,
                                         data=b"" if method == "POST" else None)
        try:
            return urllib.request.urlopen(request, context=self.context, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as answer:
            return answer  # has status, headers and read(), as any answer

    def renew(self):
        last = None
        for _ in range(TRIES_MAX):
            try:
                with self.send(self.host + "/auth/token", self.basic, method="POST") as answer:
                    if answer.status == 200:
                        self.bearer = "Bearer " + json.load(answer)["access_token"]
                        return
                    if answer.status not in (429, 502, 503):
                        raise SystemExit(f"no token: status {answer.status}")
                    last = f"status {answer.status}"
                    pause(answer)
            except BROKEN as broken:
                last = broken
                pause()
        raise SystemExit(f"no token after {TRIES_MAX} tries: {last}")

    def ask(self, url, headers=None):
        """An answer to a request with a token; the token is renewed when it is refused."""
        for _ in range(TRIES_MAX):
            if not self.bearer:
                self.renew()
            try:
                answer = self.send(url, self.bearer, headers)
            except BROKEN:
                pause()
                continue
            if answer.status == 401:
                self.bearer = None
            elif answer.status in (429, 502, 503):
                pause(answer)
            else:
                return answer
            answer.close()
        raise SystemExit(f"no answer after {TRIES_MAX} tries: {url}")

    def kick_off(self, endpoint, types=None, since=None):
        query = urllib.parse.urlencode({name: value for name, value in (("_type", types), ("_since", since)) if value})
        url = f"{self.host}/api/v1/{endpoint}/$export" + (f"?{query}" if query else "")
        with self.ask(url, {"Accept": "application/fhir+json", "Prefer": "respond-async"}) as answer:
            if answer.status != 202:
                raise SystemExit(f"the export was refused: {problem(answer)}")
            return answer.headers["Content-Location"]

    def wait(self, job):
        """The manifest, as bytes, when the job is complete."""
        while True:  # as long as it takes
            try:
                with self.ask(job) as answer:
                    if answer.status == 200:
                        return answer.read()
                    if answer.status != 202:
                        raise SystemExit(f"the job ended otherwise: {problem(answer)}")
                    print(answer.headers.get("X-Progress", ""), flush=True)
                    pause(answer)
            except BROKEN:
                pause()

    def download(self, item, path):
        """Asks for gzip, goes on after a break, and checks what arrived."""
        if os.path.exists(path):
            return
        packed, part = path + ".gz", path + ".part"
        for _ in range(TRIES_MAX):
            if self.fetch(item["url"], packed):
                break
            pause()
        else:
            raise SystemExit(f"{item['url']}: not whole after {TRIES_MAX} tries")
        lines = 0
        with gzip.open(packed) as source, open(part, "wb") as target:
            while piece := source.read(PIECE_BYTES):
                lines += piece.count(b"\n")
                target.write(piece)
        for name, found in (("count", lines), ("fileSize", os.path.getsize(part))):
            if item.get(name, found) != found:
                raise SystemExit(f"{part}: {name} is {found}, not {item[name]} as the manifest has it")
        os.replace(part, path)
        os.remove(packed)
        print(path, flush=True)

    def fetch(self, url, packed):
        """Adds what is missing; says whether the file is whole now."""
        there = os.path.getsize(packed) if os.path.exists(packed) else 0
        headers = {"Accept-Encoding": "gzip"}
        if there:
            headers["Range"] = f"bytes={there}-"
        with self.ask(url, headers) as answer:
            if answer.status == 416:
                return True  # all of it was there already
            if answer.status not in (200, 206):
                raise SystemExit(f"{url}: {problem(answer)}")
            missing = int(answer.headers["Content-Length"])
            with open(packed, "ab" if answer.status == 206 else "wb") as file:
                try:
                    while missing and (piece := answer.read(PIECE_BYTES)):
                        file.write(piece)
                        missing -= len(piece)
                except BROKEN:
                    return False
            return missing == 0


def pause(answer=None):
    asked = answer.headers.get("Retry-After", "1") if answer else "1"
    time.sleep(min(int(asked) if asked.isdecimal() else 1, WAIT_SECONDS_MAX))


def problem(answer):
    try:
        return f"status {answer.status} {json.load(answer)['issue'][0]['diagnostics']}"
    except (ValueError, LookupError, TypeError):
        return f"status {answer.status}"


def main():
    parser = argparse.ArgumentParser(description="Exports an ACO's claims into a folder.")
    parser.add_argument("--host", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--endpoint", default="Patient")
    parser.add_argument("--type")
    parser.add_argument("--since")
    parser.add_argument("--cacert")
    parser.add_argument("--job", help="go on with this job instead of starting one")
    options = parser.parse_args()
    secret = os.environ.pop("CLIENT_SECRET", None)
    if not secret:
        with open(os.environ["CLIENT_SECRET_FILE"], encoding="ascii") as file:
            secret = file.readline().strip()
    client = Client(options.host, os.environ["CLIENT_ID"], secret, options.cacert)
    os.makedirs(options.out, exist_ok=True)

    job = options.job or client.kick_off(options.endpoint, options.type, options.since)
    print("job", job, flush=True)
    body = client.wait(job)
    with open(os.path.join(options.out, "manifest.json"), "wb") as file:
        file.write(body)
    manifest = json.loads(body)
    # What is gone since --since comes as Bundles of DELETE requests.
    for prefix, items in (("", manifest["output"] + manifest.get("deleted", [])), ("errors-", manifest["error"])):
        for item in items:
            name = item["url"].rsplit("/", 1)[1]
            client.download(item, os.path.join(options.out, f"{prefix}{item['type']}-{name}"))
    if manifest["error"]:
        print(f"some of it could not be exported: see {options.out}/errors-*", file=sys.stderr)


if __name__ == "__main__":
    main()
