"""The life of sluiced: its command line, its settings, its signals."""

import http.client
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import wire
from sluice import Server, Site, program, run, wait_until


class CommandLineTest(unittest.TestCase):
    """What refuses to start says why in one line and changes nothing."""

    @classmethod
    def setUpClass(cls):
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def refused(self, status, text, *arguments, environment=None):
        done = run(program("sluiced"), *arguments, check=False, env=dict(os.environ, **(environment or {})))
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertIn(text, done.stderr)
        lines = [line for line in done.stderr.splitlines() if not line.endswith("try --help")]
        self.assertEqual(len(lines), 1, done.stderr)

    def test_help_and_version_go_to_standard_output(self):
        self.assertIn("Examples:", run(program("sluiced"), "--help").stdout)
        self.assertRegex(run(program("sluiced"), "--version").stdout, r"^sluiced \d+\.\d+\.\d+\n$")

    def test_wrong_usage_is_2(self):
        store = self.site.store
        self.refused(2, "--data", "--plaintext")
        self.refused(2, "no-such", "--data", store, "--plaintext", "--no-such")
        self.refused(2, "other arguments", "--data", store, "--plaintext", "more")
        self.refused(2, "ADDRESS:PORT", "--data", store, "--plaintext", "--listen", "8443")
        self.refused(2, "certificate", "--data", store)
        self.refused(2, "certificate", "--data", store, "--tls-cert", Site.tls()[0])
        self.refused(2, "exclude", "--data", store, "--plaintext", "--tls-cert", Site.tls()[0], "--tls-key",
                     Site.tls()[1])

    def test_what_cannot_start_is_1(self):
        store = self.site.store
        self.refused(1, "sluicectl init", "--data", self.site.path("nowhere"), "--plaintext")
        self.refused(1, "nowhere.conf", "--data", store, "--plaintext", "--config", self.site.path("nowhere.conf"))
        self.refused(1, "192.0.2.1", "--data", store, "--plaintext", "--listen", "192.0.2.1:0")
        self.refused(1, "nowhere.pem", "--data", store, "--tls-cert", self.site.path("nowhere.pem"), "--tls-key",
                     Site.tls()[1])

    def test_a_bad_setting_is_named_with_file_and_line(self):
        path = self.site.write("bad.conf", "# mine\nkeep_hours = soon\n")
        self.refused(1, f'{path}:2: setting "keep_hours": ', "--data", self.site.store, "--plaintext", "--config", path)

    def test_a_signing_key_that_others_may_read_is_refused(self):
        key = os.path.join(self.site.store, "keys", "token.pem")
        os.chmod(key, 0o644)
        self.refused(1, "chmod 600", "--data", self.site.store, "--plaintext")
        os.chmod(key, 0o600)

    def test_a_port_that_is_taken_is_refused(self):
        other = Site(acos=())
        with Server(self.site, plaintext=True) as server:
            address = server.base.split("//")[1]
            self.refused(1, address, "--data", other.store, "--plaintext", "--listen", address)
        other.close()

    def test_the_directory_may_come_from_the_environment(self):
        self.refused(1, "sluicectl init", "--plaintext", environment={"SLUICE_DATA": self.site.path("nowhere")})

    def test_an_option_overrides_the_file(self):
        with Server(self.site, plaintext=True, settings={"listen": "192.0.2.1:1", "log_level": "debug"}) as server:
            self.assertEqual(server.curl("/_version")[0], 200)


