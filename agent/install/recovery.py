"""Going back or forward by the journal: after an error, after a kill, after a power cut.

Every step may be repeated any number of times, because recovery itself may be interrupted: what has happened is read
from the names on the host, never from the memory of an earlier attempt. A name that stands for another object than
the journal says is left alone, and named.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Mapping

from agent.filesystem.boot import boot_id
from agent.filesystem.directories import Directories, MovedError
from agent.filesystem.durable import write_durably
from agent.filesystem.kernel import Identity
from agent.install.cleanup_list import CleanupFile, digest
from agent.install.commit import overwrite
from agent.install.journal import (
    COMMITTED,
    REVERTED,
    REVERTING,
    STAGED,
    VERSION,
    InstallRecord,
    InstallStep,
    Journal,
    JournalDamagedError,
)
from agent.install.labels import drop_rules
from agent.install.plan import ADJUST, CREATE, IN_PLACE, REMOVE, RESET, SWAP
from agent.install.planner import mount_points
from agent.install.reset import write_metadata
from agent.install.selinux import undo_rule
from agent.install.state import InstallState

_NOT_EMPTY_OR_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST})
_NOT_REMOVABLE = frozenset({errno.EBUSY, errno.EPERM, errno.EACCES, errno.EROFS})

_NAMED_AT_MOST = 10
_UNTIL_THEN = "Until then everything stays as it is."

_log = logging.getLogger(__name__)


def recover(journal: Journal, state: InstallState, *, installing: str) -> str:
    """Bring one interrupted Install to its end; tell what was done, or nothing where nothing was open.

    Afterwards the host is wholly as before that Install or wholly as that Install was to leave it, and the clean-up
    list names exactly what is there. Where a directory of it is missing, its file system may not be mounted yet: then
    all stays as it is, but for the group that is ``installing`` now, whose clean-up will take away all that the list of
    meanwhile names. Raises OSError where the disk still refuses; then the journal stays and the next recovery goes on.
    """
    try:
        record = journal.read()
    except JournalDamagedError as error:
        return (
            f"The journal of an interrupted Install cannot be read and was set aside as {journal.set_aside()}: {error}"
        )
    if record is None:
        return ""
    same_boot = record.boot == boot_id()
    with Directories(known=record.directories, same_boot=same_boot) as directories:
        said = _bring_to_its_end(record, journal, state, directories, installing=installing)
    return f"An Install of deployment group {record.group} was interrupted. {said}"


def _bring_to_its_end(
    record: InstallRecord, journal: Journal, state: InstallState, directories: Directories, *, installing: str
) -> str:
    cleanup = state.cleanup_file(record.group)
    found = digest(cleanup.content())
    forward = COMMITTED in record.marks and REVERTING not in record.marks
    untouched = STAGED not in record.marks or REVERTED in record.marks
    left: list[str] = []
    if found == record.digests["during"]:
        missing = _missing_directory(record)
        if missing and record.group != installing:
            return f"The directory {missing} is not there: mount its file system. {_UNTIL_THEN}"
        if missing:
            aside = journal.set_aside()
            return f"Its directory {missing} is gone, so the clean-up takes away the rest; the journal is now {aside}."
        if forward:
            left = go_forward(record, journal, state, directories)
        elif record.group != installing and (file := _unmounted_file(record)):
            return f"Nothing is mounted on {file}, which is to get its old content back: mount it. {_UNTIL_THEN}"
        else:
            left = go_back(record, journal, cleanup, directories)
    elif forward or (untouched and found == record.digests["before"]):
        journal.end()  # all was done but this, or another agent has cleaned up since; or nothing had begun
    else:
        # Only our own list of the time between names the temporary objects: without it somebody else has worked here.
        aside = journal.set_aside()
        return f"Another agent has changed the clean-up list since; nothing was touched, the journal is now {aside}."
    done = "It was completed." if forward else "It was undone; the host is as it was before it."
    return " ".join([done, left_alone(left)]) if left else done


def left_alone(paths: list[str]) -> str:
    """Return a message about names that stand for other objects than the journal says, and what to do."""
    rest = len(paths) - _NAMED_AT_MOST
    shown = ", ".join(paths[:_NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
    return (
        f"Another process has exchanged these names since the Install began, and the agent left them alone: {shown}."
        " Check them by hand. A directory .codedeploy-*~ beside them keeps, as *.kept, what was there before; remove it"
        " when you are done."
    )


def go_back(record: InstallRecord, journal: Journal, cleanup: CleanupFile, directories: Directories) -> list[str]:
    """Leave the host as it was before the Install; give the names that were left alone. Raises OSError."""
    undoing = _Undoing(record, directories)
    changed, objects = directories_of(record), changed_objects(record)
    if REVERTED not in record.marks:
        if STAGED in record.marks:
            if REVERTING not in record.marks:
                journal.mark(REVERTING)
            for step in reversed(record.steps):
                undoing.revert(step)
        for rule in reversed(record.rules):
            undo_rule(rule, directories)
        directories.sync(changed, objects=objects)
        journal.mark(REVERTED)
    for step in record.steps:
        undoing.drop(step)
    undoing.remove_stages()
    directories.sync(changed, objects=objects)
    before = None if record.cleanup_before is None else os.fsencode(record.cleanup_before)
    cleanup.restore(before, odd=record.odd_before)
    journal.end()
    return undoing.left


def go_forward(record: InstallRecord, journal: Journal, state: InstallState, directories: Directories) -> list[str]:
    """Finish a committed Install: drop what was kept aside and old directories, write list and pointer.

    Gives the names that were left alone. Raises OSError.
    """
    finishing = _Undoing(record, directories)
    swapped = tuple(f"{step.path}/" for step in record.steps if step.kind == SWAP)
    for step in record.steps:
        finishing.drop_old(step)
    finishing.remove_stages()
    # What lay in a directory that was swapped out went with it; its name may lead anywhere by now.
    obsolete = [path for path in record.obsolete if not path.startswith(swapped)]
    kept: list[str] = []
    for path in obsolete:
        # One that holds such a directory stays with it; the list is worked off backwards, so it comes before.
        if not _remove_directory(path, directories) or any(other.startswith(f"{path}/") for other in kept):
            kept.insert(0, path)
    drop_rules(record.obsolete_rules)
    directories.sync(directories_of(record), objects=changed_objects(record))
    # The list comes last: once it is there, nothing is left to do.
    write_durably(state.last_successful(record.group), os.fsencode(record.deployment_dir), mode=state.file_mode)
    cleanup = state.cleanup_file(record.group)
    # The first journals knew no identities; then the directories count by their names, as those of older lists do.
    own = _own_directories(record, cleanup.directories(), directories) if record.version == VERSION else None
    cleanup.write([*kept, *record.cleanup_after], keep=[record.digests["during"]], directories=own)
    journal.end()
    return finishing.left


def _own_directories(
    record: InstallRecord, before: Mapping[str, Identity | None], directories: Directories
) -> dict[str, Identity | None]:
    """Return the directories that this group has made: now, or earlier, also where a stranger's file keeps one."""
    own: dict[str, Identity | None] = {step.path: step.before for step in record.steps if step.kind == RESET}
    own.update(record.installed)
    for path, known in before.items():
        if path not in own and (path in directories.identities or (known and directories.is_directory(path, known))):
            own[path] = known or directories.identities[path]
    return own


