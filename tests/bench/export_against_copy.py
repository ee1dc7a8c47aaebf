#!/usr/bin/env python3
"""Export against copy: what an export takes beside copying the same claims, and beside what the disk allows.

    tests/bench/export_against_copy.py [--bytes N] [--rounds R] [--dir DIR] [--json] [--smoke]

Makes N bytes of synthetic claims of one ACO, imports them a few times (into new stores), serves the last
store, and then measures in each round, in an order that rotates:

    export  kick-off -> Completed: by the server's own log, and as a client on one TLS connection sees it
    copy    cp of the NDJSON that was imported, to new files beside them, and fsync
    floor   writing the bytes of the export's own files from memory to new files, and fsync

All three end with durable files on one disk. What is read (NDJSON, store) is in the page cache. What a round
has written is removed before the next measurement, and the disk is given time to finish (sync).

Checks its results: what was exported is, line by line, what was imported, and every round's files have the
same bytes. Prints a section of Markdown for docs/performance/, or JSON. --smoke: a small run of the same,
also where the disk is none (tmpfs); its times mean nothing.
"""

import argparse
import glob
import hashlib
import http.client
import json
import os
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import sluice  # noqa: E402
from measuring import (commit, machine, machine_sentence, mount_of, ratios, read_into_cache, say,  # noqa: E402
                       spread, sync_path)

ACO = "A9994"
YEARS = 3
BENEFICIARY_BYTES = 1_690_000  # about, of YEARS years; what it came to is reported
IMPORT_ROUNDS_MAX = 5
POLL_SECONDS = 0.001
SMOKE_BYTES = 3_000_000
TYPES = ("ExplanationOfBenefit", "Coverage", "Patient")
PHASES = ("wait_us", "plan_us", "write_us", "sync_us", "commit_us")


# ---- what is measured --------------------------------------------------------------------------------------

def measure_import(site, folder):
    begin = time.monotonic()
    done = site.ctl("import", folder, "--json")
    return time.monotonic() - begin, json.loads(done.stdout)


def measure_copy(sources, folder):
    """cp and fsync, of files and folder."""
    begin = time.monotonic()
    subprocess.run(["cp", "--", *sources, folder], check=True)
    for source in sources:
        sync_path(os.path.join(folder, os.path.basename(source)))
    sync_path(folder)
    return time.monotonic() - begin


def measure_floor(contents, folder):
    """The export's bytes: written and synced, nothing else."""
    begin = time.monotonic()
    for number, content in enumerate(contents):
        fd = os.open(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left):]
        os.fsync(fd)
        os.close(fd)
    sync_path(folder)
    return time.monotonic() - begin


class Client:
    """One keep-alive TLS connection, so that a poll costs what a request costs and not a handshake."""

    def __init__(self, server):
        parts = urllib.parse.urlsplit(server.base)
        context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
        self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context)
        self.fields = {"Authorization": "Bearer " + server.token(ACO), "Accept": "application/fhir+json",
                       "Prefer": "respond-async"}

    def request(self, method, target, expected):
        path = urllib.parse.urlsplit(target).path
        self.connection.request(method, path, headers=self.fields)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status not in expected:
            raise AssertionError(f"{method} {path}: {answer.status} {body!r}")
        return answer.status, answer.headers, body

    def export(self):
        """Gives (seconds, job's URL, manifest)."""
        begin = time.monotonic()
        _, headers, _ = self.request("GET", "/api/v1/Patient/$export", (202,))
        url = headers["content-location"]
        while True:
            status, _, body = self.request("GET", url, (200, 202))
            if status == 200:
                return time.monotonic() - begin, url, json.loads(body)
            time.sleep(POLL_SECONDS)


def measure_export(server, client):
    """Gives (client's seconds, server's log line, paths of the files, URL)."""
    known = len(server.events("job completed"))
    seconds, url, manifest = client.export()
    events = sluice.wait_until(lambda: server.events("job completed")[known:], "the job's line in the log")
    folder = os.path.join(server.site.store, "jobs", str(manifest["JobID"]))
    files = []
    for item in manifest["output"]:
        name = os.path.splitext(item["url"].rsplit("/", 1)[1])[0]
        found = glob.glob(os.path.join(glob.escape(folder), name + "*.gz"))
        if len(found) != 1:
            raise AssertionError(f"files of {item['url']}: {found}")
        files.append((item["type"], found[0]))
    return seconds, events[0], files, url


def remove_job(client, url, files):
    client.request("DELETE", url, (202,))
    sluice.wait_until(lambda: not any(os.path.exists(path) for _, path in files), "the job's files are gone")


