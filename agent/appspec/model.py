"""What an AppSpec file says, once it has been found right."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from agent.text.report import Place, Placed

Places = Mapping[str, Placed]
"""Where the value of each key of an entry is, as far as that is known."""

_UNKNOWN: Places = MappingProxyType({})


class FileExistsBehavior(str, Enum):
    """What becomes of a file that is already at a destination and is not ours."""

    DISALLOW = "DISALLOW"
    OVERWRITE = "OVERWRITE"
    RETAIN = "RETAIN"


class FileMapping(NamedTuple):
    """One entry of ``files``; both texts as written, ``line`` (from 1) and ``places`` for messages."""

    source: str
    destination: str
    line: int = 0
    places: Places = _UNKNOWN


class AclEntry(NamedTuple):
    """One access control entry: ``tag`` is user, group, mask or other; ``name`` may be empty; ``perm`` is 0 to 7."""

    tag: str
    name: str
    perm: int
    default: bool = False
    place: Placed | None = None


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
    places: Places = _UNKNOWN


class Script(NamedTuple):
    """One script of a lifecycle event.

    ``timeout`` is in seconds. ``location`` is as written, without spaces around it, because consoles show it so; it
    is below the revision, also where it begins with a slash.
    """

    location: str
    timeout: int = 3600
    runas: str | None = None
    sudo: bool = False
    line: int = 0
    places: Places = _UNKNOWN


class AppSpec(NamedTuple):
    """A valid AppSpec file for a server deployment; ``event_places`` says where the name of each event is."""

    filename: str
    files: tuple[FileMapping, ...] = ()
    permissions: tuple[Permission, ...] = ()
    hooks: Mapping[str, tuple[Script, ...]] = MappingProxyType({})
    file_exists_behavior: FileExistsBehavior | None = None
    event_places: Places = _UNKNOWN


class _Entry(Protocol):
    @property
    def line(self) -> int: ...

    @property
    def places(self) -> Places: ...


def place_of(entry: _Entry, key: str) -> Placed:
    """Return where the value of a key is; the line of the entry where that is unknown."""
    return entry.places.get(key) or Place(entry.line - 1, 0)


def located(filename: str, place: Placed) -> str:
    """Return a place for a message: ``appspec.yml:5:13``."""
    return f"{filename}:{place.line + 1}:{place.column + 1}"
