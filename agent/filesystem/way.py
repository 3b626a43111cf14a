"""Whom a path trusts: the first place on the way where another account could lead the agent astray.

The rule is that of systemd-tmpfiles: what an unprivileged account owns may lead, over a link or into a directory, only
to what the same account owns. Root's own, and what the agent's own user owns, may lead anywhere.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from typing import NamedTuple

_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

# The kernel's own limit on links in one path (path_resolution(7)).
_MAX_LINKS = 40

_WAY_ENDS = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENAMETOOLONG})


class UnsafeTransition(NamedTuple):
    """A step on a path that its owner could lead elsewhere; ``owner`` and ``target_owner`` are user ids."""

    place: str
    owner: int
    target: str
    target_owner: int

    @property
    def message(self) -> str:
        """Say which place leads where, and whose both are; one sentence."""
        return (
            f"{self.place} belongs to {account(self.owner)} and leads to {self.target}, which belongs to"
            f" {account(self.target_owner)}: {account(self.owner)} could lead the agent anywhere"
        )

    @property
    def remedy(self) -> str:
        """Say the ways out."""
        return (
            f"Give {self.place} to root (chown -h root), or {self.target} to {account(self.owner)}, or set"
            " unsafe_links: follow."
        )


def account(uid: int) -> str:
    """Return the name of an account, or its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def check_way(path: str, *, owner: int) -> UnsafeTransition | None:
    """Return the first unsafe transition on an absolute path, links followed, or None where there is none.

    ``owner`` is the user id that the agent works as; it is trusted as root is. What is missing ends the way: a link
    that leads to nothing is judged by the directory in which its target would be made. Raises OSError, with ELOOP for
    links in a circle.
    """
    with _Way(owner) as way:
        return way.walk(path)


def check_own(path: str, *, owner: int, itself: bool = True) -> UnsafeTransition | None:
    """Return the first unsafe transition on the way to a directory that the agent keeps files of its own in.

    As ``check_way``; and since the agent uses that path again and again, no directory or link on the way may belong to
    another account, which could exchange what it leads to. Without ``itself`` the directory at its end may.
    """
    with _Way(owner) as way:
        found = way.walk(path)
        foreign = [at for at in way.foreign if itself or way.ended or at[0] != way.real]
        return found or (UnsafeTransition(*foreign[0], path, owner) if foreign else None)


class _Way:
    """A walk along a path.

    ``_here`` is the directory reached and ``real`` its path; ``_place`` and ``_uid`` say what leads on from it.
    ``foreign`` are the places on the way that are not trusted, with their owners; ``ended`` is true where the rest of
    the path is missing.
    """

    def __init__(self, owner: int) -> None:
        self._here = os.open("/", _OPEN | os.O_DIRECTORY)
        # Who owns "/" owns everything; in a user namespace that may be an account without a number.
        self._trusted = {0, owner, os.fstat(self._here).st_uid}
        self.real = "/"
        self.foreign: list[tuple[str, int]] = []
        self.ended = False
        self._place, self._uid = "/", 0
        self._links = 0

    def __enter__(self) -> _Way:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._here)

    def walk(self, path: str) -> UnsafeTransition | None:
        """Go along a path; return the first unsafe transition."""
        rest: list[str | tuple[str, int]] = [*reversed(path.split("/"))]
        while rest:
            part = rest.pop()
            if isinstance(part, tuple):  # all that a link named has been walked
                found = self._judged(*part, self._place, self._uid)
            elif part in ("", "."):
                continue
            else:
                found = self._step(part, rest)
            if found is not None:
                return found
        return None

    def _step(self, name: str, rest: list[str | tuple[str, int]]) -> UnsafeTransition | None:
        place = os.path.normpath(os.path.join(self.real, name))
        try:
            child = os.open(name, _OPEN, dir_fd=self._here)
        except OSError as error:
            if error.errno not in _WAY_ENDS:
                raise
            rest[:] = [part for part in rest if isinstance(part, tuple)]
            self.ended = True
            return None
        status = os.fstat(child)
        trusted, is_link = status.st_uid in self._trusted, stat.S_ISLNK(status.st_mode)
        if not trusted:
            self.foreign.append((place, status.st_uid))
        # A link of the agent's own or root's may be followed whoever owns its directory.
        found = None if trusted and is_link else self._judged(self._place, self._uid, place, status.st_uid)
        if is_link:
            try:
                self._follow(child, place, status.st_uid, rest)
            finally:
                os.close(child)
            return found
        os.close(self._here)
        self._here, self.real = child, place
        self._place, self._uid = place, status.st_uid
        return found

    def _follow(self, link: int, place: str, uid: int, rest: list[str | tuple[str, int]]) -> None:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), place)
        target = os.readlink("", dir_fd=link)
        if target.startswith("/"):
            os.close(self._here)
            self._here, self.real = os.open("/", _OPEN | os.O_DIRECTORY), "/"
            self._place, self._uid = "/", 0
        if uid in self._trusted:
            self._place, self._uid = place, uid
        else:
            rest.append((place, uid))
        rest += reversed(target.split("/"))

    def _judged(self, place: str, uid: int, target: str, target_owner: int) -> UnsafeTransition | None:
        if uid in self._trusted or uid == target_owner:
            return None
        return UnsafeTransition(place, uid, target, target_owner)
