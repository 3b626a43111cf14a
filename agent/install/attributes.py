"""What a permissions entry gives to an object, and how it is given: in the official agent's order, to its results."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from agent.appspec.model import Permission, SelinuxContext
from agent.install import acl as acls


class Attributes(NamedTuple):
    """What one permissions entry gives to an object, names turned into ids; shared by all objects of the entry.

    ``then`` is what a later entry gives to the same object, which happens through symbolic links only.
    """

    permission: Permission
    uid: int | None = None
    gid: int | None = None
    acl: acls.Acl | None = None
    then: Attributes | None = None

    @property
    def context(self) -> SelinuxContext | None:
        """The SELinux context that the object ends with."""
        found = None
        for step in self.steps():
            found = step.permission.context or found
        return found

    @property
    def mode(self) -> int | None:
        """The mode that the object ends with, or None where none is given."""
        found = None
        for step in self.steps():
            found = found if step.permission.mode is None else step.permission.mode
        return found

    def steps(self) -> Iterator[Attributes]:
        """Return this and what follows it, in the order of application."""
        step: Attributes | None = self
        while step is not None:
            yield step
            step = step.then

    def describe(self) -> str:
        """Say in one line what is set, for a person."""
        return "; then ".join(_describe(step.permission) for step in self.steps())

    @property
    def values(self) -> tuple[object, ...]:
        """What is set by this entry alone; the same values give the same instructions."""
        permission = self.permission
        return permission.mode, permission.acls, permission.context, permission.owner, permission.group

    def instructions(self) -> list[dict[str, object]]:
        """Return the official agent's instructions for this entry alone, in its order and with its keys.

        Each lacks its last key, ``file``: the path that it is for.
        """
        permission = self.permission
        table: list[dict[str, object]] = []
        if permission.mode is not None:
            table.append({"type": "chmod", "mode": f"{permission.mode:03o}"})
        if permission.acls:
            table.append({"type": "setfacl", "acl": [acls.written(entry) for entry in permission.acls]})
        if permission.context is not None:
            context = permission.context
            told = {"user": context.user, "role": None, "type": context.type, "range": context.range}
            table.append({"type": "semanage", "context": told})
        if permission.owner is not None or permission.group is not None:
            table.append({"type": "chown", "owner": permission.owner, "group": permission.group})
        return table


def _describe(permission: Permission) -> str:
    parts = [f"mode {permission.mode:04o}"] if permission.mode is not None else []
    if permission.owner is not None or permission.group is not None:
        parts.append(f"owner {permission.owner or ''}:{permission.group or ''}")
    if permission.acls:
        parts.append(f"acl {','.join(acls.written(entry) for entry in permission.acls)}")
    if permission.context is not None:
        context = permission.context
        parts.append(f"context {context.user or '*'}:*:{context.type}:{context.range or '*'}")
    return ", ".join(parts) or "nothing"


def apply_attributes(
    target: int | str, attributes: Attributes, *, is_directory: bool, shown: str, hidden: bool = False
) -> None:
    """Give an object its owner, group, ACLs and mode; labels are set elsewhere.

    ``target`` is a descriptor or, for an ``O_PATH`` one, what ``by_descriptor`` gives; ``shown`` is the path for
    messages. What comes out is what the official agent's order gives (mode, ACL, owner): where an owner or group is
    given, a file loses setuid and setgid as by chown(2), a directory keeps them. But the owner comes first and the mode
    last, and so the object is never wider than in the end; for a ``hidden`` one this does not matter. Raises OSError
    with a file name, and InstallError where the ACL cannot be set.
    """
    steps = list(attributes.steps())
    try:
        for number, step in enumerate(steps):
            limit = 0o7777
            for later in steps[number + 1 :]:
                limit &= 0o7777 if later.permission.mode is None else later.permission.mode
            _apply(target, step, limit, is_directory, hidden, shown)
    except OSError as error:
        error.filename = shown
        raise


def _apply(target: int | str, step: Attributes, limit: int, is_directory: bool, hidden: bool, shown: str) -> None:
    mode = step.permission.mode
    owned = step.uid is not None or step.gid is not None
    if mode is None or not hidden:
        before = stat.S_IMODE(os.stat(target).st_mode)
        mode = (before if mode is None else mode) & limit
        if owned and not is_directory and before & ~mode & 0o777:
            os.chmod(target, before & mode & 0o777)  # no account sees more of it than in the end
    if owned:
        os.chown(target, -1 if step.uid is None else step.uid, -1 if step.gid is None else step.gid)
    if step.acl is not None:
        default = acls.default_acl(step.acl, mode=mode)
        acls.apply(target, acls.access_acl(step.acl, mode=mode), default, shown=shown)
        mode = os.stat(target).st_mode & 0o777 | mode & 0o7000
    if owned and not is_directory:
        mode &= ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
    if step.permission.mode is not None or step.acl is not None:
        os.chmod(target, mode)
