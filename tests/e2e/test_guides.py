"""docs/guides is true: the advanced guide's commands run, the samples are what their command makes, the pictures are
small, and the places of CCLF fields occur in CMS's own data.
"""

import glob
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sluice
from test_cycle import synthetic_site
from test_docs import blocks, names, read, run_story, without_blocks

GUIDES = os.path.join(sluice.ROOT, "docs", "guides")
PICTURE_BYTES_MAX = 100_000
PICTURES_BYTES_MAX = 1_000_000


class AdvancedTest(unittest.TestCase):
    timeout_seconds = 250

    def test_the_advanced_guide_runs_from_top_to_bottom(self):
        site = synthetic_site(["A9994"], beneficiaries=8)
        self.addCleanup(site.close)
        client, secret = site.credentials["A9994"]
        # Files that are being written can be met.
        with sluice.Server(site, environment={"SLUICE_FAILPOINTS": "export.file.fsync=sleep"}) as server:
            output = run_story(self, ["docs/guides/advanced.md"],
                               {"HOST": server.base, "CLIENT_ID": client, "SECRET_FILE": site.write("secret", secret + "\n"),
                                "CURL_CA_BUNDLE": sluice.Site.tls()[0], "CLIENTS": os.path.join(GUIDES, "clients"),
                                "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "GOPROXY": "off",
                                "GOCACHE": site.path("go-cache"), "GOPATH": site.path("go")})
        for said in ("status 401", "status 400", "status 404", "Invalid resource type", "whole again", "as many as announced"):
            self.assertRegex(output, rf"(?m)^(?!\+).*{said}")
        sums = re.findall(r"^(\d+ \d+)$", output, flags=re.MULTILINE)
        self.assertEqual(len(sums), 3)
        self.assertEqual(len(set(sums)), 1, "the clients agree")

    def test_every_other_block_is_run_elsewhere(self):
        for path in glob.glob("docs/guides/**/*.md", root_dir=sluice.ROOT, recursive=True):
            if path not in ("docs/guides/advanced.md", "docs/guides/samples/README.md"):
                self.assertEqual(blocks(read(path), "sh"), [], path)


class SamplesTest(unittest.TestCase):
    @staticmethod
    def texts(folder):
        return {name: read(os.path.join(folder, name)) for name in os.listdir(folder) if name.endswith(".json")}

    def test_the_samples_are_what_their_command_makes(self):
        with tempfile.TemporaryDirectory() as folder:
            environment = dict(os.environ, PATH=sluice.BUILD + os.pathsep + os.environ["PATH"])
            script = "".join(blocks(read("docs/guides/samples/README.md"), "sh"))
            subprocess.run(["bash", "-euc", script], cwd=folder, env=environment, check=True, capture_output=True)
            made = self.texts(folder)
        kept = self.texts(os.path.join(GUIDES, "samples"))
        self.assertEqual({f"{json.loads(text)['resourceType']}.json" for text in kept.values()}, set(kept))
        self.assertEqual(set(kept), {"Patient.json", "Coverage.json", "ExplanationOfBenefit.json"})
        self.assertEqual(made, kept, "make them again with the command of docs/guides/samples/README.md")


class PicturesTest(unittest.TestCase):
    def test_the_pictures_are_shown_small_and_named_by_what_makes_them(self):
        paths = glob.glob(os.path.join(GUIDES, "pictures", "*.png"))
        sizes = {os.path.basename(path)[:-4]: os.path.getsize(path) for path in paths}
        self.assertLess(max(sizes.values()), PICTURE_BYTES_MAX)
        self.assertLess(sum(sizes.values()), PICTURES_BYTES_MAX)
        table = re.search(r'pictures="\n(.*?)"', read("docs/guides/pictures/make"), flags=re.DOTALL)[1]
        self.assertEqual({line.split()[0] for line in table.splitlines()}, set(sizes))
        shown = re.findall(r"!\[[^\]]+\]\(pictures/([\w-]+)\.png\)", read("docs/guides/getting-started.md"))
        self.assertEqual(set(shown), set(sizes))


class CclfFieldsTest(unittest.TestCase):
    """Each place that the page names occurs in resources that CMS published."""

    # The page's way to write a place is that of ../shared/data/shapes, with names cut to what stands behind the last / or #.
    @staticmethod
    def short(path):
        return re.sub(r"\[([^\]]*)\]", lambda found: "[" + re.split("[/#]", found[1])[-1] + "]", path).lstrip(".")

    @classmethod
    def places_of_shapes(cls):
        found = set()
        for path in glob.glob(os.path.join(sluice.shared_data("shapes"), "stu3.*.tsv")):
            if os.path.basename(path) != "stu3.terms.tsv":
                with open(path, encoding="utf-8") as file:
                    found |= {cls.short(line.split("\t", 1)[0]) for line in file}
        return found

    @classmethod
    def places_of_value(cls, value, path, found):
        found.add(path.lstrip("."))
        if isinstance(value, dict):
            for name, inner in value.items():
                cls.places_of_value(inner, f"{path}.{name}", found)
        elif isinstance(value, list):
            for entry in value:
                label = ""
                if isinstance(entry, dict):
                    codes = [coding.get("code", "") for coding in
                             (entry["category"].get("coding", []) if isinstance(entry.get("category"), dict) else [])]
                    label = re.split("[/#]", entry.get("url") or (codes or [""])[0] or entry.get("system") or "")[-1]
                cls.places_of_value(entry, f"{path}[{label}]", found)
                cls.places_of_value(entry, f"{path}[]", found)

    def test_every_place_occurs(self):
        found = self.places_of_shapes()
        for name in ("Patient", "Coverage", "ExplanationOfBenefit"):
            with gzip.open(sluice.shared_data("bcda-coherent", f"{name}.ndjson.gz"), "rt", encoding="utf-8") as file:
                for line in file:
                    self.places_of_value(json.loads(line), "", found)
        text = without_blocks(read("docs/guides/cclf-fields.md")).split("## CCLF8", 1)[1]
        places = {place for place in names(text) if re.match(r"[a-z]\w*([.\[]|$)", place) and ("." in place or "[" in place)}
        self.assertGreater(len(places), 60)
        for place in sorted(places):
            # The shapes leave out the value of what is labelled.
            place = re.sub(r"(\])\.value$", r"\1", place).removesuffix("[]")
            self.assertTrue(place in found or any(other.endswith(f".{place}") for other in found), place)

    def test_every_field_stands_in_the_information_packet(self):
        with gzip.open(sluice.shared_data("docs", "CCLF_IP_v38.txt.gz"), "rt", encoding="utf-8", errors="replace") as file:
            packet = file.read()
        fields = {field for field in names(read("docs/guides/cclf-fields.md")) if re.fullmatch(r"[A-Z0-9]+(_[A-Z0-9]+)+", field)}
        self.assertGreater(len(fields), 80)
        for field in fields:
            # Long ones are broken into two lines of their column.
            parts = [field[:length] for length in range(len(field), 7, -1)]
            self.assertTrue(any(re.search(rf"(?<![A-Z0-9_]){part}(?![A-Z0-9_])", packet) for part in parts), field)


if __name__ == "__main__":
    unittest.main()
