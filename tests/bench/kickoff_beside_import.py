#!/usr/bin/env python3
"""Kick-offs of a live server while an import runs beside it at full speed, and what each costs the other.

    tests/bench/kickoff_beside_import.py [--beneficiaries N] [--acos N] [--rate R] [--rounds N] [--dir DIR] [--json] [--smoke]

Makes a year of synthetic claims of N beneficiaries of each ACO and attributes them. Then, each round on new stores:

    tool alone      sluicectl import, without a server: the tool writes by itself
    server idle     the same import beside a server that has nothing else to do: the server writes
    kick-offs idle  kick-offs on that server after the import
    beside          kick-offs while the same import runs, on a new store
    again beside    kick-offs while the same files are imported once more, which changes nothing
    updates beside  kick-offs while a changed version of every resource is imported

Kick-offs come as an open loop: R a second, spread evenly over the ACOs and over Patient and Group/all, each at its
appointed time whether or not those before it were answered; its latency counts from that time. An answer is 202; the
job is cancelled at once, so that the endpoint is free for the next one. Each ACO has one kept connection.

Checks that every kick-off was accepted and every import counted what it should. Prints a section of Markdown for
docs/performance/, or JSON. --smoke: a small run of the same; its times mean nothing.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import export_against_copy as common  # noqa: E402
import sluice  # noqa: E402
import wire  # noqa: E402

IDLE_SECONDS = 20
LIMIT_MS = 50
LOADS = ("tool alone", "server idle", "beside", "again beside", "updates beside")
LATENCIES = ("kick-offs idle", "beside", "again beside", "updates beside")
CLIENT_PRIORITY = 5  # above the rest, of the threads of the loop, where allowed: they must keep their times beside an import


def aco_ids(count):
    return [f"A{9000 + number}" for number in range(count)]


# ---- kick-offs ---------------------------------------------------------------------------------------------

class Caller(threading.Thread):
    """One ACO's kick-offs at appointed times, until told to stop."""

    def __init__(self, server, aco, begin, interval, stopping):
        super().__init__()
        self.client = wire.Client(server, aco)
        self.client.log_in()
        self.begin, self.interval, self.stopping = begin, interval, stopping
        self.latencies = []  # seconds from the appointed time to the answer
        self.lags = []       # seconds from there to the sending: the client's own fault, and part of the latency
        self.failure = None

    def run(self):
        try:
            try:
                own = os.PRIO_PROCESS, threading.get_native_id()
                os.setpriority(*own, os.getpriority(*own) - CLIENT_PRIORITY)
            except PermissionError:
                pass  # the report tells how late it sent
            number = 0
            while not self.stopping.wait(max(0, self.begin + number * self.interval - time.monotonic())):
                appointed = self.begin + number * self.interval
                sent = time.monotonic()
                location = self.client.kick_off(wire.GROUP if number % 2 else wire.PATIENT)
                self.latencies.append(time.monotonic() - appointed)
                self.lags.append(sent - appointed)
                status, _, body = self.client.request(location, "DELETE")
                if status != 202:
                    raise AssertionError(f"DELETE {location}: {status} {body!r}")
                number += 1
        except BaseException as failure:  # handed on to the main thread
            self.failure = failure
        finally:
            self.client.close()


class Callers:
    """Use as a context around what is to run beside them."""

    def __init__(self, server, acos, rate):
        self.server, self.stopping = server, threading.Event()
        begin = time.monotonic() + 0.1 + 0.02 * len(acos)  # the tokens come first
        self.threads = [Caller(server, aco, begin + number / rate, len(acos) / rate, self.stopping)
                        for number, aco in enumerate(acos)]

    def __enter__(self):
        self.known = len(self.server_times())
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        for thread in self.threads:
            if thread.failure and not kind:
                raise thread.failure

    def server_times(self):
        return [event["duration_us"] / 1e6 for event in self.server.events("request")
                if event["method"] == "GET" and event["route"].endswith("$export") and event["status"] == 202]

    def result(self):
        latencies = [value for thread in self.threads for value in thread.latencies]
        sluice.wait_until(lambda: len(self.server_times()) - self.known >= len(latencies), "the requests' lines in the log")
        return {"seconds": latencies, "lag": [value for thread in self.threads for value in thread.lags],
                "server": self.server_times()[self.known:]}


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# ---- imports -----------------------------------------------------------------------------------------------

