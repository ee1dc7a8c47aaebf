#!/usr/bin/env python3
"""What two years of weekly loads and a compaction leave on the disk, and what an export takes then.

    tests/bench/compaction.py [--beneficiaries N] [--years N] [--weeks N] [--rounds R] [--dir DIR] [--json] [--smoke]

Makes synthetic claims of one ACO, loads the base, and then week by week claims and rosters, each with the clock at
that week's Saturday. Measures the allocated blocks of store.mdb after the first load, after the last week, and after
`sluicectl compact`, each against `gzip -6` of one file of all NDJSON that stands then. Then compares exports: of the
compacted store, and of a new one into which all that stands was loaded at once, interleaved.

Checks its results: a dump has the same lines before and after the compaction, a second compaction finds nothing, and
both stores export the same lines. Prints a section of Markdown for docs/performance/, or JSON. --smoke: a small run of the
same; its times mean nothing.
"""

import argparse
import glob
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import export_against_copy as common  # noqa: E402
import sluice  # noqa: E402
from measuring import (allocated_bytes, commit, machine, machine_sentence, mount_of, ratios, read_into_cache,  # noqa: E402
                       say, spread)

ACO = "A9994"
FIRST_SATURDAY = datetime(2026, 1, 3, tzinfo=timezone.utc)  # of sluice-synth's week-01
STEPS = ("load", "weeks", "compacted")


class Clock:
    """The time that sluicectl and sluiced see."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "clock")
        self.set(0)

    def set(self, week):
        """Sunday noon after that week's Saturday; 0: the day before the first."""
        when = FIRST_SATURDAY + (timedelta(weeks=week - 1, days=1, hours=12) if week else timedelta(hours=-12))
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{round(when.timestamp() - time.time())}\n")
        os.replace(self.path + ".new", self.path)


def write_dump(site, path):
    """Everything that stands, as one file; gives its bytes and those of gzip -6."""
    with open(path, "wb") as file:
        subprocess.run([sluice.program("sluicectl"), "--data", site.store, "--quiet", "dump"], stdout=file, check=True,
                       env=site.environment)
    with open(path, "rb") as file:
        with subprocess.Popen(["gzip", "-6"], stdin=file, stdout=subprocess.PIPE) as process:
            packed = sum(len(block) for block in iter(lambda: process.stdout.read(1 << 20), b""))
    if process.returncode:
        raise AssertionError(f"gzip ended with {process.returncode}")
    return os.path.getsize(path), packed


def lines_of(path):
    """A sum that does not depend on the lines' order."""
    count = total = 0
    with open(path, "rb") as file:
        for line in file:
            count += 1
            total += int.from_bytes(hashlib.blake2b(line, digest_size=16).digest(), "little")
    return count, total % (1 << 128)


def look(site, name, report, path):
    raw, packed = write_dump(site, path)
    store = allocated_bytes(os.path.join(site.store, "store.mdb"))
    told = json.loads(site.ctl("stat", "--json").stdout)
    segments = sum(row["segments"] for row in told["types"] if row["aco"] == "all")
    report["space"][name] = {"raw": raw, "gzip": packed, "store": store, "segments": segments}
    say(f"{name:10} {raw / 1e6:8.1f} MB, gzip -6 {packed / 1e6:7.1f} MB, store {store / 1e6:7.1f} MB: {store / packed:.3f}; "
        f"{segments} segments")


def load_weeks(options, site, clock, data):
    begin = time.monotonic()
    for week in range(1, options.weeks + 1):
        clock.set(week)
        folder = os.path.join(data, f"week-{week:02}")
        site.ctl("attribution", "import", os.path.join(folder, "attribution"))
        site.ctl("import", folder)
        if week % 13 == 0:
            say(f"week {week}, {time.monotonic() - begin:.0f} s")


def compact(site, report):
    begin = time.monotonic()
    told = json.loads(site.ctl("compact", "--json").stdout)
    report["compact"] = {"seconds": time.monotonic() - begin, "told": told}
    again = json.loads(site.ctl("compact", "--json").stdout)
    if again["replaced"]:
        raise AssertionError(f"a second compaction found something: {again}")


def exports(options, report, compacted, fresh):
    """Interleaved, of the same resources."""
    seconds = report["seconds"] = {"compacted": [], "fresh": []}
    with sluice.Server(compacted) as one, sluice.Server(fresh) as two:
        sides = [("compacted", one, common.Client(one)), ("fresh", two, common.Client(two))]
        want = None
        for number in range(options.rounds + 1):  # the first one warms up
            for name, server, client in sides if number % 2 else sides[::-1]:
                read_into_cache(glob.glob(os.path.join(glob.escape(server.site.store), "*.mdb")))
                os.sync()
                _, event, files, url = common.measure_export(server, client)
                if not number:
                    found = {kind: common.LineSet() for kind, _ in files}
                    for kind, path in files:
                        with subprocess.Popen(["gzip", "-dc", path], stdout=subprocess.PIPE) as process:
                            found[kind].add(process.stdout)
                    if want is not None and want != found:
                        raise AssertionError("the two stores export different lines")
                    want = found
                    report["export"] = {"raw": event["raw_bytes"], "resources": event["resources"]}
                    report.setdefault("export_stored", {})[name] = event["stored_bytes"]
                else:
                    seconds[name].append(event["total_us"] / 1e6)
                    if name == "fresh":
                        report["export_stored"]["fresh"] = event["stored_bytes"]
                common.remove_job(client, url, files)


