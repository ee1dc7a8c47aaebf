#!/usr/bin/env python3
"""A week of 500 ACOs' exports against M nodes, simulated with measured costs.

    tests/bench/simulate_week.py [--nodes 1,2,4,8,16] [--acos N] [--scenario NAME]... [--placement rendezvous|size] [--seed N]
                                 [--costs FILE.json] [--plot FILE.svg] [--json] [--smoke]
    tests/bench/simulate_week.py --update     the tables of docs/performance/scale.md and its plot, anew

A node has cores, a disk and a network, shared by all that runs on it (fluid.py); an ACO lives on one node. The week begins on Saturday:

    Saturday 02:00  the weekly load, on every node its part
    Sunday 02:00    compaction of a week's worth of lines
    Monday 06-10    most `_since` exports; half of them by a clock that strikes the full hour. A fifth comes on any day
    Mon-Fri         some exports of everything
    at any time     nodes fail and start again: what they did goes on, files that were being written begin again

An export is a durable kick-off, a plan (processor), its files (processor and disk), commits; then the client sees at its next poll that
it is Completed, and downloads (processor, network, disk, its own line). Scenarios:

    today       ACOs of realistic sizes; the store holds everybody, also who is in no ACO
    everyone    the same ACOs, so much larger that everybody is in one
    again       as today, but on Monday every ACO exports everything, as after an error in the data

All costs stand in scale_costs.py. The simulation checks itself: what the nodes served of each resource is what the exports asked for,
every byte is sent exactly once, the mean number of flows is their rate times their time (Little). Same seed, same output.
"""

import argparse
import hashlib
import json
import math
import os
import random
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import scale_costs  # noqa: E402
import scale_plot  # noqa: E402
from fluid import Flow, Station, World  # noqa: E402
from scale_costs import WEEK, duration  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "performance", "scale.md")
PICTURE = os.path.join(ROOT, "docs", "performance", "scale.svg")
SCENARIOS = ("today", "everyone", "again")
NODES = (1, 2, 4, 8, 16)
ACOS = 500
SEED = 1
HOUR, DAY = 3600.0, 86400.0
SATURDAY, SUNDAY, MONDAY = 0.0, DAY, 2 * DAY
CPU, DISK, NETWORK = range(3)
FILE_BYTES = 2 ** 30  # raw, of a file: file_bytes_max
FULL_SHARE = 0.02  # of the ACOs export everything in an ordinary week
SHARES = (0.5, 0.9, 0.99)
NOTHING = 1e-7  # relative; rounding of sums


# ---- who asks when -----------------------------------------------------------------------------------------

class Aco:
    def __init__(self, name, people, line, identity):
        self.name, self.people, self.line, self.identity = name, people, line, identity
        self.node = None


def make_acos(costs, count, rng):
    acos = []
    for number in range(count):
        people = 0
        while not scale_costs.SMALLEST <= people <= scale_costs.LARGEST:
            people = round(rng.lognormvariate(math.log(scale_costs.MEDIAN), scale_costs.SIGMA))
        line = math.exp(rng.uniform(math.log(costs.line_min), math.log(costs.line_max)))
        acos.append(Aco(f"A{number:04d}", people, line, rng.random() < costs.identity_share))
    return acos


def place(acos, count, placement):
    """Each ACO's node. By rendezvous hashing a node more takes its share from all and moves no other; by size the largest goes
    first to the node that has least."""
    if placement == "size":
        loads = [0] * count
        for aco in sorted(acos, key=lambda aco: (-aco.people, aco.name)):
            aco.node = loads.index(min(loads))
            loads[aco.node] += aco.people
        return
    for aco in acos:
        aco.node = max(range(count), key=lambda node: hashlib.blake2b(f"{aco.name}@{node}".encode(), digest_size=8).digest())


def monday_morning(rng):
    if rng.random() < 0.5:  # by a clock
        return MONDAY + rng.choice((6, 7, 8, 9, 10)) * HOUR + rng.expovariate(1 / 30)
    return MONDAY + min(max(rng.normalvariate(9.5, 1.5), 6), 20) * HOUR


def working_hours(rng):
    return MONDAY + rng.randrange(5) * DAY + rng.uniform(8, 18) * HOUR


