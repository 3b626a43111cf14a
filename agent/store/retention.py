"""Which old revisions a group keeps, by the official agents' rule."""

from __future__ import annotations

import logging
import os

from agent.filesystem.trees import remove_tree
from agent.store.layout import Layout
from agent.store.pointers import read_last_successful

_log = logging.getLogger(__name__)


def remove_old_revisions(layout: Layout, group_id: str, deployment_id: str, *, keep: int) -> list[str]:
    """Make room in a group's directory before a revision is fetched; give the paths that are gone.

    With this deployment the group then has at most ``keep`` entries. The oldest go first, by their time of
    change; the last successful revision always stays, so with ``keep`` 1 there can be two. Every file or directory in
    the group's directory counts, as it does for the official agents. What cannot be removed is logged and stays.
    """
    directory = layout.group(group_id)
    try:
        others = [os.path.join(directory, name) for name in os.listdir(directory) if name != deployment_id]
        excess = len(others) - keep + 1
        if excess <= 0:
            return []
        if os.path.lexists(layout.journal(group_id)):
            _log.warning(
                "Old revisions of group %s are kept: an Install of it was interrupted, and may need them", group_id
            )
            return []
        successful = read_last_successful(layout, group_id)
    except OSError as error:
        # Removing anything without knowing which revision is the good one would be worse than keeping too much.
        _log.warning("Old revisions of group %s are kept: %s", group_id, error)
        return []
    candidates = sorted((path for path in others if not _same(path, successful)), key=_age)
    return [path for path in candidates[:excess] if _remove(path)]


def _same(path: str, pointer: str | None) -> bool:
    return pointer is not None and (path == pointer or os.path.realpath(path) == os.path.realpath(pointer))


def _age(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _remove(path: str) -> bool:
    try:
        remove_tree(path)
    except OSError as error:
        _log.warning("The old revision %s cannot be removed: %s", path, error)
        return False
    _log.info("Removed the old revision %s", path)
    return True
