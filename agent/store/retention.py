"""Which old revisions a group keeps, by the official agents' rule."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection

from agent.filesystem.trees import remove_tree
from agent.store.layout import Layout
from agent.store.pointers import read_last_successful, read_most_recent

_log = logging.getLogger(__name__)


def remove_old_revisions(layout: Layout, group_id: str, deployment_id: str, *, keep: int) -> list[str]:
    """Make room in a group's directory before a revision is fetched; give the paths that are gone.

    With this deployment the group then has at most ``keep`` entries. The oldest go first, by their time of
    change; the last successful revision always stays, so with ``keep`` 1 there can be two. Every file or directory in
    the group's directory counts, as it does for the official agents. What cannot be removed is logged and stays.
    """
    try:
        excess = removable(layout, group_id, keep=keep - 1, without=deployment_id)
    except OSError as error:
        # Removing anything without knowing which revision is the good one would be worse than keeping too much.
        _log.warning("Old revisions of group %s are kept: %s", group_id, error)
        return []
    if excess and may_need_all(layout, group_id):
        _log.warning(
            "Old revisions of group %s are kept: an Install of it was interrupted, and may need them", group_id
        )
        return []
    return [path for path in excess if remove_revision(path)]


def removable(
    layout: Layout, group_id: str, *, keep: int, without: str = "", in_use: Collection[str] = ()
) -> list[str]:
    """Return what has to go, the oldest first, for a group's directory to have at most ``keep`` entries.

    The entry ``without`` does not count. The last successful revision and the real paths ``in_use`` count and stay.
    Raises OSError.
    """
    directory = layout.group(group_id)
    others = [os.path.join(directory, name) for name in os.listdir(directory) if name != without]
    excess = len(others) - keep
    if excess <= 0:
        return []
    kept = {*in_use, *_real(read_last_successful(layout, group_id))}
    return sorted((path for path in others if os.path.realpath(path) not in kept), key=age_order)[:excess]


def revisions_in_use(layout: Layout, group_id: str) -> set[str]:
    """Return the real paths of a group's last successful revision, the one unpacked last and the one that goes on.

    Raises OSError.
    """
    from agent.store.bindings import Bindings  # a deployment is spared it

    pointers = [read_last_successful(layout, group_id), read_most_recent(layout, group_id)]
    going_on = Bindings(layout).newest_going_on().get(group_id)
    pointers += [layout.deployment(group_id, going_on)] if going_on else []
    return {path for pointer in pointers for path in _real(pointer)}


def is_deployment(layout: Layout, path: str) -> bool:
    """Return whether a path two levels below the root directory is a deployment, and not what a person has put there.

    Only DownloadBundle, in the directory of its own group, may remove what is not.
    """
    if not os.path.isdir(path) or os.path.islink(path):
        return False
    traces = (layout.archive(path), layout.bundle(path), layout.script_log(path), layout.history(path))
    return os.path.basename(path).startswith("d-") or any(map(os.path.lexists, traces))


def may_need_all(layout: Layout, group_id: str) -> bool:
    """Return whether an interrupted Install of a group may still need each of its revisions."""
    return os.path.lexists(layout.journal(group_id))


def remove_revision(path: str) -> bool:
    """Remove a revision with all that belongs to it, and return whether it is gone; an error is logged."""
    try:
        remove_tree(path)
    except OSError as error:
        _log.warning("The old revision %s cannot be removed: %s", path, error)
        return False
    _log.info("Removed the old revision %s", path)
    return True


def age_order(path: str) -> float:
    """Return when a revision changed last; what cannot be looked at is the oldest."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _real(pointer: str | None) -> set[str]:
    return set() if pointer is None else {pointer, os.path.realpath(pointer)}
