"""The advanced guide, command by command: each of its curl commands is run with real curl against a real server,
and answers as the guide shows. Host, token, job and file are replaced; credentials are the guide's own.

What is broken in the guide is mended here, and nothing else: see MENDED.
"""

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import sluice
import wire

HOSTS = ("https://api.bcda.cms.gov", "https://sandbox.bcda.cms.gov")

# (what stands in the guide, what is run instead, why)
MENDED = [
    ("curl --user 3841c594-", "curl -d '' -X POST https://sandbox.bcda.cms.gov/auth/token --user 3841c594-",
     "Option 2 of the token lacks method and URL"),
    ("_since=2020-02-13T08:00:00.000-05:00\n-H", "_since=2020-02-13T08:00:00.000-05:00\" \\\n-H",
     "the command of _since lacks its closing quote and the backslash at the line's end"),
]
# Forms that a reader fills in; the example of each follows in the guide.
FORMS = ['curl -H "authorization: Basic [base64-encoded clientId:secret]"', "curl --user clientId:secret"]
# Each passage of 50 ms lets the first look at a job find it at work, file by file.
SLOW = {"SLUICE_FAILPOINTS": "export.file.fsync=sleep"}
STEPS = {"small_job_bytes": 0}
KICK_OFFS = ["Patient/$export", "Patient/$export?_type=ExplanationOfBenefit", "Patient/$export?_type=Patient",
             "Patient/$export?_type=Coverage", "Patient/$export?_type=Patient?_since=2020-02-13T08:00:00.000-05:00"]


def blocks(text):
    """Every fenced block of the guide, and every line that is one piece of code and nothing else."""
    return re.findall(r"^```\n(.*?)\n *```$|^`(curl [^`]+)`$", text, flags=re.MULTILINE | re.DOTALL)


def commands(text):
    """The curl commands in the guide's order, mended."""
    found = []
    for fenced, inline in blocks(text):
        command = (fenced or inline).strip()
        if command.startswith("curl ") and command not in FORMS:
            for broken, mended, _ in MENDED:
                command = command.replace(broken, mended)
            found.append(command)
    return found


def documents(text):
    """The JSON that the guide shows, in its order."""
    found = []
    for fenced, _ in blocks(text):
        if fenced.startswith("{"):
            found.append(json.loads(re.sub("[“”]", '"', fenced)))
    return found


def words(command):
    """As a shell splits it, without expanding anything; a backslash at a line's end joins also within double quotes."""
    return shlex.split(command.replace("\\\n", ""))