def make_requests(acos, scenario, rng):
    """(when, ACO, everything?) in order."""
    requests = []
    for aco in acos:
        when = monday_morning(rng) if rng.random() < 0.8 else rng.uniform(SUNDAY + 12 * HOUR, WEEK)
        requests.append((when, aco, scenario == "again"))
        if rng.random() < FULL_SHARE and scenario != "again":
            requests.append((working_hours(rng), aco, True))
    return sorted(requests, key=lambda request: (request[0], request[1].name))


# ---- what an export is -------------------------------------------------------------------------------------

class Export:
    """One job and its download. All that it asks for is counted in `asked`, to be compared with what the nodes served."""

    def __init__(self, run, aco, everything):
        self.run, self.aco, self.everything = run, aco, everything
        costs = run.costs
        self.raw = aco.people * (costs.history_raw if everything else costs.since_raw)
        self.stored = aco.people * (costs.full_stored if everything else costs.since_stored)
        self.sent = self.raw if aco.identity else self.stored
        self.segments = 3 * aco.people * (1 if everything else costs.touched)
        self.began = run.world.now
        self.completed = self.ended = None
        self.delivered = 0.0
        run.active[aco.node] += 1
        run.active_max = max(run.active_max, run.active[aco.node])
        run.world.after(costs.kickoff_wait, self.plan)

    def plan(self):
        self.run.flow(self.aco.node, self.aco.people, (self.run.costs.walk_cpu, 0, 0), self.write, "plan", cores=1)

    def write(self):
        """Its files, beside one another; all that is stored is read from the disk and written to it."""
        costs = self.run.costs
        self.files = 2 + math.ceil(self.raw / FILE_BYTES)
        cpu = costs.splice_cpu + self.segments * costs.seek_cpu / self.stored
        self.run.flow(self.aco.node, self.stored, (cpu, 1 + costs.export_read, 0), self.commit, "write", cores=min(self.files, costs.cores),
                      step=min(self.files, costs.cores) * self.stored / self.files)

    def commit(self):
        self.run.world.after(self.run.costs.commit_wait, self.complete)

    def complete(self):
        self.completed = self.run.world.now
        self.run.active[self.aco.node] -= 1
        self.run.world.after(self.run.poll_rng.uniform(0, self.run.costs.poll_pause), self.download)

    def download(self):
        costs = self.run.costs
        self.run.downloads[self.aco.node] += 1
        self.run.downloads_max = max(self.run.downloads_max, self.run.downloads[self.aco.node])
        self.run.flow(self.aco.node, self.sent,
                      (costs.send_identity_cpu if self.aco.identity else costs.send_cpu, self.stored / self.sent, 1), self.end,
                      "download", cores=1, rate_max=self.aco.line)

    def end(self):
        self.ended = self.run.world.now
        self.delivered += self.sent
        self.run.downloads[self.aco.node] -= 1


