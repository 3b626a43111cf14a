"""The accounts that scripts run as."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple


class Account(NamedTuple):
    """A user of this host with all groups, its own first."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def find_account(name: str) -> Account:
    """The account with this name, or with this number if it is decimal and no account has it as its name.

    Raises LookupError if there is none.
    """
    try:
        entry = _look_up(name)
    except (ValueError, OverflowError) as error:  # a NUL in the name, or a number larger than any user's
        raise LookupError(name) from error
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir, entry.pw_shell or "/bin/sh")


def _look_up(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        if name.isascii() and name.isdecimal():
            return pwd.getpwuid(int(name))
        raise


def first_closed_directory(path: str, account: Account) -> str | None:
    """The outermost directory on the way to an absolute path which this account may not pass, by the modes alone."""
    directory = ""
    for name in os.path.dirname(path).split("/"):
        directory = f"{directory}{name}/"
        try:
            status = os.stat(directory)
        except OSError:
            return None
        if status.st_uid == account.uid:
            bit = 0o100
        elif status.st_gid in account.groups:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return directory.rstrip("/") or "/"
    return None
