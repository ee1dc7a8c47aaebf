#!/usr/bin/env python3
"""Runs the tests of one built variant and ends with one line, `N passed, N failed`.

    tests/run.py                                everything, on build/release
    tests/run.py --variant asan                 on build/asan
    tests/run.py --only segment --only e2e      what has one of these in its name (wildcards allowed)
    tests/run.py --list                         names only

Unit tests (cmocka) and fuzz corpora run one program at a time, Python tests one class in a process of its
own; --jobs of them at once. Only failing ones show their output. A program that crashes, hangs, ends early or
runs no test at all is a failure by itself. Everything a test starts is ended with it; a hanging Python test
shows its stack. A class may set `timeout_seconds`, for each of its tests, if --timeout is too short.

Tests find the programs in $SLUICE_BUILD, and a fresh directory, removed afterwards, in $TMPDIR.
"""

import argparse
import concurrent.futures
import faulthandler
import fnmatch
import glob
import importlib.util
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TIMEOUT_SECONDS = 120
SANITIZER_SLOWDOWN = {"asan": 3, "tsan": 8, "coverage": 2}
OUTPUT_BYTES_MAX = 64 * 1024  # shown of one failing job: its end
STACK_SECONDS = 2             # a hanging Python test gets to print its stack

# What CHECK() and the sanitizers find ends the program, with a stack; a handler of cmocka's must not hide it.
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_abort=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


class Result:
    def __init__(self):
        self.passed = 0
        self.skipped = []
        self.failures = []  # one line each
        self.output = ""
        self.seconds = 0.0


# ---- What there is to run ---------------------------------------------------------------------------------

class Job:
    """One process that runs tests. `name` is what --only looks at."""

    def __init__(self, name, command, timeout_seconds):
        self.name = name
        self.command = command
        self.timeout_seconds = timeout_seconds

    def run(self, environment):
        result = Result()
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="sluice-test-", ignore_cleanup_errors=True) as directory, \
                tempfile.TemporaryFile() as output:
            try:
                self.execute(dict(environment, TMPDIR=directory), output, result)
            except OSError as error:
                result.failures.append(f"{self.name}: cannot run: {error}; was it built?")
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - OUTPUT_BYTES_MAX))
            result.output = output.read().decode(errors="replace")
        if not result.passed and not result.failures and not result.skipped:
            result.failures.append(f"{self.name}: ran no test")
        result.seconds = time.monotonic() - began
        return result

    def execute(self, environment, output, result):
        with Process(self.command, environment, output) as process:
            status = process.wait(self.timeout_seconds)
        output.seek(0)
        self.judge(status, output.read().decode(errors="replace"), result)
        if status is None:
            result.failures.append(f"{self.name}: timeout after {self.timeout_seconds} s")
        elif status != 0 and not result.failures:
            result.failures.append(f"{self.name}: {ending(status)}")

    def judge(self, status, text, result):
        raise NotImplementedError

    @staticmethod
    def executed(result):
        return result.passed + len(result.skipped) + len(result.failures)


class UnitJob(Job):
    """A cmocka program; it tells what it ran as TAP."""

    def judge(self, status, text, result):
        # A test's own output may stand before it on the line.
        for no, number, skipped, name in re.findall(r"(not )?ok (\d+) (?:- |# (SKIP) )(\S+)", text):
            if skipped:
                result.skipped.append(f"{self.name}::{name}")
            elif no:
                result.failures.append(f"{self.name}::{name}" + (" (set-up of the group)" if number == "0" else ""))
            else:
                result.passed += 1
        planned = sum(int(count) for count in re.findall(r"^1\.\.(\d+)$", text, re.MULTILINE))
        executed = self.executed(result)
        if executed < planned and status is not None:
            result.failures.append(f"{self.name}: ended after {executed} of {planned} tests: {ending(status)}")


class ReplayJob(Job):
    """A fuzz target over its committed corpus: one test, which needs at least one input."""

    def judge(self, status, text, result):
        if status == 0 and re.search(r"^[1-9]\d* inputs replayed$", text, re.MULTILINE):
            result.passed += 1


