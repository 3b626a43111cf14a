"""Which other accounts may change a script that is about to run, or put another file in its place."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from agent.hooks.accounts import Account

USER_OWNS = "user owns"
USER_WRITES = "user writes"
GROUP_WRITES = "group writes"
ALL_WRITE = "all write"

_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS_AT_MOST = 40  # as in the kernel
_NAMED_AT_MOST = 3

_GROUP_BIT, _OTHER_BIT = 0o020, 0o002
# The entries of an access control list that grant more than owner and others (linux/posix_acl_xattr.h).
_ACL_KINDS = {0x02: USER_WRITES, 0x04: GROUP_WRITES, 0x08: GROUP_WRITES}
_ACL_GROUP_OBJ = 0x04
_ACL_HEAD, _ACL_ITEM, _ACL_WRITE = 4, 8, 0o2


class ScriptWriter(NamedTuple):
    """A right to write to ``path``: its kind, and the number of the user or group that has it."""

    kind: str
    number: int
    path: str

    def __str__(self) -> str:
        if self.kind == USER_OWNS:
            return f"{_user(self.number)} owns {self.path}"
        if self.kind == ALL_WRITE:
            return f"every account may write to {self.path}"
        who = _user(self.number) if self.kind == USER_WRITES else _group(self.number)
        return f"{who} may write to {self.path}"


def other_writers(path: str, account: Account | None) -> list[ScriptWriter]:
    """Return the rights of accounts other than root and ``account`` to change the script at an absolute path.

    The directories on the way from ``/`` and the file are opened one by one, with links resolved by hand, so that each
    object is judged and not what its name means a moment later. An empty list stays true until the exec: what no other
    account may write, no other account can exchange. Raises OSError where there is no such file.
    """
    users, groups = {0}, {0}
    if account is not None:
        users.add(account.uid)
        groups.add(account.gid)
    walk = _Walk(users, groups)
    try:
        walk.follow(path)
    finally:
        walk.end()
    return list(walk.found)[::-1]  # what is nearest to the script comes first


def permit_execution(path: str, *, only_below: str | None) -> int:
    """Give a file the permission to be executed; return the mode that it had.

    With ``only_below`` the file must lie below this directory and have no other name, so that an account that
    may put a link there does not choose a file of the host. Raises OSError.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        opened = f"/proc/self/fd/{descriptor}"
        if only_below is not None:
            inside = os.readlink(opened).startswith(f"{os.path.realpath(only_below)}/")
            if not inside or (status.st_nlink > 1 and stat.S_ISREG(status.st_mode)):
                raise PermissionError(errno.EPERM, "another account may have put a link there", path)
        os.chmod(opened, stat.S_IMODE(status.st_mode) | 0o111)
        return stat.S_IMODE(status.st_mode)
    finally:
        os.close(descriptor)


