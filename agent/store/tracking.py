"""The official agents' files of commands in progress, ``ongoing-deployment/DEPLOYMENT``, holding a command identifier.

Ours are written so that an official agent that takes over finds what it would have written itself, and theirs are
read so that a command which an official agent left unfinished is reported by us.
"""

from __future__ import annotations

import logging
import os
import time
from typing import NamedTuple

from agent.filesystem.durable import remove_if_there, write_durably
from agent.filesystem.regular import read_regular
from agent.store.directories import make_shared_directory, make_state_directory
from agent.store.layout import Layout

REPORTED_FOR = 24 * 3600
"""Seconds after which nobody waits for a command's outcome any more; both official agents drop the file then."""

_LONGEST = 4096

_log = logging.getLogger(__name__)


class Tracked(NamedTuple):
    """A tracking file: the deployment that it is named after and the command in it."""

    path: str
    deployment_id: str
    command_identifier: str


def write_tracking(layout: Layout, deployment_id: str, command_identifier: str) -> None:
    """Say durably that a command of a deployment is in progress. Raises OSError, SpecificationError."""
    path = layout.tracking(deployment_id)
    make_shared_directory(layout, os.path.dirname(path))
    write_durably(path, command_identifier.encode(), mode=layout.modes.state_file)


def remove_tracking(layout: Layout, deployment_id: str, command_identifier: str) -> None:
    """Remove a deployment's file, unless it has come to name another command meanwhile. Raises OSError."""
    path = layout.tracking(deployment_id)
    found = _read(path)
    if found == command_identifier:
        remove_if_there(path)


def tracked(layout: Layout) -> list[Tracked]:
    """What the tracking directory names, the newest first. Raises OSError where it cannot be read.

    Files of a day ago are removed, as the official agents do. One that cannot be understood is moved to
    ``agent-state/set-aside`` with a warning and stops nothing.
    """
    directory = os.path.dirname(layout.tracking("any"))
    try:
        with os.scandir(directory) as entries:
            found = sorted(((_age(entry), entry.path, entry.name) for entry in entries), key=lambda row: row[0])
    except FileNotFoundError:
        return []
    kept = []
    for age, path, name in found:
        command_identifier = _read(path)
        if command_identifier is None:
            _set_aside(layout, path, name)
        elif age > REPORTED_FOR:
            _log.warning("The command %s of %s is over a day old and is not reported", command_identifier, name)
            _drop(path)
        else:
            kept.append(Tracked(path, name, command_identifier))
    return kept


def _drop(path: str) -> None:
    try:
        remove_if_there(path)
    except OSError as error:
        _log.warning("The tracking file %s cannot be removed: %s", path, error.strerror)


def _age(entry: os.DirEntry[str]) -> float:
    return time.time() - entry.stat(follow_symlinks=False).st_mtime


def _read(path: str) -> str | None:
    try:
        data = read_regular(path, _LONGEST + 1)
    except OSError:
        return None
    text = data.strip().decode("ascii", "replace")
    return text if text and len(data) <= _LONGEST and text.isprintable() and "\ufffd" not in text else None


def _set_aside(layout: Layout, path: str, name: str) -> None:
    aside = os.path.join(layout.state, "set-aside")
    make_state_directory(layout, aside)
    target = os.path.join(aside, f"tracking-{name[:150]}.{time.time_ns()}")
    try:
        os.rename(path, target)
    except OSError as error:
        _log.warning("The tracking file %s cannot be understood and not be moved away: %s", path, error.strerror)
        return
    _log.warning("The tracking file %s cannot be understood; it is now %s", path, target)
