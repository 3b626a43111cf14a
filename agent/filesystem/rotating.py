"""A log file that starts afresh when it has grown large, with a bounded number of older ones beside it."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from agent.filesystem.durable import write_all
from agent.filesystem.reasons import remedy_for
from agent.filesystem.regular import open_regular

LARGEST = 64 * 1024 * 1024
"""Bytes after which a file is rotated, as both official agents do."""

KEPT = 8
"""Files at most, the one in use counted; the older ones are named .0 to .6, as Ruby's logger names them."""

LOCK_TRIES = 40
LOCK_PAUSE = 0.005
"""Seconds between two tries for the lock of a rotation.

Whoever may read a log may lock it, so that nothing may wait for that lock for long.
"""

_log = logging.getLogger(__name__)


def open_log(path: str, *, mode: int, directory_mode: int) -> int:
    """Open a log file for appending, making it and its directory where they are missing; gives the descriptor.

    ``mode`` and ``directory_mode`` are exact for what is made here, the umask does not matter. Anything but a regular
    file is refused, as in ``open_regular``. Raises OSError.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        os.makedirs(directory, exist_ok=True)
        os.chmod(directory, directory_mode)
    descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
    status = os.fstat(descriptor)
    if status.st_size == 0 and status.st_uid == os.geteuid():
        os.fchmod(descriptor, mode)
    return descriptor


def is_current(path: str, descriptor: int) -> bool:
    """Whether an open log file still lies under its name; False where something else or nothing does."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def lock_shortly(descriptor: int) -> bool:
    """Take the lock of an open file, which ends when it is closed; False where others keep it for too long."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return True
    return False


class RotatingFile:
    """Appends to a file that other processes may append to as well.

    The file and its directory are made by the first write. A file that cannot be written never fails its user: a text
    that it does not take is dropped, and the next one tried again. The first of several failures is logged, and their
    end. ``opening`` makes the first line of every new file.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: int = 0o644,
        directory_mode: int = 0o755,
        largest: int = LARGEST,
        kept: int = KEPT,
        opening: Callable[[], bytes] | None = None,
    ) -> None:
        self.path = path
        self._mode = mode
        self._directory_mode = directory_mode
        self._largest = largest
        self._kept = kept
        self._opening = opening
        self._descriptor = -1
        self._size = 0
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Append the data in one go, rotating first where the file is full."""
        try:
            if self._descriptor < 0:
                self._open()
            elif self._size >= self._largest:
                self._rotate()
            if self._lost and self.last_byte() not in (b"", b"\n"):
                data = b"\n" + data
            write_all(self._descriptor, data)
            self._size += len(data)
        except OSError as error:
            with suppress(OSError):
                self.close()
            first, self._lost = not self._lost, self._lost + len(data)
            if first:  # counted before, because this may be the file that the warning goes to
                text = f"{error.strerror}. {remedy_for(error)}".rstrip()
                _log.warning("The log %s takes no more for now: %s", self.path, text)
        else:
            lost, self._lost = self._lost, 0
            if lost:
                _log.warning("The log %s is written again; it lacks about %d bytes", self.path, lost)

    def last_byte(self) -> bytes:
        """The last byte of the file, b"" where there is none or it cannot be read."""
        try:
            with open(open_regular(self.path, os.O_RDONLY), "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        self._descriptor = open_log(self.path, mode=self._mode, directory_mode=self._directory_mode)
        self._size = os.fstat(self._descriptor).st_size
        if self._size == 0 and self._opening is not None:
            self._write_opening(self._opening())

    def _write_opening(self, line: bytes) -> None:
        write_all(self._descriptor, line)
        self._size = len(line)

    def _rotate(self) -> None:
        if not lock_shortly(self._descriptor):
            self._size = 0  # so that the next try comes when as much again has been written
            return
        # Another process may have rotated already: then its new file is the one to go on with.
        if is_current(self.path, self._descriptor):
            for number in range(self._kept - 3, -1, -1):
                older = f"{self.path}.{number}"
                if os.path.lexists(older):
                    os.rename(older, f"{self.path}.{number + 1}")
            os.rename(self.path, f"{self.path}.0")
        self.close()
        self._open()
