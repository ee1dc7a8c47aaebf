"""The layer check refuses what breaks the layers, and the project as it is keeps them."""

import os
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
sys.path.insert(0, os.path.join(ROOT, "tools", "lint"))
import layers  # noqa: E402


def faults(path, *lines):
    return [(number, message) for number, message in layers.faults_of_text(path, "\n".join(lines))]


class LayersTest(unittest.TestCase):
    def assert_refused(self, path, line, part):
        found = faults(path, "", line)
        self.assertEqual([number for number, _ in found], [2], f"{path}: {line}")
        self.assertIn(part, found[0][1])

    def test_lower_layers_do_not_see_higher_ones(self):
        for path, header in [("codec/base/mem.c", "codec/segment.h"), ("codec/segment.c", "storage/engine.h"),
                             ("storage/store.c", "server/router.h"), ("loadtest/client.c", "storage/store.h"),
                             ("tools/synth/claims.c", "storage/store.h"), ("server/router.c", "tests/support/x.h")]:
            self.assert_refused(path, f'#include "{header}"', header)

    def test_higher_layers_see_lower_ones(self):
        for path, header in [("codec/segment.c", "codec/base/mem.h"), ("storage/store.c", "codec/segment.h"),
                             ("server/router.c", "storage/store.h"), ("tests/unit/x/y_test.c", "server/router.h")]:
            self.assertEqual(faults(path, f'#include "{header}"'), [])

    def test_a_third_party_header_has_one_home(self):
        self.assert_refused("storage/jobs.c", "#include <lmdb.h>", "storage/engine_lmdb.c")
        self.assert_refused("codec/resource.c", " #  include <yajl/yajl_parse.h>", "codec/json_reader")
        self.assert_refused("server/handlers/auth.c", "#include <event2/event.h>", "server/reactor")
        self.assertEqual(faults("storage/engine_lmdb.c", "#include <lmdb.h>"), [])

    def test_an_unknown_dependency_is_refused(self):
        self.assert_refused("server/router.c", "#include <glib.h>", "not known")

    def test_an_include_is_a_header_named_from_the_top(self):
        self.assert_refused("codec/segment.c", '#include "deflate.h"', "path from the top")
        self.assert_refused("codec/segment.c", '#include "codec/deflate.c"', "not a header")
        self.assert_refused("codec/segment.c", "#include OTHER", "hides")

    def test_a_folder_without_rules_is_refused(self):
        self.assert_refused("misc/x.c", '#include "codec/base/mem.h"', "no row")

    def test_the_command_names_file_and_line_and_exits_1(self):
        path = os.path.join(os.environ["TMPDIR"], "bad.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write('int x;\n#include "server/router.h"\n')
        done = subprocess.run([os.path.join(ROOT, "tools/lint/layers.py"), path], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("bad.c:2: ", done.stderr)

    def test_the_project_keeps_its_layers(self):
        done = subprocess.run([os.path.join(ROOT, "tools/lint/layers.py")], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
