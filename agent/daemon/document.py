"""Everything that can be found out about the agent of this host, as one document for programs and for people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from agent.config.settings import Settings
from agent.daemon.pause import read_pause
from agent.daemon.pidfile import PidFileError, is_official_agent, named_pid, running_pid
from agent.daemon.status import InProgress, StatusFileRead, commands_in_progress, last_outcome, waiting_outcomes
from agent.daemon.status import read_status as read_status_of
from agent.daemon.status_file import status_files
from agent.filesystem.disk_use import disk_use, existing_directory
from agent.filesystem.locks import FileLock
from agent.filesystem.reasons import place_and_reason
from agent.runtime.host import layout_of
from agent.store.layout import Layout
from agent.store.skips import skips_of
from agent.traffic.record import Records
from agent.traffic.report import outages

ENTRIES_COUNTED = 20_000
"""Files and directories of ``root_dir`` whose size is added up; a larger one is not walked to its end."""

_Result = TypeVar("_Result")


class Agent(NamedTuple):
    """The agent of a host.

    ``state`` is ``running``, ``starting`` (it finds out who this host is), ``waiting`` (for a configuration that it can
    read), ``official`` (another agent runs), ``dead`` (without removing its pid file) or ``stopped``.
    """

    state: str
    pid: int | None
    read: StatusFileRead


class _Looker:
    """Looks at one thing after the other, and remembers what this user may not see."""

    def __init__(self) -> None:
        self.not_seen: list[str] = []

    def at(self, what: str, look: Callable[[], _Result], otherwise: _Result) -> _Result:
        try:
            return look()
        except OSError as error:
            self.not_seen.append(f"{what} ({place_and_reason(error)})")
            return otherwise


def document(settings: Settings, *, disk: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return everything that is known, ready for JSON; times are in seconds since the epoch, null where unknown.

    ``disk`` is that of an earlier document, where looking again would take too long. Raises
    PidFileError where this user may see nothing of an agent, OSError where none runs and its records cannot be read.
    """
    looker, now = _Looker(), time.time()
    agent = find_agent(settings, looker.not_seen)
    layout, fields = layout_of(settings), agent.read.fields
    if agent.pid is None:
        rows, last, unreported = commands_in_progress(layout), last_outcome(layout), waiting_outcomes(layout)
    else:
        # What the agent itself wrote stands in for what this user may not read.
        written = [_in_progress(row) for row in fields.get("in_hand", ())]
        rows = looker.at("the commands in progress", lambda: commands_in_progress(layout), written)
        last = looker.at("the last outcome", lambda: last_outcome(layout), None)
        unreported = looker.at("outcomes not yet accepted", lambda: waiting_outcomes(layout), [])
    problems = fields.get("problems", [])
    no_rows: list[dict[str, Any]] = []
    no_skips: dict[str, list[str]] = {}
    return {
        "running": agent.pid is not None,
        "state": agent.state,
        "pid": agent.pid,
        **{name: fields.get(name) for name in _REPORTED},
        "paused": looker.at("whether it is paused", lambda: _paused(layout, now), fields.get("paused")),
        "skips": looker.at("events to be skipped", lambda: skips_of(layout), no_skips),
        "problem": problems[0] if problems else None,
        "problems": problems,
        "in_progress": [{**row._asdict(), "elapsed": round(now - row.since, 1)} for row in rows],
        "last_outcome": last._asdict() if last else fields.get("last_outcome"),
        "unreported": len(unreported),
        "unreported_since": unreported[0] if unreported else None,
        "out_of_service": looker.at("the traffic of this host", lambda: outages(Records(layout.traffic)), no_rows),
        "status_file": {
            "path": agent.read.path or None,
            "written": fields.get("written"),
            "unusable": list(agent.read.unusable),
        },
        "resources": looker.at("the agent's processes", lambda: _resources(agent.pid, rows), None),
        "disk": disk or looker.at("the file system of root_dir", lambda: _disk(settings.root_dir), None),
        "other_agent": looker.at("other agents", lambda: _other_agent(layout, agent.pid), None),
        "not_seen": looker.not_seen,
    }


