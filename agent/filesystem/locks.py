"""Locks between processes: one flock on a file that also says who holds it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from agent.errors import AgentError
from agent.filesystem.regular import open_regular

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5


class LockTimeoutError(AgentError):
    """Another process held a lock for longer than we may wait."""


class FileLock:
    """An exclusive lock that ends with its process at the latest.

    The kernel keeps it on the open file, so it needs no clean-up after a crash, and the descriptor is
    close-on-exec, so that no program started meanwhile inherits it. A child that is forked and does not
    exec shares it until it ends. Only messages use what is written into the file, so a disk that does not take it
    fails nothing. ``purpose`` completes "waiting for ..." in messages; ``remedy`` ends that of a timeout.
    """

    def __init__(self, path: str, *, purpose: str, remedy: str = "Try again when that process has ended.") -> None:
        self.path = path
        self.purpose = purpose
        self._remedy = remedy
        self._descriptor: int | None = None

    def acquire(self, *, limit: float | None = None, on_wait: Callable[[str], None] | None = None) -> None:
        """Take the lock, waiting for it if need be.

        ``limit`` is in seconds, None for ever. ``on_wait`` is called once, with a sentence that names the
        holder, before the first pause. Raises LockTimeoutError after the limit, OSError where the file cannot
        be opened.
        """
        descriptor = _open(self.path, os.O_CREAT)
        try:
            self._wait(descriptor, limit, on_wait)
            _write_holder(descriptor, b"%d\n" % os.getpid())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _wait(self, descriptor: int, limit: float | None, on_wait: Callable[[str], None] | None) -> None:
        end = None if limit is None else time.monotonic() + limit
        pause = FIRST_PAUSE
        while not _try_lock(descriptor):
            if on_wait is not None:
                on_wait(f"Waiting for {self.purpose}: process {_shown(descriptor)} holds the lock {self.path}.")
                on_wait = None
            if end is not None and time.monotonic() >= end:
                raise LockTimeoutError(
                    f"Waited {limit:g} s for {self.purpose}, and process {_shown(descriptor)} still holds the"
                    f" lock {self.path}.",
                    remedy=self._remedy,
                )
            time.sleep(pause if end is None else min(pause, max(end - time.monotonic(), 0.001)))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    @staticmethod
    def holder(path: str) -> int | None:
        """The process that holds a lock, 0 if it is unknown, None if nobody does or there is no such file.

        To find out the lock is taken for a moment, so whoever takes it in earnest should wait that long. Raises
        OSError where the file cannot be opened.
        """
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            return None
        try:
            return None if _try_lock(descriptor) else _holder(descriptor)
        finally:
            os.close(descriptor)

    def is_current(self) -> bool:
        """Whether the file that is locked still lies under its name, and so keeps anybody else out."""
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return self._descriptor is not None and os.path.samestat(there, os.fstat(self._descriptor))

    def release(self) -> None:
        """Let go of the lock; nothing happens if it is not held."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            _write_holder(descriptor, b"")
            with suppress(OSError):  # the descriptor is closed all the same
                os.close(descriptor)

    def __enter__(self) -> FileLock:
        """Hold the lock, acquired before or now, for the length of a block."""
        if self._descriptor is None:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: str, flags: int = 0) -> int:
    try:
        return open_regular(path, os.O_RDWR | flags)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    return open_regular(path, os.O_RDONLY)  # a lock that is there can be taken on a read-only file system too


def _write_holder(descriptor: int, text: bytes) -> None:
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0)


def _shown(descriptor: int) -> str:
    return str(_holder(descriptor) or "unknown")


def _holder(descriptor: int) -> int:
    """Return the process that holds a lock as the kernel or, where it does not say, the file names it; 0 for unknown.

    The file may name an earlier holder, where the disk did not take the change.
    """
    try:
        text = os.pread(descriptor, 32, 0).split(b"\n")[0]
    except OSError:
        text = b""
    named = int(text) if text.isdigit() else 0
    holders = lock_holders(os.fstat(descriptor).st_ino)
    if not holders or named in holders:
        return named
    return holders.pop() if len(holders) == 1 else 0


def lock_holders(inode: int) -> set[int]:
    """Return the processes that hold a lock on a file with this inode, as far as the kernel lists them."""
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            # 1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF
            rows = [line.split() for line in file]
        found = {int(row[-4]) for row in rows if row[1] == "FLOCK" and row[-3].rpartition(":")[2] == str(inode)}
    except (OSError, IndexError, ValueError):
        return set()
    return found - {0}  # a process that cannot be seen from this container
