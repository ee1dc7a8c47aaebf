"""Other processes at one data directory: a second server, readers that were killed, a control socket that is none."""

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import crash
import sluice

BENEFICIARIES = 6

# Reads through LMDB itself, tells so, and stays.
READER = """
import ctypes, sys
lmdb = ctypes.CDLL("liblmdb.so.0")
environment, transaction = ctypes.c_void_p(), ctypes.c_void_p()
lmdb.mdb_env_create(ctypes.byref(environment))
NOSUBDIR, RDONLY, NOTLS = 0x4000, 0x20000, 0x200000
assert lmdb.mdb_env_open(environment, sys.argv[1].encode(), NOSUBDIR | RDONLY | NOTLS, 0) == 0
assert lmdb.mdb_txn_begin(environment, None, RDONLY, ctypes.byref(transaction)) == 0
print("reads", flush=True)
sys.stdin.read()
"""


class NeighboursTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        resources = crash.Resources(random.Random(crash.seed()), BENEFICIARIES, claims=2, text_bytes=2048)
        cls.lines = sorted(resources.base())
        cls.site = sluice.Site([crash.ACO])
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("attribution", "import", crash.write_roster(cls.site.folder, 5, range(BENEFICIARIES)))
        cls.site.ctl("import", cls.site.write("base.ndjson", b"\n".join(cls.lines) + b"\n"))

    def setUp(self):
        self.copy = crash.copy_of(self.site)
        self.addCleanup(self.copy.close)
        self.socket = os.path.join(self.copy.store, "control.sock")

    def serve(self):
        server = crash.Server(self.copy)
        self.addCleanup(server.abandon)
        return server.start()

    def refused_start(self, what):
        server = crash.Server(self.copy)
        self.addCleanup(server.abandon)
        with self.assertRaises(AssertionError):
            server.start()
        self.assertEqual(server.process.wait(), 1)
        self.assertRegex(server.log(), what)

    def test_a_second_server_is_refused_and_the_first_minds_nothing(self):
        server = self.serve()
        for _ in range(3):
            self.refused_start("another process .* writes this data directory")
        self.copy.ctl("aco", "add", "A9995")  # over the socket that is the first one's still
        self.assertEqual(server.exported(), self.lines)
        server.stop()

    def test_a_tool_does_not_write_while_another_process_does(self):
        with open(os.path.join(self.copy.store, "lock"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.copy.ctl("aco", "add", "A9995", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("another process writes this data directory", done.stderr)
            self.assertEqual(len(self.copy.ctl("dump").stdout.splitlines()), len(self.lines), "reading needs no lock")
        self.copy.ctl("aco", "add", "A9995")

    def readers(self):
        return json.loads(self.copy.ctl("stat", "--json").stdout)["readers"]

    def test_a_reader_that_was_killed_does_not_keep_space_from_being_used_again(self):
        server = self.serve()
        store = os.path.join(self.copy.store, "store.mdb")
        reader = subprocess.Popen([sys.executable, "-c", READER, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(reader.stdin.close)
        self.addCleanup(reader.stdout.close)
        self.assertEqual(reader.stdout.readline(), b"reads\n")
        with_it = self.readers()
        reader.kill()
        self.assertEqual(reader.wait(), -signal.SIGKILL)
        sluice.wait_until(lambda: self.readers() < with_it, "its slot is free")
        self.assertEqual(server.exported(), self.lines)
        server.stop()

    def test_a_control_socket_that_is_none_is_told_and_does_no_harm(self):
        server = self.serve()
        taken = self.socket + ".away"
        os.rename(self.socket, taken)

        def make_file():
            with open(self.socket, "w", encoding="ascii") as file:
                file.write("x")

        def make_silent():
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(self.socket)
            listener.close()
        for make, take_away in ((lambda: None, lambda: None), (make_file, lambda: os.unlink(self.socket)),
                                (lambda: os.mkdir(self.socket), lambda: os.rmdir(self.socket)),
                                (make_silent, lambda: os.unlink(self.socket))):
            make()
            done = self.copy.ctl("aco", "add", "A9995", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("takes no commands", done.stderr)
            take_away()
        self.assertEqual(server.exported(), self.lines, "the server does not need it")
        os.rename(taken, self.socket)
        self.copy.ctl("aco", "add", "A9995")
        server.stop()
        for make in (make_file, make_silent):
            make()  # nobody holds the lock: it is a dead one's
            self.copy.ctl("aco", "add", f"A100{make is make_file:d}")
            self.serve().stop()
        os.mkdir(self.socket)
        self.refused_start("control.sock: cannot listen")

    def test_garbage_on_the_control_socket_is_an_error(self):
        server = self.serve()
        os.rename(self.socket, self.socket + ".away")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.socket)
        listener.listen(1)
        process = crash.popen_ctl(self.copy, "aco", "add", "A9995")
        connection, _ = listener.accept()
        connection.sendall(b"\xff" * 64)
        connection.close()
        _, complaint = process.communicate(timeout=sluice.DEADLINE_SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertTrue(complaint)
        server.stop()


if __name__ == "__main__":
    unittest.main()
