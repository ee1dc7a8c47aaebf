"""The documents are true: their commands run, their links lead somewhere, their lists are those of the code.

Blocks marked `sh` are commands. The README's run in one shell; those of docs/operating run in one shell too, document
after document in the order of its index. test_guides.py runs those of docs/guides. Blocks without a mark are not
commands.
"""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from sluice import BUILD, ROOT, Server, Site, program, run, wait_until

STORY_SECONDS = 100


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def documents():
    paths = ["README.md"] + glob.glob("docs/**/*.md", root_dir=ROOT, recursive=True)
    return sorted(path.replace(os.sep, "/") for path in paths)


def sources(*patterns):
    """The text of all files that match, with adjacent string literals joined and escapes undone."""
    paths = [path for pattern in patterns for path in glob.glob(pattern, root_dir=ROOT, recursive=True)]
    text = "\n".join(read(path) for path in sorted(paths))
    text = re.sub(r'"\s*"', "", text)
    return text.replace('\\"', '"').replace("\\\\", "\\")


def without_blocks(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(text, mark):
    return re.findall(rf"^```{mark}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def rows(text, heading):
    """The cells of the table below a heading line."""
    part = f"\n{text}".split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)[0]
    split = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in table.splitlines()]
    return split[2:]


def names(cell):
    return re.findall(r"`([^`]*)`", cell)


