#!/usr/bin/env python3
"""What a weekly load, and an export, read from the disk when nothing of the store is in memory, by what the kernel reads ahead.

    tests/bench/cold_load.py [--beneficiaries N] [--years N] [--named N] [--dir DIR] [--json] [--smoke]

The store lies on an ext4 of its own (a file, loop-mounted: run as root), which is unmounted and mounted again before each measurement.
What is read is what the loop device's own counters say. For each read-ahead, in KiB: a week's claims of N beneficiaries, picked
at random, are imported without a server; then everything is exported from a server that has just started. So few beneficiaries are taken
that they are not neighbours, as they would not be in a store that is far larger than memory.

Prints a section of Markdown for docs/performance/, or JSON. --smoke: a small run whose figures mean nothing.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import weekly_load  # noqa: E402
from measuring import ROOT, commit, machine, machine_sentence, mount_of, say  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import mounts  # noqa: E402
import sluice  # noqa: E402

ACO = weekly_load.compaction.ACO
READ_AHEAD_KIB = (0, 128, 4096)


class ColdDisk(mounts.PowerCut):
    """An ext4 that forgets what it has in memory, on a loop device whose reads are counted."""

    def device(self):
        return os.path.basename(mount_of(self.path)[0])

    def forget(self, read_ahead_kib):
        """After every process that used it has ended."""
        self.restore()
        with open(f"/sys/block/{self.device()}/queue/read_ahead_kb", "w", encoding="ascii") as file:
            file.write(str(read_ahead_kib))
        return self.reads()

    def reads(self):
        """Requests and bytes that were read so far."""
        with open(f"/sys/block/{self.device()}/stat", encoding="ascii") as file:
            fields = file.read().split()
        return int(fields[0]), int(fields[2]) * 512


def owner(line):
    return json.loads(line)["patient"]["reference"]


def measure(disk, read_ahead_kib, call):
    requests, size = disk.forget(read_ahead_kib)
    call()
    after = disk.reads()
    return {"requests": after[0] - requests, "bytes": after[1] - size}


def export_everything(site):
    with sluice.Server(site, settings={"disk_reserve_bytes": 0}) as server:
        token = server.token(ACO)
        server.wait_for_job(server.kick_off(token), token)
        event = sluice.wait_until(lambda: server.events("job completed"), "the job's event")[-1]
        server.curl(f"/api/v1/jobs/{event['job']}", method="DELETE", token=token)
    return event["stored_bytes"]


def run(options, folder):
    report = {"machine": machine(folder), "commit": commit(), "smoke": options.smoke, "beneficiaries": options.beneficiaries,
              "years": options.years, "named": options.named, "command": shlex.join(["tests/bench/cold_load.py", *sys.argv[1:]])}
    data = os.path.join(folder, "synthetic")
    sluice.run(sluice.program("sluice-synth"), "--out", data, "--aco-ids", ACO, "--beneficiaries", options.beneficiaries, "--years",
               options.years, "--weeks", 2, "--quiet")
    tempfile.tempdir = folder
    mounts.private()
    disk = ColdDisk(64 + options.beneficiaries * options.years // 2)
    site = None
    try:
        site = sluice.Site([ACO])
        site.store = shutil.move(site.store, os.path.join(disk.path, "store"))
        site.ctl("attribution", "import", os.path.join(data, "attribution"))
        report["first"] = weekly_load.load(site, os.path.join(data, "base"), disk.device())
        say(f"first load: {report['first']}")
        with open(os.path.join(data, "week-02", "ExplanationOfBenefit.ndjson"), encoding="utf-8") as file:
            lines = list(file)
        owners = sorted({owner(line) for line in lines})
        random.Random(1).shuffle(owners)
        report["cold"] = {}
        for read_ahead_kib in READ_AHEAD_KIB:
            named = {owners.pop() for _ in range(options.named)}
            inside = os.path.join(folder, f"few-{read_ahead_kib}")
            os.mkdir(inside)
            with open(os.path.join(inside, "ExplanationOfBenefit.ndjson"), "w", encoding="utf-8") as file:
                file.writelines(line for line in lines if owner(line) in named)
            found = {"load": measure(disk, read_ahead_kib, lambda inside=inside: weekly_load.load(site, inside, disk.device())),
                     "stored": []}
            found["export"] = measure(disk, read_ahead_kib, lambda found=found: found["stored"].append(export_everything(site)))
            report["cold"][str(read_ahead_kib)] = found
            say(f"{read_ahead_kib} KiB: {found}")
        return report
    finally:
        if site:
            site.close()
        disk.close()


def markdown(report):
    lines = ["A smoke run: its figures mean nothing.\n"] if report["smoke"] else []
    lines += [f"Synthetic claims of one ACO: {report['beneficiaries']:,} beneficiaries, {report['years']} years, a store of "
              f"{report['first']['store']:,} bytes; a week's claims of {report['named']} of them.", "",
              "| read ahead, KiB | load: reads a beneficiary | bytes a beneficiary | share of the store | export of everything: reads | "
              "bytes read / stored bytes |", "|---|---|---|---|---|---|"]
    for read_ahead, found in report["cold"].items():
        load, export = found["load"], found["export"]
        lines.append(f"| {read_ahead} | {load['requests'] / report['named']:.1f} | {load['bytes'] / report['named']:,.0f} | "
                     f"{load['bytes'] / report['first']['store']:.2f} | {export['requests']:,} | {export['bytes'] / found['stored'][0]:.2f} |")
    lines += ["", machine_sentence(report)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--beneficiaries", type=int, help="(2000)")
    parser.add_argument("--years", type=int, help="of claims in the first load (3)")
    parser.add_argument("--named", type=int, help="beneficiaries that a load names (40)")
    parser.add_argument("--dir", help="a folder to work in (a temporary one)")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run; its figures mean nothing")
    options = parser.parse_args()
    options.beneficiaries = options.beneficiaries or (16 if options.smoke else 2000)
    options.years = options.years or (1 if options.smoke else 3)
    options.named = options.named or (1 if options.smoke else 40)
    folder = tempfile.mkdtemp(prefix="sluice-bench-", dir=options.dir)
    try:
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
