"""A directory tree as short lines of text, so that two trees compare and a difference can be read.

One entry a path, relative to the top:

    dir 0755                        a directory
    file 0644 "one\\n"               a regular file with its content
    file 0640 games:games "x"       owner and group, where they are not root
    link -> target                  a symbolic link
    fifo 0644                       anything else, by its kind

Further marks: ``at=SECONDS`` for a time of change that lies in the past, ``links=N``, ``acl=...``.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import struct
from collections.abc import Callable

LONGEST_CONTENT = 4096
# Times before this were set by a test on purpose; later ones are those of the run itself.
FIRST_RECENT_TIME = 1_700_000_000

_KINDS = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character-device",
    stat.S_IFBLK: "block-device",
}
_ACL_TAGS = {0x01: "user", 0x02: "user", 0x04: "group", 0x08: "group", 0x10: "mask", 0x20: "other"}
_NAMED_USER, _NAMED_GROUP = 0x02, 0x08


def snapshot(top: str, *, rename: Callable[[str], str] = str) -> dict[str, str]:
    """Every entry below ``top`` (not itself) with its line; empty when ``top`` is not there.

    ``rename`` replaces what differs from run to run in names, contents and link targets.
    """
    found: dict[str, str] = {}
    _walk(top, "", found, rename)
    return dict(sorted(found.items()))


def _walk(directory: str, prefix: str, found: dict[str, str], rename: Callable[[str], str]) -> None:
    try:
        entries = list(os.scandir(directory))
    except FileNotFoundError:
        return
    for entry in entries:
        name = prefix + entry.name
        found[rename(name)] = describe(entry.path, rename=rename)
        if entry.is_dir(follow_symlinks=False):
            _walk(entry.path, name + "/", found, rename)


def describe(path: str, *, rename: Callable[[str], str] = str) -> str:
    """The line of one path."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return f"link -> {rename(os.readlink(path))}"
    marks = [f"{stat.S_IMODE(status.st_mode):04o}", *_owner(status)]
    if stat.S_ISDIR(status.st_mode):
        kind = "dir"
    elif stat.S_ISREG(status.st_mode):
        kind = "file"
        marks += _content(path, status, rename)
    else:
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "?")
    return " ".join([kind, *marks, *_acl(path, kind)])


def _owner(status: os.stat_result) -> list[str]:
    if status.st_uid == 0 and status.st_gid == 0:
        return []
    try:
        user = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        user = str(status.st_uid)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return [f"{user}:{group}"]


def _content(path: str, status: os.stat_result, rename: Callable[[str], str]) -> list[str]:
    marks = []
    if status.st_size > LONGEST_CONTENT:
        marks.append(f"size={status.st_size}")
    else:
        with open(path, "rb") as file:
            data = file.read()
        try:
            marks.append(json.dumps(rename(data.decode()), ensure_ascii=False))
        except UnicodeDecodeError:
            marks.append(f"sha256={hashlib.sha256(data).hexdigest()}")
    if status.st_mtime < FIRST_RECENT_TIME:
        marks.append(f"at={int(status.st_mtime)}")
    if status.st_nlink > 1:
        marks.append(f"links={status.st_nlink}")
    return marks


def _acl(path: str, kind: str) -> list[str]:
    if kind not in ("dir", "file"):
        return []
    entries = [*acl_entries(path, "system.posix_acl_access")]
    entries += ["default:" + entry for entry in acl_entries(path, "system.posix_acl_default")]
    return [f"acl={','.join(entries)}"] if entries else []


def acl_entries(path: str, attribute: str) -> list[str]:
    """The entries of an access control list as ``getfacl`` names them; none where there is no list."""
    try:
        value = os.getxattr(path, attribute)
    except OSError:
        return []
    entries = []
    for tag, perm, identity in struct.iter_unpack("<HHI", value[4:]):
        name = ""
        if tag == _NAMED_USER:
            name = pwd.getpwuid(identity).pw_name
        elif tag == _NAMED_GROUP:
            name = grp.getgrgid(identity).gr_name
        letters = "".join(letter if perm & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
        entries.append(f"{_ACL_TAGS[tag]}:{name}:{letters}")
    return entries
