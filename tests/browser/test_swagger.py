"""The interactive page: what is served, that its description of the API is right, and every step of the getting-started
guide in a real Chromium.

SLUICE_PICTURES=DIR keeps the screenshots.
"""

import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import sluice
from test_cycle import synthetic_site

PACKAGES = os.path.join(sluice.ROOT, "build", "web", "node_modules")
PAGE = "/api/v1/swagger/"
WALK_SECONDS = 120


def package(*parts):
    """A path in the npm packages; its absence is a failure that says so."""
    path = os.path.join(PACKAGES, *parts)
    if not os.path.exists(path):
        raise AssertionError(f"{path} is absent: run tools/web/install --tests")
    return path


def walk(server, name, **options):
    """Runs one walk of walks.mjs with the credentials of A9994; gives what it found."""
    package("playwright-core")
    folder = os.environ.get("SLUICE_PICTURES") or tempfile.mkdtemp(prefix="pictures-")
    os.makedirs(folder, exist_ok=True)
    client, secret = server.site.credentials["A9994"]
    options = dict(base=server.base, clientId=client, secret=secret, folder=os.path.abspath(folder),
                   downloads=tempfile.mkdtemp(prefix="downloads-"), **options)
    done = subprocess.run(["node", os.path.join(sluice.ROOT, "tests", "browser", "walks.mjs"), name, json.dumps(options)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=WALK_SECONDS, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{name}: {done.stderr}\n(SLUICE_PICTURES=DIR keeps the screenshots)\n{server.log()[-2000:]}")
    return json.loads(done.stdout)


class GuideTest(unittest.TestCase):
    timeout_seconds = WALK_SECONDS + 30

    @classmethod
    def setUpClass(cls):
        cls.site = synthetic_site(["A9994"], beneficiaries=15)
        cls.server = sluice.Server(cls.site).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def compare(self, found):
        """The manifest's files were saved under their names, byte by byte."""
        token = self.server.token()
        self.assertEqual([file["url"] for file in found["files"]], [item["url"] for item in found["manifest"]["output"]])
        self.assertTrue(found["files"])
        for file in found["files"]:
            self.assertRegex(file["name"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.ndjson$")
            self.assertEqual(file["name"], file["url"].split("/")[-1])
            with open(file["path"], "rb") as saved:
                self.assertEqual(hashlib.sha256(saved.read()).hexdigest(),
                                 hashlib.sha256(self.server.download(file["url"], token)).hexdigest(), file)

    def test_credentials_give_a_token_that_is_copied_and_used(self):
        token = walk(self.server, "credentials_to_token")["token"]
        self.assertEqual(self.server.curl("/auth/welcome", token=token)[0], 200)

    def test_metadata_is_looked_at_without_a_token(self):
        found = walk(self.server, "metadata")
        self.assertEqual(found["/_auth"]["auth_provider"], "alpha")
        self.assertEqual(set(found["/_version"]), {"version"})
        self.assertEqual(found["/api/v1/metadata"]["resourceType"], "CapabilityStatement")

    def test_all_types_of_the_patient_endpoint_are_exported_and_downloaded(self):
        found = walk(self.server, "patient_all_types")
        self.assertEqual([item["type"] for item in found["manifest"]["output"]],
                         ["ExplanationOfBenefit", "Coverage", "Patient"])
        self.compare(found)
        sizes = {item["type"]: item["fileSize"] for item in found["manifest"]["output"]}
        self.assertGreater(sizes["ExplanationOfBenefit"], 1024 * 1024, "too small for what the page cuts")

    def test_one_type_of_the_patient_endpoint_is_exported_and_downloaded(self):
        found = walk(self.server, "patient_one_type")
        self.assertEqual({item["type"] for item in found["manifest"]["output"]}, {"Coverage"})
        self.compare(found)

    def test_claims_of_the_group_since_a_time_are_exported_and_downloaded(self):
        since = "2024-06-13T20:00:00.000-05:00"
        found = walk(self.server, "group_since", since=since)
        self.assertEqual(found["url"], f"{self.server.base}/api/v1/Group/all/$export?_type=ExplanationOfBenefit&_since="
                                       "2024-06-13T20%3A00%3A00.000-05%3A00")
        self.assertEqual({item["type"] for item in found["manifest"]["output"]}, {"ExplanationOfBenefit"})
        self.compare(found)
        _, lines = self.server.export(path=f"/api/v1/Group/all/$export?_type=ExplanationOfBenefit&_since={since}",
                                      coding=None)
        self.assertEqual(sum(item["count"] for item in found["manifest"]["output"]), len(lines["ExplanationOfBenefit"]))

    def test_mistakes_are_answered_on_the_page(self):
        walk(self.server, "mistakes")

    def test_code_from_elsewhere_and_requests_to_elsewhere_are_refused_and_noticed(self):
        walk(self.server, "forbidden")

    def test_nothing_leaves_a_small_window(self):
        walk(self.server, "small_windows")


class PageTest(unittest.TestCase):
    """What is sent."""

    @classmethod
    def setUpClass(cls):
        cls.site = sluice.Site()
        cls.server = sluice.Server(cls.site).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.site.close()

    def get(self, name="", *fields, method=None):
        return self.server.curl(PAGE + name, fields=fields, method=method)

    def document(self):
        status, headers, body = self.get("openapi.json")
        self.assertEqual((status, headers["content-type"], headers["cache-control"]),
                         (200, "application/json", "no-store"))
        return json.loads(body)

    def test_the_path_without_its_slash_leads_to_the_page(self):
        status, headers, _ = self.server.curl("/api/v1/swagger")
        self.assertEqual((status, headers["location"]), (301, self.server.base + PAGE))

    def test_the_page_is_all_that_it_names(self):
        _, headers, body = self.get()
        self.assertEqual(headers["content-type"], "text/html; charset=utf-8")
        named = re.findall(rb'(?:href|src)="([^"]+)"', body)
        self.assertGreaterEqual(len(named), 5)
        for name in named:
            self.assertEqual(self.get(name.decode())[0], 200, name)
        self.assertEqual(self.get("swagger-ui.js")[0], 404)
        self.assertEqual(self.get("../swagger/.npmrc")[0], 404)
        self.assertEqual(self.get(method="POST")[0], 405)

    def test_swagger_ui_is_the_one_that_is_pinned(self):
        with open(os.path.join(sluice.ROOT, "tools", "web", "assets.sha256"), encoding="ascii") as file:
            for line in file:
                expected, name = line.split()
                self.assertEqual(hashlib.sha256(self.get(name)[2]).hexdigest(), expected, name)

    def test_both_codings_are_the_same_file_with_a_tag_each(self):
        for name in ("", "page.js", "page.css", "swagger-ui-bundle.js", "icon.svg"):
            _, plain, identity = self.get(name)
            _, packed, compressed = self.get(name, "Accept-Encoding: br, gzip")
            self.assertEqual(gzip.decompress(compressed), identity)
            self.assertNotIn("content-encoding", plain)
            self.assertEqual(packed["content-encoding"], "gzip")
            self.assertNotEqual(plain["etag"], packed["etag"])
            for headers, body in ((plain, identity), (packed, compressed)):
                self.assertEqual(headers["content-length"], str(len(body)))
                self.assertEqual(headers["vary"], "Accept-Encoding")
                self.assertEqual(headers["cache-control"], "no-cache")
                self.assertEqual(headers["x-content-type-options"], "nosniff")
            status, head, _ = self.get(name, method="HEAD")
            self.assertEqual((status, head["content-length"]), (200, plain["content-length"]))
        self.assertEqual(self.get("page.js", "Accept-Encoding: identity;q=0")[0], 406)

    def test_what_a_browser_has_is_not_sent_again(self):
        _, headers, _ = self.get("page.js")
        tag = headers["etag"]
        for field in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            status, headers, body = self.get("page.js", f"If-None-Match: {field}")
            self.assertEqual((status, headers["etag"], headers["cache-control"], body), (304, tag, "no-cache", b""))
        for field in ('"other"', f"{tag[:-2]}"):
            self.assertEqual(self.get("page.js", f"If-None-Match: {field}")[0], 200)
        self.assertEqual(self.get("page.js", f"If-None-Match: {tag}", "Accept-Encoding: gzip")[0], 200)

    def test_the_policy_admits_this_server_alone_and_no_inline_code(self):
        policy = dict(part.strip().split(" ", 1) for part in self.get()[1]["content-security-policy"].split(";"))
        self.assertEqual(policy, {"default-src": "'none'", "script-src": "'self'", "style-src": "'self'",
                                  "img-src": "'self' data:", "connect-src": "'self'", "base-uri": "'none'",
                                  "form-action": "'none'", "frame-ancestors": "'none'"})

    def test_the_document_says_what_the_guide_says(self):
        document = self.document()
        self.assertTrue(document["openapi"].startswith("3."))
        self.assertEqual(document["servers"], [{"url": self.server.base}])
        self.assertEqual([tag["name"] for tag in document["tags"]], ["auth", "metadata", "bulkData"])
        schemes = document["components"]["securitySchemes"]
        basic, = [name for name, scheme in schemes.items() if (scheme["type"], scheme.get("scheme")) == ("http", "basic")]
        key, = [name for name, scheme in schemes.items()
                if (scheme["type"], scheme.get("in"), scheme.get("name")) == ("apiKey", "header", "Authorization")]
        self.assertEqual(len(schemes), 2)
        sections = {}
        for path, item in document["paths"].items():
            for operation in item.values():
                sections.setdefault(operation["tags"][0], set()).add(path)
                expected = {"auth": [{basic: []}], "metadata": [], "bulkData": [{key: []}]}[operation["tags"][0]]
                self.assertEqual(operation["security"], expected, path)
        self.assertEqual(sections["auth"], {"/auth/token"})
        self.assertEqual(sections["metadata"], {"/_auth", "/_version", "/api/v1/metadata"})
        self.assertLessEqual({"/api/v1/Patient/$export", "/api/v1/Group/{groupId}/$export", "/api/v1/jobs/{jobId}",
                              "/data/{jobId}/{filename}"}, sections["bulkData"])

    def test_the_parameters_are_those_of_the_guide(self):
        paths = self.document()["paths"]
        patient = {item["name"]: item for item in paths["/api/v1/Patient/$export"]["get"]["parameters"]}
        self.assertEqual(list(patient), ["_type", "_since"])
        self.assertEqual(patient["_type"]["schema"], {"type": "array", "items": {"type": "string"}})
        self.assertEqual((patient["_type"]["style"], patient["_type"]["explode"]), ("form", False))
        self.assertEqual(patient["_type"]["description"], "Resource types requested")
        self.assertTrue(patient["_since"]["description"].startswith("(Optional)"))
        group = {item["name"]: item for item in paths["/api/v1/Group/{groupId}/$export"]["get"]["parameters"]}
        self.assertEqual(set(group), {"_type", "_since", "groupId"})
        for path, item in paths.items():
            for operation in item.values():
                given = [one["name"] for one in operation.get("parameters", []) if one["in"] == "path"]
                self.assertEqual(sorted(given), sorted(re.findall(r"{(\w+)}", path)), path)

    def test_the_document_stands_on_the_public_url(self):
        with sluice.Server(self.site_of_its_own(), settings={"public_url": "https://claims.example:444"}) as server:
            self.assertEqual(json.loads(server.curl(PAGE + "openapi.json")[2])["servers"],
                             [{"url": "https://claims.example:444"}])
            self.assertEqual(server.curl("/api/v1/swagger")[1]["location"], "https://claims.example:444" + PAGE)

    def site_of_its_own(self):
        site = sluice.Site(acos=())
        self.addCleanup(site.close)
        return site

    def test_a_public_linter_finds_no_fault_in_the_document(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "openapi.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(self.document(), file, indent=1)
            done = sluice.run("node", package("@redocly", "cli", "bin", "cli.js"), "lint", path, "--format=json",
                              "--config", os.path.join(sluice.ROOT, "tools", "web", "redocly.yaml"), check=False,
                              env=dict(os.environ, REDOCLY_TELEMETRY="off", REDOCLY_SUPPRESS_UPDATE_NOTICE="true"))
        found = json.loads(done.stdout[done.stdout.index("{"):])
        problems = [f"{problem['ruleId']}: {problem['message']} {problem['location']}" for problem in found["problems"]]
        self.assertEqual((problems, done.returncode), ([], 0), done.stderr)


class WithoutSwaggerUiTest(unittest.TestCase):
    """A build on a machine without npm."""

    timeout_seconds = WALK_SECONDS + 30

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.source = os.path.join(self.folder, "assets.c")

    def pack(self, packages, check=True):
        return sluice.run(os.path.join(sluice.ROOT, "tools", "web", "pack"), self.source, "--packages", packages,
                          check=check)

    def build(self):
        """sluiced as it is, but for the table of the page's files."""
        program = os.path.relpath(sluice.program("sluiced"), sluice.ROOT)
        commands = sluice.run("ninja", "-t", "commands", program, cwd=sluice.ROOT).stdout.splitlines()
        compile_table, = [line for line in commands if " -c build/page/assets.c " in line]
        compiler = shlex.split(compile_table)
        for name, value in (("-c", self.source), ("-o", self.source + ".o"), ("-MF", self.source + ".d")):
            compiler[compiler.index(name) + 1] = value
        sluice.run(*compiler, cwd=sluice.ROOT)
        link = shlex.split(commands[-1])
        link[link.index("-o") + 1] = os.path.join(self.folder, "sluiced")
        # Before the library, whose own table is then not looked for.
        link.insert(link.index("-o") + 2, self.source + ".o")
        sluice.run(*link, cwd=sluice.ROOT)

    def test_the_page_says_what_to_install(self):
        done = self.pack(os.path.join(self.folder, "nothing"))
        self.assertIn("tools/web/install", done.stdout)
        self.build()
        site = sluice.Site()
        self.addCleanup(site.close)
        with mock.patch.object(sluice, "BUILD", self.folder):
            server = sluice.Server(site).start()
        try:
            self.assertEqual(server.curl(PAGE)[0], 200)
            self.assertEqual(server.curl(PAGE + "openapi.json")[0], 200)
            self.assertEqual(server.curl(PAGE + "swagger-ui-bundle.js")[0], 404)
            text = walk(server, "without_swagger_ui", heading="The interactive page is not installed")["text"]
            for words in ("nodejs", "npm", "tools/web/install", "ninja", "openapi.json"):
                self.assertIn(words, text)
        finally:
            server.stop()

    def test_other_bytes_than_those_pinned_stop_the_build(self):
        packages = os.path.join(self.folder, "packages")
        shutil.copytree(package("swagger-ui-dist"), os.path.join(packages, "swagger-ui-dist"))
        self.pack(packages)
        with open(self.source, "rb") as file:
            good = file.read()
        with open(os.path.join(packages, "swagger-ui-dist", "swagger-ui.css"), "ab") as file:
            file.write(b" ")
        done = self.pack(packages, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("swagger-ui.css is not the file that tools/web/assets.sha256 names", done.stderr)
        with open(self.source, "rb") as file:
            self.assertEqual(file.read(), good)

    def test_the_lock_names_checksums_and_no_hosts(self):
        with open(os.path.join(sluice.ROOT, "tools", "web", "package-lock.json"), encoding="utf-8") as file:
            packages = json.load(file)["packages"]
        for name, entry in packages.items():
            self.assertNotIn("resolved", entry, name)
            if name:
                self.assertTrue(entry["integrity"].startswith("sha512-"), name)
        with open(os.path.join(sluice.ROOT, "tools", "web", "package.json"), encoding="utf-8") as file:
            wanted = json.load(file)
        for version in [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]:
            self.assertRegex(version, r"^\d+\.\d+\.\d+$")


if __name__ == "__main__":
    unittest.main()
