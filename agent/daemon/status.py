"""What the agent is doing, read from what lies on disk: for ``status``, and for ``stop`` to decide."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import Any, NamedTuple

from agent.errors import AgentError
from agent.filesystem.regular import read_regular
from agent.store.commands import CommandDirectory, CommandStore
from agent.store.layout import Layout

STATUS_FILE = "status.json"
"""Below ``agent-state``; the supervisor replaces it whole now and then."""

TRACKED_FOR = 24 * 3600
"""Seconds for which an official agent's tracking file means a deployment in progress, as for the official agents."""

_LARGEST = 1024 * 1024


class InProgress(NamedTuple):
    """A lifecycle event that is being worked on; ``since`` in seconds since the epoch, texts empty where unknown."""

    deployment: str = ""
    group: str = ""
    event: str = ""
    command: str = ""
    since: float = 0.0


class LastOutcome(NamedTuple):
    """How the newest command ended, as the service was told."""

    status: str
    deployment: str
    group: str
    message: str
    ended: float


class SupervisorStatus(NamedTuple):
    """What the running agent has written down about itself; times in seconds since the epoch, 0 where unknown.

    ``problem`` is the text of an error that lasts, empty where all is well.
    """

    version: str = ""
    started: float = 0.0
    host_identifier: str = ""
    last_poll: float = 0.0
    last_success: float = 0.0
    problem: str = ""
    problem_since: float = 0.0


def read_supervisor(layout: Layout, pid: int) -> SupervisorStatus:
    """What the agent with this pid has written; nothing known where the file is another one's, missing or broken."""
    found = _read(os.path.join(layout.state, STATUS_FILE))
    if found.get("pid") != pid:
        return SupervisorStatus()
    problem = found.get("problem") or found.get("trouble")  # as earlier versions wrote it
    problem = problem if isinstance(problem, dict) else {}
    return SupervisorStatus(
        version=_text(found.get("version")),
        started=_number(found.get("started")),
        host_identifier=_text(found.get("host_identifier")),
        last_poll=_number(found.get("last_poll")),
        last_success=_number(found.get("last_success")),
        problem=_text(problem.get("text")),
        problem_since=_number(problem.get("since")),
    )


def commands_in_progress(layout: Layout) -> list[InProgress]:
    """The commands that a worker of ours is carrying out now, and those that an official agent says it is.

    A worker that only reports an outcome is not counted. Raises OSError where the records cannot be read.
    """
    store = CommandStore(layout)
    found = [_describe(directory) for directory in store if directory.holder() is not None and not _ended(directory)]
    return sorted([*found, *_tracked_by_others(layout, store)], key=lambda row: row.since)


def outcomes_to_report(layout: Layout) -> int:
    """How many outcomes are saved and not yet accepted by the service. Raises OSError."""
    return sum(_ended(directory) and not _is_reported(directory) for directory in CommandStore(layout))


def last_outcome(layout: Layout) -> LastOutcome | None:
    """The outcome of the command that ended last; None where none is remembered. Raises OSError."""
    paths = [
        path for directory in CommandStore(layout) for path in (f"{directory.path}/outcome.json", directory.kept_path)
    ]
    outcomes = [
        outcome for path in [*paths, *_newest(os.path.join(layout.state, "finished"))] if (outcome := _read(path))
    ]
    if not outcomes:
        return None
    fields = max(outcomes, key=lambda outcome: _number(outcome.get("ended_at")))
    return LastOutcome(
        status=_text(fields.get("status")),
        deployment=_text(fields.get("deployment_id")),
        group=_text(fields.get("group_id")),
        message=_text(_parse(_text(fields.get("payload")).encode()).get("message")),
        ended=_number(fields.get("ended_at")),
    )


def _newest(directory: str) -> list[str]:
    """The path of the youngest file of a directory, if there is one; files that are being written begin with a dot."""
    found = []
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # old ones are removed meanwhile
                if not entry.name.startswith("."):
                    found.append((entry.stat().st_mtime_ns, entry.path))
    return [max(found)[1]] if found else []


def _ended(directory: CommandDirectory) -> bool:
    return directory.kept() is not None or directory.is_saved()


def _is_reported(directory: CommandDirectory) -> bool:
    """Whether the service knows an outcome whose record the disk does not let go."""
    kept = directory.kept()
    return kept is not None and kept.reported


def _describe(directory: CommandDirectory) -> InProgress:
    try:
        record, progress = directory.record(), directory.progress()
    except AgentError:
        return InProgress(command=directory.key)
    return InProgress(
        deployment=progress.deployment_id if progress else "",
        group=progress.group_id if progress else "",
        event=record.command_name,
        command=record.command_identifier,
        since=record.received_at,
    )


def _tracked_by_others(layout: Layout, store: CommandStore) -> list[InProgress]:
    try:
        entries = list(os.scandir(os.path.dirname(layout.tracking("any"))))
    except FileNotFoundError:
        return []
    found = []
    for entry in entries:
        since = entry.stat(follow_symlinks=False).st_mtime
        if entry.is_file(follow_symlinks=False) and time.time() - since < TRACKED_FOR:
            command = read_regular(entry.path, 4096).decode("utf-8", "replace").strip()
            if command and not os.path.isdir(store.directory_of(command).path) and store.finished(command) is None:
                found.append(InProgress(deployment=entry.name, command=command, since=since))
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        return _parse(read_regular(path, _LARGEST))
    except OSError:
        return {}


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
