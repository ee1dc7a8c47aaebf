"""The test runner counts what ran, and takes nothing that ended badly for a success."""

import importlib.util
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
spec = importlib.util.spec_from_file_location("runner", os.path.join(ROOT, "tests", "run.py"))
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)


def run_unit(script, timeout_seconds=20):
    return runner.UnitJob("unit", ["sh", "-c", script], timeout_seconds).run(dict(os.environ))


class UnitProgramTest(unittest.TestCase):
    def assert_result(self, result, passed, *failures):
        self.assertEqual((result.passed, result.failures), (passed, list(failures)), result.output)

    def test_each_test_of_a_program_counts(self):
        self.assert_result(run_unit("echo 1..3; echo ok 1 - a; echo own textok 2 - b; echo not ok 3 - c; exit 1"),
                           2, "unit::c")

    def test_a_skipped_test_neither_passes_nor_fails(self):
        result = run_unit("echo 1..1; echo 'not ok 1 # SKIP a'")
        self.assertEqual((result.passed, result.skipped, result.failures), (0, ["unit::a"], []))

    def test_a_crash_is_a_failure_beside_what_had_passed(self):
        self.assert_result(run_unit("echo 1..2; echo ok 1 - a; kill -ABRT $$"),
                           1, "unit: ended after 1 of 2 tests: killed by SIGABRT")

    def test_an_early_end_with_status_0_is_a_failure(self):
        self.assert_result(run_unit("echo 1..2; echo ok 1 - a"), 1, "unit: ended after 1 of 2 tests: exit status 0")

    def test_a_report_after_the_last_test_is_a_failure(self):
        self.assert_result(run_unit("echo 1..1; echo ok 1 - a; exit 66"), 1, "unit: exit status 66")

    def test_a_hanging_program_is_ended_and_a_failure(self):
        self.assert_result(run_unit("echo 1..1; sleep 600", timeout_seconds=1), 0, "unit: timeout after 1 s")

    def test_a_program_without_tests_is_a_failure(self):
        self.assert_result(run_unit("true"), 0, "unit: ran no test")

    def test_a_program_that_is_not_there_is_a_failure(self):
        result = runner.UnitJob("unit", ["/nonexistent/program"], 5).run(dict(os.environ))
        self.assertIn("was it built?", result.failures[0])

    def test_a_corpus_without_inputs_is_a_failure(self):
        result = runner.ReplayJob("fuzz", ["echo", "0 inputs replayed"], 5).run(dict(os.environ))
        self.assert_result(result, 0, "fuzz: ran no test")


class PythonClassTest(unittest.TestCase):
    def run_class(self, body, timeout_seconds=20):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "test_sample.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write("import os, time, unittest\nclass Sample(unittest.TestCase):\n"
                           + textwrap.indent(textwrap.dedent(body), "    "))
            environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
            [(name, tests, own)] = runner.collect_python(path, environment)
            job = runner.PythonJob(path, name, tests, own or timeout_seconds)
            result = job.run(environment)
            return result.passed, [failure.replace(job.name, "Sample") for failure in result.failures], result

    def test_each_method_counts_once(self):
        passed, failures, _ = self.run_class("""
            def test_a(self): pass
            def test_b(self): self.fail("b")
            def test_c(self):
                for n in (1, 2):
                    with self.subTest(n): self.fail("c")
            @unittest.skip("why")
            def test_d(self): pass
        """)
        self.assertEqual((passed, failures), (1, ["Sample::test_b", "Sample::test_c"]))

    def test_a_failing_class_set_up_is_a_failure(self):
        passed, failures, _ = self.run_class("""
            @classmethod
            def setUpClass(cls): raise OSError("no")
            def test_a(self): pass
        """)
        self.assertEqual(passed, 0)
        self.assertEqual(len(failures), 1, failures)

    def test_a_dying_process_is_a_failure_that_names_its_test(self):
        passed, failures, _ = self.run_class("""
            def test_a(self): pass
            def test_b(self): os._exit(0)
            def test_c(self): pass
        """)
        self.assertEqual((passed, failures), (1, ["Sample::test_b: ended after 1 of 3 tests: exit status 0"]))

    def test_a_hanging_test_shows_its_stack(self):
        passed, failures, result = self.run_class("""
            timeout_seconds = 1
            def test_a(self): time.sleep(600)
        """)
        self.assertEqual((passed, failures), (0, ["Sample::test_a: timeout after 1 s"]))
        self.assertIn("in test_a", result.output)


class CommandTest(unittest.TestCase):
    def test_nothing_executed_is_a_failure(self):
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "run.py"), "--only", "no such test"],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (1, "0 passed, 1 failed"),
                         shlex.join(done.args))


if __name__ == "__main__":
    unittest.main()
