"""The pointers to a group's last successful and most recent revision, in the official agents' format."""

from __future__ import annotations

import os

from agent.filesystem.durable import write_durably
from agent.store.directories import make_instructions_directory
from agent.store.layout import Layout


def read_last_successful(layout: Layout, group_id: str) -> str | None:
    """The deployment directory whose Install succeeded last in this group, None where there is none. Raises OSError."""
    return _read(layout.last_successful(group_id))


def read_most_recent(layout: Layout, group_id: str) -> str | None:
    """The deployment directory that was unpacked last in this group, None where there is none. Raises OSError."""
    return _read(layout.most_recent(group_id))


def write_most_recent(layout: Layout, group_id: str, deployment: str) -> None:
    """Remember the deployment directory that was unpacked last, durably. Raises OSError, RootDirectoryError."""
    make_instructions_directory(layout)
    write_durably(layout.most_recent(group_id), os.fsencode(deployment), mode=layout.modes.state_file)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _read(path: str) -> str | None:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:  # a fifo of this name counts as an empty file
            # The official agents write no line end; a pointer that was fixed with an editor has one.
            content = file.read().strip(b"\n")
    except FileNotFoundError:
        return None
    return os.fsdecode(content) or None
