"""Making one new file after the other below a staging directory, with the directory of the last one kept open."""

from __future__ import annotations

import os
import time

from agent.filesystem.durable import write_all

Owner = tuple[int, int]

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileMaker:
    """Makes files in the directories below ``top``, an open directory; callers know that no link is on the way.

    Modes are exact; an owner of None and a time of None leave what a new file has. ``descriptor`` is that of the
    directory that was entered last. Everything raises OSError.
    """

    def __init__(self, top: int, umask: int) -> None:
        self.top = top
        self.own = (os.geteuid(), os.getegid())
        self.now = time.time_ns()
        self.descriptor = -1
        self._directory: bytes | None = None
        # With a default ACL the kernel uses that in place of the umask, so what a mode becomes must be set again.
        self._mask = 0o777 if _has_default_acl(top) else umask

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            self._directory = None

    def enter(self, directory: bytes) -> None:
        """Open a directory by its path below the top; nothing is done where it is open."""
        # Entries of one directory come together: a short way for each of them.
        if directory != self._directory:
            self.close()
            self.descriptor = os.open(directory or b".", _OPEN_DIRECTORY, dir_fd=self.top)
            self._directory = directory

    def create(self, leaf: bytes, mode: int) -> int:
        """Create a file in the directory that was entered, never open one; give its descriptor."""
        return os.open(leaf, _NEW_FILE, mode & 0o777, dir_fd=self.descriptor)

    def write(
        self, descriptor: int, data: bytes | memoryview, mode: int, owner: Owner | None, mtime: int | None
    ) -> None:
        """Give a new file its content, mode, owner and time (nanoseconds), and close it."""
        try:
            if data:
                write_all(descriptor, data)
            self.finalize(descriptor, mode, owner, mtime)
        finally:
            os.close(descriptor)

    def finalize(self, descriptor: int, mode: int, owner: Owner | None, mtime: int | None) -> None:
        """Give a file that has its content the rest."""
        # The order counts: a change of owner takes the setuid bit away, and both change no time.
        if owner is not None and owner != self.own:
            os.fchown(descriptor, *owner)
        if mode & self._mask or mode & 0o7000:
            os.fchmod(descriptor, mode)
        if mtime is not None:
            os.utime(descriptor, ns=(self.now, mtime))


def _has_default_acl(directory: int) -> bool:
    try:
        return bool(os.getxattr(directory, "system.posix_acl_default"))
    except OSError:
        return False
