"""Going back or forward by the journal: after an error, after a kill, after a power cut.

Every step may be repeated any number of times, because recovery itself may be interrupted: what has happened is read
from the names on the host, never from the memory of an earlier attempt.
"""

from __future__ import annotations

import errno
import logging
import os
import stat

from agent.filesystem.durable import remove_if_there, sync_file_systems, write_durably
from agent.filesystem.trees import remove_tree
from agent.install.cleanup_list import CleanupFile, digest
from agent.install.commit import overwrite
from agent.install.journal import COMMITTED, REVERTED, REVERTING, STAGED, Journal, JournalDamagedError, Record, Step
from agent.install.labels import drop_rules
from agent.install.plan import ADJUST, CREATE, IN_PLACE, REMOVE, RESET, SWAP, TEMPORARY_PREFIX
from agent.install.reset import write_metadata
from agent.install.selinux import undo_rule
from agent.install.state import InstallState

_NOT_EMPTY_OR_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST})
_NOT_REMOVABLE = frozenset({errno.EBUSY, errno.EPERM, errno.EACCES, errno.EROFS})

_log = logging.getLogger(__name__)


def recover(journal: Journal, state: InstallState, *, installing: str) -> str:
    """Bring one interrupted Install to its end; tell what was done, or nothing where nothing was open.

    Afterwards the host is wholly as before that Install or wholly as it wanted it, and the clean-up list names exactly
    what is there. Where a folder of it is missing, its file system may not be mounted yet: then all stays as it is, but
    for the group that is ``installing`` now, whose clean-up will take away all that the list of meanwhile names.
    Raises OSError where the disk still refuses; then the journal stays and the next recovery goes on.
    """
    try:
        record = journal.read()
    except JournalDamagedError as error:
        return (
            f"The journal of an interrupted Install cannot be read and was set aside as {journal.set_aside()}: {error}"
        )
    if record is None:
        return ""
    said = _bring_to_its_end(record, journal, state, installing=installing)
    return f"An Install of deployment group {record.group} was interrupted. {said}"


def _bring_to_its_end(record: Record, journal: Journal, state: InstallState, *, installing: str) -> str:
    cleanup = state.cleanup_file(record.group)
    found = digest(cleanup.content())
    forward = COMMITTED in record.marks and REVERTING not in record.marks
    untouched = STAGED not in record.marks or REVERTED in record.marks
    if found == record.digests["during"]:
        missing = _missing_folder(record)
        if missing and record.group != installing:
            return f"The folder {missing} is not there: mount its file system. Until then everything stays as it is."
        if missing:
            aside = journal.set_aside()
            return f"Its folder {missing} is gone, so the clean-up takes away the rest; the journal is now {aside}."
        if forward:
            go_forward(record, journal, state)
        else:
            go_back(record, journal, cleanup)
    elif forward or (untouched and found == record.digests["before"]):
        journal.end()  # all was done but this, or another agent has cleaned up since; or nothing had begun
    else:
        # Only our own list of the time between names the temporary objects: without it somebody else has worked here.
        aside = journal.set_aside()
        return f"Another agent has changed the clean-up list since; nothing was touched, the journal is now {aside}."
    return "It was completed." if forward else "It was undone; the host is as it was before it."


def go_back(record: Record, journal: Journal, cleanup: CleanupFile) -> None:
    """Leave the host as it was before the Install. Raises OSError."""
    folders = folders_of(record)
    if REVERTED not in record.marks:
        if STAGED in record.marks:
            if REVERTING not in record.marks:
                journal.mark(REVERTING)
            for step in reversed(record.steps):
                _revert(step)
        for rule in reversed(record.rules):
            undo_rule(rule)
        sync_file_systems(folders)
        journal.mark(REVERTED)
    for step in record.steps:
        _drop(step.temp)
        if step.kind != REMOVE:
            _drop(step.backup)
    sync_file_systems(folders)
    before = None if record.cleanup_before is None else os.fsencode(record.cleanup_before)
    cleanup.restore(before, odd=record.odd_before)
    journal.end()


