"""What the measurements of whole programs share: clocks, page cache, the machine, spread."""

import os
import shutil
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def say(text):
    print(text, file=sys.stderr, flush=True)


def sync_path(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_into_cache(paths):
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 22):
                pass


def allocated_bytes(path):
    """Of a file, or of all files below a folder."""
    if not os.path.isdir(path):
        return os.stat(path).st_blocks * 512
    return sum(os.lstat(os.path.join(folder, name)).st_blocks * 512
               for folder, _, names in os.walk(path) for name in names)


def cpu_seconds(pid):
    """User and system time of a process and its children, its threads included, so far."""
    seconds = 0.0
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file:
            for child in file.read().split():
                seconds += cpu_seconds(child)
    return seconds


def pin(pid, cores):
    """Lets a process and its children, with all their threads, run on these cores only."""
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        os.sched_setaffinity(thread, cores)
        with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as file:
            for child in map(int, file.read().split()):
                pin(child, cores)


# ---- the machine -------------------------------------------------------------------------------------------

def first_line(path, key):
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.startswith(key):
                    return line.split(":" if ":" in line else "=", 1)[1].strip().strip('"')
    except OSError:
        pass
    return "unknown"


def mount_of(path):
    """(device, file system, options) of the mount that holds the path."""
    best = ("", "unknown", "unknown", "")
    path = os.path.realpath(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            point = left.split()[4]
            inside = path == point or path.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best[0]):
                kind, device, options = right.split()[:3]
                best = (point, device, kind, options)
    return best[1:]


def machine(folder):
    device, kind, options = mount_of(folder)
    memory = int(first_line("/proc/meminfo", "MemTotal").split()[0]) * 1024
    return {
        "cpu": first_line("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "disk": device,
        "file_system": kind,
        "mount_options": options,
        "kernel": os.uname().release,
        "system": first_line("/etc/os-release", "PRETTY_NAME"),
        "load_before": os.getloadavg()[0],
    }


def commit():
    if not shutil.which("git"):
        return "unknown"

    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


def machine_sentence(report):
    """`report` holds machine, commit and command."""
    where = report["machine"]
    return (f"Machine: {where['cpu']}, {where['cores']} cores, {where['memory_bytes'] / 2**30:.0f} GiB; {where['disk']} "
            f"with {where['file_system']} ({where['mount_options']}); {where['system']}, Linux {where['kernel']}; load "
            f"{where['load_before']:.2f} when it began. Commit {report['commit']}. Command:\n\n    {report['command']}")


def spread(values):
    """(median, least, most, interquartile range)"""
    if len(values) < 2:
        return values[0], values[0], values[0], 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return statistics.median(values), min(values), max(values), high - low


def ratios(above, below):
    """Of each round by itself: what disturbed a round disturbed both."""
    return [a / b for a, b in zip(above, below)]