def run(options, folder):
    tempfile.tempdir = folder
    report = {"machine": machine(folder), "commit": commit(), "command": shlex.join(
        ["tests/bench/compaction.py", *sys.argv[1:]]), "smoke": options.smoke, "rounds": options.rounds,
        "beneficiaries": options.beneficiaries, "years": options.years, "weeks": options.weeks, "space": {}}
    clock = Clock(folder)
    environment = {"SLUICE_TEST_CLOCK": clock.path}
    sites = []
    try:
        site = sluice.Site([ACO], environment)
        sites.append(site)
        data, dump = os.path.join(folder, "synthetic"), os.path.join(folder, "dump.ndjson")
        sluice.run(sluice.program("sluice-synth"), "--out", data, "--aco-ids", ACO, "--beneficiaries",
                   options.beneficiaries, "--years", options.years, "--weeks", options.weeks, "--quiet")
        site.ctl("attribution", "import", os.path.join(data, "attribution"))
        site.ctl("import", os.path.join(data, "base"))
        look(site, "load", report, dump)
        load_weeks(options, site, clock, data)
        look(site, "weeks", report, dump)
        before = lines_of(dump)
        compact(site, report)
        look(site, "compacted", report, dump)
        if lines_of(dump) != before:
            raise AssertionError("the compaction changed what the store holds")
        site.ctl("verify")

        fresh = sluice.Site([ACO], environment)
        sites.append(fresh)
        fresh.ctl("attribution", "import", os.path.join(data, f"week-{options.weeks:02}", "attribution"))
        fresh.ctl("import", dump)
        shutil.rmtree(data)
        os.remove(dump)
        exports(options, report, site, fresh)
        return report
    finally:
        for site in sites:
            site.close()


TITLES = {"load": "after the first load", "weeks": "after the last week", "compacted": "**after the compaction**"}


def markdown(report):
    seconds, told = report["seconds"], report["compact"]["told"]
    lines = [
        f"Synthetic claims of one ACO: {report['beneficiaries']} beneficiaries, {report['years']} years, then {report['weeks']} "
        "weekly loads and rosters.",
        "",
        "| | segments | NDJSON that stands | `gzip -6` of it | blocks of the store | store / gzip |",
        "|---|---|---|---|---|---|",
    ]
    for name in STEPS:
        row = report["space"][name]
        lines.append(f"| {TITLES[name]} | {row['segments']:,} | {row['raw']:,} | {row['gzip']:,} | {row['store']:,} | "
                     f"{row['store'] / row['gzip']:.3f} |")
    rate = report["space"]["compacted"]["raw"] / report["compact"]["seconds"] / 1e6
    lines += [
        "",
        f"The compaction took {report['compact']['seconds']:.1f} s ({rate:.0f} MB of lines a second) and replaced "
        f"{told['replaced']:,} segments by {told['made']:,}.",
        "",
        f"| export of {report['export']['resources']:,} resources, {report['export']['raw']:,} bytes | seconds: median | least | "
        "most | IQR | bytes written |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in (("compacted", "of the compacted store"), ("fresh", "of the same, loaded at once")):
        median, least, most, iqr = spread(seconds[name])
        lines.append(f"| {title} | {median:.4f} | {least:.4f} | {most:.4f} | {iqr:.4f} | {report['export_stored'][name]:,} |")
    median, least, most, _ = spread(ratios(seconds["fresh"], seconds["compacted"]))
    lines += ["", f"Speed of the compacted store against the fresh one, round by round: median {median:.3f}, least {least:.3f}, most "
              f"{most:.3f} ({report['rounds']} rounds, interleaved).", "", machine_sentence(report)]
    if report["smoke"]:
        lines.insert(0, "A smoke run: its times mean nothing.\n")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--beneficiaries", type=int, help="(800)")
    parser.add_argument("--years", type=int, help="of claims in the first load (3)")
    parser.add_argument("--weeks", type=int, help="(104)")
    parser.add_argument("--rounds", type=int, help="exports of each store (9)")
    parser.add_argument("--dir", help="a folder on the disk to measure (a temporary one)")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run that checks results; times mean nothing")
    options = parser.parse_args()
    options.beneficiaries = options.beneficiaries or (8 if options.smoke else 800)
    options.years = options.years or (1 if options.smoke else 3)
    options.weeks = options.weeks or (3 if options.smoke else 104)
    options.rounds = options.rounds or (2 if options.smoke else 9)
    folder = tempfile.mkdtemp(prefix="sluice-bench-", dir=options.dir)
    try:
        if mount_of(folder)[1] in ("tmpfs", "ramfs") and not options.smoke:
            sys.exit(f"{folder} is on no disk: name a folder on one with --dir")
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
