"""Turn an operating system's error into one that an operator can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import InstallError

_REMEDIES = {
    errno.ENOSPC: "Free some space (or inodes) on that file system and deploy again.",
    errno.EDQUOT: "Raise the disk quota or free some space and deploy again.",
    errno.EROFS: "The file system is mounted read-only: remount it, or choose another destination.",
    errno.EACCES: "The agent's user may not do this: check the owner and mode of the folders on the way.",
    errno.EPERM: "Check the owner, and with lsattr whether the file or its folder is marked immutable.",
    errno.EIO: "The disk reports an error: see the kernel log, then check the file system.",
    errno.ELOOP: "Symbolic links lead in a circle: mend the links.",
    errno.ENAMETOOLONG: "Shorten the destination or the names in the revision.",
    errno.EEXIST: "Something else writes to the destination: stop it before Install, for example in ApplicationStop.",
}


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise InstallError for an OSError, with the path, the reason and what to do; ``doing`` completes "while"."""
    try:
        yield
    except OSError as error:
        where = error.filename or "a file"
        if error.filename2:
            where = f"{where} -> {error.filename2}"
        reason = error.strerror or str(error)
        remedy = _REMEDIES.get(error.errno or 0, "")
        raise InstallError(f"While {doing}: {where}: {reason}.", remedy=remedy) from error