def measure_import(site, paths):
    """(seconds, counts)"""
    os.sync()
    begin = time.monotonic()
    counts = json.loads(site.ctl("import", *paths, "--json").stdout)
    seconds = time.monotonic() - begin
    if counts["refused"]:
        raise AssertionError(f"refused lines: {counts}")
    return seconds, counts


def make_data(site, options):
    """(paths, paths of the changed version, folder of rosters, lines, bytes)"""
    out = site.path("synthetic")
    sluice.run(sluice.program("sluice-synth"), "--out", out, "--aco-ids", ",".join(aco_ids(options.acos)),
               "--beneficiaries", options.beneficiaries, "--years", 1, "--quiet")
    paths = [os.path.join(out, "base", kind + ".ndjson") for kind in common.TYPES]
    changed = site.path("changed")
    os.mkdir(changed)
    lines = total = 0
    for path in paths:
        with open(path, "rb") as source, open(os.path.join(changed, os.path.basename(path)), "wb") as target:
            for line in source:
                lines += 1
                total += len(line)
                # Of a claim its status, of all their time: 2026-01-05 is later than anything in the base.
                at = line.index(b'"lastUpdated":"') + len(b'"lastUpdated":"')
                line = line[:at] + b"2026-01-05" + line[at + 10:]
                target.write(line.replace(b'"status":"active"', b'"status":"cancelled"'))
    return paths, [os.path.join(changed, os.path.basename(path)) for path in paths], os.path.join(out, "attribution"), lines, total


def run_round(report, options, data, sites):
    paths, changed, rosters, lines, total = data
    acos = aco_ids(options.acos)
    seconds, latencies = report["seconds"], report["latencies"]

    def site():
        made = sluice.Site(acos)
        sites.append(made)
        made.ctl("attribution", "import", rosters)
        return made

    def drop(made):
        sites.remove(made)
        made.close()

    def expect(counts, key):
        if counts[key] != lines:
            raise AssertionError(f"of {lines} lines: {counts}")

    def note(kind, taken, result=None):
        seconds[kind].append(taken)
        text = f"{kind:15} import {taken:7.2f} s  {total / taken / 1e6:6.0f} MB/s"
        if result and result["seconds"]:
            latencies[kind].append(result)
            times = result["seconds"]
            text += (f"   kick-offs {len(times)}, p50 {quantile(times, .5) * 1e3:.1f} p99 {quantile(times, .99) * 1e3:.1f}"
                     f" max {max(times) * 1e3:.1f} ms; server p99 {quantile(result['server'], .99) * 1e3:.1f} ms;"
                     f" lag p99 {quantile(result['lag'], .99) * 1e3:.1f} ms")
        common.say(text)

    alone = site()
    taken, counts = measure_import(alone, paths)
    expect(counts, "added")
    note("tool alone", taken)
    drop(alone)

    idle = site()
    with sluice.Server(idle) as server:
        taken, counts = measure_import(idle, paths)
        expect(counts, "added")
        note("server idle", taken)
        with Callers(server, acos, options.rate) as callers:
            time.sleep(options.idle_seconds)
        result = callers.result()
        latencies["kick-offs idle"].append(result)
        common.say(f"kick-offs idle  {len(result['seconds'])}, p50 {quantile(result['seconds'], .5) * 1e3:.1f} p99 "
                   f"{quantile(result['seconds'], .99) * 1e3:.1f} ms")
    drop(idle)

    busy = site()
    with sluice.Server(busy) as server:
        for kind, files, key in (("beside", paths, "added"), ("again beside", paths, "identical"),
                                 ("updates beside", changed, "replaced")):
            with Callers(server, acos, options.rate) as callers:
                taken, counts = measure_import(busy, files)
            expect(counts, key)
            note(kind, taken, callers.result())
    drop(busy)


