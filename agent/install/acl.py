"""POSIX access control lists: from the entries of an AppSpec to what the kernel keeps, without setfacl.

The kernel takes a list as one binary value in an extended attribute (linux/posix_acl_xattr.h): a little-endian
version, then per entry tag, rights and id, in the order of tag and id.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from agent.appspec.model import AclEntry
from agent.errors import InstallError
from agent.install.owners import OwnerLookup, group_name, user_name

ACCESS = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"

_VERSION = 2
_HEAD = struct.Struct("<I")
_ITEM = struct.Struct("<HHI")
_NO_ID = 0xFFFFFFFF

_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_BASE_TAGS = {"user": _USER_OBJ, "group": _GROUP_OBJ, "mask": _MASK, "other": _OTHER}
_NAMED_TAGS = {"user": _USER, "group": _GROUP}
_SHOWN_TAGS = {
    _USER_OBJ: "user",
    _USER: "user",
    _GROUP_OBJ: "group",
    _GROUP: "group",
    _MASK: "mask",
    _OTHER: "other",
}

_ABSENT = frozenset({errno.ENODATA, errno.EOPNOTSUPP})

# Tag, id, rights: in the kernel's order when sorted.
Item = tuple[int, int, int]


class Acl(NamedTuple):
    """The entries of one permission with their names turned into ids, without what an object's mode adds."""

    access: tuple[Item, ...] = ()
    default: tuple[Item, ...] = ()


Finding = tuple[AclEntry, str]


def resolve_acl(entries: Iterable[AclEntry], owners: OwnerLookup) -> tuple[Acl, list[Finding], list[Finding]]:
    """Turn canonical entries into ids; return them with the problems and the warnings, each with its entry.

    A base entry (``user::rw``) is a problem, because the mode sets it; so is an unknown name. Where two entries are
    for the same user or group the later one counts, as setfacl has it, with a warning if they differ.
    """
    tables: tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]] = ({}, {})
    problems: list[Finding] = []
    warnings: list[Finding] = []
    for entry in entries:
        key, problem = _key(entry, owners)
        if problem:
            problems.append((entry, problem))
            continue
        earlier = tables[entry.default].get(key, entry.perm)
        if earlier != entry.perm:
            text = f"the acls entry {written(entry)} takes the place of an earlier one with {_letters(earlier)}"
            warnings.append((entry, text))
        tables[entry.default][key] = entry.perm
    access, default = (tuple(sorted((tag, who, perm) for (tag, who), perm in table.items())) for table in tables)
    return Acl(access, default), problems, warnings


def _key(entry: AclEntry, owners: OwnerLookup) -> tuple[tuple[int, int], str]:
    """Return tag and id of an entry, or what is wrong with it."""
    nothing = (0, _NO_ID)
    if not entry.name:
        if not entry.default and entry.tag != "mask":
            return nothing, f"the acls entry {written(entry)} sets a base entry; set it with mode instead"
        return (_BASE_TAGS[entry.tag], _NO_ID), ""
    if entry.tag not in _NAMED_TAGS:
        return nothing, f"the acls entry {written(entry)} has a name, which only user and group entries may have"
    who = owners.user(entry.name) if entry.tag == "user" else owners.group(entry.name)
    if who is None:
        return nothing, (
            f"the acls entry {written(entry)} is for the {entry.tag} {entry.name!r}, which this host does not have;"
            " create it in a BeforeInstall script, or correct the name"
        )
    return (_NAMED_TAGS[entry.tag], who), ""


@lru_cache(maxsize=1024)
def access_acl(acl: Acl, *, mode: int) -> bytes:
    """Return the value of the access list of an object that has this mode.

    The base entries are the mode's. Without a mask among the entries, but with names, the mask is the mode's group
    bits, so that ``user:games:rw`` at mode 0644 gives games effectively r--, as the official agents have it.
    """
    user, group, other = mode >> 6 & 7, mode >> 3 & 7, mode & 7
    items = {(_USER_OBJ, _NO_ID): user, (_GROUP_OBJ, _NO_ID): group, (_OTHER, _NO_ID): other}
    if any(tag in (_USER, _GROUP) for tag, _, _ in acl.access):
        items[_MASK, _NO_ID] = group
    items.update({(tag, who): perm for tag, who, perm in acl.access})
    return _packed(items)