def go_forward(record: Record, journal: Journal, state: InstallState) -> None:
    """Finish a committed Install: drop what was kept aside and old folders, write list and pointer. Raises OSError."""
    swapped = tuple(f"{step.path}/" for step in record.steps if step.kind == SWAP)
    for step in record.steps:
        # What lay in a folder that was swapped out went with it; its name may lead anywhere by now.
        if step.backup and not step.path.startswith(swapped):
            _drop_old(step.backup)
    kept = [path for path in record.obsolete if not _remove_folder(path)]
    drop_rules(record.obsolete_rules)
    sync_file_systems(folders_of(record))
    # The list comes last: once it is there, nothing is left to do.
    write_durably(state.last_successful(record.group), os.fsencode(record.deployment_dir), mode=state.file_mode)
    state.cleanup_file(record.group).write([*kept, *record.cleanup_after], keep=[record.digests["during"]])
    journal.end()


def _remove_folder(path: str) -> bool:
    """Remove an old folder that the official agent would remove; tell whether the matter is settled."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno in _NOT_EMPTY_OR_GONE:
            return True
        if error.errno not in _NOT_REMOVABLE:
            raise
        _log.warning("The old folder %s cannot be removed (%s); it stays listed", path, error.strerror)
        return False
    return True


def _revert(step: Step) -> None:
    """Put the old object back under its name."""
    if step.kind in (RESET, ADJUST):
        if step.old is not None:
            write_metadata(step.path, step.old)
    elif step.kind == CREATE:
        # With its temporary name gone the rename has happened: what is there now is ours.
        if not os.path.lexists(step.temp) and os.path.lexists(step.path):
            os.rename(step.path, step.temp)
    elif step.kind == IN_PLACE:
        if os.path.lexists(step.backup):
            overwrite(step.backup, step.path)
    elif os.path.lexists(step.backup):
        _restore(step)


def _restore(step: Step) -> None:
    old = os.lstat(step.backup)
    try:
        new = os.lstat(step.path)
    except FileNotFoundError:
        os.rename(step.backup, step.path)
        return
    if step.temp and (stat.S_ISDIR(old.st_mode) or stat.S_ISDIR(new.st_mode)):
        os.rename(step.path, step.temp)
    # Where both names are the same object still, this does nothing (rename(2)); the backup name is dropped later.
    os.rename(step.backup, step.path)


def _drop(name: str) -> None:
    """Remove something that was built for this Install, a whole folder too."""
    if not name:
        return
    try:
        remove_if_there(name)
    except (IsADirectoryError, PermissionError):
        if not os.path.isdir(name):
            raise
        remove_tree(name)


def _drop_old(name: str) -> None:
    """Remove an old object that was kept aside; of a folder only what the plan has emptied, never a stranger's file."""
    try:
        remove_if_there(name)
        return
    except (IsADirectoryError, PermissionError):
        if not os.path.isdir(name):
            raise
    for folder, folders, files in os.walk(name, topdown=False):
        # Links to folders are among the folders here.
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for kept in [*files, *links]:
            if kept.startswith(TEMPORARY_PREFIX):
                remove_if_there(os.path.join(folder, kept))
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _log.warning("Something was put into a folder while it was being replaced; it is kept as %s", folder)


def _missing_folder(record: Record) -> str:
    """Name a folder that was there when the Install began and that it cannot have taken away itself."""
    swapped = tuple(f"{step.path}/" for step in record.steps if step.kind == SWAP)
    folders = {os.path.dirname(name) for step in record.steps for name in (step.path, step.temp) if name}
    expected = sorted(folders.difference(record.obsolete))
    return next((path for path in expected if not f"{path}/".startswith(swapped) and not os.path.isdir(path)), "")


def folders_of(record: Record) -> list[str]:
    """The existing folders that hold the changed names, for syncing their file systems."""
    folders = set()
    for folder in {os.path.dirname(path) for path in [*(step.path for step in record.steps), *record.obsolete]}:
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        folders.add(folder)
    return sorted(folders)
