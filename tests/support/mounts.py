"""Disks of a test's own: small, full, read-only, or gone between two writes.

They are mounted in a mount namespace of this process (`private()`), so nobody else sees them, and the kernel takes
them away with the last process of the test however that ends. This needs root, as in CI; without it a test fails and
says so.
"""

import ctypes
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sluice

CLONE_NEWNS = 0x00020000


def private():
    """Gives this process, and what it starts from now on, mounts of its own. Once a process is enough."""
    if os.geteuid() != 0:
        raise AssertionError("this test mounts file systems and must run as root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise AssertionError(f"no mount namespace: {os.strerror(ctypes.get_errno())}; this test needs CAP_SYS_ADMIN")
    sluice.run("mount", "--make-rprivate", "/")


class Disk:
    """A file system at `path`. Base of those below; use as a context."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="disk-")
        self.mounted = False

    def mount(self, *arguments):
        sluice.run("mount", *arguments, self.path)
        self.mounted = True

    def remount(self, options):
        sluice.run("mount", "-o", f"remount,{options}", self.path)

    def unmount(self):
        if self.mounted:
            sluice.run("umount", self.path)
            self.mounted = False

    def close(self):
        """Also if something is open there still: what a failed test left."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.path], check=False)
            self.mounted = False
        os.rmdir(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Small(Disk):
    """Memory, bounded: a disk that is soon full."""

    def __init__(self, size):
        super().__init__()
        self.mount("-t", "tmpfs", "-o", f"size={size}", "none")


class PowerCut(Disk):
    """ext4 in a file. cut() loses at once what was not synced, as a power cut does; restore() mounts it again, and its
    journal is replayed."""

    def __init__(self, megabytes=64):
        super().__init__()
        handle, self.image = tempfile.mkstemp(prefix="ext4-")
        os.truncate(handle, megabytes << 20)
        os.close(handle)
        sluice.run("mkfs.ext4", "-q", "-F", self.image)
        self.mount("-o", "loop", self.image)

    def cut(self):
        sluice.run("xfs_io", "-x", "-c", "shutdown", self.path)

    def restore(self):
        """After every process that used it has ended."""
        self.unmount()
        self.mount("-o", "loop", self.image)

    def close(self):
        super().close()
        os.unlink(self.image)