class SignalTest(unittest.TestCase):
    def setUp(self):
        self.site = Site()

    def tearDown(self):
        self.site.close()

    def test_both_signals_stop_it_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = Server(self.site, plaintext=True).start()
            self.assertEqual(server.curl("/_version")[0], 200)
            server.process.send_signal(number)
            server.stop()
            self.assertEqual(len(server.events("stopped")), 1)

    def test_a_second_signal_cuts_the_time_short_that_downloads_are_given(self):
        server = Server(self.site, plaintext=True, settings={"stop_grace_seconds": 3600}).start()
        host, port = server.base.split("//")[1].split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET /_version HTTP/1.1\r\nHost: x\r\n\r\nGET /_version HTTP/1.1\r\n")
            self.assertIn(b"200", client.recv(12))  # the second request has begun, and does not end
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: server.events("stopping"), "the log tells of the signal")
            with self.assertRaises(subprocess.TimeoutExpired):
                server.process.wait(0.3)
            server.stop()
        self.assertEqual(len(server.events("stopping")), 2)

    def test_a_token_outlives_a_restart(self):
        with Server(self.site, plaintext=True) as server:
            token = server.token()
        with Server(self.site, plaintext=True) as server:
            self.assertEqual(server.curl("/auth/welcome", token=token)[0], 200)

    def test_hangup_without_a_certificate_is_no_harm(self):
        with Server(self.site, plaintext=True) as server:
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: server.events("reloaded"), "the log tells of the signal")
            self.assertEqual(server.curl("/_version")[0], 200)


class FileDescriptorTest(unittest.TestCase):
    """Connections cannot take all file descriptors away from exports and downloads."""

    def test_an_export_completes_while_connections_are_at_their_most(self):
        site = Site()
        source = site.write("patient.ndjson", '{"resourceType":"Patient","id":"p1"}\n')
        site.ctl("import", source, "--aco", "A9994")
        with Server(site, file_limit=200) as server:
            self.assertEqual(len(server.events("few_file_descriptors")), 1)
            token = server.token()
            host, port = server.base.split("//")[1].split(":")
            context = ssl.create_default_context(cafile=Site.tls()[0])
            client = http.client.HTTPSConnection(host, int(port), context=context)
            client.request("GET", "/_version")
            client.getresponse().read()
            idle = [socket.create_connection((host, int(port))) for _ in range(250)]

            def ask(target):
                client.request("GET", target, headers={"Authorization": f"Bearer {token}", "Prefer": "respond-async",
                                                       "Accept": "application/fhir+json"})
                answer = client.getresponse()
                return answer, answer.read()

            def path(url):
                return "/" + url.split("/", 3)[3]

            answer, body = ask("/api/v1/Patient/$export")
            self.assertEqual(answer.status, 202, body)
            job = path(answer.headers["Content-Location"])
            wait_until(lambda: ask(job)[0].status != 202, "the job ends")
            answer, body = ask(job)
            self.assertEqual(answer.status, 200, body)
            answer, body = ask(path(json.loads(body)["output"][0]["url"]))
            self.assertEqual((answer.status, body.count(b"\n")), (200, 1))
            for connection in idle:
                connection.close()
            client.close()
        site.close()


    def test_an_export_waits_while_there_are_none_and_goes_on(self):
        site = Site()
        self.addCleanup(site.close)
        source = site.write("patient.ndjson", '{"resourceType":"Patient","id":"p1"}\n')
        site.ctl("import", source, "--aco", "A9994")
        for spare in (0, 1):  # not even the job's folder can be opened; one of the two files of an export can
            with Server(site, plaintext=True) as server:
                client = wire.Client(server)
                self.addCleanup(client.close)
                client.log_in()
                pid = server.process.pid
                limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                in_use = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + spare, limit[1]))
                job = client.kick_off()
                wait_until(lambda: server.events("job waits"), "the log tells why")
                self.assertIn("Too many open files", server.events("job waits")[0]["text"])
                self.assertEqual(client.request(job)[0], 202)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
                self.assertEqual(len(client.wait_for_job(job)["output"]), 1)
                self.assertEqual(len(server.events("job waits")), 1)


class StandardStreamsTest(unittest.TestCase):
    """What is printed and logged never goes into the store, whatever the program was started with."""

    def test_closed_streams_are_not_taken_by_files_of_the_store(self):
        site = Site()
        command = [program("sluiced"), "--data", site.store, "--plaintext", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command])
        wait_until(lambda: os.path.exists(os.path.join(site.store, "control.sock")), "the server runs")
        streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
        process.terminate()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(streams, ["/dev/null"] * 3)
        self.assertEqual(os.path.getsize(os.path.join(site.store, "lock")), 0)
        site.close()


