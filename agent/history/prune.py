"""Removing old revisions on demand, by the rule of DownloadBundle."""

from __future__ import annotations

from typing import Any, NamedTuple

from agent.filesystem.disk_use import DiskUse, disk_use
from agent.filesystem.locks import LockTimeoutError
from agent.store.layout import Layout
from agent.store.locks import group_lock
from agent.store.retention import is_deployment, may_need_all, removable, remove_revision, revisions_in_use

LOCK_TIMEOUT = 2.0
"""Seconds to wait for a group: longer than a process that only looks holds its lock, and not for a deployment."""


class Removed(NamedTuple):
    """A revision that is gone, or would be."""

    path: str
    disk: DiskUse


class Pruned(NamedTuple):
    """What became of one group; ``failed`` says why nothing or not all was removed, empty where all is well."""

    group: str
    removed: tuple[Removed, ...] = ()
    failed: str = ""

    def document(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        rows = [{"path": one.path, "disk_used": one.disk.size} for one in self.removed]
        return {"group": self.group, "removed": rows, "error": self.failed or None}


def prune(layout: Layout, group_id: str, *, keep: int, dry_run: bool) -> Pruned:
    """Remove a group's revisions beyond ``keep``, the oldest first, or only say which.

    The last successful revision, the one unpacked last and one whose deployment goes on stay. The group is locked
    meanwhile. Raises OSError, SpecificationError, RootDirectoryError.
    """
    lock = group_lock(layout, group_id)
    try:
        lock.acquire(limit=LOCK_TIMEOUT)
    except LockTimeoutError:
        return Pruned(group_id, failed="A deployment of it is in progress. Try again when it has ended.")
    with lock:
        if may_need_all(layout, group_id):
            return Pruned(group_id, failed="An Install of it was interrupted, and may need every revision.")
        paths = removable(layout, group_id, keep=keep, in_use=revisions_in_use(layout, group_id))
        return _remove(group_id, [path for path in paths if is_deployment(layout, path)], dry_run=dry_run)


def _remove(group_id: str, paths: list[str], *, dry_run: bool) -> Pruned:
    removed, stuck = [], []
    for path in paths:
        use = disk_use(path)
        if dry_run or remove_revision(path):
            removed.append(Removed(path, use))
        else:
            stuck.append(path)
    failed = f"These cannot be removed: {', '.join(stuck)}." if stuck else ""
    return Pruned(group_id, tuple(removed), failed)
