"""Exchange the names: from here on the host sees the new revision, file by file, never half a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from agent.filesystem.copying import copy_bytes
from agent.install import acl
from agent.install.attributes import apply_attributes
from agent.install.plan import ADJUST, CREATE, IN_PLACE, REMOVE, REPLACE, RESET, SWAP, Operation, Plan
from agent.install.reset import reset_folder


def check_names(plan: Plan) -> None:
    """Look whether every folder is still where the plan saw it, so that nobody leads the commit elsewhere.

    Who owns a folder of the application may exchange it for a link while files are copied. Raises OSError.
    """
    folders = {os.path.dirname(operation.path) for operation in plan.operations}
    folders.update(operation.path for operation in plan.operations if operation.kind == RESET)
    for folder in sorted(folders):
        if os.path.realpath(folder) != folder:
            raise OSError(errno.EEXIST, "This became a symbolic link while the revision was being installed", folder)


def commit(plan: Plan) -> None:
    """Carry out every operation of a staged plan. Raises OSError; the journal tells the way back."""
    for operation in plan.operations:
        change = _COMMIT.get(operation.kind)
        if change is not None:
            change(operation)
        if operation.kind in (RESET, ADJUST) and operation.path in plan.attributes:
            is_directory = os.path.isdir(operation.path)
            apply_attributes(operation.path, plan.attributes[operation.path], is_directory=is_directory)


def _create(operation: Operation) -> None:
    # A rename would silently take the place of whatever somebody has put there since the plan was made.
    if os.path.lexists(operation.path):
        raise FileExistsError(
            errno.EEXIST, "Something appeared here while the revision was being installed", operation.path
        )
    os.rename(operation.temp, operation.path)


def _replace(operation: Operation) -> None:
    if not os.path.lexists(operation.backup):
        os.rename(operation.path, operation.backup)
    os.rename(operation.temp, operation.path)


def _remove(operation: Operation) -> None:
    try:
        os.rename(operation.path, operation.backup)
    except FileNotFoundError:
        return  # somebody was quicker; the aim is reached


def _write_in_place(operation: Operation) -> None:
    overwrite(operation.temp, operation.path)
    os.unlink(operation.temp)


def overwrite(source: str, target: str) -> None:
    """Give a file the content, mode, owner, ACL and times of another without renaming it. Raises OSError."""
    reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        writer = os.open(target, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            status = os.fstat(reader)
            copy_bytes(reader, writer, status.st_size)
            os.fchown(writer, status.st_uid, status.st_gid)
            os.fchmod(writer, status.st_mode & 0o7777)
            acl.write(writer, acl.read(reader)[0], None)
            os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


_COMMIT: dict[str, Callable[[Operation], None]] = {
    CREATE: _create,
    REPLACE: _replace,
    SWAP: _replace,
    IN_PLACE: _write_in_place,
    REMOVE: _remove,
    RESET: lambda operation: reset_folder(operation.path),
}