class SettingsTest(unittest.TestCase):
    """SIGHUP reads the settings again."""

    def setUp(self):
        self.site = Site()
        self.server = Server(self.site, plaintext=True, settings={"cors_origin": "https://one.example"}).start()

    def tearDown(self):
        self.server.stop()
        self.site.close()

    def hang_up(self, settings, event):
        seen = len(self.server.events(event))
        self.site.write("settings", settings)
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.server.events(event)) > seen, f"the log tells of {event}")

    def allowed(self, origin):
        return "access-control-allow-origin" in self.server.curl("/_version", fields=[f"Origin: {origin}"])[1]

    def test_what_may_change_takes_effect_at_once(self):
        self.assertEqual((self.allowed("https://one.example"), self.allowed("https://two.example")), (True, False))
        self.hang_up("cors_origin = https://two.example\n", "reloaded")
        self.assertEqual((self.allowed("https://one.example"), self.allowed("https://two.example")), (False, True))

    def test_what_must_wait_is_named(self):
        self.hang_up("cors_origin = https://two.example\nreactors = 7\n", "reload")
        self.assertIn("reactors", self.server.events("reload")[0]["text"])
        wait_until(lambda: self.allowed("https://two.example"), "the other setting is in use")

    def test_a_bad_file_changes_nothing(self):
        self.hang_up("cors_origin = https://two.example\nno_such_setting = 1\n", "reload_failed")
        self.assertIn("no_such_setting", self.server.events("reload_failed")[0]["text"])
        self.assertTrue(self.allowed("https://one.example"))


class CertificateTest(unittest.TestCase):
    """SIGHUP reads the certificate again and drops nobody."""

    def setUp(self):
        self.site = Site()
        Site.certificate = None
        self.first = Site.tls()
        Site.certificate = None
        self.second = Site.tls()
        self.used = self.site.path("certificate.pem"), self.site.path("key.pem")
        self.use(self.first)
        Site.certificate = self.used
        self.server = Server(self.site).start()

    def tearDown(self):
        self.server.stop()
        self.site.close()

    def use(self, pair):
        for source, target in zip(pair, self.used):
            shutil.copy(source, target)
        os.chmod(self.used[1], 0o600)

    def served(self):
        host, port = self.server.base.split("//")[1].split(":")
        return ssl.get_server_certificate((host, int(port)))

    def text_of(self, pair):
        with open(pair[0], encoding="ascii") as file:
            return file.read()

    def hang_up(self, event):
        seen = len(self.server.events(event))
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.server.events(event)) > seen, f"the log tells of {event}")

    def test_new_connections_get_the_new_certificate_and_old_ones_go_on(self):
        host, port = self.server.base.split("//")[1].split(":")
        context = ssl.create_default_context(cafile=self.first[0])
        kept = http.client.HTTPSConnection(host, int(port), context=context)
        kept.request("GET", "/_version")
        self.assertEqual(kept.getresponse().read()[:10], b'{"version"')
        self.assertEqual(self.served(), self.text_of(self.first))
        self.use(self.second)
        self.hang_up("reloaded")
        self.assertEqual(self.served(), self.text_of(self.second))
        connection = kept.sock
        kept.request("GET", "/_version")
        self.assertEqual(kept.getresponse().status, 200)
        self.assertIs(kept.sock, connection)  # the same connection
        kept.close()

    def test_a_certificate_that_cannot_be_read_leaves_the_old_one(self):
        with open(self.used[0], "w", encoding="ascii") as file:
            file.write("no certificate")
        self.hang_up("reload_failed")
        self.assertEqual(self.served(), self.text_of(self.first))


if __name__ == "__main__":
    unittest.main()
