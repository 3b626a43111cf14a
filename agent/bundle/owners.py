"""Which user and group an entry of a tar archive gets on this host."""

from __future__ import annotations

import os
from collections.abc import Callable

from agent.bundle.tar_headers import HeaderError

# The largest id that a file can have; the one above means "leave it" to the kernel.
_LARGEST_ID = 2**32 - 2


class Owners:
    """Finds ids as ``tar -x`` does for root: the name if this host knows it, else the number of the archive."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes, int, int], tuple[int, int]] = {}
        self._users: dict[bytes, int | None] = {}
        self._groups: dict[bytes, int | None] = {}

    def find(self, user: bytes, group: bytes, uid: int, gid: int) -> tuple[int, int]:
        """The ids for one entry; names may be empty. Raises HeaderError for numbers that are no ids."""
        key = (user, group, uid, gid)
        found = self._known.get(key)
        if found is None:
            found = (self._user(user, uid), self._group(group, gid))
            if len(self._known) > 4096:  # only an archive made to fill the memory has so many
                self._known.clear()
                self._users.clear()
                self._groups.clear()
            self._known[key] = found
        return found

    def _user(self, name: bytes, number: int) -> int:
        if name not in self._users:
            # Looked up once for each name: on hosts with a directory service that is a question to a server.
            import pwd

            self._users[name] = _lookup(name, lambda text: pwd.getpwnam(text).pw_uid)
        return _first(self._users[name], number)

    def _group(self, name: bytes, number: int) -> int:
        if name not in self._groups:
            import grp

            self._groups[name] = _lookup(name, lambda text: grp.getgrnam(text).gr_gid)
        return _first(self._groups[name], number)


def _first(found: int | None, number: int) -> int:
    if found is not None:
        return found
    if not 0 <= number <= _LARGEST_ID:
        raise HeaderError(f"has an owner or group with the number {number}, which is no id")
    return number


def _lookup(name: bytes, find: Callable[[str], int]) -> int | None:
    try:
        return find(os.fsdecode(name)) if name else None
    except (KeyError, ValueError):
        return None
