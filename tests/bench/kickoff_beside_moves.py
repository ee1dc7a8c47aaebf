#!/usr/bin/env python3
"""Kick-offs of a live server while beneficiaries move to new homes beside them.

    tests/bench/kickoff_beside_moves.py [--beneficiaries N] [--rate R] [--rounds N] [--dir DIR] [--json] [--smoke]

Makes a year of synthetic claims of two ACOs with N beneficiaries each and imports them before any roster, so that all
stand under no ACO's home. Each round, on a copy of that store:

    idle    kick-offs on a server that has nothing else to do
    moving  kick-offs while both rosters are applied and everybody moves to the home of the new ACO

Kick-offs come as in kickoff_beside_import.py: R a second at appointed times, of ACOs that have nobody.

Checks that all were moved and that the store is without a fault. Prints a section of Markdown for docs/performance/, or
JSON. --smoke: a small run of the same; its times mean nothing.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import crash  # noqa: E402
import export_against_copy as common  # noqa: E402
import kickoff_beside_import as beside  # noqa: E402
import sluice  # noqa: E402

ACOS = ("A0001", "A0002")
CALLERS = ("A9000", "A9001", "A9002", "A9003")
KINDS = ("idle", "moving")


def run_round(base, rosters, options):
    site = crash.copy_of(base)
    wanted = len(ACOS) * options.beneficiaries
    os.sync()
    try:
        with sluice.Server(site) as server:
            with beside.Callers(server, CALLERS, options.rate) as callers:
                time.sleep(options.idle_seconds)
            found = {"idle": callers.result()}
            with beside.Callers(server, CALLERS, options.rate) as callers:
                site.ctl("attribution", "import", rosters)
                sluice.wait_until(lambda: sum(event["beneficiaries"] for event in server.events("homes moved")) >= wanted,
                                  "all have moved", 600)
            found["moving"] = callers.result()
            events = server.events("homes moved")
        if any(event["waiting"] for event in events[-1:]):
            raise AssertionError(f"not all moved: {events}")
        crash.verify(site)
        found["moves"] = {key: sum(event[key] for event in events)
                          for key in ("beneficiaries", "stored_bytes", "steps", "duration_us")}
        return found
    finally:
        site.close()


def run(options, folder):
    tempfile.tempdir = folder
    report = {"machine": common.machine(folder), "commit": common.commit(), "smoke": options.smoke, "rate": options.rate,
              "command": shlex.join(["tests/bench/kickoff_beside_moves.py", *sys.argv[1:]])}
    site = sluice.Site((*ACOS, *CALLERS))
    try:
        out = site.path("synthetic")
        sluice.run(sluice.program("sluice-synth"), "--out", out, "--aco-ids", ",".join(ACOS), "--beneficiaries",
                   options.beneficiaries, "--years", 1, "--quiet")
        site.ctl("import", os.path.join(out, "base"))
        report["rounds"] = [run_round(site, os.path.join(out, "attribution"), options) for _ in range(options.rounds)]
        return report
    finally:
        site.close()


def markdown(report):
    lines = ["A smoke run: its times mean nothing.\n"] if report["smoke"] else []
    lines += ["| round | moved | stored bytes | steps | seconds | a second | MB/s |", "|---|---|---|---|---|---|---|"]
    for number, found in enumerate(report["rounds"], 1):
        moves = found["moves"]
        seconds = moves["duration_us"] / 1e6
        lines.append(f"| {number} | {moves['beneficiaries']:,} | {moves['stored_bytes']:,} | {moves['steps']:,} | {seconds:.2f} | "
                     f"{moves['beneficiaries'] / seconds:,.0f} | {moves['stored_bytes'] / seconds / 1e6:.1f} |")
    lines += ["", "| kick-offs, ms | number | p50 | p99 | most |", "|---|---|---|---|---|"]
    for kind in KINDS:
        for side, key in (("client", "seconds"), ("server", "server")):
            values = [value * 1e3 for found in report["rounds"] for value in found[kind][key]]
            lines.append(f"| {kind}, as the {side} sees it | {len(values):,} | {beside.quantile(values, .5):.1f} | "
                         f"{beside.quantile(values, .99):.1f} | {max(values):.1f} |")
    lines += ["", beside.common.machine_sentence(report)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--beneficiaries", type=int, default=5000, help="of each of the two ACOs (5000)")
    parser.add_argument("--rate", type=float, default=40, help="kick-offs a second (40)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", default=None, help="where to work (the temporary directory)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    options.idle_seconds = 10
    if options.smoke:
        options.beneficiaries, options.rounds, options.idle_seconds = 3, 1, 0.3
    folder = tempfile.mkdtemp(prefix="moves-", dir=options.dir)
    try:
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
