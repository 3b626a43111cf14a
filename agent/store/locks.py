"""The locks that keep deployments from one another; the daemon's workers and the local command take the same."""

from __future__ import annotations

from agent.filesystem.locks import FileLock
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

_REMEDY = "Try again when that process has ended; lock_wait_seconds sets how long to wait."


def group_lock(layout: Layout, group_id: str) -> FileLock:
    """The lock that lets one command of a deployment group run at a time; not yet taken.

    Raises SpecificationError for an id that is not a file name, RootDirectoryError where its directory cannot be made.
    """
    layout.group(group_id)
    make_state_directory(layout, layout.locks)
    purpose = f"another deployment of the group {group_id}"
    return FileLock(layout.group_lock(group_id), purpose=purpose, remedy=_REMEDY)


def install_lock(layout: Layout) -> FileLock:
    """Return the lock, not yet taken, that lets one Install run at a time. Raises RootDirectoryError."""
    make_state_directory(layout, layout.locks)
    return FileLock(layout.install_lock, purpose="an Install of another deployment group", remedy=_REMEDY)
