#!/usr/bin/env python3
"""What the machine itself can do, by one core, and how far from it we are.

    tests/bench/limits.py [--rounds R] [--dir DIR] [--compare FILE.json] [--json] [--smoke]

Measures, each on one core, in rounds that are interleaved:

    memory      reading it (memchr of a byte that is not there) and copying it (memcpy), far more than the caches hold
    page cache  reading a file that is in it, writing onto one that is in it (a large one, and one that the processor's caches hold), writing
                a new one: 1 MiB a call
    cipher      AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305, 16 KiB a call: `openssl speed`
    disk        4 KiB written and synced (onto a file's own blocks, and behind its end), 64 MiB written and synced, 256 MiB read that are
                not in the page cache (if the file system lets them be dropped)
    loopback    TCP: bytes sent for each second of the sender's processor, to a receiver that throws them away (MSG_TRUNC); a byte
                there and back, each side on the same core

Then ours beside the best that each limit reached: the project's micro-benchmarks (if they are built), and with --compare what `tests/bench/compare --json`
measured; that should be of the same machine and hour. Prints a section of Markdown for docs/performance/, or JSON. --smoke: a small run
whose figures mean nothing.
"""

import argparse
import json
import mmap
import os
import re
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from measuring import ROOT, commit, machine, machine_sentence, mount_of, read_into_cache, say, spread  # noqa: E402

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import sluice  # noqa: E402

MIB = 1 << 20
CALL = MIB
CIPHERS = (("AES-128-GCM", "aes-128-gcm"), ("AES-256-GCM", "aes-256-gcm"), ("ChaCha20-Poly1305", "chacha20-poly1305"))
MICRO = ("codec/encode_verbatim", "codec/segment_build_good", "codec/segment_inflate", "storage/put_commit")


class Sizes:
    def __init__(self, smoke):
        self.memory = (4 if smoke else 512) * MIB
        self.file = (4 if smoke else 256) * MIB
        self.burst = (1 if smoke else 64) * MIB
        self.syncs = 3 if smoke else 50
        self.trips = 50 if smoke else 10_000
        self.sent = (4 if smoke else 2048) * MIB


