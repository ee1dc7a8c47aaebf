"""System calls that fail or kill: strace between a program and the kernel.

The tracer runs beside its child (`-D`), so the program is the process that was started, and a kill is its own end.
strace counts for each thread of its own.
"""

import os
import shutil

# What changes a data directory.
WRITES = ("pwrite64", "pwritev", "writev", "write", "fdatasync", "fsync", "rename", "unlink", "unlinkat", "rmdir",
          "mkdir", "ftruncate", "fallocate", "openat")


def traced(trace_path, injections=(), calls=WRITES, paths=()):
    """The words before a command: its `calls` (of these paths only) are written down, and `injections` happen."""
    if not shutil.which("strace"):
        raise AssertionError("strace is absent: tools/install-packages test")
    words = ["strace", "-D", "-f", "-qq", "-o", trace_path, "-e", "trace=" + ",".join(calls), "-e", "signal=none"]
    for injection in injections:
        words += ["-e", f"inject={injection}"]
    for path in paths:
        words += ["-P", path]
    return words


def kill(call, at):
    """An injection: dies as it enters this call for the at-th time in one thread."""
    return f"{call}:signal=KILL:when={at}"


def counts(trace_path):
    """call -> how often the thread that used it most did."""
    found = {}
    with open(trace_path, encoding="utf-8", errors="replace") as file:
        for line in file:
            thread, _, rest = line.partition(" ")
            call, parenthesis, _ = rest.strip().partition("(")
            if parenthesis and call.isidentifier():
                found[call, thread] = found.get((call, thread), 0) + 1
    most = {}
    for (call, _), count in found.items():
        most[call] = max(most.get(call, 0), count)
    return most


def injected(trace_path):
    """How often something was."""
    if not os.path.exists(trace_path):
        return 0
    with open(trace_path, encoding="utf-8", errors="replace") as file:
        return file.read().count("(INJECTED)")
