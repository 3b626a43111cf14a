"""Events of which the next deployment of a group skips the scripts: a file below ``agent-state/retry-skip`` for each.

It is the way past a broken script of the revision that is installed, and counts once.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import NamedTuple

from agent.filesystem.durable import remove_if_there, sync_directory, write_durably
from agent.filesystem.regular import read_regular
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

SKIPPABLE = ("ApplicationStop", "BeforeBlockTraffic", "AfterBlockTraffic")
"""Events that use the revision installed before; the service can ignore the failures of the same three."""

_LARGEST = 4096


class Skip(NamedTuple):
    """Who asked for a skip, and when in seconds since the epoch; empty and 0 where the file does not say."""

    by: str = ""
    since: float = 0.0


def ask_for_skip(layout: Layout, group_id: str, event: str, by: str) -> None:
    """Have the next deployment of a group skip an event, durably. Raises OSError, SpecificationError."""
    make_state_directory(layout, _directory(layout))
    data = json.dumps({"by": by, "since": time.time()}).encode()
    write_durably(_path(layout, group_id, event), data, mode=0o600)


def skip_of(layout: Layout, group_id: str, event: str) -> Skip | None:
    """Return the skip of an event that waits, None where there is none. Raises OSError, SpecificationError."""
    try:
        data = read_regular(_path(layout, group_id, event), _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        found = json.loads(data)
        return Skip(str(found["by"]), float(found["since"]))
    return Skip()


def end_skip(layout: Layout, group_id: str, event: str) -> bool:
    """Forget a skip, durably, and return whether there was one. Raises OSError, SpecificationError."""
    path = _path(layout, group_id, event)
    if not remove_if_there(path):
        return False
    sync_directory(os.path.dirname(path))
    return True


def skips_of(layout: Layout) -> dict[str, list[str]]:
    """Return the events to be skipped, by group. Raises OSError."""
    found: dict[str, list[str]] = {}
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(_directory(layout))):
            event, _, group_id = name.partition("-")
            if event in SKIPPABLE and group_id:
                found.setdefault(group_id, []).append(event)
    return found


def _directory(layout: Layout) -> str:
    return os.path.join(layout.state, "retry-skip")


def _path(layout: Layout, group_id: str, event: str) -> str:
    layout.group(group_id)
    return os.path.join(_directory(layout), f"{event}-{group_id}")
