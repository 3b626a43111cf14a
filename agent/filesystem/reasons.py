"""Say of an operating system's error where it happened, why, and what an operator can do about it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

_Self = TypeVar("_Self")
_Rest = TypeVarTuple("_Rest")
_Result = TypeVar("_Result")

_REMEDIES = {
    errno.ENOSPC: "Free some space (or inodes) on that file system and deploy again.",
    errno.EDQUOT: "Raise the disk quota or free some space and deploy again.",
    errno.EROFS: "The file system is mounted read-only: remount it, or choose another place.",
    errno.EACCES: "The agent's user may not do this: check the owner and mode of the folders on the way.",
    errno.EPERM: "Check the owner, and with lsattr whether the file or its folder is marked immutable.",
    errno.EBUSY: "Unmount what is mounted there, or leave that path out.",
    errno.EMLINK: "Remove the other names of the file, or put a copy in its place.",
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


def named(method: Callable[[_Self, str, *_Rest], _Result]) -> Callable[[_Self, str, *_Rest], _Result]:
    """Make a method's OSError name the path that is its first argument.

    With an open directory the kernel was given the last part of the path alone, or nothing.
    """

    @wraps(method)
    def naming(self: _Self, path: str, *rest: *_Rest) -> _Result:
        try:
            return method(self, path, *rest)
        except OSError as error:
            if not isinstance(error.filename, str) or not error.filename.startswith("/"):
                error.filename, error.filename2 = path, None
            raise

    return naming
