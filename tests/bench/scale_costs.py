"""What work costs, what there is of it, and what follows for all of Medicare: the tables of docs/performance/scale.md.

COSTS is the only place of these figures. simulate_week.py --costs FILE.json replaces some of them:

    {"import_cpu": 7.1e-9, "disk_write": {"value": 2e9, "source": "our machine"}}
"""

import json
import math

MEASURED, PUBLISHED, ASSUMED = "measured", "published", "assumed"
WEEK = 7 * 86400.0
SMALLEST, LARGEST = 5_000, 200_000  # beneficiaries of an ACO
MEDIAN, SIGMA = 20_000, 0.75

# name: value, unit, kind, what it is, where it comes from (a link of docs/performance, where there is one)
COSTS = {
    # ---- processor
    "import_cpu": (9.0e-9, "core s / raw byte", MEASURED, "first import: parse, deflate, store",
                   "[below](#the-weekly-load-measured)"),
    "weekly_cpu": (2.23e-8, "core s / raw byte", MEASURED, "weekly import: small segments, one a beneficiary and type",
                   "[below](#the-weekly-load-measured)"),
    "compact_cpu": (2.6e-8, "core s / raw byte", MEASURED, "compaction, of each line once",
                    "[compaction](compaction.md): 3.05 GB in 40.2 s on two cores"),
    "walk_cpu": (2.7e-7, "core s / beneficiary", MEASURED, "looking at one of whom nothing is wanted",
                 "[targets](targets.md): `since.plan`"),
    "seek_cpu": (2.0e-6, "core s / segment range", MEASURED, "finding a beneficiary's segments of a type",
                 "micro-benchmark `storage/seek`"),
    "splice_cpu": (2.6e-10, "core s / stored byte", MEASURED, "check, splice, and write to the page cache",
                   "[first figures](first-figures.md): 56.4 MB in 14.5 ms"),
    "send_cpu": (6.6e-10, "core s / byte sent", MEASURED, "download over TLS, gzip",
                 "`tests/bench/compare`: `download.tls.gzip.sluiced.cpu`"),
    "send_identity_cpu": (1.01e-9, "core s / byte sent", MEASURED, "download over TLS, inflated",
                          "`tests/bench/compare`: `download.tls.identity.sluiced.cpu`"),
    "poll_cpu": (1.5e-5, "core s / request", MEASURED, "status poll over TLS",
                 "`tests/bench/compare`: `status.tls.sluiced.cpu`"),
    # ---- waiting
    "kickoff_wait": (1.7e-3, "s", MEASURED, "kick-off, with its durable commit", "[import](import.md): p50, no import"),
    "commit_wait": (1.06e-3, "s", MEASURED, "commits of a job's files and of its end",
                    "[first figures](first-figures.md): phase `commit`"),
    "restart_wait": (120, "s", ASSUMED, "a node that failed serves again; the server itself starts in 0.1 s", "a reboot"),
    # ---- bytes
    "ratio": (17.2, "raw / stored", MEASURED, "after a compaction, of claims like those of CMS's fixtures",
              "[compression](../decisions/compression.md): libdeflate 9"),
    "ratio_first": (16.0, "raw / stored", MEASURED, "as it is imported first", "the same: libdeflate 6"),
    "ratio_weekly": (7.8, "raw / stored", MEASURED, "a week's small segments, as they are imported",
                     "[below](#the-weekly-load-measured): 10.6 of synthetic claims, times 16.0 / 21.8"),
    "store_overhead": (1.20, "blocks / stored byte", MEASURED, "pages, tables, index, hashes of a compacted store",
                       "[compaction](compaction.md)"),
    "import_write": (0.12, "disk byte / raw byte", MEASURED, "what a first import writes",
                     "[below](#the-weekly-load-measured)"),
    "load_write": (0.5, "disk byte / raw byte", MEASURED, "what a weekly import writes",
                   "[below](#the-weekly-load-measured)"),
    "load_read": (7.9e5, "disk byte / beneficiary", MEASURED,
                  "what a weekly import reads for one whose pages are not in memory; 128 KiB read ahead", "[below](#cold-pages-measured)"),
    "export_read": (1.16, "disk byte / stored byte", MEASURED, "what an export reads, of which nothing is in memory",
                    "[below](#cold-pages-measured)"),
    "kept_raw": (0.65e6, "raw byte / beneficiary-year", ASSUMED, "claims with their coverage, v1 format",
                 "50 to 60 claims: CMS's 5.4 + 24.2 of 2020, and drug events; 11 to 12 kB each"),
    "changed": (1.05, "raw byte / new raw byte", ASSUMED, "new claims, and those that come again", "4 % changed, 1 % unchanged"),
    "touched": (0.47, "share a week", MEASURED, "beneficiaries with something new", "[below](#the-weekly-load-measured)"),
    "joined": (0.005, "share a week", ASSUMED, "beneficiaries new to their ACO: `_since` brings their whole history",
               "2 % a month"),
    # ---- the world
    "people": (65e6, "beneficiaries", PUBLISHED, "all of Medicare, as if each had claims here", "CMS, rounded"),
    "years": (5, "years", ASSUMED, "of history that is kept", "`--history-years`"),
    "identity_share": (0.3, "share of ACOs", ASSUMED, "that download without gzip", ""),
    "line_min": (12.5e6, "byte/s", ASSUMED, "slowest line of an ACO", "100 Mbit/s"),
    "line_max": (125e6, "byte/s", ASSUMED, "fastest; between them the logarithm is uniform", "1 Gbit/s"),
    "poll_pause": (10, "s", ASSUMED, "between two polls: half of it is lost at the end", "1 to 120 s by `Retry-After`"),
    "failures": (0.25, "a week and node", ASSUMED, "of a node", "one in four weeks"),
    # ---- a node
    "cores": (8, "cores", ASSUMED, "of a node, as fast as the measured ones", ""),
    "disk": (1e9, "byte/s", ASSUMED, "read and written, together", "a modest NVMe drive"),
    "network": (1.25e9, "byte/s", ASSUMED, "sent", "10 Gbit/s"),
    "node_store": (8e12, "byte", ASSUMED, "a node's disk; half of it for the store, the rest for files and room", ""),
}