class BenchJob(Job):
    """The benchmarks for a moment each: they check their results. One test."""

    def judge(self, status, text, result):
        if status == 0 and "ERROR OCCURRED" in text:
            result.failures.append(f"{self.name}: a benchmark found its result wrong")
        elif status == 0:
            result.passed += 1


class PythonJob(Job):
    """The tests of one unittest class, in a process that reports each of them over a pipe."""

    def __init__(self, path, class_name, tests, timeout_seconds):
        self.tests = tests
        super().__init__(f"{path}::{class_name}",
                         [sys.executable, os.path.join(ROOT, "tests", "run.py"), "--child", path, class_name, *tests],
                         timeout_seconds)

    def execute(self, environment, output, result):
        reader, writer = os.pipe()
        running, hangs = None, False
        with os.fdopen(reader, "rb", buffering=0) as events:
            environment = dict(environment, SLUICE_TEST_EVENTS=str(writer))
            with Process(self.command, environment, output, pass_fds=[writer]) as process:
                os.close(writer)
                pending = b""
                while not hangs:
                    hangs = not select.select([events], [], [], self.timeout_seconds)[0]
                    data = b"" if hangs else events.read(65536)
                    if not data:
                        break
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        running = self.note(json.loads(line), running, result)
                if hangs:
                    os.kill(process.pid, signal.SIGUSR1)
                    process.wait(STACK_SECONDS)
                status = None if hangs else process.wait(self.timeout_seconds)
        if status is None:
            result.failures.append(f"{running or self.name}: timeout after {self.timeout_seconds} s")
        elif running:
            result.failures.append(f"{running}: ended after {self.executed(result)} of {len(self.tests)} tests: "
                                   f"{ending(status)}")
        elif status != 0 and not result.failures:
            result.failures.append(f"{self.name}: {ending(status)}")

    def note(self, event, running, result):
        """Takes one event into the result; returns the test that runs now."""
        name = f"{self.name}::{event['test']}"
        if event["event"] == "start":
            return name
        if event["event"] == "passed":
            result.passed += 1
        elif event["event"] == "skipped":
            result.skipped.append(f"{name}: {event['reason']}")
        else:
            result.failures.append(name)
        return None


class Process:
    """A child in a process group of its own, all of which ends with the block."""
    running = set()
    lock = threading.Lock()

    def __init__(self, command, environment, output, pass_fds=()):
        self.arguments = dict(args=command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
                              stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=pass_fds)

    def __enter__(self):
        self.child = subprocess.Popen(**self.arguments)
        self.pid = self.child.pid
        with self.lock:
            self.running.add(self.pid)
        return self

    def wait(self, seconds):
        """The exit status, or None if it still runs."""
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def __exit__(self, *_):
        with self.lock:
            self.running.discard(self.pid)
        kill_group(self.pid)
        self.child.wait()


