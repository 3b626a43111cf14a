"""Which user and group an entry of a tar archive gets on this host."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

from agent.bundle.tar_headers import HeaderError

# The largest id that a file can have; the one above means "leave it" to the kernel.
_LARGEST_ID = 2**32 - 2


class Owners:
    """Finds ids as ``tar -x`` does for root: the name if this host knows it, else the number of the archive.

    Names are looked up once each: on hosts with a directory service that is a question to a server.
    """

    def __init__(self) -> None:
        self._user = lru_cache(1024)(_user_of)
        self._group = lru_cache(1024)(_group_of)
        self.find = lru_cache(1024)(self._find)

    def _find(self, user: bytes, group: bytes, uid: int, gid: int) -> tuple[int, int]:
        """The ids for one entry; names may be empty. Raises HeaderError for numbers that are not ids."""
        return _first(self._user(user), uid), _first(self._group(group), gid)


def _first(found: int | None, number: int) -> int:
    if found is not None:
        return found
    if not 0 <= number <= _LARGEST_ID:
        raise HeaderError(f"has an owner or group with the number {number}, which is not an id")
    return number


def _user_of(name: bytes) -> int | None:
    import pwd

    return _lookup(name, lambda text: pwd.getpwnam(text).pw_uid)


def _group_of(name: bytes) -> int | None:
    import grp

    return _lookup(name, lambda text: grp.getgrnam(text).gr_gid)


def _lookup(name: bytes, find: Callable[[str], int]) -> int | None:
    try:
        return find(os.fsdecode(name)) if name else None
    except (KeyError, ValueError):
        return None