class Costs:
    """costs.import_cpu and so on; `.rows` for the table."""

    def __init__(self, replaced=None):
        self.rows = {name: list(row) for name, row in COSTS.items()}
        for name, value in (replaced or {}).items():
            if name not in self.rows:
                raise ValueError(f"{name} is no cost; there are: {', '.join(COSTS)}")
            given = value if isinstance(value, dict) else {"value": value}
            if set(given) - {"value", "source", "kind"} or "value" not in given:
                raise ValueError(f"{name}: a number, or an object of value, source and kind")
            number = given["value"]
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < math.inf:
                raise ValueError(f"{name}: {number!r} is no positive number")
            self.rows[name][0] = number
            self.rows[name][2] = given.get("kind", self.rows[name][2])
            self.rows[name][4] = given.get("source", "given by --costs")

    def __getattr__(self, name):
        try:
            return self.rows[name][0]
        except KeyError:
            raise AttributeError(name) from None

    # ---- what follows

    @property
    def history_raw(self):
        """Raw bytes of a beneficiary."""
        return self.kept_raw * self.years

    @property
    def week_raw(self):
        """Raw bytes that a week's load brings for a beneficiary."""
        return self.kept_raw * 7 / 365.25 * self.changed

    @property
    def full_stored(self):
        return self.history_raw / self.ratio

    @property
    def since_raw(self):
        """Raw bytes a beneficiary of an export of the last week: the news, and the history of who joined."""
        return self.week_raw + self.joined * self.history_raw

    @property
    def since_stored(self):
        return self.week_raw / self.ratio_weekly + self.joined * self.full_stored

    @property
    def store_bytes(self):
        return self.people * self.full_stored * self.store_overhead


