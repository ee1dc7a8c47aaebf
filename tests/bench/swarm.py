"""What measurements with many ACOs need: accounts quickly, a client that keeps many connections busy, the log as it grows."""

import base64
import collections
import datetime
import hashlib
import json
import os
import secrets
import selectors
import socket
import ssl
import struct
import time
import urllib.parse
import uuid

import sluice

CONTROL_MAGIC, ACO_ADD, CREDENTIAL_CREATE = 0x31434C53, 2, 4  # storage/control.h
CONTROL_CONNECTIONS = 16

Answer = collections.namedtuple("Answer", "status head body begin end")


def sized(data):
    return struct.pack("<I", len(data)) + data


def add_accounts(server, acos):
    """ACOs with credentials each, through the server's control socket: a process for each would take minutes."""
    def some(share):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(os.path.join(server.site.store, "control.sock"))
            with control.makefile("rb") as replies:
                def call(command, payload):
                    control.sendall(struct.pack("<III", CONTROL_MAGIC, command, len(payload)) + payload)
                    status, size = struct.unpack("<II", replies.read(8))
                    text = replies.read(size)
                    if status:
                        raise AssertionError(f"control command {command}: {status} {text!r}")
                for aco in share:
                    client, secret, salt = str(uuid.uuid4()), secrets.token_hex(40), secrets.token_bytes(32)
                    call(ACO_ADD, sized(aco.encode()) + sized(b""))
                    call(CREDENTIAL_CREATE, sized(aco.encode()) + sized(client.encode()) + salt +
                         hashlib.sha256(salt + secret.encode()).digest())
                    server.site.credentials[aco] = (client, secret)
    sluice.parallel(some, [acos[at::CONTROL_CONNECTIONS] for at in range(CONTROL_CONNECTIONS)])


class Swarm:
    """Kept connections, each of which sends the next request as soon as its last one was answered."""

    def __init__(self, server, connections):
        self.host = urllib.parse.urlsplit(server.base).netloc
        self.site = server.site
        context = ssl.create_default_context(cafile=sluice.Site.tls()[0])
        self.selector = selectors.EpollSelector()
        self.sockets = []
        address = urllib.parse.urlsplit(server.base)
        for _ in range(connections):
            plain = socket.create_connection((address.hostname, address.port))
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = context.wrap_socket(plain, server_hostname=address.hostname)
            connection.setblocking(False)
            self.selector.register(connection, selectors.EVENT_READ)
            self.sockets.append(connection)

    def close(self):
        self.selector.close()
        for connection in self.sockets:
            connection.close()

    def request(self, method, target, token=None, fields=()):
        if target.startswith("http"):
            target = "/" + target.split("/", 3)[3]
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", *fields]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def run(self, requests):
        """The answers, in the order of the requests; each has its own times."""
        answers = [None] * len(requests)
        waiting = iter(range(len(requests)))
        pending = {}

        def send(connection):
            number = next(waiting, None)
            if number is None:
                return
            pending[connection] = [number, b"", time.monotonic()]
            if connection.send(requests[number]) != len(requests[number]):
                raise AssertionError("a request was not taken at once")
        for connection in self.sockets:
            send(connection)
        while pending:
            ready = self.selector.select(sluice.DEADLINE_SECONDS)
            if not ready:
                raise AssertionError(f"{len(pending)} requests are not answered")
            for key, _ in ready:
                connection = key.fileobj
                while connection in pending:
                    try:
                        data = connection.recv(65536)
                    except ssl.SSLWantReadError:
                        break
                    if not data:
                        raise AssertionError("the server closed a connection")
                    state = pending[connection]
                    state[1] += data
                    answer = complete(state[1])
                    if answer:
                        answers[state[0]] = Answer(*answer, state[2], time.monotonic())
                        del pending[connection]
                        send(connection)
        return answers

    def tokens(self, acos):
        requests = []
        for aco in acos:
            pair = base64.b64encode(":".join(self.site.credentials[aco]).encode()).decode()
            requests.append(self.request("POST", "/auth/token", fields=(f"Authorization: Basic {pair}", "Content-Length: 0")))
        return [json.loads(expect(answer, 200).body)["access_token"] for answer in self.run(requests)]

    def kick_off_requests(self, tokens, path="/api/v1/Patient/$export"):
        fields = ("Accept: application/fhir+json", "Prefer: respond-async")
        return [self.request("GET", path, token, fields) for token in tokens]


def complete(data):
    """(status, head, body) once all of it is there."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    size = int(lower[at + 17:].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return (int(head[9:12]), head, body) if len(body) >= size else None


def expect(answer, status):
    if answer.status != status:
        raise AssertionError(f"{answer.status}, not {status}: {answer.head!r} {answer.body!r}")
    return answer


def location(answer):
    """Of an accepted kick-off."""
    head = expect(answer, 202).head
    at = head.lower().find(b"\r\ncontent-location:")
    return head[at + 19:].split(b"\r\n", 1)[0].strip().decode()


class Completions:
    """The log's lines of finished jobs, as they come. `time` in them becomes seconds since the epoch."""

    def __init__(self, server):
        self.file = open(server.log_path, "rb")
        self.file.seek(0, os.SEEK_END)
        self.rest = b""

    def close(self):
        self.file.close()

    def wait(self, count, seconds=300):
        found = []

        def more():
            lines = (self.rest + self.file.read()).split(b"\n")
            self.rest = lines.pop()
            for line in lines:
                if b'"event":"job failed"' in line:
                    raise AssertionError(line)
                if b'"event":"job completed"' in line:
                    event = json.loads(line)
                    event["time"] = datetime.datetime.fromisoformat(event["time"]).timestamp()
                    found.append(event)
            return len(found) >= count
        sluice.wait_until(more, f"{count} jobs are Completed", seconds)
        return found
