"""Keeping everything below the root directory within a size, by removing the oldest revisions of all groups."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack

from agent.errors import AgentError
from agent.filesystem.disk_use import Seen, disk_use
from agent.store.layout import DEPLOYMENT_LOGS, INSTRUCTIONS, STATE, Layout
from agent.store.locks import group_lock
from agent.store.retention import age_order, is_deployment, may_need_all, remove_revision, revisions_in_use
from agent.text.sizes import human

_ENTRIES_AT_MOST = 10_000_000

SETTING = "deployment_root_max_size"

_log = logging.getLogger(__name__)


def keep_within(layout: Layout, group_id: str, deployment_id: str, *, limit: int) -> list[str]:
    """Remove the oldest revisions until all that is below the root directory takes at most ``limit`` bytes.

    The caller holds the lock of its group, whose deployment stays. So do, in each group, the last successful revision,
    the one unpacked last and one whose deployment goes on; a group that is at work or whose Install was interrupted
    loses nothing. Returns the paths that are gone. What cannot be done is logged, and fails nothing.
    """
    try:
        sizes = _sizes(layout)
        total = sum(sizes.values())
        if total <= limit:
            return []
        inner = (path for path in sizes if os.path.dirname(path) != layout.root_dir)
        revisions = sorted((path for path in inner if is_deployment(layout, path)), key=age_order)
        mine = layout.deployment(group_id, deployment_id)
        return _remove(layout, [path for path in revisions if path != mine], sizes, own_group=group_id, limit=limit)
    except (AgentError, OSError) as error:
        _log.warning("Old revisions are kept, whatever %s says: %s", SETTING, error)
        return []


def _sizes(layout: Layout) -> dict[str, int]:
    """Return what each revision takes, and everything else at the top; a shared file counts for the newest of them."""
    paths = []
    for name in os.listdir(layout.root_dir):
        path = os.path.join(layout.root_dir, name)
        is_own = name in (STATE, INSTRUCTIONS, DEPLOYMENT_LOGS, layout.tracking_name) or not _is_directory(path)
        paths += [path] if is_own else [os.path.join(path, inner) for inner in os.listdir(path)]
    seen: Seen = set()
    return {
        path: disk_use(path, seen=seen, at_most=_ENTRIES_AT_MOST).size
        for path in sorted(paths, key=age_order, reverse=True)
    }


def _is_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _remove(layout: Layout, oldest: list[str], sizes: dict[str, int], *, own_group: str, limit: int) -> list[str]:
    total, removed = sum(sizes.values()), []
    _log.info("%s takes %s, more than %s allows (%s)", layout.root_dir, human(total), SETTING, human(limit))
    with ExitStack() as locks:
        in_use: dict[str, set[str] | None] = {}
        for path in oldest:
            group_id = os.path.basename(os.path.dirname(path))
            if group_id not in in_use:
                in_use[group_id] = _in_use(layout, group_id, locks if group_id != own_group else None)
            kept = in_use[group_id]
            if kept is None or os.path.realpath(path) in kept:
                continue
            if remove_revision(path):
                removed.append(path)
                total -= sizes[path]
            if total <= limit:
                return removed
    _log.warning(
        "%s still takes %s, more than %s allows (%s): no other revision may be removed. The deployment goes on",
        layout.root_dir,
        human(total),
        SETTING,
        human(limit),
    )
    return removed


def _in_use(layout: Layout, group_id: str, locks: ExitStack | None) -> set[str] | None:
    """Return what a group must keep, None for all of it; another group stays locked until ``locks`` are closed."""
    try:
        if locks is not None:
            lock = group_lock(layout, group_id)
            lock.acquire(limit=0)
            locks.enter_context(lock)
        return None if may_need_all(layout, group_id) else revisions_in_use(layout, group_id)
    except AgentError:  # it is at work, or its name is not one of a group
        return None
