"""Users and groups by name or number, looked up before anything is changed."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable

# chown(2) takes the highest id for "leave as it is", so it names nobody.
_HIGHEST_ID = 0xFFFFFFFE
_CAP_CHOWN = 0


class OwnerLookup:
    """Turns names into ids; every answer is remembered, so that a plan asks the host once for each name."""

    def __init__(self) -> None:
        self._users: dict[str, int | None] = {}
        self._groups: dict[str, int | None] = {}

    def user(self, name: str) -> int | None:
        """Return the id of a user, or None where the host knows none of that name.

        A name of digits that no user bears is an id, as chown(1) has it; an id needs no account.
        """
        if name not in self._users:
            self._users[name] = _find(name, lambda text: pwd.getpwnam(text).pw_uid)
        return self._users[name]

    def group(self, name: str) -> int | None:
        """Return the id of a group, or None where the host knows none of that name; digits as for ``user``."""
        if name not in self._groups:
            self._groups[name] = _find(name, lambda text: grp.getgrnam(text).gr_gid)
        return self._groups[name]


def _find(name: str, ask: Callable[[str], int]) -> int | None:
    try:
        return ask(name)
    except (KeyError, ValueError):  # ValueError: a NUL or a surrogate in the name
        pass
    if name.isascii() and name.isdigit() and int(name) <= _HIGHEST_ID:
        return int(name)
    return None


def user_name(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return str(gid)


class OwnerRights:
    """What owners this process may give to files that it has made itself (chown(2))."""

    def __init__(self) -> None:
        self._any = _has_capability(_CAP_CHOWN)
        self._uid = os.geteuid()
        self._groups = frozenset({os.getegid(), *os.getgroups()})

    def may_give(self, uid: int | None, gid: int | None) -> bool:
        """Tell whether the kernel will let this process set this owner and group; None leaves one as it is."""
        return self._any or (uid in (None, self._uid) and (gid is None or gid in self._groups))


def _has_capability(number: int) -> bool:
    """Tell whether a capability is in force; in a container root may lack it, and a service user may have it."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("CapEff:"):
                    return bool(int(line.split()[1], 16) >> number & 1)
    except OSError:
        pass
    return os.geteuid() == 0
