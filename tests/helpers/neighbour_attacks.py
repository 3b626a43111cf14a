"""What an account does to directories in which root works: the attackers' programs of tests/neighbours.

All of it runs as the account and needs no right beyond what the account has. A program returns how often it acted, or
what it gained.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from waiting import Guard

TEMPORARY_PREFIX = ".codedeploy-"

_SECONDS = 5.0  # of a quiet machine, for what needs a few microseconds
_EXCHANGE = 2  # RENAME_EXCHANGE
_AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)
_PEEKED = 0x00000FC6  # modified, attributes, opened for writing and closed, moved here and away, created, removed
_EVENT = struct.Struct("iIII")

Bait = Callable[[str], None]
"""Puts something at a free path."""


def link_to(target: str) -> Bait:
    return lambda path: os.symlink(target, path)


def what_is_at(other: str) -> Bait:
    """Something of root's that lies beside the path: who owns the directory may rename it, although not change it."""
    return lambda path: os.rename(other, path)


def links_into(target: str) -> Bait:
    """A directory of the account's, with a link to everything that is in the target."""

    def make(path: str) -> None:
        os.mkdir(path)
        for name in os.listdir(target):
            os.symlink(f"{target}/{name}", f"{path}/{name}")

    return make


def fifo(path: str) -> None:
    os.mkfifo(path, 0o666)


def listening_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(path)


def nothing(path: str) -> None:
    """Leave the name free."""


def swap(path: str, bait: Bait) -> int:
    """Move aside what is at a path, if anything is, and put the bait there; return whether that worked."""
    parent, name = os.path.split(path)
    try:
        if os.path.lexists(path):
            os.rename(path, f"{parent}/.aside-{os.urandom(4).hex()}-{name.lstrip('.')}")
        bait(path)
    except OSError:
        return 0
    return 1


def temporaries(top: str) -> list[str]:
    """Return every name of the agent's below a directory that the account can see, the outermost first."""
    found = []
    for directory, directories, files in os.walk(top):
        found += [os.path.join(directory, name) for name in [*directories, *files] if name.startswith(TEMPORARY_PREFIX)]
    return found


def swap_temporaries(top: str, bait: Bait) -> int:
    """Put the bait where the agent's temporary names are; return how many."""
    return sum(swap(path, bait) for path in temporaries(top))


def readable(top: str, marker: bytes) -> list[str]:
    """Return the files with the marker in them that the account can read."""
    return [path for path in _files(top) if marker in _read(path)]


def set_id_of_root(top: str) -> list[str]:
    """Return the files that would run with root's rights, whoever starts them."""
    return [path for path in _files(top) if _runs_as_root(path)]


def _files(top: str) -> Iterator[str]:
    for directory, _, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in files)


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _runs_as_root(path: str) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    setuid = status.st_mode & stat.S_ISUID and status.st_uid == 0
    setgid = status.st_mode & stat.S_ISGID and status.st_gid == 0
    return stat.S_ISREG(status.st_mode) and bool(setuid or setgid)


class Racer:
    """A process of the account's that exchanges names with a bait, back and forth, until it is stopped.

    ``parent`` is the directory of the names, all that begin with one of the ``prefixes``. ``bait`` lies in it and is
    exchanged with a name by one call, so that there is always something.
    """

    def __init__(self, become: Callable[[], None], parent: str, prefixes: Sequence[str], bait: str) -> None:
        self._shared = mmap.mmap(-1, 16)
        self._child = os.fork()
        if self._child == 0:
            try:
                become()
                self._race(parent, tuple(prefixes), bait)
            finally:
                os._exit(0)

    @property
    def exchanges(self) -> int:
        """How often it has exchanged a name until now."""
        return int.from_bytes(self._shared[8:16], "little")

    def wait(self) -> int:
        """Wait until it has exchanged another name, where it can; return how many it has."""
        before, guard = self.exchanges, Guard(_SECONDS)
        while self.exchanges == before and not guard.has_hung:
            time.sleep(0.001)
        return self.exchanges - before

    def stop(self) -> int:
        """Stop it, and return how often it exchanged a name."""
        self._shared[0] = 1
        os.waitpid(self._child, 0)
        return self.exchanges

    def _race(self, parent: str, prefixes: tuple[str, ...], bait: str) -> None:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
        done, tester = 0, os.getppid()
        while not self._shared[0] and os.getppid() == tester:
            for name in os.listdir(parent):
                if name.startswith(prefixes) and f"{parent}/{name}" != bait:
                    failed = exchange(_AT_FDCWD, f"{parent}/{name}".encode(), _AT_FDCWD, bait.encode(), _EXCHANGE)
                    done += not failed
            self._shared[8:16] = done.to_bytes(8, "little")


def peek(top: str, marker: bytes, started: int, stop: int) -> dict[str, object]:
    """Be told by the kernel (inotify) of all that changes below a directory, and try to read it at once.

    A byte is written to the descriptor ``started`` when all is watched; the end of ``stop`` ends it. Returns how many
    events there were, and the files with the marker in them that could be read.
    """
    watched: dict[int, str] = {}
    read: set[str] = set()
    events = 0
    queue = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    for directory, _, _ in os.walk(top):
        watched[_LIBC.inotify_add_watch(queue, directory.encode(), _PEEKED)] = directory
    os.write(started, b"!")
    while True:
        ready = select.select([queue, stop], [], [])[0]
        if queue not in ready:
            return {"events": events, "read": sorted(read)}
        for watch, name in _events(os.read(queue, 1 << 16)):
            events += 1
            path = f"{watched.get(watch, top)}/{name}"
            if os.path.isdir(path) and not os.path.islink(path):
                watched[_LIBC.inotify_add_watch(queue, path.encode(), _PEEKED)] = path
                read.update(readable(path, marker))
            elif marker in _read(path):
                read.add(path)


def _events(data: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(data):
        watch, _, _, length = _EVENT.unpack_from(data, at)
        yield watch, os.fsdecode(data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0"))
        at += _EVENT.size + length
