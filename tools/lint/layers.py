#!/usr/bin/env python3
"""Refuses an include that breaks the layers.

    tools/lint/layers.py FILE...      exit 1 and a line for each fault; the build runs it before it links
    tools/lint/layers.py              the same for every file

The rules are the tables MAY_INCLUDE, HEADER_HOMES and SYSTEM_HEADERS of configure.py.
"""

import fnmatch
import os
import re
import sys

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT)
import configure  # noqa: E402

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>|(\S+))')


def matches(path, patterns):
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def inside(path, folder):
    return path.startswith(folder + "/")


def layer_of(path):
    """The row of MAY_INCLUDE that counts for a file, or None."""
    rows = [folder for folder in configure.MAY_INCLUDE if inside(path, folder)]
    return max(rows, key=len, default=None)


def fault_of_project_header(path, header):
    if not header.endswith(".h"):
        return f'"{header}" is not a header'
    layer = layer_of(path)
    if layer is None:
        return f"no row of MAY_INCLUDE in configure.py holds {path}"
    if not any(inside(header, folder) for folder in configure.MAY_INCLUDE[layer]):
        allowed = ", ".join(configure.MAY_INCLUDE[layer])
        return f'{layer} may not include "{header}": only headers of {allowed}, named by their path from the top'
    return None


def fault_of_system_header(path, header):
    for pattern, homes in configure.HEADER_HOMES.items():
        if fnmatch.fnmatchcase(header, pattern):
            if inside(path, "tests") or matches(path, homes):
                return None
            return f"<{header}> has its home in {', '.join(homes) or 'tests/'}; go through that"
    if matches(header, configure.SYSTEM_HEADERS):
        return None
    return f"<{header}> is not known: a new dependency needs a row in HEADER_HOMES of configure.py"


def faults_of_text(path, text):
    """Yields (line number, message) for each include that the rules refuse; `path` is from the top."""
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        project, system, other = found.groups()
        if other:
            fault = f"#include {other} hides what it includes"
        elif project:
            fault = fault_of_project_header(path, project)
        elif path.endswith(".cc") and "." not in system:
            fault = None  # the C++ library's own
        else:
            fault = fault_of_system_header(path, system)
        if fault:
            yield number, fault


def main():
    paths = sys.argv[1:] or configure.all_files()
    count = 0
    for path in paths:
        path = os.path.relpath(os.path.join(ROOT, path), ROOT)
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            for number, fault in faults_of_text(path, file.read()):
                print(f"{path}:{number}: {fault}", file=sys.stderr)
                count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
