"""Say of an operating system's error where it happened, why, and what an operator can do about it."""

from __future__ import annotations

import errno

_REMEDIES = {
    errno.ENOSPC: "Free some space (or inodes) on that file system and deploy again.",
    errno.EDQUOT: "Raise the disk quota or free some space and deploy again.",
    errno.EROFS: "The file system is mounted read-only: remount it, or choose another place.",
    errno.EACCES: "The agent's user may not do this: check the owner and mode of the folders on the way.",
    errno.EPERM: "Check the owner, and with lsattr whether the file or its folder is marked immutable.",
    errno.EIO: "The disk reports an error: see the kernel log, then check the file system.",
    errno.ELOOP: "Symbolic links lead in a circle: correct the links.",
    errno.ENAMETOOLONG: "Shorten the path, or the names in the revision.",
    errno.EMFILE: "Raise the limit on open files for the agent.",
}


# A helper of ours that was killed: hardly anybody but the kernel does that.
_KILLED = "The kernel log tells whether memory ran out: give the host more of it, and deploy again."


def place_and_reason(error: OSError) -> str:
    """Give ``PATH: reason``, both paths where there are two, and the reason alone where the error names no path."""
    reason = error.strerror or str(error)
    places = [str(name) for name in (error.filename, error.filename2) if name]
    return f"{' -> '.join(places)}: {reason}" if places else reason


def remedy_for(error: OSError) -> str:
    """Give a sentence that says what to do; nothing where the reason says all that there is to say."""
    return _KILLED if isinstance(error, ChildProcessError) else _REMEDIES.get(error.errno or 0, "")
