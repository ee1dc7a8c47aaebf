"""tools/quickstart goes through the whole cycle with real curl, and never touches a directory that is in use."""

import os
import signal
import subprocess
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUICKSTART = os.path.join(ROOT, "tools", "quickstart")


@unittest.skipUnless(os.environ["SLUICE_BUILD"].endswith("/release"), "quickstart builds the release variant")
class QuickstartTest(unittest.TestCase):
    timeout_seconds = 300  # it builds what is not built yet

    def setUp(self):
        self.data = os.path.join(os.environ["TMPDIR"], self.id().rsplit(".", 1)[-1])

    def test_the_cycle_ends_with_files_and_status_0(self):
        done = subprocess.run([QUICKSTART, "--data", self.data], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        exported = sorted(name.split("-")[0] for name in os.listdir(f"{self.data}/downloads") if name.endswith(".ndjson"))
        self.assertEqual(sorted(set(exported)), ["Coverage", "ExplanationOfBenefit", "Patient"])
        for kind in sorted(set(exported)):
            self.assertEqual(self.lines(f"{self.data}/downloads", f"{kind}-"),
                             self.lines(f"{self.data}/synthetic/base", f"{kind}."), kind)

    @staticmethod
    def lines(folder, prefix):
        count = 0
        for name in os.listdir(folder):
            if name.startswith(prefix):
                with open(f"{folder}/{name}", "rb") as file:
                    count += sum(1 for _ in file)
        return count

    def test_serve_stays_until_it_is_told_to_stop(self):
        process = subprocess.Popen([QUICKSTART, "--serve", "--data", self.data], stdout=subprocess.PIPE, text=True)
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("The server goes on at "):
                break
        else:
            self.fail("".join(lines))
        base = line.split()[5]
        health = subprocess.run(["curl", "-sS", "--cacert", f"{self.data}/tls/certificate.pem", f"{base}/_health"],
                                capture_output=True, text=True)
        self.assertEqual(health.returncode, 0, health.stderr)
        process.send_signal(signal.SIGTERM)
        rest = process.communicate()[0]
        self.assertEqual(process.returncode, 0, rest)
        self.assertIn("The server is stopped.", rest)

    def test_a_directory_in_use_stays_as_it_is(self):
        os.makedirs(self.data)
        with open(f"{self.data}/mine", "w", encoding="utf-8") as file:
            file.write("mine")
        done = subprocess.run([QUICKSTART, "--data", self.data], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("stays as it is", done.stderr)
        self.assertEqual(os.listdir(self.data), ["mine"])

    def test_a_wrong_argument_is_named(self):
        done = subprocess.run([QUICKSTART, "--bogus"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--bogus", done.stderr)


if __name__ == "__main__":
    unittest.main()