class Run:
    """One scenario on so many nodes."""

    def __init__(self, costs, scenario, count, options):
        self.costs, self.scenario, self.count = costs, scenario, count
        self.world = World()
        self.nodes = [Station(self.world, (costs.cores, costs.disk, costs.network)) for _ in range(count)]
        self.active, self.downloads = [0] * count, [0] * count
        self.active_max = self.downloads_max = self.failures = 0
        self.asked = [[0.0, 0.0, 0.0] for _ in range(count)]
        self.flow_seconds, self.exports, self.loads = 0.0, [], []
        # One source of chance for each kind of thing: another number of nodes meets the same ACOs, at the same times.
        sources = [random.Random(f"{options.seed} {what}") for what in ("acos", "requests", "polls", "failures")]
        self.poll_rng = sources[2]
        self.acos = make_acos(costs, options.acos, sources[0])
        if scenario == "everyone":
            larger = costs.people / sum(aco.people for aco in self.acos)
            for aco in self.acos:
                aco.people = round(aco.people * larger)
        place(self.acos, count, options.placement)
        for when, aco, everything in make_requests(self.acos, scenario, sources[1]):
            self.world.at(when, lambda aco=aco, everything=everything: self.exports.append(Export(self, aco, everything)))
        self.plan_loads()
        self.plan_failures(sources[3])

    def flow(self, node, units, needs, then, kind, cores=None, rate_max=math.inf, step=0.0):
        """`step`: what a failure undoes comes in pieces of so many units, and the one that is begun is done again."""
        if cores:
            rate_max = min(rate_max, cores / needs[CPU])
        began = self.world.now

        def end():
            self.flow_seconds += self.world.now - began
            for resource, need in enumerate(needs):
                self.asked[node][resource] += need * (units + flow.repeated)
            then()
        flow = Flow(self.nodes[node], units, needs, end, rate_max, kind, step)
        self.nodes[node].add(flow)

    def plan_loads(self):
        """The weekly load and the compaction, of each node's part: its ACOs, and its share of those who are in none."""
        costs = self.costs
        attributed = sum(aco.people for aco in self.acos)
        others = max(costs.people - attributed, 0) / self.count
        for node in range(self.count):
            people = others + sum(aco.people for aco in self.acos if aco.node == node)
            raw = people * costs.week_raw
            disk = costs.load_write + costs.touched * costs.load_read / costs.week_raw

            def begin(what, when, cpu, disk, node=node, raw=raw):
                self.world.at(when, lambda: self.flow(node, raw, (cpu, disk, 0), lambda: self.loads.append(
                    (what, self.world.now - when)), what, cores=costs.cores, step=0.0))
            begin("load", SATURDAY + 2 * HOUR, costs.weekly_cpu, disk)
            begin("compaction", SUNDAY + 2 * HOUR, costs.compact_cpu, 1 / costs.ratio_weekly + 1 / costs.ratio)

    def plan_failures(self, rng):
        for station in self.nodes:
            when = rng.expovariate(self.costs.failures / WEEK)
            while when < WEEK:
                self.world.at(when, lambda station=station: self.fail(station))
                when += self.costs.restart_wait + rng.expovariate(self.costs.failures / WEEK)

    def fail(self, station):
        def lose(flow):
            done = flow.units - flow.left
            if flow.kind == "plan":
                return done
            return done % flow.step if flow.step else 0.0  # loads and downloads go on where they were
        self.failures += 1
        station.fail(lose)
        self.world.after(self.costs.restart_wait, station.restart)

    def go(self):
        self.world.run()
        self.check()
        return self.result()

    # ---- what must be true

    def check(self):
        def same(what, left, right):
            if abs(left - right) > NOTHING * max(abs(left), abs(right), 1e-9):
                raise AssertionError(f"{self.scenario}, {self.count} nodes: {what}: {left} is not {right}")
        for number, node in enumerate(self.nodes):
            if node.flows:
                raise AssertionError(f"node {number}: {len(node.flows)} flows never ended")
            for resource in (CPU, DISK, NETWORK):
                same(f"resource {resource} of node {number}: asked, served", self.asked[number][resource], node.total(resource))
                if node.busiest(resource) > 1 + NOTHING:
                    raise AssertionError(f"node {number}: more than all of resource {resource} was used")
        same("bytes: asked, sent", sum(export.sent for export in self.exports), sum(node.total(NETWORK) for node in self.nodes))
        same("bytes: asked, delivered", sum(export.sent for export in self.exports),
             sum(export.delivered for export in self.exports))
        same("Little: time in flows, integral of their number", self.flow_seconds, sum(node.flow_seconds for node in self.nodes))
        for export in self.exports:
            if not export.began < export.completed <= export.ended:
                raise AssertionError(f"{export.aco.name}: began {export.began}, completed {export.completed}, {export.ended}")
            if export.ended - export.completed < export.sent / export.aco.line * (1 - NOTHING):
                raise AssertionError(f"{export.aco.name} got its bytes faster than its line is")

    def result(self):
        def times(exports, end):
            values = sorted(getattr(export, end) - export.began for export in exports)
            return {name: quantile(values, share) for name, share in
                    [(f"p{share * 100:.0f}", share) for share in SHARES] + [("max", 1)]} if values else None
        kinds = {"all": self.exports, "since": [export for export in self.exports if not export.everything],
                 "full": [export for export in self.exports if export.everything]}
        people = [sum(aco.people for aco in self.acos if aco.node == node) for node in range(self.count)]
        return {
            "scenario": self.scenario, "nodes": self.count, "store": self.costs.store_bytes / self.count,
            "exports": len(self.exports), "full": len(kinds["full"]),
            "people": sum(people), "raw": sum(export.raw for export in self.exports), "sent": sum(export.sent for export in self.exports),
            "completed": {kind: times(exports, "completed") for kind, exports in kinds.items()},
            "ended": {kind: times(exports, "ended") for kind, exports in kinds.items()},
            "busiest": {name: max(node.busiest(resource, MONDAY, MONDAY + DAY) for node in self.nodes)
                        for name, resource in (("cpu", CPU), ("disk", DISK), ("network", NETWORK))},
            "week": {name: sum(node.total(resource) for node in self.nodes) / (self.count * self.nodes[0].capacities[resource] * WEEK)
                     for name, resource in (("cpu", CPU), ("disk", DISK), ("network", NETWORK))},
            "active_max": self.active_max, "downloads_max": self.downloads_max, "failures": self.failures,
            "load": max(seconds for what, seconds in self.loads if what == "load"),
            "imbalance": max(people) / (sum(people) / self.count),
        }


