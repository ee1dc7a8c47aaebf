#!/usr/bin/env python3
"""Idle keep-alive connections over TLS: the server's memory for each, and polls beside them.

    tests/bench/idle_connections.py [--connections N] [--rate R] [--seconds S] [--dir DIR] [--json] [--smoke]

Opens N connections over TLS; each polls a completed job once and then does nothing. What the server's RssAnon has grown by,
divided by N, is what a connection costs. Then sluice-load polls R times a second for S seconds beside them. At the end each of
the N connections must still be open and answer once more.

Prints a section of Markdown for docs/performance/, or JSON. --smoke: a small run of the same; its figures mean nothing.
"""

import argparse
import json
import os
import resource
import shlex
import socket
import ssl
import shutil
import sys
import tempfile
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import sluice  # noqa: E402
from measuring import commit, cpu_seconds, first_line, machine, machine_sentence, say  # noqa: E402

ACO = "A9994"
PATIENT = {"resourceType": "Patient", "id": "p", "meta": {"lastUpdated": "2021-01-01T00:00:00Z"}}


def rss_anon(pid):
    return int(first_line(f"/proc/{pid}/status", "RssAnon").split()[0]) * 1024


def poll(connection, request):
    """One request and its whole answer on a connection that is kept open."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += receive(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += receive(connection)
    if not head.startswith(b"HTTP/1.1 200 ") or fields.get(b"connection") == b"close":
        raise AssertionError(head.decode())


def receive(connection):
    received = connection.recv(65536)
    if not received:
        raise AssertionError("the server has closed a connection")
    return received


def limit_files(wanted):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{wanted} open files are needed, and the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def measure(options, site, server):
    token = server.token()
    job = server.wait_for_job(server.kick_off(token), token)["JobID"]
    address = urllib.parse.urlsplit(server.base)
    request = (f"GET /api/v1/jobs/{job} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n").encode()
    context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
    context.check_hostname = False

    def connect():
        return context.wrap_socket(socket.create_connection((address.hostname, address.port)))

    pid, held = server.process.pid, []
    with connect() as first:  # what is made once is not counted
        poll(first, request)
    before, cpu = rss_anon(pid), cpu_seconds(pid)
    try:
        for number in range(options.connections):
            held.append(connect())
            poll(held[-1], request)
            if number % 1000 == 999:
                say(f"{number + 1} connections")
        found = {"connections": len(held), "rss_anon_before": before, "rss_anon": rss_anon(pid),
                 "connect_cpu_us": (cpu_seconds(pid) - cpu) / len(held) * 1e6}
        found["bytes_each"] = (found["rss_anon"] - before) / len(held)
        load = json.loads(sluice.run(
            sluice.program("sluice-load"), "--url", server.base, "--credentials", site.path("credentials"), "--json",
            "--quiet", "--ca", sluice.Site.tls()[0], "--rate", str(options.rate), "--seconds", str(options.seconds),
            "status").stdout)
        if load["failures"]:
            raise AssertionError(load)
        found["status"] = load["work"]["status"]
        found["rss_anon_after_load"] = rss_anon(pid)
        for connection in held:
            poll(connection, request)
        return found
    finally:
        for connection in held:
            connection.close()


def run(options, folder):
    tempfile.tempdir = folder
    limit_files(options.connections + 512)
    report = {"machine": machine(folder), "commit": commit(), "smoke": options.smoke, "rate": options.rate,
              "command": shlex.join(["tests/bench/idle_connections.py", *sys.argv[1:]])}
    site = sluice.Site([ACO])
    try:
        site.ctl("import", "--aco", ACO, site.write("one.ndjson", json.dumps(PATIENT) + "\n"))
        client, secret = site.credentials[ACO]
        site.write("credentials", f"{ACO}\n{client}\n{secret}\n")
        settings = {"connections_max": options.connections + 256, "connections_per_address_max": 0,
                    "idle_timeout_ms": 600_000}
        # A quarter of its descriptors the server keeps for files.
        with sluice.Server(site, settings=settings, file_limit=options.connections * 4 // 3 + 2048) as server:
            report.update(measure(options, site, server))
        return report
    finally:
        site.close()


def markdown(report):
    status = report["status"]
    lines = ["A smoke run: its figures mean nothing.\n"] if report["smoke"] else []
    lines += ["| idle connections | RssAnon before, MB | with them, MB | bytes each | after the polls, MB |",
              "|---|---|---|---|---|",
              f"| {report['connections']:,} | {report['rss_anon_before'] / 1e6:.1f} | {report['rss_anon'] / 1e6:.1f} | "
              f"{report['bytes_each']:,.0f} | {report['rss_anon_after_load'] / 1e6:.1f} |", "",
              "| polls a second beside them | number | p50, ms | p99, ms | most, ms |", "|---|---|---|---|---|",
              f"| {report['rate']:,} | {status['done']:,} | " +
              " | ".join(f"{status[key] * 1e3:.2f}" for key in ("p50", "p99", "max")) + " |",
              "", f"A connection's handshake and its first poll: {report['connect_cpu_us']:,.0f} us of the server's processor.",
              "", machine_sentence(report)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--rate", type=int, default=1000, help="polls a second beside them (1000)")
    parser.add_argument("--seconds", type=int, default=10, help="of polls (10)")
    parser.add_argument("--dir", default=None, help="where to work (the temporary directory)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    if options.smoke:
        options.connections, options.rate, options.seconds = 20, 100, 1
    folder = tempfile.mkdtemp(prefix="idle-", dir=options.dir)
    try:
        report = run(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report, indent=1) if options.json else markdown(report))


if __name__ == "__main__":
    main()
