"""Say of an operating system's error where it happened, why, and what an operator can do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TypeVar, TypeVarTuple

from agent.errors import AgentError

_Self = TypeVar("_Self")
_Rest = TypeVarTuple("_Rest")
_Result = TypeVar("_Result")

_MEMORY = "Give the host more memory, or raise the memory limit of the agent's service, and try again."
_PROCESSES = "Raise the limits on processes (TasksMax of the agent's service, ulimit -u), or end some, and try again."

# What the host lacks, whatever was tried: no remedy of a caller is better.
_LACKS = {
    errno.ENOSPC: "Free some space (df shows it) or inodes (df -i) on {file_system} and try again.",
    errno.EDQUOT: "Raise the disk quota, or free some space, on {file_system} and try again.",
    errno.EROFS: "{File_system} is mounted read-only: remount it, or choose another place.",
    errno.EIO: "The disk reports an error: see the kernel log, then check {file_system}.",
    errno.ESTALE: "Mount {file_system} again: its server no longer knows what was open.",
    errno.ENOTCONN: "Mount {file_system} again: the program behind it has ended.",
    errno.ENOMEM: _MEMORY,
    errno.EAGAIN: _PROCESSES,
    errno.EMFILE: "Raise the limit on open files for the agent (LimitNOFILE of its service, ulimit -n).",
    errno.ENFILE: "The host has no room for more open files: raise fs.file-max with sysctl, or end some programs.",
    errno.EFBIG: "Raise the limit on the size of files for the agent (LimitFSIZE of its service, ulimit -f).",
}

_REMEDIES = {
    errno.EACCES: "The agent's user may not do this: check the owner and mode of the directories on the way.",
    errno.EPERM: "Check the owner, and with lsattr whether the file or its directory is marked immutable.",
    errno.EBUSY: "Unmount what is mounted there, or leave that path out.",
    errno.EMLINK: "Remove the other names of the file, or put a copy in its place.",
    errno.ELOOP: "Symbolic links lead in a circle: correct the links.",
    errno.ENAMETOOLONG: "Shorten the path, or the names in the revision.",
    errno.ETXTBSY: "End the program that runs from this file, and try again.",
    errno.ENOTDIR: "Something on the way to it is not a directory: move that away, or correct the path.",
}


# A helper process that was killed: hardly anything but the kernel does that.
_KILLED = "The kernel log shows whether memory ran out: give the host more of it, and try again."


def place_and_reason(error: OSError | MemoryError) -> str:
    """Return ``PATH: reason``, both paths where there are two, and the reason alone where the error names no path."""
    if isinstance(error, MemoryError):
        return "The agent ran out of memory"
    reason = error.strerror or str(error)
    places = _paths(error)
    return f"{' -> '.join(places)}: {reason}" if places else reason


def remedy_for(error: OSError | MemoryError, *, otherwise: str = "") -> str:
    """Return a sentence that says what to do; empty where the reason says all that there is to say.

    ``otherwise`` is the caller's own remedy, for everything that is not a lack of the host.
    """
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, ChildProcessError):
        return _KILLED
    number = error.errno or 0
    if number in _LACKS:
        of = "".join(f" of {path}" for path in _paths(error)[-1:])
        return _LACKS[number].format(file_system=f"the file system{of}", File_system=f"The file system{of}")
    return otherwise or _REMEDIES.get(number, "")


def explained_error(error: OSError | MemoryError, doing: str) -> AgentError:
    """Return an operating system's error as one that says where it happened, during what, and what to do."""
    return AgentError(f"{doing}: {place_and_reason(error)}.", remedy=remedy_for(error))


def _paths(error: OSError) -> list[str]:
    """Return the paths that an error names, and no descriptors."""
    return [os.fsdecode(name) for name in (error.filename, error.filename2) if name and isinstance(name, str | bytes)]


@contextmanager
def about(path: str) -> Iterator[None]:
    """Make an OSError that names no path name this one: the kernel was given a descriptor alone."""
    try:
        yield
    except OSError as error:
        if not _paths(error):
            error.filename = path
        raise


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