def kill_group(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def ending(status):
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def collect_python(path, environment):
    """[(class name, [test names], timeout or None)] of one file; imported in a process of its own."""
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "run.py"), "--collect", path], cwd=ROOT,
                          env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise ImportError(f"{path} cannot be imported:\n{done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def collect(variant, timeout_seconds, environment, executor):
    """All jobs, the long ones first; and the files that have none."""
    def found(pattern):
        return sorted(glob.glob(pattern, root_dir=ROOT, recursive=True))

    build = f"build/{variant}"
    jobs, broken = [], []
    paths = [path for path in found("tests/**/test_*.py") if not path.startswith("tests/support/")]
    for path, future in [(path, executor.submit(collect_python, path, environment)) for path in paths]:
        try:
            classes = future.result()
        except ImportError as error:
            broken.append(str(error))
            continue
        if not classes:
            broken.append(f"{path}: holds no test")
        slowdown = SANITIZER_SLOWDOWN.get(variant, 1)
        jobs += [PythonJob(path, name, tests, max(own * slowdown if own else 0, timeout_seconds))
                 for name, tests, own in classes]
    jobs += [UnitJob(path[:-2], [f"{build}/{path[:-2]}"], timeout_seconds)
             for path in found("tests/unit/**/*_test.c")]
    for path in found("tests/fuzz/*_fuzz.c"):
        corpus = f"tests/fuzz/corpus/{os.path.basename(path)[:-len('_fuzz.c')]}"
        jobs.append(ReplayJob(path[:-2], [f"{build}/{path[:-2]}", corpus], timeout_seconds))
    if found("tests/bench/*.cc"):
        jobs.append(BenchJob("tests/bench/bench", [f"{build}/tests/bench/bench", "--benchmark_min_time=0.001"],
                             timeout_seconds))
    return jobs, broken


def select_jobs(jobs, patterns):
    """Those that a pattern names; of a class perhaps only some tests."""
    def named(name):
        return any(fnmatch.fnmatchcase(name, f"*{pattern}*") for pattern in patterns)

    chosen = []
    for job in jobs:
        if not patterns or named(job.name):
            chosen.append(job)
        elif isinstance(job, PythonJob):
            path, class_name = job.name.split("::")
            tests = [test for test in job.tests if named(f"{job.name}::{test}")]
            if tests:
                chosen.append(PythonJob(path, class_name, tests, job.timeout_seconds))
    return chosen


# ---- Inside the process of a Python test ------------------------------------------------------------------

def load_module(path):
    sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], os.path.join(ROOT, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def child_collect(path):
    module = load_module(path)
    loader = unittest.TestLoader()
    classes = [value for value in vars(module).values()
               if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == module.__name__]
    json.dump([(cls.__name__, loader.getTestCaseNames(cls), getattr(cls, "timeout_seconds", None))
               for cls in classes if loader.getTestCaseNames(cls)], sys.stdout)
    return 0


class EventResult(unittest.TextTestResult):
    """Reports each test as it begins and ends; sub-tests count as part of their test."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.events = os.fdopen(int(os.environ.pop("SLUICE_TEST_EVENTS")), "w", buffering=1)
        os.set_inheritable(self.events.fileno(), False)
        self.bad = False

    def tell(self, event, test, **more):
        name = getattr(test, "_testMethodName", None) or str(test)
        self.events.write(json.dumps({"event": event, "test": name, **more}) + "\n")

    def startTest(self, test):
        super().startTest(test)
        self.bad = False
        self.skip_reason = None
        self.tell("start", test)

    def stopTest(self, test):
        super().stopTest(test)
        if self.bad:
            self.tell("failed", test)
        elif self.skip_reason is not None:
            self.tell("skipped", test, reason=self.skip_reason)
        else:
            self.tell("passed", test)

    def fault(self, test):
        self.bad = True
        if not isinstance(test, unittest.TestCase):
            self.tell("failed", test)  # setUpClass or tearDownClass: no test was started

    def addError(self, test, error):
        super().addError(test, error)
        self.fault(test)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.fault(test)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.bad = True

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.bad = True

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.skip_reason = reason
        if not isinstance(test, unittest.TestCase):
            self.tell("skipped", test, reason=reason)


def child_run(path, class_name, tests):
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    cls = getattr(load_module(path), class_name)
    suite = unittest.TestSuite(cls(test) for test in tests)
    result = unittest.TextTestRunner(verbosity=2, resultclass=EventResult).run(suite)
    sys.stdout.flush()
    return 0 if result.wasSuccessful() else 1


# ---- The whole run ----------------------------------------------------------------------------------------

def environment_for(variant):
    environment = dict(os.environ, SLUICE_BUILD=os.path.join(ROOT, "build", variant), CMOCKA_MESSAGE_OUTPUT="TAP",
                       PYTHONDONTWRITEBYTECODE="1", PYTHONUNBUFFERED="1")
    for name, options in SANITIZER_OPTIONS.items():
        environment[name] = ":".join(filter(None, [options, os.environ.get(name)]))
    if variant == "coverage":
        environment["LLVM_PROFILE_FILE"] = os.path.join(ROOT, "build", "coverage", "profile", "%8m.profraw")
    return environment


def print_coverage():
    """The table of lines and branches covered, of our own code."""
    folder = os.path.join(ROOT, "build", "coverage")
    profiles = glob.glob(f"{folder}/profile/*.profraw")
    merged = f"{folder}/coverage.profdata"
    programs = [path for path in glob.glob(f"{folder}/**/*", recursive=True)
                if os.path.isfile(path) and os.access(path, os.X_OK)]
    if not profiles or not shutil.which("llvm-profdata"):
        print("no coverage: llvm-profdata (package llvm) and a run of the variant are needed")
        return
    subprocess.run(["llvm-profdata", "merge", "-sparse", "-o", merged, *profiles], check=True)
    objects = [word for path in programs[1:] for word in ("-object", path)]
    subprocess.run(["llvm-cov", "report", f"-instr-profile={merged}", "-ignore-filename-regex=^(.*/)?tests/",
                    programs[0], *objects], check=True, cwd=ROOT)


def fixed_addresses():
    """ThreadSanitizer's runtime cannot live with some kernels' address randomisation."""
    command = ["setarch", os.uname().machine, "-R"]
    try:
        works = subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        works = False
    return command if works else []


def report(job, result):
    shown = f"{result.passed} passed"
    shown += f", {len(result.failures)} failed" if result.failures else ""
    shown += f", {len(result.skipped)} skipped" if result.skipped else ""
    print(f"{'FAIL' if result.failures else 'ok  '} {job.name}: {shown} ({result.seconds:.1f} s)")
    for skipped in result.skipped:
        print(f"     skipped: {skipped}")
    if result.failures:
        for line in result.output.splitlines():
            print(f"     | {line}")
        for failure in result.failures:
            print(f"     failed: {failure}")
    sys.stdout.flush()


def run(options):
    environment = environment_for(options.variant)
    timeout_seconds = options.timeout * SANITIZER_SLOWDOWN.get(options.variant, 1)
    passed, failures = 0, []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as executor:
        jobs, broken = collect(options.variant, timeout_seconds, environment, executor)
        jobs = select_jobs(jobs, options.only)
        if options.list:
            for job in jobs:
                print("\n".join(f"{job.name}::{test}" for test in job.tests) if isinstance(job, PythonJob) else job.name)
            return 1 if broken else 0
        for message in broken:
            print(f"FAIL {message}")
            failures.append(message.splitlines()[0])
        if options.variant == "tsan":
            prefix = fixed_addresses()
            for job in jobs:
                job.command = prefix + job.command
        futures = {executor.submit(job.run, environment): job for job in jobs}
        try:
            for future in concurrent.futures.as_completed(futures):
                result = future.result()
                report(futures[future], result)
                passed += result.passed
                failures += result.failures
        except KeyboardInterrupt:
            executor.shutdown(wait=False, cancel_futures=True)
            with Process.lock:
                for pid in Process.running:
                    kill_group(pid)
            failures.append("interrupted")
    if not passed and not failures:
        failures.append("no test was executed")
    if options.variant == "coverage":
        print_coverage()
    if failures:
        print("\nFailed:" if len(failures) > 1 else "\nFailed: ", end="")
        print("".join(f"\n  {failure}" for failure in failures) if len(failures) > 1 else failures[0])
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures else 0


def main():
    if sys.argv[1:2] == ["--collect"]:
        return child_collect(sys.argv[2])
    if sys.argv[1:2] == ["--child"]:
        return child_run(sys.argv[2], sys.argv[3], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="release", help="which build to test (release)")
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN",
                        help="only tests with this in their name; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="processes at once (one a CPU)")
    parser.add_argument("--timeout", type=int, default=TIMEOUT_SECONDS,
                        help=f"seconds for a C program or one Python test ({TIMEOUT_SECONDS}; more with sanitizers)")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