# ---- what must be true -------------------------------------------------------------------------------------

INDEX_ENTRY_BYTES = 24


class LineSet:
    """Lines in whatever order: their number, bytes, and the sum of their hashes."""

    def __init__(self):
        self.lines = self.bytes = self.sum = 0

    def add(self, lines):
        for line in lines:
            self.lines += 1
            self.bytes += len(line)
            self.sum = (self.sum + int.from_bytes(hashlib.sha256(line).digest(), "little")) % (1 << 256)

    def __eq__(self, other):
        return (self.lines, self.bytes, self.sum) == (other.lines, other.bytes, other.sum)


def stored_lines(path):
    """Of a file of an export as it stands on the disk: gzip, and an index behind it."""
    inflater, rest = zlib.decompressobj(zlib.MAX_WBITS | 16), b""
    with open(path, "rb") as file:
        while not inflater.eof:
            stored = file.read(1 << 20)
            if not stored:
                raise AssertionError(f"{path} ends too early")
            *lines, rest = (rest + inflater.decompress(stored)).split(b"\n")
            yield from (line + b"\n" for line in lines)
    if rest:
        raise AssertionError(f"{path}: its last line has no end")


def check_export(sources, files):
    """What was exported is what was imported."""
    for kind in TYPES:
        want, found = LineSet(), LineSet()
        for source in sources:
            if os.path.basename(source) == kind + ".ndjson":
                with open(source, "rb") as file:
                    want.add(file)
        for item_kind, path in files:
            if item_kind == kind:
                found.add(stored_lines(path))
        if want != found or not want.lines:
            raise AssertionError(f"{kind}: imported {want.lines} lines of {want.bytes} bytes, "
                                 f"exported {found.lines} of {found.bytes}, or others")


def digests(files):
    result = []
    for kind, path in files:
        with open(path, "rb") as file:
            result.append((kind, hashlib.file_digest(file, "sha256").hexdigest()))
    return result


# ---- the run -----------------------------------------------------------------------------------------------

def make_data(site, wanted_bytes):
    out = site.path("synthetic")
    beneficiaries = max(2, round(wanted_bytes / BENEFICIARY_BYTES))
    sluice.run(sluice.program("sluice-synth"), "--out", out, "--aco-ids", ACO, "--beneficiaries", beneficiaries,
               "--years", YEARS, "--quiet")
    base = os.path.join(out, "base")
    sources = [os.path.join(base, kind + ".ndjson") for kind in TYPES]
    return beneficiaries, base, sources


def import_once(site, base, sources, raw_bytes):
    site.ctl("attribution", "import", os.path.join(os.path.dirname(base), "attribution"))
    read_into_cache(sources)
    os.sync()
    seconds, counts = measure_import(site, base)
    lines = 0
    for source in sources:
        with open(source, "rb") as file:
            lines += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    if counts["added"] != lines or counts["refused"]:
        raise AssertionError(f"of {lines} lines were imported: {counts}")
    say(f"import   {seconds:8.3f} s  {raw_bytes / seconds / 1e9:.2f} GB/s")
    return seconds


def run(options, folder):
    tempfile.tempdir = folder
    report = {"machine": machine(folder), "commit": commit(), "command": shlex.join(
        ["tests/bench/export_against_copy.py", *sys.argv[1:]]), "smoke": options.smoke, "rounds": options.rounds}
    sites = []
    try:
        data = sluice.Site([ACO])
        sites.append(data)
        say(f"making about {options.bytes / 1e6:.0f} MB of claims ...")
        report["beneficiaries"], base, sources = make_data(data, options.bytes)
        raw_bytes = report["raw_bytes"] = sum(os.path.getsize(source) for source in sources)
        seconds = report["seconds"] = {"import": [], "export": [], "export_client": [], "copy": [], "floor": []}
        seconds.update({phase[:-3]: [] for phase in PHASES})

        for number in range(min(options.rounds, IMPORT_ROUNDS_MAX)):
            if number:  # a new store: importing again would change nothing
                if len(sites) > 1:
                    sites.pop().close()
                sites.append(sluice.Site([ACO]))
            seconds["import"].append(import_once(sites[-1], base, sources, raw_bytes))
        site = sites[-1]
        with sluice.Server(site) as server:
            measure_rounds(options, report, server, sources)
        return report
    finally:
        for site in sites:
            site.close()


