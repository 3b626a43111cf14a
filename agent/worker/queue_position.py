"""Whose turn it is: the commands of one deployment group run one after the other, as they came."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.errors import AgentError
from agent.filesystem.boot import boot_id, since_boot
from agent.filesystem.locks import FIRST_PAUSE, LONGEST_PAUSE, FileLock, LockTimeoutError
from agent.store.commands import CommandDirectory, CommandRecord, CommandStore
from agent.store.layout import Layout
from agent.store.locks import group_lock

START_TIMEOUT = 10.0
"""Seconds for which the worker of an earlier command may take to begin, before a later one no longer waits for it."""


def wait_in_queue(
    directory: CommandDirectory,
    record: CommandRecord,
    group_id: str,
    *,
    layout: Layout,
    limit: float,
    on_wait: Callable[[str], None],
) -> FileLock:
    """Wait for the earlier commands of a deployment group; give the group's lock, taken.

    ``limit`` is in seconds. Raises LockTimeoutError, OSError, SpecificationError, RootDirectoryError.
    """
    end = time.monotonic() + limit
    pause = FIRST_PAUSE
    while (earlier := _earlier(directory, record, group_id, CommandStore(layout))) is not None:
        if time.monotonic() >= end:
            raise LockTimeoutError(
                f"Waited {limit:g} s for the earlier command {earlier.short} of the deployment group {group_id}.",
                remedy="See the agent's log for what holds it up; lock_wait_seconds sets how long to wait.",
            )
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    lock = group_lock(layout, group_id)
    lock.acquire(limit=max(end - time.monotonic(), 0), on_wait=on_wait)
    return lock


def _earlier(
    directory: CommandDirectory, record: CommandRecord, group_id: str, store: CommandStore
) -> CommandDirectory | None:
    """A command that came before this one, is or will be worked on, and is or may be of the same group."""
    for other in store:
        if other.key == directory.key:
            continue
        try:
            before = other.record()
            if not _came_before(before, record):
                continue
            progress = other.progress()
            # One whose specification is still on its way may turn out to be of this group.
            of_group = progress is None or progress.group_id in ("", group_id)
            if of_group and other.outcome() is None and (other.holder() is not None or _about_to_begin(before)):
                return other
        except (AgentError, OSError):
            continue  # it was finished meanwhile, or cannot be understood and is nobody's turn
    return None


def _came_before(one: CommandRecord, other: CommandRecord) -> bool:
    if one.boot_id == other.boot_id:
        return one.order < other.order
    now = boot_id()
    if now in (one.boot_id, other.boot_id):
        return one.boot_id != now
    return (one.received_at, one.command_identifier) < (other.received_at, other.command_identifier)


def _about_to_begin(record: CommandRecord) -> bool:
    """Whether a command without a worker has just come, so that its worker is on its way."""
    return record.boot_id == boot_id() and since_boot() - record.order < START_TIMEOUT * 1e9
