"""Closing what lies below the root directory since before ``restrict_agent_dir_permissions`` was set."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from agent.store.layout import DEPLOYMENT_LOGS, INSTRUCTIONS, STATE, Layout


def close_to_others(layout: Layout) -> None:
    """Take from other users what the layout's modes do not grant.

    Nothing is opened wider, links below are not followed, and an unpacked revision keeps its modes below its top. What
    another process removes meanwhile is left out. Raises OSError.
    """
    modes = layout.modes
    own = {
        INSTRUCTIONS: modes.instructions,
        layout.tracking_name: modes.instructions,
        DEPLOYMENT_LOGS: modes.logs,
        STATE: 0o700,
    }
    top = os.path.realpath(layout.root_dir)
    _close(top, modes.passage)
    for name, path in _entries(top):
        if name in own:
            _close(path, own[name])
            continue
        _close(path, modes.passage)
        for _, deployment in _entries(path):
            _close(deployment, modes.passage)
            _close_deployment(layout, deployment)


def _close_deployment(layout: Layout, deployment: str) -> None:
    for _, path in _entries(deployment):
        if path == layout.archive(deployment):
            _close(path, layout.modes.passage)
        elif path == os.path.dirname(layout.script_log(deployment)):
            _close(path, layout.modes.logs)
        elif not os.path.isdir(path):  # another directory is a revision that is being unpacked, and closed as yet
            _close(path, layout.modes.state_file)


def _entries(directory: str) -> Iterator[tuple[str, str]]:
    """Yield the names in a directory, with their paths; none where it is not a directory or a link."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        names = os.listdir(descriptor)
    finally:
        os.close(descriptor)
    for name in names:
        yield name, os.path.join(directory, name)


def _close(path: str, granted: int) -> None:
    """Take permissions of group and others that are not granted from a file or directory."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        mode = os.fstat(descriptor).st_mode
        if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and mode & 0o077 & ~granted:
            os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(mode) & (granted | 0o7700))
    finally:
        os.close(descriptor)
