"""A log file that starts afresh when it has grown large, with a bounded number of older ones beside it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable

from agent.filesystem.durable import write_all

LARGEST = 64 * 1024 * 1024
"""Bytes after which a file is rotated, as both official agents do."""

KEPT = 8
"""Files at most, the one in use counted; the older ones are named .0 to .6, as Ruby's logger names them."""

_log = logging.getLogger(__name__)


class RotatingFile:
    """Appends to a file that other processes may append to as well.

    The file and its folder are made by the first write. A file that cannot be written never fails its user: the
    text is dropped, and the first failure is logged. ``opening`` makes the first line of every new file.
    """

    def __init__(
        self,
        path: str,
        *,
        mode: int = 0o644,
        folder_mode: int = 0o755,
        largest: int = LARGEST,
        kept: int = KEPT,
        opening: Callable[[], bytes] | None = None,
    ) -> None:
        self.path = path
        self._mode = mode
        self._folder_mode = folder_mode
        self._largest = largest
        self._kept = kept
        self._opening = opening
        self._descriptor = -1
        self._size = 0
        self._failed = False

    def write(self, data: bytes) -> None:
        """Append the data in one go, rotating first where the file is full."""
        if self._failed:
            return
        try:
            if self._descriptor < 0:
                self._open()
            elif self._size >= self._largest:
                self._rotate()
            write_all(self._descriptor, data)
            self._size += len(data)
        except OSError as error:
            self._failed = True
            _log.warning("Nothing more is written to the log %s: %s", self.path, error.strerror)

    def last_byte(self) -> bytes:
        """The last byte of the file, b"" where there is none or it cannot be read."""
        try:
            with open(self.path, "rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1)
        except OSError:
            return b""

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            os.makedirs(folder, exist_ok=True)
            os.chmod(folder, self._folder_mode)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, self._mode)
        status = os.fstat(self._descriptor)
        self._size = status.st_size
        if self._size == 0:
            # The umask must not decide who may read a log.
            if status.st_uid == os.geteuid():
                os.fchmod(self._descriptor, self._mode)
            if self._opening is not None:
                self._write_opening(self._opening())

    def _write_opening(self, line: bytes) -> None:
        write_all(self._descriptor, line)
        self._size = len(line)

    def _rotate(self) -> None:
        # Another process may have rotated already: then its new file is the one to go on with.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if self._is_current():
            for number in range(self._kept - 3, -1, -1):
                older = f"{self.path}.{number}"
                if os.path.lexists(older):
                    os.rename(older, f"{self.path}.{number + 1}")
            os.rename(self.path, f"{self.path}.0")
        self.close()
        self._open()

    def _is_current(self) -> bool:
        try:
            there = os.lstat(self.path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