def quantile(values, share):
    """Of sorted values: the least that so large a share of them does not exceed."""
    return values[max(math.ceil(share * len(values)) - 1, 0)]


# ---- the report --------------------------------------------------------------------------------------------

TITLES = {"today": "ACOs of today's sizes", "everyone": "everybody in an ACO", "again": "every ACO exports everything on Monday"}


def week_table(results):
    lines = []
    for scenario in SCENARIOS:
        rows = [result for result in results if result["scenario"] == scenario]
        if not rows:
            continue
        first = rows[0]
        lines += [f"**{TITLES[scenario]}**: {first['exports']} exports, {first['full']} of them of everything, of "
                  f"{first['people'] / 1e6:.1f} million beneficiaries; {scale_costs.size(first['raw'])} of NDJSON, "
                  f"{scale_costs.size(first['sent'])} sent.", "",
                  "| nodes | store of each | kick-off → Completed: p50 | p90 | p99 | max | kick-off → last byte: p50 | p90 | p99 | max | "
                  "busiest hour of Monday: cpu | disk | network | most jobs | most downloads | weekly load | failures |",
                  "|" + "---|" * 17]
        for row in rows:
            cells = [str(row["nodes"]), scale_costs.size(row["store"])]
            cells += [duration(value) for end in ("completed", "ended") for value in row[end]["all"].values()]
            cells += [f"{value:.1%}".replace("%", " %") for value in row["busiest"].values()]
            cells += [str(row["active_max"]), str(row["downloads_max"]), duration(row["load"]), str(row["failures"])]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines[:-1]


def parts_of(costs, results):
    return {"costs": scale_costs.costs_table(costs), "exports": scale_costs.export_table(costs),
            "medicare": scale_costs.medicare_table(costs), "week": week_table(results)}


def replace_parts(text, parts):
    for name, lines in parts.items():
        begin, end = f"<!-- {name}: made by tests/bench/simulate_week.py --update -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{PAGE}: no place for {name}")
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: begin + "\n" + "\n".join(lines) + "\n\n" + end, text,
                      flags=re.DOTALL)
    return text


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", default=",".join(map(str, NODES)), help="numbers of nodes (%(default)s)")
    parser.add_argument("--acos", type=int, default=ACOS, help="(%(default)s)")
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="this one only; may be repeated")
    parser.add_argument("--placement", choices=("rendezvous", "size"), default="rendezvous", help="of ACOs on nodes (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="(%(default)s)")
    parser.add_argument("--costs", metavar="FILE", help="JSON that replaces costs of scale_costs.py")
    parser.add_argument("--plot", metavar="FILE", help="draw the results (SVG)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="few ACOs and nodes")
    parser.add_argument("--update", action="store_true", help="write the tables and the plot of docs/performance/scale.md")
    return parser


def simulate(options, costs):
    return [Run(costs, scenario, count, options).go() for scenario in options.scenario or SCENARIOS for count in options.nodes]


def main():
    parser = arguments()
    options = parser.parse_args()
    if options.smoke:
        options.acos, options.nodes = 40, "1,3"
    try:
        options.nodes = [int(count) for count in options.nodes.split(",")]
        costs = scale_costs.load(options.costs) if options.costs else scale_costs.Costs()
        if min(*options.nodes, options.acos) < 1:
            raise ValueError("at least one node and one ACO")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    results = simulate(options, costs)
    if options.plot or options.update:
        with open(options.plot or PICTURE, "w", encoding="utf-8") as file:
            file.write(scale_plot.draw(results, TITLES))
    if options.update:
        with open(PAGE, encoding="utf-8") as file:
            text = file.read()
        with open(PAGE, "w", encoding="utf-8") as file:
            file.write(replace_parts(text, parts_of(costs, results)))
    elif options.json:
        print(json.dumps(results, indent=1))
    else:
        print("\n\n".join("\n".join(lines) for lines in parts_of(costs, results).values()))


if __name__ == "__main__":
    main()
