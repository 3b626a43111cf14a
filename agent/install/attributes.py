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

    def steps(self) -> Iterator[Attributes]:
        """Give this and what follows it, in the order of application."""
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
        """Give the official agent's instructions for this entry alone, in its order and with its keys.

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


def apply_attributes(target: int | str, attributes: Attributes, *, is_directory: bool, shown: str = "") -> None:
    """Give an object its mode, ACLs, owner and group, by descriptor or by real path; labels are set elsewhere.

    The order is the official agent's. The owner comes last, so the kernel clears setuid and setgid of a file
    whose owner or group is given, also to what it was; folders keep theirs. ``shown`` is the path for messages. Raises
    OSError with a file name, and InstallError where the ACL cannot be set.
    """
    if isinstance(target, int):
        _apply_all(target, attributes, is_directory, shown or f"descriptor {target}")
        return
    # The owner of the folder may exchange the name for a link meanwhile; what is opened here stays the same object.
    descriptor = os.open(target, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _apply_all(f"/proc/self/fd/{descriptor}", attributes, is_directory, shown or target)
    finally:
        os.close(descriptor)


def _apply_all(target: int | str, attributes: Attributes, is_directory: bool, shown: str) -> None:
    try:
        for step in attributes.steps():
            _apply(target, step, is_directory, shown)
    except OSError as error:
        error.filename = shown
        raise


def _apply(target: int | str, step: Attributes, is_directory: bool, shown: str) -> None:
    mode = step.permission.mode
    owned = step.uid is not None or step.gid is not None
    if mode is not None:
        # Not even for a moment is there a file that runs as the agent's user and soon belongs to another.
        os.chmod(target, mode & ~stat.S_ISUID if owned and not is_directory else mode)
    if step.acl is not None:
        now = stat.S_IMODE(os.stat(target).st_mode)
        default = acls.default_acl(step.acl, mode=now)
        acls.apply(target, acls.access_acl(step.acl, mode=now), default, shown=shown)
    if owned:
        os.chown(target, -1 if step.uid is None else step.uid, -1 if step.gid is None else step.gid)