def load(path):
    with open(path, encoding="utf-8") as file:
        replaced = json.load(file)
    if not isinstance(replaced, dict):
        raise ValueError("an object of names and numbers is expected")
    return Costs(replaced)


def number(value):
    if value >= 1e6 or value < 1e-2:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def size(count):
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} B"


def duration(seconds):
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.3g} min"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 86400:.3g} days"


# ---- tables ------------------------------------------------------------------------------------------------

def costs_table(costs):
    lines = ["| name | value | unit | what | how known | from |", "|---|---|---|---|---|---|"]
    lines += [f"| `{name}` | {number(value)} | {unit} | {what} | {kind} | {source} |"
              for name, (value, unit, kind, what, source) in costs.rows.items()]
    return lines


def median_line(costs):
    """Bytes a second of the middle one of the lines."""
    return math.sqrt(costs.line_min * costs.line_max)


def exports_of(costs, people):
    """(name, raw, stored, seconds of processor until Completed, seconds of disk) of an ACO's two kinds of exports."""
    for name, raw, stored, some in (("everything", costs.history_raw, costs.full_stored, 1.0),
                                    ("the last week, `_since`", costs.since_raw, costs.since_stored, costs.touched)):
        cpu = people * (costs.walk_cpu + 3 * some * costs.seek_cpu + stored * costs.splice_cpu)
        yield name, people * raw, people * stored, cpu, people * stored * (1 + costs.export_read) / costs.disk


def export_table(costs):
    line = median_line(costs)
    lines = [f"| export of | beneficiaries | NDJSON | gzip | to Completed, on one core | its disk time | "
             f"download at {line * 8 / 1e6:.0f} Mbit/s: gzip | identity |", "|---|---|---|---|---|---|---|---|"]
    for people in (SMALLEST, MEDIAN, LARGEST):
        for name, raw, stored, cpu, disk in exports_of(costs, people):
            lines.append(f"| {name} | {people:,} | {size(raw)} | {size(stored)} | {duration(cpu)} | {duration(disk)} | "
                         f"{duration(stored / line)} | {duration(raw / line)} |")
    return lines


def medicare_loads(costs):
    """(what, raw bytes, core seconds, bytes of disk) for everybody, once."""
    first, week = costs.people * costs.history_raw, costs.people * costs.week_raw
    people = costs.people * costs.touched
    return (("first load", first, first * costs.import_cpu, first * costs.import_write),
            ("weekly load, pages in memory", week, week * costs.weekly_cpu, week * costs.load_write),
            ("weekly load, pages on disk", week, week * costs.weekly_cpu, week * costs.load_write + people * costs.load_read),
            ("a week's share of compaction", week, week * costs.compact_cpu, week * (1 / costs.ratio_weekly + 1 / costs.ratio)),
            ("everybody exports everything", first, next(exports_of(costs, costs.people))[3],
             (1 + costs.export_read) * first / costs.ratio))


def machines(costs):
    return max(1, math.ceil(costs.store_bytes / (costs.node_store / 2)))


def medicare_table(costs):
    nodes = machines(costs)
    lines = [f"| {costs.people / 1e6:.0f} million beneficiaries | NDJSON | core hours | disk | on {nodes} nodes: cores | disk |",
             "|---|---|---|---|---|---|"]
    for name, raw, cpu, disk in medicare_loads(costs):
        lines.append(f"| {name} | {size(raw)} | {cpu / 3600:,.0f} | {size(disk)} | {duration(cpu / nodes / costs.cores)} | "
                     f"{duration(disk / nodes / costs.disk)} |")
    lines += ["", f"The store of all of it, compacted: {size(costs.store_bytes)}, which is {nodes} nodes of "
              f"{size(costs.node_store)}, half of each for the store. Status polls: {1 / costs.poll_cpu:,.0f} a second and core; "
              f"gzip downloads over TLS: {size(1 / costs.send_cpu)}/s a core."]
    return lines
