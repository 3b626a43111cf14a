"""What an AppSpec file says, once it has been found right."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple


class FileExistsBehavior(str, Enum):
    """What becomes of a file that is already at a destination and is not ours."""

    DISALLOW = "DISALLOW"
    OVERWRITE = "OVERWRITE"
    RETAIN = "RETAIN"


class FileMapping(NamedTuple):
    """One entry of ``files``; both texts as written, ``line`` for messages."""

    source: str
    destination: str
    line: int = 0


class AclEntry(NamedTuple):
    """One access control entry: ``tag`` is user, group, mask or other; ``name`` may be empty; ``perm`` is 0 to 7."""

    tag: str
    name: str
    perm: int
    default: bool = False


class SelinuxContext(NamedTuple):
    """The SELinux context to give; ``range`` as ``semanage`` takes it."""

    type: str
    user: str | None = None
    range: str | None = None


class Permission(NamedTuple):
    """One entry of ``permissions``. ``mode`` is the number meant (0o644), owner and group are names or decimal ids."""

    object: str
    pattern: str = "**"
    exclude: tuple[str, ...] = ()
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    types: frozenset[str] = frozenset({"file", "directory"})
    acls: tuple[AclEntry, ...] = ()
    context: SelinuxContext | None = None
    line: int = 0


class Script(NamedTuple):
    """One script of a lifecycle event.

    ``timeout`` is in seconds. ``location`` is as written, without blanks around it, because consoles show it so; it
    is below the revision, also where it begins with a slash.
    """

    location: str
    timeout: int = 3600
    runas: str | None = None
    sudo: bool = False
    line: int = 0


class AppSpec(NamedTuple):
    """A valid AppSpec file for a server deployment."""

    filename: str
    files: tuple[FileMapping, ...] = ()
    permissions: tuple[Permission, ...] = ()
    hooks: Mapping[str, tuple[Script, ...]] = MappingProxyType({})
    file_exists_behavior: FileExistsBehavior | None = None