def run(options, folder):
    tempfile.tempdir = folder
    report = {"machine": common.machine(folder), "commit": common.commit(), "smoke": options.smoke,
              "command": shlex.join(["tests/bench/kickoff_beside_import.py", *sys.argv[1:]]),
              "rounds": options.rounds, "acos": options.acos, "beneficiaries": options.acos * options.beneficiaries,
              "rate": options.rate, "seconds": {kind: [] for kind in LOADS}, "latencies": {kind: [] for kind in LATENCIES}}
    sites = []
    try:
        sites.append(sluice.Site(()))
        common.say(f"making claims of {report['beneficiaries']} beneficiaries ...")
        data = make_data(sites[0], options)
        report["lines"], report["raw_bytes"] = data[3:]
        for number in range(options.rounds):
            common.say(f"round {number + 1}")
            run_round(report, options, data, sites)
        return report
    finally:
        for site in sites:
            site.close()


# ---- the report --------------------------------------------------------------------------------------------

TITLES = {
    "tool alone": "without a server",
    "server idle": "beside a server that does nothing else",
    "beside": "beside kick-offs",
    "again beside": "the same once more, beside kick-offs: nothing changes",
    "updates beside": "a newer version of everything, beside kick-offs",
    "kick-offs idle": "no import",
}


def markdown(report):
    raw = report["raw_bytes"]
    lines = ["A smoke run: its times mean nothing.\n"] if report["smoke"] else []
    lines += [
        f"{report['beneficiaries']:,} beneficiaries of {report['acos']} ACOs, one year: {report['lines']:,} resources, {raw:,} bytes of "
        f"NDJSON. {report['rate']:g} kick-offs a second. {report['rounds']} rounds.",
        "",
        "| import | seconds: median | least | most | MB/s | resources/s |",
        "|---|---|---|---|---|---|",
    ]
    for kind in LOADS:
        median, least, most, _ = common.spread(report["seconds"][kind])
        lines.append(f"| {TITLES[kind]} | {median:.2f} | {least:.2f} | {most:.2f} | {raw / median / 1e6:.0f} | "
                     f"{report['lines'] / median:,.0f} |")
    lines += ["", f"| kick-offs, ms from their appointed time | number | p50 | p99 | p99 of each round | max | over {LIMIT_MS} ms | p99 in the server |",
              "|---|---|---|---|---|---|---|---|"]
    for kind in LATENCIES:
        rounds = report["latencies"][kind]
        times = [value for result in rounds for value in result["seconds"]]
        if not times:  # of a smoke run: over before the first one
            continue
        server = [value for result in rounds for value in result["server"]]
        each = ", ".join(f"{quantile(result['seconds'], .99) * 1e3:.1f}" for result in rounds)
        over = sum(value > LIMIT_MS / 1e3 for value in times)
        lines.append(f"| {TITLES[kind]} | {len(times):,} | {quantile(times, .5) * 1e3:.1f} | {quantile(times, .99) * 1e3:.1f} | {each} | "
                     f"{max(times) * 1e3:.1f} | {over} | {quantile(server, .99) * 1e3:.1f} |")
    lags = [value for rounds in report["latencies"].values() for result in rounds for value in result["lag"]]
    lines += [
        "",
        f"The client sent {quantile(lags, .99) * 1e3:.1f} ms late at p99, which is part of the latencies.",
        "",
        common.machine_sentence(report),
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--beneficiaries", type=int, help="of each ACO (1000)")
    parser.add_argument("--acos", type=int, help="(10)")
    parser.add_argument("--rate", type=float, default=10, help="kick-offs a second (10)")
    parser.add_argument("--rounds", type=int, help="(3)")
    parser.add_argument("--dir", help="a folder on the disk to measure (a temporary one)")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run that checks results; times mean nothing")
    options = parser.parse_args()
    options.beneficiaries = options.beneficiaries or (8 if options.smoke else 1000)
    options.acos = options.acos or (3 if options.smoke else 10)
    options.rounds = options.rounds or (1 if options.smoke else 3)
    options.idle_seconds = 0.5 if options.smoke else IDLE_SECONDS
    folder = tempfile.mkdtemp(prefix="sluice-bench-", dir=options.dir)
    try:
        if common.mount_of(folder)[1] in ("tmpfs", "ramfs") and not options.smoke:
            sys.exit(f"{folder} is on a RAM disk, where fsync means nothing: name a folder on a disk with --dir")
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
