"""Opening the agent's own files where another account may have put something else under their names."""

from __future__ import annotations

import errno
import os
import stat


def open_regular(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a regular file; return its descriptor, which programs do not inherit.

    No link under that name is followed, and no FIFO or device is waited for. In a directory of another account a file
    that has a second name is refused too: it may be anybody's. Raises OSError.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file", path)
        if status.st_nlink > 1 and os.stat(os.path.dirname(path) or ".").st_uid not in (0, os.geteuid()):
            raise OSError(errno.EMLINK, "It has a second name, which may be another account's work", path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a regular file. Raises OSError."""
    with open(open_regular(path, os.O_RDONLY), "rb") as file:
        return file.read(limit)