def measure_rounds(options, report, server, sources):
    client = Client(server)
    seconds = report["seconds"]
    stores = glob.glob(os.path.join(glob.escape(server.site.store), "*.mdb"))
    scratch = server.site.path("scratch")

    # The first export warms up, is checked, and gives the bytes of the floor.
    _, event, files, url = measure_export(server, client)
    check_export(sources, files)
    want = digests(files)
    contents = []
    for _, path in files:
        with open(path, "rb") as file:
            contents.append(file.read())
    report["stored_bytes"] = sum(map(len, contents))
    report["resources"] = event["resources"]
    report["files"] = len(files)
    indexes = report["stored_bytes"] - event["stored_bytes"]  # the log counts what is sent
    if event["raw_bytes"] != report["raw_bytes"] or indexes <= 0 or indexes % INDEX_ENTRY_BYTES:
        raise AssertionError(f"the log's bytes are not the files': {event}, {report}")
    remove_job(client, url, files)

    def export():
        read_into_cache(stores)
        client_seconds, event, files, url = measure_export(server, client)
        if digests(files) != want:
            raise AssertionError("another export of the same snapshot has other bytes")
        remove_job(client, url, files)
        seconds["export"].append(event["total_us"] / 1e6)
        seconds["export_client"].append(client_seconds)
        for phase in PHASES:
            seconds[phase[:-3]].append(event[phase] / 1e6)

    def copy():
        read_into_cache(sources)
        seconds["copy"].append(measure_copy(sources, scratch))

    def floor():
        seconds["floor"].append(measure_floor(contents, scratch))

    kinds = [export, copy, floor]
    for number in range(options.rounds):
        for kind in kinds[number % 3:] + kinds[:number % 3]:
            os.mkdir(scratch)
            os.sync()
            kind()
            shutil.rmtree(scratch)
        os.sync()
        say(f"round {number + 1:2}  export {seconds['export'][-1]:.4f} s (client {seconds['export_client'][-1]:.4f})"
            f"  copy {seconds['copy'][-1]:.4f} s  floor {seconds['floor'][-1]:.4f} s")


# ---- the report --------------------------------------------------------------------------------------------

ROWS = (
    ("export", "**export**: kick-off → Completed, by the server's log"),
    ("export_client", "the same as a client sees it, over TLS"),
    ("copy", "copy: `cp` and fsync of the same NDJSON"),
    ("floor", "floor: writing and fsyncing the export's own bytes"),
    ("import", "import"),
)


def markdown(report):
    raw, stored = report["raw_bytes"], report["stored_bytes"]
    lines = [
        f"Synthetic claims of one ACO, {report['beneficiaries']} beneficiaries, {YEARS} years: "
        f"{report['resources']:,} resources, {raw:,} bytes of NDJSON, exported as {report['files']} files of "
        f"{stored:,} bytes ({raw / stored:.1f} : 1). {report['rounds']} rounds, interleaved; "
        f"{len(report['seconds']['import'])} imports.",
        "",
        "| | seconds: median | least | most | IQR | raw GB/s |",
        "|---|---|---|---|---|---|",
    ]
    for key, title in ROWS:
        median, least, most, iqr = spread(report["seconds"][key])
        lines.append(f"| {title} | {median:.4f} | {least:.4f} | {most:.4f} | {iqr:.4f} | {raw / median / 1e9:.2f} |")
    lines += ["", "| ratio, round by round | median | least | most |", "|---|---|---|---|"]
    for above, below in (("export", "copy"), ("copy", "export"), ("export", "floor")):
        median, least, most, _ = spread(ratios(report["seconds"][above], report["seconds"][below]))
        lines.append(f"| {above} / {below} | {median:.3f} | {least:.3f} | {most:.3f} |")
    phases = ", ".join(f"{phase[:-3]} {spread(report['seconds'][phase[:-3]])[0] * 1000:.2f}" for phase in PHASES)
    lines += [
        "",
        f"Phases of the export, medians in ms, summed over its threads: {phases}.",
        "",
        machine_sentence(report),
    ]
    if report["smoke"]:
        lines.insert(0, "A smoke run: its times mean nothing.\n")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bytes", type=int, help="of NDJSON, about (1000000000)")
    parser.add_argument("--rounds", type=int, help="measurements of each kind (9)")
    parser.add_argument("--dir", help="a folder on the disk to measure (a temporary one)")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run that checks results; times mean nothing")
    options = parser.parse_args()
    options.bytes = options.bytes or (SMOKE_BYTES if options.smoke else 1_000_000_000)
    options.rounds = options.rounds or (2 if options.smoke else 9)
    folder = tempfile.mkdtemp(prefix="sluice-bench-", dir=options.dir)
    try:
        kind = mount_of(folder)[1]
        if kind in ("tmpfs", "ramfs") and not options.smoke:
            sys.exit(f"{folder} is on {kind}, where fsync means nothing: name a folder on a disk with --dir")
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