_REPORTED = (
    "version",
    "started",
    "host_identifier",
    "region",
    "identity_source",
    "credentials",
    "endpoint",
    "proxy",
    "certificates",
    "last_poll",
    "last_success",
    "round_trip",
    "wait_between_runs",
)
"""What a running agent says of itself."""


def find_agent(settings: Settings, not_seen: list[str]) -> Agent:
    """Find the agent and what it has written, and add to ``not_seen`` what this user may not see.

    Raises PidFileError.
    """
    named = named_pid(settings.pid_dir)
    try:
        pid = running_pid(settings.pid_dir)
    except PidFileError as error:
        read = _read(settings, named)
        if named is None or not read.fields or not os.path.exists(f"/proc/{named}"):
            raise
        not_seen.append(f"the agent's lock ({error.message.rstrip('.')})")
        return Agent(_state_of(read), named, read)
    if pid is None:
        if named is not None and is_official_agent(named):
            return Agent("official", named, StatusFileRead({}))
        return Agent("dead" if named is not None else "stopped", None, StatusFileRead({}))
    read = _read(settings, pid)
    if not read.fields and is_official_agent(pid):
        return Agent("official", pid, read)
    return Agent(_state_of(read), pid, read)


def _state_of(read: StatusFileRead) -> str:
    state = read.fields.get("state")
    return state if state in ("starting", "waiting") else "running"


def _read(settings: Settings, pid: int | None) -> StatusFileRead:
    return StatusFileRead({}) if pid is None else read_status_of(status_files(settings, pid), pid)


def _in_progress(row: dict[str, Any]) -> InProgress:
    """Return a row of the status file; what another version wrote otherwise is left out."""
    kinds = {name: type(value) for name, value in InProgress._field_defaults.items()}
    fields = {name: row[name] for name in kinds if isinstance(row.get(name), (kinds[name], int))}
    return InProgress(**fields)


def _paused(layout: Layout, now: float) -> dict[str, Any] | None:
    """Return the pause that counts now, also while no agent runs to say so. Raises OSError."""
    found = read_pause(layout, now=now)
    return None if found is None else found._asdict()


def _resources(pid: int | None, rows: list[InProgress]) -> dict[str, Any] | None:
    """Return the memory and processor time of the agent and its workers; their scripts do not count."""
    if pid is None and not any(row.worker for row in rows):
        return None
    import psutil

    scripts = {row.script_pid for row in rows}
    memory, seconds, count = 0, 0.0, 0
    waiting, seen = [pid or 0, *(row.worker for row in rows)], {0}
    while waiting:
        number = waiting.pop()
        if number in seen or number in scripts:
            continue
        seen.add(number)
        try:
            process = psutil.Process(number)
            waiting += [child.pid for child in process.children()]
            memory += process.memory_info().rss
            seconds += sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
        count += 1
    return {"processes": count, "memory_bytes": memory, "cpu_seconds": round(seconds, 2)}


def _disk(root_dir: str) -> dict[str, Any]:
    used = disk_use(root_dir, at_most=ENTRIES_COUNTED)
    return {"path": root_dir, **room_of(root_dir), "used_bytes": used.size if used.is_complete else None}


def room_of(root_dir: str) -> dict[str, Any]:
    """Return what the file system of a directory, or of the lowest one above it that exists, has room for.

    Free is what programs without privileges may use, as with df. Raises OSError.
    """
    found = os.statvfs(existing_directory(root_dir))
    return {
        "total_bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bavail * found.f_frsize,
        "inodes": found.f_files,
        "free_inodes": found.f_favail,
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }


def _other_agent(layout: Layout, pid: int | None) -> int | None:
    """Return the process of an agent with another ``pid_dir`` that works on the same root directory."""
    holder = FileLock.holder(os.path.join(layout.locks, "agent.lock"))
    return holder if holder and holder != pid else None