class _Walk:
    """A walk from ``/`` to one file, with everything found on the way."""

    def __init__(self, users: Collection[int], groups: Collection[int]) -> None:
        self.found: dict[ScriptWriter, None] = {}
        self._users = users
        self._groups = groups
        self._path = "/"
        self._descriptor = os.open("/", _STEP)

    def end(self) -> None:
        """Close what is open."""
        os.close(self._descriptor)

    def follow(self, path: str) -> None:
        """Go to the file, or where links lead, and judge each directory and the file."""
        ahead = path.split("/")[::-1]
        links = 0
        while ahead:
            name = ahead.pop()
            if name in ("", "."):
                continue
            child = os.open(name, _STEP, dir_fd=self._descriptor)
            status = os.fstat(child)
            if name != "..":
                self._judge_directory(name, status)
            if not stat.S_ISLNK(status.st_mode):
                self._move(child, os.path.normpath(os.path.join(self._path, name)))
                continue
            links += 1
            target = _target(child)
            if links > _LINKS_AT_MOST:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                self._move(os.open("/", _STEP), "/")
            ahead += target.split("/")[::-1]
        self._note(os.fstat(self._descriptor), by_bits=True)

    def _move(self, descriptor: int, path: str) -> None:
        os.close(self._descriptor)
        self._descriptor, self._path = descriptor, path

    def _judge_directory(self, name: str, child: os.stat_result) -> None:
        status = os.fstat(self._descriptor)
        # With the sticky bit only the owner of what is under a name may exchange it, and the owner of the directory.
        sticky = bool(status.st_mode & stat.S_ISVTX)
        self._note(status, by_bits=not sticky)
        if sticky and stat.S_ISLNK(child.st_mode) and child.st_uid not in self._users:
            self.found[ScriptWriter(USER_OWNS, child.st_uid, os.path.join(self._path, name))] = None

    def _note(self, status: os.stat_result, *, by_bits: bool) -> None:
        if status.st_uid not in self._users:
            self.found[ScriptWriter(USER_OWNS, status.st_uid, self._path)] = None
        if not by_bits:
            return
        # Where there is an access control list these bits are its mask, without which no entry lets an account write.
        if status.st_mode & _GROUP_BIT:
            for kind, number in _granted(self._descriptor, status.st_gid):
                if number not in (self._users if kind == USER_WRITES else self._groups):
                    self.found[ScriptWriter(kind, number, self._path)] = None
        if status.st_mode & _OTHER_BIT:
            self.found[ScriptWriter(ALL_WRITE, 0, self._path)] = None


def _target(link: int) -> str:
    """Return the target of a link, and close its descriptor."""
    try:
        return os.readlink("", dir_fd=link)
    finally:
        os.close(link)


def _granted(descriptor: int, group: int) -> Iterator[tuple[str, int]]:
    """Yield who may write by the group's bits: the group, or whom the access control list names."""
    try:
        entries = os.getxattr(f"/proc/self/fd/{descriptor}", "system.posix_acl_access")
    except OSError:  # there is none
        yield GROUP_WRITES, group
        return
    for at in range(_ACL_HEAD, len(entries), _ACL_ITEM):
        tag, rights = (int.from_bytes(entries[at + skip : at + skip + 2], "little") for skip in (0, 2))
        if tag in _ACL_KINDS and rights & _ACL_WRITE:
            number = int.from_bytes(entries[at + 4 : at + _ACL_ITEM], "little")
            yield _ACL_KINDS[tag], group if tag == _ACL_GROUP_OBJ else number


def explain_writers(found: Sequence[ScriptWriter], archive: str) -> str:
    """Return sentences that name who may change a script of an archive, and say what to do."""
    named = [str(writer) for writer in found[:_NAMED_AT_MOST]]
    if len(found) > _NAMED_AT_MOST:
        named.append(f"and {len(found) - _NAMED_AT_MOST} more")
    top = os.path.realpath(archive)
    inside = [writer for writer in found if f"{writer.path}/".startswith(f"{top}/")]
    advice = []
    if any(writer.kind == USER_OWNS for writer in inside):
        advice.append(
            "Pack the bundle with root as its owner (tar --owner=0 --group=0), or set ignore_ownership_in_bundle: true."
        )
    if any(writer.kind != USER_OWNS for writer in inside):
        advice.append("Remove the right to write for group and others before packing (chmod -R go-w).")
    if len(inside) < len(found):
        advice.append("What lies outside the revision must belong to root and be writable for root alone.")
    return f"{'; '.join(named)}. {' '.join(advice)}"


def _user(number: int) -> str:
    try:
        return f"user {pwd.getpwuid(number).pw_name} ({number})"
    except KeyError:
        return f"user number {number} (no account yet, perhaps a later one)"


def _group(number: int) -> str:
    import grp  # only a warning needs it

    try:
        return f"group {grp.getgrgid(number).gr_name} ({number})"
    except KeyError:
        return f"group number {number} (no group yet, perhaps a later one)"
