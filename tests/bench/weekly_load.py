#!/usr/bin/env python3
"""What a weekly load costs beside a first one: processor, disk, and how the week's news is stored and exported.

    tests/bench/weekly_load.py [--beneficiaries N] [--years N] [--weeks N] [--dir DIR] [--json] [--smoke]

Imports synthetic claims of one ACO, then week after week, by `sluicectl import` without a server, and exports the last week
from a server at the end. The clock is each week's Sunday, so that each load is newer than what came before.

    processor   user and system time of sluicectl
    written     what the disk's own counters say (/proc/diskstats), synced before and after: of the whole machine, so the least is
                the one to believe
    touched     beneficiaries that a week's lines name

Checks that every line was imported, and that the export with `_since` has no more lines than the last week had, and nine in ten of
them: some are of beneficiaries who left. Prints a section of Markdown for
docs/performance/, or JSON. --smoke: a small run of the same; its figures mean nothing.
"""

import argparse
import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compaction  # noqa: E402
from measuring import allocated_bytes, commit, machine, machine_sentence, mount_of, say, spread  # noqa: E402

sluice = compaction.sluice


def look_at(folder):
    """(raw bytes, lines, beneficiaries) of a load's files."""
    size = lines = 0
    owners = set()
    for path in glob.glob(os.path.join(glob.escape(folder), "*.ndjson")):
        with open(path, "rb") as file:
            for line in file:
                size += len(line)
                lines += 1
                resource = json.loads(line)
                reference = (resource.get("patient") or resource.get("beneficiary") or {}).get("reference")
                owners.add(reference.split("/", 1)[1] if reference else resource["id"])
    return size, lines, len(owners)


def written_bytes(device):
    """What a disk has written so far, in 512-byte sectors times 512; 0 if it keeps no count."""
    with open("/proc/diskstats", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[2] == os.path.basename(device):
                return int(fields[9]) * 512
    return 0


def load(site, folder, device):
    raw, lines, owners = look_at(folder)
    os.sync()
    before = written_bytes(device)
    process = subprocess.Popen([sluice.program("sluicectl"), "--data", site.store, "--quiet", "import", folder, "--json"],
                               stdout=subprocess.PIPE, env=site.environment)
    with process.stdout:
        report = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    os.sync()
    if process.returncode or sum(report[key] for key in ("added", "replaced", "identical")) != lines:
        raise AssertionError(f"{folder}: {process.returncode}, {lines} lines, {report}")
    return {"raw": raw, "lines": lines, "touched": owners, "cpu": usage.ru_utime + usage.ru_stime,
            "written": written_bytes(device) - before, "store": allocated_bytes(os.path.join(site.store, "store.mdb"))}


def export(site, since):
    """What an export of all that is later brings, by the server's log."""
    with sluice.Server(site) as server:
        token = server.token(compaction.ACO)
        url = server.kick_off(token, f"/api/v1/Group/all/$export?_since={since.strftime('%Y-%m-%dT%H:%M:%SZ')}")
        server.wait_for_job(url, token)
        return sluice.wait_until(lambda: server.events("job completed"), "the job's event")[-1]


def run(options, folder):
    tempfile.tempdir = folder
    report = {"machine": machine(folder), "commit": commit(), "smoke": options.smoke, "years": options.years,
              "beneficiaries": options.beneficiaries, "command": shlex.join(["tests/bench/weekly_load.py", *sys.argv[1:]])}
    device = mount_of(folder)[0]
    clock = compaction.Clock(folder)
    site = sluice.Site([compaction.ACO], {"SLUICE_TEST_CLOCK": clock.path})
    try:
        data = os.path.join(folder, "synthetic")
        sluice.run(sluice.program("sluice-synth"), "--out", data, "--aco-ids", compaction.ACO, "--beneficiaries",
                   options.beneficiaries, "--years", options.years, "--weeks", options.weeks, "--quiet")
        site.ctl("attribution", "import", os.path.join(data, "attribution"))
        report["first"] = load(site, os.path.join(data, "base"), device)
        say(f"first load: {report['first']}")
        report["weeks"] = []
        for week in range(1, options.weeks + 1):
            clock.set(week)
            inside = os.path.join(data, f"week-{week:02}")
            site.ctl("attribution", "import", os.path.join(inside, "attribution"))
            report["weeks"].append(load(site, inside, device))
            say(f"week {week}: {report['weeks'][-1]}")
        event = export(site, compaction.FIRST_SATURDAY + timedelta(weeks=options.weeks - 1))
        lines = report["weeks"][-1]["lines"]
        if not 0.9 * lines - 3 <= event["resources"] <= lines:
            raise AssertionError(f"the last week had {lines} lines, its export has {event['resources']}")
        report["export"] = {key: event[key] for key in ("resources", "raw_bytes", "stored_bytes", "total_us")}
        say(f"export: {report['export']}")
        return report
    finally:
        site.close()


def markdown(report):
    first = report["first"]
    weeks = report["weeks"][1:] or report["weeks"]  # the first week of a year rewrites every Coverage
    lines = ["A smoke run: its figures mean nothing.\n"] if report["smoke"] else []
    lines += [f"Synthetic claims of one ACO: {report['beneficiaries']:,} beneficiaries, {report['years']} years, then "
              f"{len(report['weeks'])} weekly loads, of which the first, with every Coverage of the new year, is left out.", "",
              "| | first load | a week: median | least | most | IQR |", "|---|---|---|---|---|---|"]
    for title, form, value in (
            ("NDJSON, bytes", ",.0f", lambda row: row["raw"]),
            ("the same, a beneficiary", ",.0f", lambda row: row["raw"] / report["beneficiaries"]),
            ("beneficiaries it names, share", ".2f", lambda row: row["touched"] / report["beneficiaries"]),
            ("processor, ns a byte", ".1f", lambda row: row["cpu"] / row["raw"] * 1e9),
            ("written to the disk, bytes a byte", ".2f", lambda row: row["written"] / row["raw"])):
        lines.append(f"| {title} | {value(first):{form}} | " + 
                     " | ".join(f"{cell:{form}}" for cell in spread([value(row) for row in weeks])) + " |")
    found = report["export"]
    lines += ["", f"An export of the last week: {found['resources']:,} resources, {found['raw_bytes']:,} bytes of NDJSON, "
              f"{found['stored_bytes']:,} of gzip ({found['raw_bytes'] / found['stored_bytes']:.1f} : 1).", "", machine_sentence(report)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--beneficiaries", type=int, help="(1200)")
    parser.add_argument("--years", type=int, help="of claims in the first load (3)")
    parser.add_argument("--weeks", type=int, help="(8)")
    parser.add_argument("--dir", help="a folder on the disk to measure (a temporary one)")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run that checks results; its figures mean nothing")
    options = parser.parse_args()
    options.beneficiaries = options.beneficiaries or (6 if options.smoke else 1200)
    options.years = options.years or (1 if options.smoke else 3)
    options.weeks = options.weeks or (2 if options.smoke else 8)
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