def _remove_directory(path: str, directories: Directories) -> bool:
    """Remove an old directory that the official agent would remove; return False where it must stay listed."""
    try:
        directories.remove_empty(path)
    except MovedError:
        return True
    except OSError as error:
        if error.errno in _NOT_EMPTY_OR_GONE:
            return True
        if error.errno not in _NOT_REMOVABLE:
            raise
        _log.warning("The old directory %s cannot be removed (%s); it stays listed", path, error.strerror)
        return False
    return True


class _Undoing:
    """Puts back, or drops, what single steps have done; ``left`` are the names that stand for something else now."""

    def __init__(self, record: InstallRecord, directories: Directories) -> None:
        self.left: list[str] = []
        self._record = record
        self._directories = directories
        self._private: dict[str, bool] = {}
        self._filled: set[str] = set()

    def revert(self, step: InstallStep) -> None:
        """Put the old object back under its name. Raises OSError."""
        try:
            reverting = {RESET: self._revert_metadata, ADJUST: self._revert_metadata, CREATE: self._revert_creation}
            reverting.get(step.kind, self._revert_replacement)(step)
        except MovedError:
            self._leave(step.path)
            self._keep(step.backup)

    def _revert_metadata(self, step: InstallStep) -> None:
        if step.old is None:
            return
        try:
            with self._directories.pinned(step.path) as pinned:
                if step.before is not None and not self._directories.is_object(pinned, step.before):
                    raise MovedError(step.path)
                write_metadata(pinned, step.old)
        except FileNotFoundError:
            return

    def _revert_creation(self, step: InstallStep) -> None:
        # With its temporary name gone the rename has happened: what is there now is ours.
        if not self._is_there(step.temp) and self._directories.is_there(step.path):
            self._take_out(step)

    def _keep(self, backup: str) -> None:
        """Give what cannot be put back a name by which nothing will drop it, now or after a kill."""
        if backup and self._is_there(backup):
            self._directories.rename(backup, f"{backup}.kept")

    def _take_out(self, step: InstallStep) -> None:
        """Take the new object away from its path, back to its temporary name."""
        if step.made and self._directories.status(step.path).st_ino != step.made:
            raise MovedError(step.path)
        self._directories.rename(step.path, step.temp)
        if step.made and self._directories.status(step.temp).st_ino != step.made:
            self._directories.rename_to_free_name(step.temp, step.path)
            raise MovedError(step.path)

    def _revert_replacement(self, step: InstallStep) -> None:
        if not self._is_there(step.backup):
            return
        if step.kind == IN_PLACE:
            self._revert_content(step)
            return
        try:
            now = self._directories.status(step.path)
        except FileNotFoundError:
            self._directories.rename_to_free_name(step.backup, step.path)
            return
        old = self._directories.status(step.backup)
        if (now.st_dev, now.st_ino) == (old.st_dev, old.st_ino):
            return  # nothing was exchanged yet; the backup name is dropped later
        if step.kind == REMOVE or (step.made and now.st_ino != step.made):
            raise MovedError(step.path)
        if stat.S_ISDIR(old.st_mode) or stat.S_ISDIR(now.st_mode):
            self._take_out(step)
        self._directories.rename(step.backup, step.path)

    def _revert_content(self, step: InstallStep) -> None:
        before = step.before or self._directories.identity(step.path)
        overwrite(self._directories, step.backup, step.path, before)

    def drop(self, step: InstallStep) -> None:
        """Remove what was built for a step, a whole directory too, and its backup. Raises OSError."""
        for name in (step.temp, step.backup if step.kind != REMOVE else ""):
            if name and self._is_there(name):
                self._directories.remove_all(name)

    def drop_old(self, step: InstallStep) -> None:
        """Remove an old object that was kept aside; of a directory only what the plan has emptied. Raises OSError."""
        if not step.backup or not self._is_ours(step.backup):
            return
        try:
            self._directories.remove_file(step.backup)
        except (IsADirectoryError, PermissionError):
            if not stat.S_ISDIR(self._directories.status(step.backup).st_mode):
                raise
            if not self._directories.remove_empty_tree(step.backup):
                text = (
                    "Another process put something into the directory %s while it was replaced. The agent keeps it as"
                    " %s: move what you need, and remove the rest"
                )
                _log.warning(text, step.path, step.backup)
                self._filled.add(os.path.dirname(step.backup))

    def remove_stages(self) -> None:
        """Remove the private directories; one that was exchanged, or that keeps something, stays."""
        for stage in self._record.stages:
            if stage in self._filled or not self._is_private(stage):
                continue
            try:
                self._directories.remove_empty(stage)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                self._leave(stage)

    def _is_there(self, name: str) -> bool:
        """Return whether a temporary name exists, in a directory that is ours alone."""
        return self._is_ours(name) and self._directories.is_there(name)

    def _is_ours(self, name: str) -> bool:
        return not self._record.stages or self._is_private(name[: name.rfind("/")])

    def _is_private(self, stage: str) -> bool:
        known = self._private.get(stage)
        if known is None:
            try:
                known = self._directories.is_private(stage)
            except FileNotFoundError:
                known = self._private[stage] = False  # not made yet, or gone already
                return known
            except MovedError:
                known = False
            if not known:
                self._leave(stage)
            self._private[stage] = known
        return known

    def _leave(self, name: str) -> None:
        if name not in self.left:
            self.left.append(name)