@lru_cache(maxsize=1024)
def default_acl(acl: Acl, *, mode: int) -> bytes | None:
    """Return the value of the default list of a directory that has this mode, or None where no entry is a default one.

    Base entries that are not given are the mode's; the mask, with names and not given, is the group's entry
    (the rule of the official agents).
    """
    if not acl.default:
        return None
    items = {
        (_USER_OBJ, _NO_ID): mode >> 6 & 7,
        (_GROUP_OBJ, _NO_ID): mode >> 3 & 7,
        (_OTHER, _NO_ID): mode & 7,
    }
    items.update({(tag, who): perm for tag, who, perm in acl.default})
    if any(tag in (_USER, _GROUP) for tag, _, _ in acl.default):
        items.setdefault((_MASK, _NO_ID), items[_GROUP_OBJ, _NO_ID])
    return _packed(items)


def with_mode(value: bytes, mode: int) -> bytes:
    """Return a list as chmod(2) would leave it: owner, others, and the mask (or else the group) get the mode's bits."""
    items = {(tag, who): perm for tag, perm, who in _ITEM.iter_unpack(value[_HEAD.size :])}
    middle = _MASK if (_MASK, _NO_ID) in items else _GROUP_OBJ
    items.update({(_USER_OBJ, _NO_ID): mode >> 6 & 7, (middle, _NO_ID): mode >> 3 & 7, (_OTHER, _NO_ID): mode & 7})
    return _packed(items)


def _packed(items: dict[tuple[int, int], int]) -> bytes:
    return _HEAD.pack(_VERSION) + b"".join(_ITEM.pack(tag, perm, who) for (tag, who), perm in sorted(items.items()))


def apply(target: int | str, access: bytes | None, default: bytes | None, *, shown: str) -> None:
    """Set the lists of an object by descriptor or path; None leaves a list as it is. Raises InstallError.

    Setting the access list changes the mode's group bits to the mask. ``shown`` is the path for the message.
    """
    try:
        for name, value in ((ACCESS, access), (DEFAULT, default)):
            if value is not None:
                os.setxattr(target, name, value)
    except OSError as error:
        reason = "its file system keeps no ACLs" if error.errno == errno.EOPNOTSUPP else error.strerror
        raise InstallError(
            f"The ACL of {shown} could not be set: {reason}.",
            remedy="Take acls from its permissions entry, or use a file system (and mount options) with POSIX ACLs.",
        ) from error


def read(target: int | str) -> tuple[bytes | None, bytes | None]:
    """Return access and default list of an object; None for one that it does not have. Raises OSError."""
    return _get(target, ACCESS), _get(target, DEFAULT)


def write(target: int | str, access: bytes | None, default: bytes | None) -> None:
    """Put back what ``read`` gave, also that there was none. Raises OSError."""
    for name, value in ((ACCESS, access), (DEFAULT, default)):
        if _get(target, name) == value:
            continue
        if value is not None:
            os.setxattr(target, name, value)
        else:
            os.removexattr(target, name)


def supported(path: str) -> bool:
    """Tell whether the file system that a path is on, or will be on, keeps ACLs. Raises OSError."""
    while True:
        try:
            os.getxattr(path, ACCESS)
        except (FileNotFoundError, NotADirectoryError):
            path = os.path.dirname(path)
        except OSError as error:
            if error.errno == errno.ENODATA:
                return True
            if error.errno == errno.EOPNOTSUPP:
                return False
            raise
        else:
            return True


def _get(target: int | str, name: str) -> bytes | None:
    try:
        return os.getxattr(target, name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def describe(value: bytes) -> list[str]:
    """Return a list's entries as ``getfacl -E`` prints them, ``user:games:rw-``.

    Raises InstallError where the value is damaged.
    """
    body = len(value) - _HEAD.size
    if body < 0 or body % _ITEM.size or _HEAD.unpack_from(value)[0] != _VERSION:
        raise InstallError(f"An ACL is not in the kernel's format, version {_VERSION}: {value[:64].hex()}.")
    lines = []
    for tag, perm, who in _ITEM.iter_unpack(value[_HEAD.size :]):
        name = {_USER: user_name, _GROUP: group_name}[tag](who) if tag in (_USER, _GROUP) else ""
        lines.append(f"{_SHOWN_TAGS.get(tag, tag)}:{name}:{_letters(perm)}")
    return lines


def written(entry: AclEntry) -> str:
    """Return an entry in the form of the official agents' instructions file: ``default:user:games:rw-``."""
    return f"{'default:' if entry.default else ''}{entry.tag}:{entry.name}:{_letters(entry.perm)}"


def _letters(perm: int) -> str:
    return "".join(letter if perm & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
