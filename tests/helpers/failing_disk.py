"""A file system on a disk of its own, which turns read-only or dies on request and is well again after a repair."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

from guards import TOOL_PATH
from waiting import until

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN: every later call fails with EIO
_WITHOUT_LOG = 2
_ENVIRONMENT = {**os.environ, "PATH": TOOL_PATH}


class FailingDisk:
    """An ext4 image, mounted at ``path`` within a ``with`` block."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk"
        self._image = directory / "disk.img"

    def __enter__(self) -> FailingDisk:
        self.path.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(64 * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)

    def turn_read_only(self) -> None:
        """Do what the kernel does when it meets an error on the disk."""
        device = _run("findmnt", "-no", "SOURCE", str(self.path)).strip()
        Path("/sys/fs/ext4", os.path.basename(device), "trigger_fs_error").write_text("1")

    def die(self) -> None:
        """Let every later call fail."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG))
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Let nothing of what was done so far be lost."""
        _run("sync", "-f", str(self.path))

    def repair(self) -> None:
        """Check the file system and mount it again; waits until no process has a file of it open."""
        until(lambda: subprocess.run(["umount", str(self.path)], stderr=subprocess.DEVNULL).returncode == 0, "umount")
        # Another test's mount namespace may have a copy of the mount, which keeps what is broken: go on with a copy.
        repaired = self._image.with_name(f"{self._image.name}~")
        _run("cp", "--sparse=always", str(self._image), str(repaired))
        repaired.replace(self._image)
        command = ["e2fsck", "-fy", str(self._image)]
        subprocess.run(command, env=_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))


def _run(*command: str) -> str:
    done = subprocess.run(command, env=_ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout
