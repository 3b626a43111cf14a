"""What a host looks like at one moment, and what the official agent's clean-up would make of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_ACLS = ("system.posix_acl_access", "system.posix_acl_default")


@dataclass(frozen=True, slots=True)
class Seen:
    """One object. ``content`` is a file's content or a link's target; ``time`` is kept for files only."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: bytes
    links: int
    acls: tuple[bytes, bytes]
    time: int

    def __str__(self) -> str:
        content = self.content if len(self.content) < 60 else self.content[:60] + b"..."
        acls = ", ".join(value.hex() for value in self.acls if value)
        return f"{self.kind} {self.mode:04o} {self.owner} {content!r} links={self.links} [{acls}] {self.time}"


Picture = Mapping[str, Seen]


def take(top: str) -> Picture:
    """Everything below a directory, by its path from there; not the directory itself."""
    found: dict[str, Seen] = {}
    for directory, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = _look(path)
    return found


def _look(path: str) -> Seen:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    owner = (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        return Seen("link", 0, owner, os.fsencode(os.readlink(path)), status.st_nlink, (b"", b""), 0)
    if stat.S_ISDIR(status.st_mode):
        return Seen("directory", mode, owner, b"", 0, _acls(path), 0)
    with open(path, "rb") as file:
        content = file.read()
    return Seen("file", mode, owner, content, status.st_nlink, _acls(path), status.st_mtime_ns)


def _acls(path: str) -> tuple[bytes, bytes]:
    values = []
    for name in _ACLS:
        try:
            values.append(os.getxattr(path, name))
        except OSError:
            values.append(b"")
    return values[0], values[1]


def identities(top: str) -> dict[str, int]:
    """The inode of everything below a directory."""
    return {
        os.path.relpath(os.path.join(directory, name), top): os.lstat(os.path.join(directory, name)).st_ino
        for directory, directories, files in os.walk(top)
        for name in [*directories, *files]
    }


def differences(desired: Picture, found: Picture) -> list[str]:
    """Every path that is not as desired, for a person."""
    lines = []
    for path in sorted({*desired, *found}):
        one, two = desired.get(path), found.get(path)
        if one != two:
            lines.append(f"{path!r}:\n      desired {one or 'nothing'}\n      found  {two or 'nothing'}")
    return lines


def cleaned_up(picture: Picture, listed: Sequence[str], top: str) -> set[str]:
    """The paths that are left when the official agent has worked off a clean-up list (behaviour of 1.8.1).

    Last line first: a link or file is removed, a directory if it is empty by then, what is not there is passed over.
    The listed paths are absolute; what lies outside ``top`` is not looked at.
    """
    left = set(picture)
    for line in reversed(listed):
        directory, name = os.path.split(os.path.normpath(line))
        path = os.path.relpath(os.path.join(os.path.realpath(directory), name), top)
        if path not in left:
            continue
        if picture[path].kind != "directory" or not _has_children(path, left):
            left.remove(path)
    return left


def _has_children(directory: str, paths: Iterable[str]) -> bool:
    return any(path.startswith(directory + "/") for path in paths)
