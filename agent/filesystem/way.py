"""Who else owns a part of a path, and so could exchange what the path leads to."""

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


class ForeignPart(NamedTuple):
    """A directory or link on a path that belongs to another account; ``owner`` is a user id."""

    path: str
    owner: int


def account(uid: int) -> str:
    """Return the name of an account, or its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def caller() -> str:
    """Return the name of the account that runs this command; under sudo, of the one that typed it."""
    return os.environ.get("SUDO_USER") or account(os.getuid())


def trusted_owners(owner: int) -> frozenset[int]:
    """Return the user ids that may lead the agent anywhere: root, its own, and the owner of ``/``.

    In a user namespace the last may be an account without a number.
    """
    return frozenset({0, owner, os.stat("/").st_uid})


def first_foreign_part(path: str, *, owner: int, itself: bool = True) -> ForeignPart | None:
    """Return the first part of an absolute path that another account owns, or None.

    ``owner`` is the user id that the agent works as. Links are followed, and count as parts. Without ``itself`` the
    directory that the path ends at does not count. What is missing ends the path. Raises OSError, with ELOOP for
    links in a circle.
    """
    walk = _Walk(owner)
    try:
        walk.follow(path)
    finally:
        walk.end()
    return next((part for part in walk.foreign if itself or walk.is_cut or part.path != walk.path), None)


class _Walk:
    """A walk along a path by descriptors.

    ``path`` is the directory reached. ``foreign`` are the parts of other accounts; ``is_cut`` is true where the rest of
    the path is missing.
    """

    def __init__(self, owner: int) -> None:
        self.path = "/"
        self.foreign: list[ForeignPart] = []
        self.is_cut = False
        self._trusted = trusted_owners(owner)
        self._here = os.open("/", _OPEN | os.O_DIRECTORY)

    def end(self) -> None:
        """Close what is open."""
        os.close(self._here)

    def follow(self, path: str) -> None:
        """Go along a path as far as it exists."""
        rest = path.split("/")[::-1]
        links = 0
        while rest and not self.is_cut:
            name = rest.pop()
            if name in ("", "."):
                continue
            target = self._step(name)
            if target is not None:
                links += 1
                rest += target.split("/")[::-1]
            if links > _MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)

    def _step(self, name: str) -> str | None:
        """Take one step; return the target where it is a link."""
        path = os.path.normpath(os.path.join(self.path, name))
        try:
            child = os.open(name, _OPEN, dir_fd=self._here)
        except OSError as error:
            if error.errno not in _WAY_ENDS:
                raise
            self.is_cut = True
            return None
        status = os.fstat(child)
        if status.st_uid not in self._trusted:
            self.foreign.append(ForeignPart(path, status.st_uid))
        if not stat.S_ISLNK(status.st_mode):
            self._move(child, path)
            return None
        try:
            target = os.readlink("", dir_fd=child)
        finally:
            os.close(child)
        if target.startswith("/"):
            self._move(os.open("/", _OPEN | os.O_DIRECTORY), "/")
        return target

    def _move(self, descriptor: int, path: str) -> None:
        os.close(self._here)
        self._here, self.path = descriptor, path