class Machine:
    """What is measured with; one file in the page cache, two buffers."""

    def __init__(self, folder, sizes):
        self.sizes, self.folder = sizes, folder
        self.one, self.two = (mmap.mmap(-1, sizes.memory) for _ in range(2))
        block = os.urandom(MIB)
        for buffer in (self.one, self.two):
            for at in range(0, sizes.memory, MIB):
                buffer[at:at + MIB] = block.replace(b"\0", b"\1")
        self.call = memoryview(bytearray(block))
        self.calls = [self.call, memoryview(bytearray(block))]
        self.path = os.path.join(folder, "resident")
        with open(self.path, "wb", buffering=0) as file:
            for _ in range(0, sizes.file, MIB):
                file.write(block)
            os.fsync(file.fileno())

    # ---- memory

    def memory_read(self):
        begin = time.perf_counter()
        if self.one.find(b"\0") >= 0:
            raise AssertionError("there is no such byte")
        return self.sizes.memory / (time.perf_counter() - begin)

    def memory_copy(self):
        with memoryview(self.one) as source, memoryview(self.two) as target:
            begin = time.perf_counter()
            target[:] = source
            return self.sizes.memory / (time.perf_counter() - begin)

    # ---- page cache

    def _pass(self, fd, move, span=None):
        """Bytes a second through the whole file; within its first `span` bytes, again and again."""
        begin = time.perf_counter()
        for at in range(0, self.sizes.file, CALL):
            if move(fd, [self.calls[at // CALL % 2]], at % (span or self.sizes.file)) != CALL:
                raise AssertionError("a short read or write")
        return self.sizes.file / (time.perf_counter() - begin)

    def cache_read(self):
        read_into_cache([self.path])
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return self._pass(fd, os.preadv)
        finally:
            os.close(fd)

    def cache_write(self, span=None):
        fd = os.open(self.path, os.O_WRONLY)
        try:
            self._pass(fd, os.pwritev, span)  # what is written the first time is noted by the file system, and costs more
            return self._pass(fd, os.pwritev, span)
        finally:
            os.fsync(fd)
            os.close(fd)

    def cache_write_new(self):
        path = os.path.join(self.folder, "new")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return self._pass(fd, os.pwritev)
        finally:
            os.close(fd)
            os.unlink(path)

    # ---- disk

    def sync_own(self):
        """Seconds for 4 KiB onto blocks that the file has, as LMDB's meta page is written."""
        fd = os.open(self.path, os.O_WRONLY)
        try:
            return self._syncs(fd, lambda number: number % 64 * 4096, os.fdatasync)
        finally:
            os.close(fd)

    def sync_behind(self):
        """Seconds for 4 KiB behind the end, which the file system notes in its journal."""
        path = os.path.join(self.folder, "grows")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            return self._syncs(fd, lambda number: number * 4096, os.fsync)
        finally:
            os.close(fd)
            os.unlink(path)

    def _syncs(self, fd, place, sync):
        begin = time.perf_counter()
        for number in range(self.sizes.syncs):
            os.pwrite(fd, self.call[:4096], place(number))
            sync(fd)
        return (time.perf_counter() - begin) / self.sizes.syncs

    def disk_write(self):
        path = os.path.join(self.folder, "burst")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            begin = time.perf_counter()
            for at in range(0, self.sizes.burst, CALL):
                os.pwrite(fd, self.call, at)
            os.fsync(fd)
            return self.sizes.burst / (time.perf_counter() - begin)
        finally:
            os.close(fd)
            os.unlink(path)

    def disk_read(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return self._pass(fd, os.preadv)
        finally:
            os.close(fd)

    # ---- loopback

    def _peer(self, serve):
        """A process that serves one connection; this side of it, and how to wait for its end."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            child = os.fork()
            if child == 0:
                try:
                    with listener.accept()[0] as connection:
                        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        serve(connection)
                finally:
                    os._exit(0)
            connection = socket.create_connection(listener.getsockname())
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, child

    def loopback_send(self):
        cores = sorted(ALLOWED)

        def discard(connection):
            # With MSG_TRUNC the kernel throws the bytes away and says how many: Python's recv_into gives that number.
            os.sched_setaffinity(0, {cores[-1]})
            room, got = bytearray(CALL), 0
            while got < self.sizes.sent:
                count = connection.recv_into(room, CALL, socket.MSG_TRUNC)
                if not count:
                    return
                got += count
            connection.sendall(b"!")
        connection, child = self._peer(discard)
        with connection:
            before = time.process_time()
            for _ in range(0, self.sizes.sent, CALL):
                connection.sendall(self.call)
            spent = time.process_time() - before
            if connection.recv(1) != b"!":
                raise AssertionError("the receiver did not get everything")
        os.waitpid(child, 0)
        return self.sizes.sent / max(spent, 1e-9)

    def loopback_trip(self):
        def serve(connection):
            while connection.recv(1):
                connection.sendall(b"!")
        connection, child = self._peer(serve)
        with connection:
            begin = time.perf_counter()
            for _ in range(self.sizes.trips):
                connection.sendall(b"?")
                if connection.recv(1) != b"!":
                    raise AssertionError("no answer")
            seconds = (time.perf_counter() - begin) / self.sizes.trips
        os.waitpid(child, 0)
        return seconds

    def cipher(self, name):
        done = subprocess.run(["openssl", "speed", "-seconds", "1", "-bytes", "16384", "-evp", name],
                              capture_output=True, text=True, check=True)
        return float(re.search(r"([\d.]+)k\s*$", done.stdout.strip())[1]) * 1000


# Name, title, unit, how it is measured.
LIMITS = (
    ("memory.read", "memory, read", "GB/s", Machine.memory_read),
    ("memory.copy", "memory, copied", "GB/s", Machine.memory_copy),
    ("cache.read", "page cache → memory", "GB/s", Machine.cache_read),
    ("cache.write", "memory → page cache, onto a resident file", "GB/s", Machine.cache_write),
    ("cache.hot", "the same, 2 MiB again and again", "GB/s", lambda self: self.cache_write(2 * MIB)),
    ("cache.new", "memory → page cache, a new file", "GB/s", Machine.cache_write_new),
    *((f"cipher.{name}", title, "GB/s", lambda self, name=name: self.cipher(name)) for title, name in CIPHERS),
    ("disk.sync", "4 KiB synced, onto the file's own blocks", "µs", Machine.sync_own),
    ("disk.append", "4 KiB synced, behind the file's end", "µs", Machine.sync_behind),
    ("disk.write", "64 MiB written and synced", "GB/s", Machine.disk_write),
    ("disk.read", "256 MiB read, not in the page cache", "GB/s", Machine.disk_read),
    ("loopback.send", "loopback TCP, sent for each second of the sender's processor", "GB/s", Machine.loopback_send),
    ("loopback.trip", "loopback TCP, a byte there and back", "µs", Machine.loopback_trip),
)
SCALE = {"GB/s": 1e-9, "µs": 1e6}
UNITS = {name: unit for name, _, unit, _ in LIMITS}
ALLOWED = os.sched_getaffinity(0)


# ---- ours --------------------------------------------------------------------------------------------------

def micro_benchmarks(smoke):
    program = os.path.join(sluice.BUILD, "tests", "bench", "bench")
    if not os.path.exists(program):
        return {}
    done = sluice.run(program, f"--benchmark_filter=^({'|'.join(MICRO)})$", "--benchmark_format=json",
                      f"--benchmark_repetitions={1 if smoke else 5}", f"--benchmark_min_time={0.001 if smoke else 0.3}",
                      env=dict(os.environ, SLUICE_BENCH_BENEFICIARIES="2" if smoke else "256"))
    rows = [row for row in json.loads(done.stdout)["benchmarks"] if row["run_type"] == "iteration"]
    found = {}
    for name in MICRO:
        runs = [row for row in rows if row["run_name"] == name]
        found[name] = {key: statistics.median(row[key] for row in runs)
                       for key in ("real_time", "cpu_time", "bytes_per_second", "ratio") if key in runs[0]}
    return found


def chain(*rates):
    """Bytes a second of one core that does one after another with each byte."""
    return 1 / sum(1 / rate for rate in rates)


def ours(limits, micro, compared):
    """(what, ours, limit, of what it is made), bytes a second or requests a second: more is better."""
    rows = []
    if micro:
        ratio = micro["codec/segment_build_good"]["ratio"]
        commit_row = micro["storage/put_commit"]
        commit_bytes = commit_row["bytes_per_second"] * commit_row["cpu_time"] * 1e-9  # the program counts by its processor's time
        rate = {name: row.get("bytes_per_second") for name, row in micro.items()}
        rows += [
            ("encoder onto a resident file, its stored bytes: `codec/encode_verbatim`", rate["codec/encode_verbatim"] / ratio,
             limits["cache.hot"], "page cache, 2 MiB again and again"),
            ("inflating, raw bytes: `codec/segment_inflate`", rate["codec/segment_inflate"], limits["memory.copy"], "memory, copied"),
            ("packing a segment, raw bytes: `codec/segment_build_good`", rate["codec/segment_build_good"], limits["cache.read"],
             "page cache → memory"),
            ("durable commits a second: `storage/put_commit`", 1e9 / commit_row["real_time"],
             1 / (commit_bytes / limits["disk.write"] + limits["disk.sync"]), f"{commit_bytes / 1e6:.1f} MB written and synced, then 4 KiB"),
        ]
    values = {name: spread(found)[0] for name, found in (compared or {}).get("values", {}).items()}
    facts = (compared or {}).get("facts", {})
    if "export" in values:
        rows.append(("export to Completed, its stored bytes: `export`", facts["stored_bytes"] / values["export"], limits["disk.write"],
                     "64 MiB written and synced"))
    cipher = limits[{"TLS_AES_128_GCM_SHA256": "cipher.aes-128-gcm", "TLS_CHACHA20_POLY1305_SHA256": "cipher.chacha20-poly1305"}.get(
        facts.get("cipher"), "cipher.aes-256-gcm")]
    for coding in ("gzip", "identity"):
        for transport in ("tls", "plain"):
            name = f"download.{transport}.{coding}.sluiced.cpu"
            if name in values:
                steps, words = [limits["loopback.send"]], ["loopback"]
                if transport == "tls":
                    steps, words = [cipher, *steps], ["cipher", *words]
                if coding == "identity" and micro:
                    steps, words = [micro["codec/segment_inflate"]["bytes_per_second"], *steps], ["our inflating", *words]
                rows.append((f"{coding} download, bytes sent a CPU second: `{name}`", 1e9 / values[name], chain(*steps),
                             ", then ".join(words)))
    for transport in ("tls", "plain"):
        name = f"status.{transport}.sluiced.cpu"
        if name in values:
            rows.append((f"status polls a CPU second: `{name}`", 1 / values[name], 1 / limits["loopback.trip"],
                         "a byte there and back, both ends"))
    return rows


def run(options, folder):
    report = {"machine": machine(folder), "commit": commit(), "smoke": options.smoke, "rounds": options.rounds,
              "command": shlex.join(["tests/bench/limits.py", *sys.argv[1:]]), "compared": None}
    if options.compare:
        with open(options.compare, encoding="utf-8") as file:
            report["compared"] = json.load(file)
    os.sched_setaffinity(0, {min(ALLOWED)})
    bench = Machine(folder, Sizes(options.smoke))
    # `openssl speed` takes a second at least.
    kinds = [row for row in LIMITS if not (options.smoke and row[0].startswith("cipher.") and row[0] != "cipher.aes-256-gcm")]
    report["values"] = {name: [] for name, _, _, _ in kinds}
    for number in range(options.rounds):
        at = number % len(kinds)
        for name, _, _, measure in kinds[at:] + kinds[:at]:
            report["values"][name].append(measure(bench))
        say(f"round {number + 1} of {options.rounds}")
    report["micro"] = micro_benchmarks(options.smoke)
    return report


def best(name, values):
    """A limit is what was reached once: what is slower was disturbed."""
    return min(values) if UNITS[name] == "µs" else max(values)


def rate(value):
    return f"{value / 1e9:.2f} GB/s" if value > 1e7 else f"{value:,.0f}"


def markdown(report):
    lines = ["A smoke run: its figures mean nothing.", ""] if report["smoke"] else []
    lines += [f"One core; {report['rounds']} rounds, interleaved.", "", "| limit | | median | least | most | IQR |", "|---|---|---|---|---|---|"]
    for name, title, unit, _ in LIMITS:
        if name not in report["values"]:
            continue
        cells = " | ".join(f"{value * SCALE[unit]:.3g}" for value in spread(report["values"][name]))
        lines.append(f"| {title} | {unit} | {cells} |")
    limits = {name: best(name, values) for name, values in report["values"].items()}
    rows = ours(limits, report["micro"], report["compared"])
    if rows:
        lines += ["", "| ours | | limit, the best round | made of | ours / limit |", "|---|---|---|---|---|"]
        lines += [f"| {what} | {rate(value)} | {rate(limit)} | {words} | {value / limit:.2f} |" for what, value, limit, words in rows]
    lines += ["", machine_sentence(report)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, help="measurements of each limit (7)")
    parser.add_argument("--dir", help="a folder on the disk to measure (a temporary one)")
    parser.add_argument("--compare", metavar="FILE", help="what `tests/bench/compare --json` printed")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    parser.add_argument("--smoke", action="store_true", help="a small run; its figures mean nothing")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.smoke else 7)
    folder = tempfile.mkdtemp(prefix="sluice-limits-", dir=options.dir)
    try:
        if mount_of(folder)[1] in ("tmpfs", "ramfs") and not options.smoke:
            sys.exit(f"{folder} is on no disk: name a folder on one with --dir")
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
