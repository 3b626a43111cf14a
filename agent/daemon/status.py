"""What the agent is doing, read from what lies on disk: for ``status``, and for ``stop`` to decide."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from agent.errors import AgentError
from agent.filesystem.boot import boot_id
from agent.filesystem.reasons import place_and_reason
from agent.filesystem.regular import read_regular
from agent.store.commands import CommandDirectory, CommandStore, Progress
from agent.store.layout import Layout

TRACKED_FOR = 24 * 3600
"""Seconds for which an official agent's tracking file means a deployment in progress, as for the official agents."""

_LARGEST = 1024 * 1024


class InProgress(NamedTuple):
    """A lifecycle event that is being worked on, with the script that runs now; texts empty where unknown.

    ``since`` and ``script_since`` are in seconds since the epoch, ``script_timeout`` in seconds. ``worker`` and
    ``script_pid`` are processes, 0 where there are none.
    """

    deployment: str = ""
    group: str = ""
    event: str = ""
    command: str = ""
    since: float = 0.0
    group_name: str = ""
    script: str = ""
    script_since: float = 0.0
    script_timeout: float = 0.0
    worker: int = 0
    script_pid: int = 0


class LastOutcome(NamedTuple):
    """How the newest command ended, as the service was told; ``closed_as`` where the service ended it itself."""

    status: str
    deployment: str
    group: str
    message: str
    ended: float
    event: str = ""
    closed_as: str = ""


class StatusFileRead(NamedTuple):
    """What the newest status file of an agent says, and why others say nothing of it."""

    fields: dict[str, Any]
    path: str = ""
    unusable: tuple[str, ...] = ()


_TEXTS = ("version", "host_identifier", "region", "identity_source", "endpoint", "proxy", "certificates", "state")
_NUMBERS = ("started", "written", "last_poll", "last_success", "round_trip", "wait_between_runs")
_OBJECTS = ("credentials", "paused", "last_outcome")
_ROWS = ("in_hand", "problems")


def read_status(paths: Iterable[str], pid: int) -> StatusFileRead:
    """Return what the agent with this pid has written about itself last; no fields where it is in no file."""
    found, unusable = [], []
    for path in paths:
        try:
            fields = _parse(read_regular(path, _LARGEST))
        except FileNotFoundError:
            continue
        except OSError as error:
            unusable.append(place_and_reason(error))
            continue
        if fields.get("pid") == pid:
            found.append((_number(fields.get("written")), path, fields))
        else:
            whose = f"is of PID {fields['pid']}" if isinstance(fields.get("pid"), int) else "cannot be understood"
            unusable.append(f"{path} {whose}")
    if not found:
        return StatusFileRead({}, unusable=tuple(unusable))
    _, path, fields = max(found, key=lambda row: row[0])
    return StatusFileRead(_checked(fields), path, tuple(unusable))


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are what they should be: another version of the agent may have written them."""
    known: dict[str, Any] = {name: _text(fields.get(name)) or None for name in _TEXTS}
    known |= {name: _number(fields.get(name)) or None for name in _NUMBERS}
    known |= {name: found if isinstance(found := fields.get(name), dict) else None for name in _OBJECTS}
    for name in _ROWS:
        rows = fields.get(name)
        known[name] = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    problem = fields.get("problem") or fields.get("trouble")  # as earlier versions wrote it
    if isinstance(problem, dict) and not known["problems"]:
        known["problems"] = [problem]
    known["problems"] = [
        {"since": _number(row.get("since")) or None, "text": _text(row.get("text")), "key": _text(row.get("key"))}
        for row in known["problems"]
    ]
    return known


def commands_in_progress(layout: Layout) -> list[InProgress]:
    """The commands that a worker of ours is carrying out now, and those that an official agent says it is.

    A worker that only reports an outcome is not counted. Raises OSError where the records cannot be read.
    """
    store = CommandStore(layout)
    found = [
        row._replace(worker=holder)
        for directory in store
        if (holder := directory.holder()) is not None and (row := describe_command(directory, script=True)) is not None
    ]
    return sorted([*found, *_tracked_by_others(layout, store)], key=lambda row: row.since)


def waiting_outcomes(layout: Layout) -> list[float]:
    """Return when each outcome was saved that the service has not accepted yet, 0 where unknown. Raises OSError."""
    waiting = [found for found in CommandStore(layout) if _ended(found) and not _is_reported(found)]
    return sorted(_number(_read(os.path.join(found.path, "outcome.json")).get("ended_at")) for found in waiting)


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
        event=_text(fields.get("event")),
        closed_as=_text(fields.get("closed_as")),
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


def describe_command(directory: CommandDirectory, *, script: bool = False) -> InProgress | None:
    """Return what a command in hand is about; None where it has ended and is only to be reported.

    With ``script`` the script that runs now is looked for.
    """
    try:
        if _ended(directory):
            return None
        record, progress = directory.record(), directory.progress() or Progress("")
    except (AgentError, OSError):
        return InProgress(command=directory.key)
    found = InProgress(
        deployment=progress.deployment_id,
        group=progress.group_id,
        event=record.command_name,
        command=record.command_identifier,
        since=record.received_at,
        group_name=progress.group_name,
    )
    return _with_script(found, progress) if script and progress.script_pid else found


def _with_script(found: InProgress, progress: Progress) -> InProgress:
    from agent.hooks import processes  # the supervisor does without

    if progress.boot_id != boot_id() or not processes.is_running(progress.script_pid, progress.script_start_time):
        return found
    running_for = time.clock_gettime(time.CLOCK_BOOTTIME) - progress.script_start_time / os.sysconf("SC_CLK_TCK")
    return found._replace(
        script=progress.script,
        script_since=time.time() - running_for,
        script_timeout=progress.script_timeout,
        script_pid=progress.script_pid,
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
