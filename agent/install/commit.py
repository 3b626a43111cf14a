"""Exchange the names: from here on the host sees the new revision, file by file, never half a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress

from agent.filesystem.copying import copy_bytes
from agent.filesystem.directories import Directories, MovedError, by_descriptor
from agent.filesystem.kernel import Identity, identity
from agent.install import acl
from agent.install.attributes import apply_attributes
from agent.install.plan import ADJUST, CREATE, IN_PLACE, REMOVE, REPLACE, RESET, SWAP, Operation, Plan
from agent.install.reset import reset_directory


def check_names(plan: Plan, directories: Directories) -> None:
    """Raise MovedError where a directory is not under its name any more, so that no file is installed elsewhere.

    The owner of the directory above may exchange it while files are copied.
    """
    above = {operation.path[: operation.path.rfind("/")] or "/" for operation in plan.operations}
    above.update(operation.path for operation in plan.operations if operation.kind == RESET)
    directories.verify(sorted(above))


class Committer:
    """Carries out the operations of one staged plan; ``before`` tells what was at their paths when it was journalled.

    ``unlinked`` are the paths whose old object has no backup yet. What is another object by now is left alone. Raises
    OSError, MovedError for that; the journal tells the way back.
    """

    def __init__(
        self, plan: Plan, directories: Directories, before: Mapping[str, Identity], *, unlinked: Collection[str] = ()
    ) -> None:
        self._plan = plan
        self._directories = directories
        self._before = before
        self._unlinked = unlinked

    def run(self) -> None:
        """Do all of it."""
        ways = {
            CREATE: self._create,
            REPLACE: self._replace,
            SWAP: self._replace,
            IN_PLACE: self._write_in_place,
            REMOVE: self._remove,
            RESET: self._set_metadata,
            ADJUST: self._set_metadata,
        }
        for operation in self._plan.operations:
            ways[operation.kind](operation)

    def _create(self, operation: Operation) -> None:
        # A plain rename would silently take the place of what another process has put there since the plan was made.
        self._directories.rename_to_free_name(operation.temp, operation.path)

    def _replace(self, operation: Operation) -> None:
        if operation.kind == SWAP or operation.path in self._unlinked:
            self._directories.take(operation.path, operation.backup, self._before[operation.path])
            self._directories.rename_to_free_name(operation.temp, operation.path)
        else:
            self._directories.rename(operation.temp, operation.path)

    def _remove(self, operation: Operation) -> None:
        before = self._before.get(operation.path)
        if before is None:
            return  # it is gone already
        with suppress(FileNotFoundError):
            self._directories.take(operation.path, operation.backup, before)

    def _write_in_place(self, operation: Operation) -> None:
        overwrite(self._directories, operation.temp, operation.path, self._before[operation.path])
        self._directories.remove_file(operation.temp)

    def _set_metadata(self, operation: Operation) -> None:
        """Give an object that stays the metadata of a new one, and what permissions ask for."""
        attributes = self._plan.attributes.get(operation.path)
        before = self._before[operation.path]
        with self._directories.pinned(operation.path) as pinned:
            if not identity("", pinned).is_same(before):
                raise MovedError(operation.path)
            if operation.kind == RESET:
                above = self._directories.open(os.path.dirname(operation.path))
                reset_directory(pinned, above, mode=attributes.mode if attributes else None)
            if attributes is not None:
                is_directory = stat.S_ISDIR(before.type)
                apply_attributes(by_descriptor(pinned), attributes, is_directory=is_directory, shown=operation.path)


def overwrite(directories: Directories, source: str, target: str, before: Identity) -> None:
    """Give a file the content, mode, owner, ACL and times of another without renaming it.

    Meanwhile no account can read more of it than afterwards, except by a descriptor that it has already. Raises
    OSError, MovedError where the target is another file than ``before``.
    """
    reader = directories.open_file(source, os.O_RDONLY)
    try:
        writer = directories.open_file(target, os.O_WRONLY)
        try:
            if not identity("", writer).is_same(before, same_boot=directories.same_boot):
                raise MovedError(target)
            _overwrite(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _overwrite(reader: int, writer: int) -> None:
    status, now, access = os.fstat(reader), os.fstat(writer), acl.read(reader)[0]
    os.ftruncate(writer, 0)
    desired = (status.st_uid, status.st_gid, status.st_mode, access)
    if desired != (now.st_uid, now.st_gid, now.st_mode, acl.read(writer)[0]):
        os.fchmod(writer, 0o600)
        os.fchown(writer, status.st_uid, status.st_gid)
    copy_bytes(reader, writer, status.st_size)
    acl.write(writer, access, None)
    if os.fstat(writer).st_mode != status.st_mode:
        os.fchmod(writer, stat.S_IMODE(status.st_mode))
    os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.fsync(writer)  # what is mounted here may be of a file system that nothing else of the Install is on