def _missing_directory(record: InstallRecord) -> str:
    """Name a directory that was there when the Install began and that it cannot have taken away itself."""
    swapped = tuple(f"{step.path}/" for step in record.steps if step.kind == SWAP)
    mounts = mount_points()
    for path in sorted(directories_of(record)):
        gone = not os.path.isdir(path) or (path in record.mounted and path not in mounts)
        if gone and path not in record.obsolete and not f"{path}/".startswith(swapped):
            return path
    return ""


def _unmounted_file(record: InstallRecord) -> str:
    """Name a file that was to be written in place, while something was mounted on it that is not there now."""
    if STAGED not in record.marks or REVERTED in record.marks:
        return ""
    mounts = mount_points()
    return next((step.path for step in record.steps if step.kind == IN_PLACE and step.path not in mounts), "")


def directories_of(record: InstallRecord) -> list[str]:
    """The directories that hold the changed names, for syncing their file systems."""
    paths = [*(step.path for step in record.steps), *record.obsolete]
    return sorted({path[: path.rfind("/")] or "/" for path in paths})


def changed_objects(record: InstallRecord) -> list[str]:
    """Return the objects that are changed under their names: what is mounted there may be of other file systems."""
    return [step.path for step in record.steps if step.kind in (IN_PLACE, RESET, ADJUST)]