def run_story(case, paths, variables=None):
    """Runs the commands of documents in one shell, in a folder of its own; gives what they print."""
    folder = tempfile.mkdtemp(prefix="docs-")
    os.symlink(BUILD, os.path.join(folder, "build"))
    script = ["set -eu"]
    for path in paths:
        for number, block in enumerate(blocks(read(path), "sh"), 1):
            script += [f": '{path}, block {number}'", block]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    environment["PATH"] = BUILD + os.pathsep + environment["PATH"]
    environment.update(variables or {})
    process = subprocess.Popen(["bash", "-x", "-c", "\n".join(script)], cwd=folder, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        output = process.communicate(timeout=STORY_SECONDS)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = process.communicate()[0]
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # a server that a broken story left behind
        except ProcessLookupError:
            pass
    case.assertEqual(process.returncode, 0, output)
    return output


class CommandsTest(unittest.TestCase):
    timeout_seconds = 2 * STORY_SECONDS

    def test_the_readme_runs_from_top_to_bottom(self):
        output = run_story(self, ["README.md"])
        self.assertRegex(output, r"\n *\d+ total\n")

    def test_the_operators_story_runs_from_top_to_bottom(self):
        index = without_blocks(read("docs/operating/README.md"))
        story = re.findall(r"^\d+\. \[[^\]]*\]\(([a-z-]+\.md)\)", index, flags=re.MULTILINE)
        self.assertGreaterEqual(len(story), 5)
        output = run_story(self, [f"docs/operating/{name}" for name in story])
        self.assertIn("identical, already there", output)
        self.assertIn("0 faults", output)
        told = {f"docs/operating/{name}" for name in story} | {"README.md"}
        for path in documents():
            if path not in told and not path.startswith("docs/guides/"):  # test_guides.py
                self.assertEqual(blocks(read(path), "sh"), [], f"{path}: nothing runs its commands")


class AnswersTest(unittest.TestCase):
    """The JSON that docs/api.md shows is what the server sends: keys, their order, and what is not chance."""

    CHANCE = [(r"https?://(?:127\.0\.0\.1:\d+|host)", "BASE"), (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "INSTANT"),
              (r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID"), (r'"(count|fileSize)":\d+', r'"\1":N'),
              (r'"access_token":"[^"]*"', '"access_token":"TOKEN"')]

    def settle(self, text):
        text = json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False)
        for pattern, settled in self.CHANCE:
            text = re.sub(pattern, settled, text)
        return text

    @staticmethod
    def partial_manifest():
        """Of a job with one complete file and one in progress; each slice of it lasts a moment."""
        site = Site()
        lines = [json.dumps({"resourceType": "ExplanationOfBenefit", "id": "e1", "patient": {"reference": "Patient/1"}})]
        lines += [json.dumps({"resourceType": "Coverage", "id": f"c{number}",
                              "beneficiary": {"reference": f"Patient/{number}"}}) for number in range(1, 10)]
        site.ctl("import", "--aco", "A9994", site.write("claims.ndjson", "\n".join(lines)))
        with Server(site, plaintext=True, settings={"export_workers": 1},
                    environment={"SLUICE_FAILPOINTS": "export.statvfs=sleep"}) as server:
            token = server.token()
            job = server.kick_off(token, "/api/v1/Patient/$export?allowPartialManifests=true")

            def both_kinds():
                sent = server.curl(job, token=token)[2]
                manifest = json.loads(sent)
                return sent if manifest["output"] and manifest["extension"]["inProgress"] else None
            sent = wait_until(both_kinds, "a file is complete and another in progress")
        site.close()
        return sent

    def test_the_documents_of_the_api(self):
        shown = blocks(read("docs/api.md"), "json")
        site = Site()
        patient = {"resourceType": "Patient", "id": "p1", "meta": {"lastUpdated": "2025-01-01T00:00:00.000+00:00"}}
        site.ctl("import", "--aco", "A9994", site.write("Patient.ndjson", json.dumps(patient)))
        with Server(site, plaintext=True) as server:
            client, secret = site.credentials["A9994"]
            sent = [server.curl("/auth/token", "--user", f"{client}:{secret}", method="POST")[2]]
            token = server.token()
            sent.append(server.curl("/api/v1/jobs/99", token=token)[2])
            job = server.kick_off(token)
            server.wait_for_job(job, token)
            sent += [server.curl(path, token=token)[2] for path in (job, "/api/v1/jobs", "/api/v1/metadata")]
        sent.insert(3, self.partial_manifest())
        site.close()
        self.assertEqual(len(shown), len(sent))
        for expected, found in zip(shown, sent):
            self.assertEqual(self.settle(expected), self.settle(found))


class LinksTest(unittest.TestCase):
    OF_OTHERS = {"examples/gzjoin.c"}  # zlib's

    @staticmethod
    def anchors(text):
        """As GitHub makes them of headings."""
        found = set()
        for heading in re.findall(r"^#+ (.*)$", without_blocks(text), flags=re.MULTILINE):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
            found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
        return found

    def test_every_link_leads_somewhere(self):
        for path in documents():
            for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(read(path))):
                if re.match(r"[a-z]+:", target):
                    continue
                file, _, anchor = target.partition("#")
                full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
                self.assertTrue(os.path.exists(os.path.join(ROOT, full)), f"{path}: {target}")
                if anchor:
                    self.assertIn(anchor, self.anchors(read(full)), f"{path}: {target}")

    def test_every_document_is_in_an_index(self):
        indexed = {"README.md", "docs/README.md"}
        for index in ("docs/README.md", "docs/operating/README.md"):
            for target in re.findall(r"\]\(([^)#\s]+)", read(index)):
                indexed.add(os.path.normpath(os.path.join(os.path.dirname(index), target)))
        performance = {path for path in documents() if path.startswith("docs/performance/")}
        self.assertEqual(set(documents()) - indexed - performance, set())

    def test_every_document_that_the_code_names_exists(self):
        text = "\n".join(read(path) for folder in ("codec", "storage", "server", "tools", "tests")
                         for path in glob.glob(f"{folder}/**/*.[ch]", root_dir=ROOT, recursive=True))
        for path, section in re.findall(r"(docs/[\w/.-]+\.md)(?: section (\d))?", text):
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)
            if section:
                self.assertRegex(read(path), rf"(?m)^## {section}\. ", path)

    def test_every_path_and_function_that_the_documents_name_exists(self):
        files = set(glob.glob("**/*", root_dir=ROOT, recursive=True))
        named = {}
        for path in files:
            named.setdefault(os.path.basename(path), []).append(path)
        for document in documents():
            for word in re.findall(r"`([\w./-]+\.(?:c|h|py)(?::\w+)?)`", read(document)):
                name, _, function = word.partition(":")
                if word in self.OF_OTHERS:
                    continue
                candidates = [path for path in named.get(os.path.basename(name), []) if path.endswith(name)]
                self.assertTrue(candidates, f"{document}: {word}")
                if function:
                    self.assertTrue(any(re.search(rf"\b{function}\(", read(path)) for path in candidates),
                                    f"{document}: {word}")

    def test_every_constant_that_the_documents_name_exists(self):
        paths = [path for end in ("c", "h", "py") for path in glob.glob(f"**/*.{end}", root_dir=ROOT, recursive=True)]
        known = {word for path in paths for word in re.findall(r"[A-Z][A-Z0-9_]+", read(path))}
        for document in documents():
            if document == "docs/guides/cclf-fields.md":
                continue  # names of CMS's; test_guides.py
            for word in re.findall(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)`", read(document)):
                self.assertIn(word, known, document)


class ListsTest(unittest.TestCase):
    """What the documents list is what the code has, in both directions."""

    def same(self, documented, found):
        documented, found = list(documented), set(found)
        self.assertEqual(sorted(documented), sorted(set(documented)), "listed twice")
        self.assertEqual(set(documented) - found, set(), "documented, but not in the code")
        self.assertEqual(found - set(documented), set(), "in the code, but not documented")

    def test_tables(self):
        found = re.findall(r'^ *\[TABLE_[^=]*\] = "([^"]*)"', read("storage/keys.c"), flags=re.MULTILINE)
        self.assertGreater(len(found), 10)
        listed = [name for row in rows(read("docs/storage.md"), "## The tables") for name in names(row[0])]
        self.same(listed, found)

    def test_kinds_of_values(self):
        text = "\n".join(read(path) for path in glob.glob("storage/*.c", root_dir=ROOT))
        found = re.findall(r"^#define \w*KIND +'(.)'", text, flags=re.MULTILINE)
        listed = re.findall(r"^### [\w ,]*$", read("docs/storage.md"), flags=re.MULTILINE)
        self.same([kind for heading in listed for kind in re.findall(r"\b([A-Z])(?=,|$)", heading)], found)

    def test_failpoints(self):
        found = set()
        for path in glob.glob("[cst]*/**/*.c", root_dir=ROOT, recursive=True):
            text = read(path)
            found |= set(re.findall(r'failpoint_hit\("([^"]+)"\)', text))
            found |= set(re.findall(r'"([a-z.-]+\.(?:before|after)-commit)"', text))
        first_cells = re.findall(r"^\| (`.*?) \|", read("docs/operating/failpoints.md"), flags=re.MULTILINE)
        self.same([name for cell in first_cells for name in names(cell) if "." in name], found)

    def test_commands(self):
        usage = run(program("sluicectl"), "--help").stdout.split("\n\n")[1]
        commands = {}
        for synopsis in re.findall(r"^  (\S.*)$", usage, flags=re.MULTILINE):
            words = re.match(r"[a-z]+(?: [a-z]+)?(?= |$)", synopsis)[0]
            commands[words] = synopsis[len(words):].strip().replace("...", "…")
        listed = rows(read("docs/operating/commands.md"), "# Commands")
        self.same([names(row[0])[0] for row in listed], commands)
        for row in listed:
            self.assertEqual((names(row[1]) or [""])[0], commands[names(row[0])[0]], row[0])

    def test_options_of_sluiced(self):
        found = set(re.findall(r"^  (--[a-z-]+)", run(program("sluiced"), "--help").stdout, flags=re.MULTILINE)) - {"--help"}
        text = read("docs/operating/commands.md").split("`sluiced --help`", 1)[1]
        self.same(names(text.split("An option")[0].lstrip("`)")), found)

    def test_settings(self):
        found = set(re.findall(r"^([a-z_]+) =", run(program("sluicectl"), "config", "show").stdout, flags=re.MULTILINE))
        self.same(re.findall(r"^([a-z_]+) =", read("docs/operating/configuration.md"), flags=re.MULTILINE), found)
        endings = ("_max", "_min", "_bytes", "_hours", "_seconds", "_workers", "_minute", "_url", "_proxy", "_origin", "_level")
        for document in [path for path in documents() if path.split("/")[1:2] in ([], ["api.md"], ["operating"])]:
            for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", read(document)):
                if word.endswith(endings) and word not in ("raw_bytes", "stored_bytes"):
                    self.assertTrue(word in found, f"{document}: {word} is no setting")

    def test_events_of_the_log(self):
        text = "\n".join(read(path) for path in glob.glob("server/**/*.c", root_dir=ROOT, recursive=True))
        found = set(re.findall(r'log_(?:begin|event)\([^;"]*"([^"]+)"', text))
        found |= set(re.findall(r'log_failed\([^;"]*"([^"]+)"', text)) | set(re.findall(r'log_expired\([^;"]*"([^"]+)"', text))
        for first, second in re.findall(r'log_(?:failed|expired)\([^;"]*"([^"]+)" : "([^"]+)"', text):
            found |= {first, second}
        listed = [name for row in rows(read("docs/operating/logs.md"), "## Events") for name in names(row[0])]
        self.same(listed, found)

    def test_keys_of_a_finished_job(self):
        body = read("server/export_run.c").split("void export_run_log_completed", 1)[1]
        found = set(re.findall(r'log_(?:text|number)\(&line, "(\w+)"', body)) - {"job", "aco", "endpoint"}
        listed = rows(read("docs/operating/logs.md"), "## The phases of a finished job")
        self.same([name for row in listed for name in names(row[0])], found)

    def test_counts_of_an_import(self):
        found = dict(re.findall(r'\{"(\w+)", "([^"]*)",', sources("tools/sluicectl/import.c")))
        listed = {}
        for row in rows(read("docs/operating/weekly-load.md"), "## What the counts mean"):
            listed.update(zip(names(row[1]), names(row[0])))
        self.assertEqual(listed, found)

    def test_routes(self):
        text = read("server/router.c").split("const struct route routes[]", 1)[1].split("};", 1)[0]
        found = {f"{method} {path}": auth for method, path, auth in
                 re.findall(r'\{HTTP_METHOD_(\w+), "([^"]+)", ROUTE_AUTH_(\w+)', text)}
        listed = {names(row[0])[0]: "BEARER" if row[1] == "yes" else "NONE" for row in rows(read("docs/api.md"), "## 1. Routes")}
        self.assertEqual(listed, found)

    def test_texts_of_errors(self):
        """Every text in the table stands in the code, and every text that a handler gives stands in the table."""
        code = sources("server/**/*.c", "server/**/*.h")
        code = re.sub(r"%(?:zu|d|u|s)|%\" PRIu64 \"", "%s", code)
        table = rows(read("docs/api.md"), "## 2. Errors")
        self.assertGreater(len(table), 30)
        texts = [names(row[-1])[0] for row in table if names(row[-1])]
        for text in texts:
            self.assertIn(f'"{text}"', code)
        given = set(re.findall(r'exchange_fail\([^;]*?PROBLEM_\w+,\s*"([^"]+)"', code))
        given |= set(re.findall(r'refuse\(parser, [^;]*?PROBLEM_\w+,\s*"([^"]+)"', code))
        self.assertGreater(len(given), 15)
        self.assertEqual(given - set(texts), set())

    def test_packages(self):
        """Each library that is installed for the build is explained, and its home is the build's."""
        text = read("docs/decisions/dependencies.md").lower()
        packages = re.findall(r"^(?:build|test) +((?:lib|zlib)\S*-dev)$", read("tools/packages"), flags=re.MULTILINE)
        called = {"libssl": "openssl", "libisal": "isa-l", "libbenchmark": "google benchmark", "zlib1g": "zlib", "libyajl": "yajl",
                  "liblmdb": "lmdb", "libxxhash": "xxhash", "libcurl4-openssl": "libcurl", "libcmocka": "cmocka"}
        for package in packages:
            name = package[:-len("-dev")]
            if name not in ("libc6", "libclang-rt-14"):
                self.assertTrue(f"| {called.get(name, name)} |" in text, package)


if __name__ == "__main__":
    unittest.main()
