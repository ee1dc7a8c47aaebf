"""HTTP and TLS of the real sluiced, by raw sockets: what a proxy, a broken client or an attacker may send."""

import base64
import json
import os
import socket
import ssl
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from sluice import DEADLINE_SECONDS, Server, Site, run

GET = b"GET /_version HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /auth/token HTTP/1.1\r\nHost: h\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


class Connection:
    """One connection that sends bytes as they are."""

    def __init__(self, server, plain=False):
        scheme, address = server.base.split("://")
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), DEADLINE_SECONDS)
        if scheme == "https" and not plain:
            context = ssl.create_default_context(cafile=Site.tls()[0])
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.input = b""

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _read(self):
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            data = b""
        self.input += data
        return data != b""

    def _take(self, size):
        while len(self.input) < size:
            if not self._read():
                raise AssertionError(f"the connection ended after {self.input!r}")
        taken, self.input = self.input[:size], self.input[size:]
        return taken

    def response(self, has_body=True):
        """(status, fields by lower-case name, body)"""
        while b"\r\n\r\n" not in self.input:
            if not self._read():
                raise AssertionError(f"the connection ended after {self.input!r}")
        head = self._take(self.input.index(b"\r\n\r\n") + 4).decode("latin-1")
        lines = head.split("\r\n")
        fields = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
        body = self._take(int(fields["content-length"])) if has_body and "content-length" in fields else b""
        return int(lines[0].split()[1]), fields, body

    def ended(self):
        """True when nothing more comes."""
        while self._read():
            pass
        return self.input == b""


class ServedTest(unittest.TestCase):
    """One server for all tests of a class."""

    settings = {}
    plaintext = False

    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        cls.server = Server(cls.site, plaintext=cls.plaintext, settings=cls.settings).start()
        cls.addClassCleanup(cls.server.stop)

    def connect(self, **options):
        connection = Connection(self.server, **options)
        self.addCleanup(connection.socket.close)
        return connection

    def assert_refused(self, connection, status, text=None):
        """An OperationOutcome, and the end of the connection."""
        got, fields, body = connection.response()
        self.assertEqual(got, status, body)
        self.assertEqual(fields["connection"], "close")
        self.assertEqual(fields["content-type"], "application/fhir+json")
        issue = json.loads(body)["issue"][0]
        if text:
            self.assertIn(text, issue["details"]["text"])
        self.assertTrue(connection.ended())
        return issue

    def basic(self):
        client, secret = self.site.credentials["A9994"]
        return b"Authorization: Basic " + base64.b64encode(f"{client}:{secret}".encode()) + b"\r\n"