class AdvancedGuideTest(unittest.TestCase):
    timeout_seconds = 300

    @classmethod
    def setUpClass(cls):
        cls.guide = wire.shared_guide("advanced-guide.md")
        cls.commands = commands(cls.guide)
        cls.documents = documents(cls.guide)
        cls.pairs = cls.pairs_of_guide()
        # As tools/quickstart does it.
        cls.site = sluice.Site(())
        cls.addClassCleanup(cls.site.close)
        cls.site.ctl("aco", "add", "A9994", "--name", "Sandbox ACO")
        for number, (client, secret) in enumerate(cls.pairs):
            path = cls.site.write(f"secret-{number}", secret + "\n")
            cls.site.ctl("credentials", "create", "A9994", "--client-id", client, "--secret-file", path)
        lines = [line for number in range(3) for line in wire.lines_of(number, "2021-01-01T00:00:00Z", 2)]
        cls.site.ctl("import", "--aco", "A9994", cls.site.write("base.ndjson", "\n".join(lines) + "\n"))
        cls.server = sluice.Server(cls.site, settings=STEPS, environment=SLOW).start()
        cls.addClassCleanup(lambda: cls.server.stop(None))

    @classmethod
    def pairs_of_guide(cls):
        first = re.search(r"Client ID:\n(\S+)\n\nClient Secret:\n(\S+)\n", cls.guide)
        second = re.search(r"--user ([0-9a-f-]{36}):([0-9a-f]+)", cls.guide)
        return [first.groups(), second.groups()]

    # ---- running a command ----

    def curl(self, arguments, shell=None):
        """Runs the words behind `curl`, or a line of bash: (status, headers, body)."""
        head, body = self.site.path("head"), self.site.path("body")
        options = ["-sS", "--max-time", "60", "--cacert", sluice.Site.tls()[0], "-D", head, "-o", body, "-w",
                   "%{http_code}"]
        if shell is None:
            done = subprocess.run(["curl", *options, *arguments], capture_output=True, text=True, check=False)
        else:
            line = shell.replace("curl ", "curl " + shlex.join(options) + " ", 1)
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, (arguments, shell, done.stderr))
        with open(head, encoding="latin-1") as file:
            fields = [line.split(": ", 1) for line in file.read().replace("\r", "").strip().split("\n")[1:]]
        with open(body, "rb") as file:
            return int(done.stdout), {name.lower(): value for name, value in fields}, file.read()

    def fitted(self, text, token=None, job=None, file=None):
        """With this run's host, token, job and file in the place of the guide's."""
        for host in HOSTS:
            text = text.replace(host, self.server.base)
        text = re.sub(r"/jobs/\d+", f"/jobs/{job}", text)
        text = re.sub(r"/data/\d+/[0-9a-f-]{36}\.ndjson", f"/data/{job}/{file}", text)
        return text.replace("{token}", token or "")

    def run_command(self, command, **values):
        return self.curl([self.fitted(word, **values) for word in words(command)[1:]])

    def token(self):
        status, _, body = self.run_command(self.commands[1])
        self.assertEqual(status, 200)
        return json.loads(body)["access_token"]

    # ---- what the guide holds ----

    def test_the_guide_holds_the_commands_that_we_know(self):
        kinds = [re.search(r"/auth/token|/metadata|/\$export|/jobs/|/data/", command)[0] for command in self.commands]
        cycle = ["/$export", "/jobs/", "/data/"]
        self.assertEqual(kinds, ["/auth/token"] * 2 + ["/metadata"] + cycle * len(KICK_OFFS))
        for broken, _, why in MENDED:
            self.assertEqual(self.guide.count(broken), 1, why)
        exports = [words(command) for command in self.commands if "$export" in command]
        for expected, found in zip(KICK_OFFS, exports):
            self.assertIn(f"{HOSTS[0]}/api/v1/{expected}", found)
        self.assertEqual(len(re.findall("^`?curl ", self.guide, flags=re.MULTILINE)), len(FORMS) + len(self.commands),
                         "no command is overlooked")

    def test_both_pairs_are_the_quickstarts(self):
        with open(os.path.join(sluice.ROOT, "tools", "quickstart"), encoding="utf-8") as file:
            script = file.read()
        self.assertNotEqual(self.pairs[0], self.pairs[1])
        for client, secret in self.pairs:
            self.assertIn(f'"{client} {secret}"', script)
        self.assertIn("ctl aco add A9994", script)
        self.assertIn('ctl credentials create A9994 --client-id "$id" --secret-file', script)
        for client, secret in self.pairs:
            status, _, body = self.server.curl("/auth/token", "--user", f"{client}:{secret}", "-d", "", method="POST")
            self.assertEqual(status, 200, body)

    # ---- token ----

    def test_a_token_in_both_ways(self):
        encoded = re.search(r"Basic (\S+)", " ".join(words(self.commands[0])))[1].rstrip('"')
        self.assertEqual(base64.b64decode(encoded).decode(), ":".join(self.pairs[1]))
        sample = self.documents[0]
        self.assertEqual(list(sample), ["access_token", "token_type"])
        for command in self.commands[:2]:
            status, headers, body = self.run_command(command)
            self.assertEqual((status, headers["content-type"]), (200, "application/json"), command)
            answer = json.loads(body)
            self.assertEqual(list(answer)[:2], list(sample))
            self.assertEqual(answer["token_type"], sample["token_type"])
            self.assertTrue(answer["access_token"].startswith(sample["access_token"].split("In")[0]))
            self.assertEqual(answer["expires_in"], 20 * 60)  # "access tokens expire after twenty minutes"
            self.assertEqual(self.server.curl("/auth/welcome", token=answer["access_token"])[0], 200)

    def test_a_wrong_secret_or_token_is_401_without_more(self):
        command = self.commands[1].replace(self.pairs[1][1][:4], "0000")
        status, _, body = self.run_command(command)
        self.assertEqual((status, list(json.loads(body))), (401, ["error"]))
        status, headers, body = self.run_command(self.commands[3], token="expired")
        self.assertEqual((status, headers["www-authenticate"]), (401, "Bearer"))
        self.assertNotIn(b"diagnostics", body)

    # ---- metadata ----

    def assert_like(self, sample, answer, path=""):
        """All of the sample stands in the answer, in the sample's order; the answer may hold more."""
        if isinstance(sample, dict):
            self.assertEqual([key for key in answer if key in sample], list(sample), path)
            for key, value in sample.items():
                self.assert_like(value, answer[key], f"{path}.{key}")
        elif isinstance(sample, list):
            self.assertGreaterEqual(len(answer), len(sample), path)
            for index, value in enumerate(sample):
                self.assert_like(value, answer[index], f"{path}[{index}]")
        elif path in (".date", ".software.releaseDate"):
            self.assertRegex(answer, r"^\d{4}-\d\d-\d\d$", path)
        elif path == ".software.version":
            self.assertEqual(answer, json.loads(self.server.curl("/_version")[2])["version"])
        elif path == ".instantiates[0]":  # the guide names a server behind BCDA
            self.assertEqual(answer, "http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/bulk-data")
        else:
            self.assertEqual(answer, sample.replace(HOSTS[0], self.server.base) if isinstance(sample, str) else sample, path)

    def test_the_metadata(self):
        status, headers, body = self.run_command(self.commands[2])
        self.assertEqual((status, headers["content-type"]), (200, "application/json"))
        sample, answer = self.documents[1], json.loads(body)
        self.assertEqual(sample["resourceType"], "CapabilityStatement")
        self.assert_like(sample, answer)
        more = [operation["name"] for operation in answer["rest"][0]["operation"][len(sample["rest"][0]["operation"]):]]
        self.assertEqual(more, ["patient-export", "group-export"])

    # ---- exports ----

    def assert_manifest(self, body, kick_off, types, job):
        answer = json.loads(body)
        sample = next((document for document in self.documents[2:]
                       if document["request"] == f"{HOSTS[0]}/api/v1/{kick_off}"), self.documents[2])
        self.assertEqual([key for key in answer if key in sample], list(sample))
        self.assertRegex(answer["transactionTime"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual(answer["request"], f"{self.server.base}/api/v1/{kick_off}")
        self.assertIs(answer["requiresAccessToken"], True)
        self.assertEqual([item["type"] for item in answer["output"]], types)
        if sample["request"].endswith(kick_off):
            self.assertEqual([item["type"] for item in sample["output"]], types)
        for item in answer["output"]:
            self.assertEqual(list(item)[:2], list(sample["output"][0]))
            self.assertRegex(item["url"], f"^{self.server.base}/data/{job}/[0-9a-f-]{{36}}\\.ndjson$")
        self.assertEqual(answer["error"], [])
        self.assertEqual(answer["JobID"], int(job))
        return answer

    def test_every_export_from_kick_off_to_files(self):
        types = ["ExplanationOfBenefit", "Coverage", "Patient"]
        expected = [types] + [[kind] for kind in ("ExplanationOfBenefit", "Patient", "Coverage", "Patient")]
        working = set()
        for number, kick_off in enumerate(KICK_OFFS):
            start, poll, download = self.commands[3 + 3 * number:6 + 3 * number]
            token = self.token()
            status, headers, body = self.run_command(start, token=token)
            self.assertEqual((status, body), (202, b""), start)
            self.assertRegex(headers["content-location"], f"^{self.server.base}/api/v1/jobs/\\d+$")
            job = headers["content-location"].rsplit("/", 1)[1]

            def look():
                status, headers, body = self.run_command(poll, token=token, job=job)
                working.add(re.sub(r"\d+", "N", headers["x-progress"]))
                if status == 202:
                    self.assertRegex(headers["x-progress"], r"^(Pending|In Progress \(\d{1,2}%\))$")
                    self.assertEqual(body, b"")
                    return None
                return status, headers, body
            status, headers, body = sluice.wait_until(look, f"job {job} ends")
            self.assertEqual((status, headers["content-type"], headers["x-progress"]), (200, "application/json", "Completed"))
            manifest = self.assert_manifest(body, kick_off, expected[number], job)
            for item in manifest["output"]:
                status, headers, body = self.run_command(download, token=token, job=job, file=item["url"].rsplit("/", 1)[1])
                self.assertEqual((status, headers["content-type"]), (200, "application/fhir+ndjson"))
                resources = [json.loads(line) for line in body.split(b"\n")[:-1]]
                self.assertEqual({resource["resourceType"] for resource in resources}, {item["type"]})
                self.assertEqual(len(resources), {"ExplanationOfBenefit": 6, "Coverage": 3, "Patient": 3}[item["type"]])
        self.assertIn("In Progress (N%)", working)

    # ---- what a real shell makes of the commands ----

    def test_a_shell_that_takes_export_away_is_explained_and_three_ways_help(self):
        token = self.token()
        for command in (command for command in self.commands if "$export" in command):
            line = self.fitted(command, token=token)
            status, headers, body = self.curl(None, shell=line)
            self.assertEqual(status, 404, line)
            self.assertEqual(headers["content-type"], "application/fhir+json")
            text = wire.issue(body)["diagnostics"]
            for word in ("shell", "$export", "single quotes", "\\$export", "%24export"):
                self.assertIn(word, text)
            url = re.search(r'https://[^"\s]+', line)[0]
            for helped in (line.replace(f'"{url}"', f"'{url}'") if f'"{url}"' in line else line.replace(url, f"'{url}'"),
                           line.replace("$export", "\\$export"), line.replace("$export", "%24export")):
                status, headers, _ = self.curl(None, shell=helped)
                self.assertEqual(status, 202, helped)
                self.assertEqual(self.server.curl(headers["content-location"], token=token, method="DELETE")[0], 202)

    def test_the_other_commands_are_the_same_in_a_shell(self):
        for command in self.commands[:3]:
            status, _, body = self.curl(None, shell=self.fitted(command))
            self.assertEqual(status, 200, body)


if __name__ == "__main__":
    unittest.main()