class RequestsTest(ServedTest):
    def test_requests_that_two_readers_could_read_in_two_ways_are_refused(self):
        smuggled = b"GET /_version HTTP/1.1\r\nHost: h\r\n\r\n"
        for request in (
                POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
                POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
                POST + b"Content-Length: 5, 5\r\n\r\nabcde",
                POST + b"Content-Length: +5\r\n\r\nabcde",
                POST + b"Content-Length : 5\r\n\r\nabcde",
                POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
                POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
                POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
                POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
                POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
                POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
                POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n0\r\n\r\n",
                POST + CHUNKED + b"\r\n0x1\r\na\r\n0\r\n\r\n",
                POST + CHUNKED + b"\r\n1;\na\r\n0\r\n\r\n",
                POST + CHUNKED + b"\r\n1\r\nab\r\n0\r\n\r\n",
                POST + CHUNKED + b"\r\n1\na\n0\n\n",
                POST + CHUNKED + b"\r\n0\r\nX: y\r\n\r\n",
                b"GET /_version HTTP/1.1\nHost: h\n\n",
                GET + b"X: a\nY: b\r\n\r\n",
                GET + b"X: a\rY: b\r\n\r\n",
                GET + b"X: a\0b\r\n\r\n",
                GET + b"X: a\r\n b\r\n\r\n",
                GET + b"Host: h\r\n\r\n",
                b"GET /_version HTTP/1.1\r\n\r\n",
                b"GET /_version HTTP/1.1\r\nHost: h, i\r\n\r\n",
                b"GET http://other/_version HTTP/1.1\r\nHost: h\r\n\r\n",
                b"GET /_version\r\n\r\n",
                b"GET  /_version HTTP/1.1\r\nHost: h\r\n\r\n",
                b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
        ):
            with self.subTest(request=request), self.connect() as connection:
                connection.send(request + smuggled)
                issue = self.assert_refused(connection, 400)
                self.assertEqual(issue["code"], "structure")

    def test_pipelined_requests_are_answered_in_order(self):
        connection = self.connect()
        connection.send(b"".join(b"GET /_version HTTP/1.1\r\nHost: h\r\nX-Request-Id: n-%d\r\n\r\n" % i for i in range(300)))
        for i in range(300):
            status, fields, _ = connection.response()
            self.assertEqual((status, fields["x-request-id"]), (200, f"n-{i}"))

    def test_a_token_is_given_for_every_framing_of_a_body(self):
        connection = self.connect()
        for request in (
                POST + self.basic() + b"\r\n",
                POST + self.basic() + b"Content-Length: 0\r\n\r\n",
                POST + self.basic() + CHUNKED + b"\r\n0\r\n\r\n",
                POST + self.basic() + CHUNKED + b"\r\n1d;x=\"y\"\r\ngrant_type=client_credentials\r\n0\r\n\r\n",
        ):
            connection.send(request)
            status, fields, body = connection.response()
            self.assertEqual(status, 200, body)
            self.assertEqual(fields["cache-control"], "no-store")
            self.assertIn("access_token", json.loads(body))

    def test_a_client_that_waits_for_leave_to_send_gets_it(self):
        connection = self.connect()
        connection.send(POST + self.basic() + b"Expect: 100-continue\r\nContent-Length: 29\r\n\r\n")
        self.assertEqual(connection.response(has_body=False)[0], 100)
        connection.send(b"grant_type=client_credentials")
        self.assertEqual(connection.response()[0], 200)

    def test_head_answers_as_get_without_a_body(self):
        connection = self.connect()
        for path in (b"/_version", b"/api/v1/metadata", b"/nowhere"):
            connection.send(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            status, fields, body = connection.response()
            connection.send(b"HEAD " + path + b" HTTP/1.1\r\nHost: h\r\n\r\n")
            head_status, head_fields, _ = connection.response(has_body=False)
            self.assertEqual(head_status, status)
            self.assertEqual(head_fields["content-length"], str(len(body)))
            self.assertEqual(set(head_fields), set(fields))

    def test_every_response_has_the_common_fields(self):
        for request in (GET + b"\r\n", b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", POST + b"\r\n",
                        b"DELETE /_version HTTP/1.1\r\nHost: h\r\n\r\n", b"garbage\r\n\r\n",
                        b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"):
            with self.subTest(request=request), self.connect() as connection:
                connection.send(request)
                _, fields, _ = connection.response()
                self.assertEqual(fields["x-content-type-options"], "nosniff")
                self.assertEqual(fields["cache-control"], "no-store")
                self.assertRegex(fields["strict-transport-security"], r"^max-age=\d+")
                self.assertRegex(fields["x-request-id"], r"^[0-9a-f]{32}$")
                self.assertRegex(fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_http_1_0_is_served_and_closed(self):
        connection = self.connect()
        connection.send(b"GET /_version HTTP/1.0\r\n\r\n")
        status, fields, _ = connection.response()
        self.assertEqual((status, fields["connection"]), (200, "close"))
        self.assertTrue(connection.ended())

    def test_other_versions_are_refused(self):
        for line in (b"GET /_version HTTP/2.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n"):
            with self.subTest(line=line), self.connect() as connection:
                connection.send(line)
                self.assert_refused(connection, 505)

    def test_bounds_are_named(self):
        connection = self.connect()
        connection.send(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: h\r\n\r\n")
        self.assertEqual(self.assert_refused(connection, 414, "8192 bytes")["code"], "too-long")
        connection = self.connect()
        connection.send(GET + b"X: " + b"a" * 40000 + b"\r\n\r\n")
        self.assertEqual(self.assert_refused(connection, 431, "32768 bytes")["code"], "too-long")
        connection = self.connect()
        connection.send(GET + b"X: a\r\n" * 100 + b"\r\n")
        self.assert_refused(connection, 431, "100 fields")
        for body in (b"Content-Length: 65537\r\n\r\n" + b"a" * 65537,
                     CHUNKED + b"\r\n10001\r\n" + b"a" * 65537 + b"\r\n0\r\n\r\n",
                     b"Content-Length: 99999999999999999999999\r\n\r\n"):
            connection = self.connect()
            connection.send(POST + body)
            self.assert_refused(connection, 413, "65536 bytes")


class TlsTest(ServedTest):
    def test_plain_http_on_the_tls_port_is_told_so(self):
        connection = self.connect(plain=True)
        connection.send(GET + b"\r\n")
        self.assert_refused(connection, 400, "https://")

    def test_garbage_ends_the_connection_and_nothing_else(self):
        for garbage in (b"\0" * 100, b"\x16\x03\x01\x00\x05junk!", os.urandom(4096), b"\x80\x2e\x01\x00\x02"):
            with self.connect(plain=True) as connection:
                try:
                    connection.send(garbage)
                    connection.socket.shutdown(socket.SHUT_WR)
                    while connection._read():
                        pass
                except OSError:
                    pass  # reset: as good an end as any
        self.assertEqual(self.server.curl("/_version")[0], 200)

    def test_old_versions_of_tls_are_refused(self):
        address = self.server.base.split("//")[1]
        for option, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
            done = run("openssl", "s_client", "-connect", address, option, "-cipher", "DEFAULT:@SECLEVEL=0",
                       check=False, stdin=-3)
            self.assertEqual(done.returncode == 0, works, done.stdout + done.stderr)

    def test_only_http_1_1_is_negotiated(self):
        context = ssl.create_default_context(cafile=Site.tls()[0])
        context.set_alpn_protocols(["h2", "http/1.1"])
        host, port = self.server.base.split("//")[1].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as plain:
            with context.wrap_socket(plain, server_hostname=host) as secured:
                self.assertEqual(secured.selected_alpn_protocol(), "http/1.1")

    def test_sessions_are_resumed(self):
        context = ssl.create_default_context(cafile=Site.tls()[0])
        host, port = self.server.base.split("//")[1].rsplit(":", 1)
        session = None
        for _ in range(2):
            with socket.create_connection((host, int(port))) as plain:
                with context.wrap_socket(plain, server_hostname=host, session=session) as secured:
                    self.assertEqual(secured.session_reused, session is not None)
                    secured.sendall(GET + b"Connection: close\r\n\r\n")
                    while secured.recv(65536):
                        pass
                    session = secured.session


class DeadlinesTest(ServedTest):
    plaintext = True
    settings = {"head_timeout_ms": 200, "body_timeout_ms": 200, "idle_timeout_ms": 200}

    def test_a_request_that_does_not_arrive_is_refused(self):
        connection = self.connect()
        connection.send(GET)
        self.assert_refused(connection, 408)
        connection = self.connect()
        connection.send(POST + b"Content-Length: 5\r\n\r\nabcd")
        self.assert_refused(connection, 408)

    def test_bytes_now_and_then_do_not_prolong_it(self):
        connection = self.connect()
        connection.send(b"GET /")
        connection.socket.settimeout(0.01)
        for _ in range(1000):
            try:
                if not connection.socket.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                connection.send(b"a")
                continue
            break
        connection.socket.settimeout(DEADLINE_SECONDS)
        self.assert_refused(connection, 408)

    def test_an_idle_connection_is_closed_without_a_word(self):
        connection = self.connect()
        self.assertTrue(connection.ended())
        connection = self.connect()
        connection.send(GET + b"\r\n")
        self.assertEqual(connection.response()[0], 200)
        self.assertTrue(connection.ended())


class PlainTest(ServedTest):
    plaintext = True

    def test_a_client_may_end_its_side_before_the_answers(self):
        connection = self.connect()
        connection.send(GET + b"\r\n" + POST + self.basic() + b"\r\n")
        connection.socket.shutdown(socket.SHUT_WR)
        self.assertEqual(connection.response()[0], 200)
        self.assertEqual(connection.response()[0], 200)
        self.assertTrue(connection.ended())

    def test_a_tls_hello_is_refused_at_once(self):
        connection = self.connect()
        connection.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.assert_refused(connection, 400, "not an HTTP request")

    def test_plain_http_promises_no_https(self):
        connection = self.connect()
        connection.send(GET + b"\r\n")
        self.assertNotIn("strict-transport-security", connection.response()[1])


class LimitsTest(ServedTest):
    plaintext = True
    settings = {"connections_max": 20, "connections_per_address_max": 5}

    def test_an_address_has_no_more_connections_than_it_may(self):
        held = [self.connect() for _ in range(5)]
        for connection in held:
            connection.send(GET + b"\r\n")
            self.assertEqual(connection.response()[0], 200)
        over = self.connect()
        over.send(GET + b"\r\n")
        status, fields, _ = over.response()
        self.assertEqual(status, 503)
        self.assertGreater(int(fields["retry-after"]), 0)
        self.assertTrue(over.ended())
        held[0].send(GET + b"\r\n")
        self.assertEqual(held[0].response()[0], 200)


class DrainTest(unittest.TestCase):
    def test_stopping_closes_idle_connections(self):
        site = Site()
        self.addCleanup(site.close)
        with Server(site) as server:
            with Connection(server) as idle, Connection(server) as fresh:
                idle.send(GET + b"\r\n")
                self.assertEqual(idle.response()[0], 200)
                server.stop()
                self.assertTrue(idle.ended())
                self.assertTrue(fresh.ended())


if __name__ == "__main__":
    unittest.main()
