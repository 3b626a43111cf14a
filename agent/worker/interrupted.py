"""A command whose worker was killed: what still runs of it is ended, and it is Failed with the official code 7."""

from __future__ import annotations

import logging
import os
import signal
import time

from agent.deployment.outcome import Outcome
from agent.errors import DiagnosticCode, SpecificationError
from agent.filesystem.boot import boot_id
from agent.hooks import processes
from agent.store.commands import Progress
from agent.store.layout import Layout

LOG_TAIL = 2048
"""Bytes of the script log that go with the report, as much as the official agents send of a script's output."""

KILL_AFTER = 15.0
"""Seconds after which a keeper that was told to end its script is no longer waited for; it has 5 for TERM itself."""

_log = logging.getLogger(__name__)


def interrupted(command_name: str, progress: Progress, layout: Layout, *, reason: str) -> Outcome:
    """The outcome of a command whose worker ended in the middle of it.

    The script that ran, and everything it had started, is ended first. ``reason`` completes "The command was
    interrupted: ...".
    """
    ended = _end_script(progress)
    during = f" during {progress.script}" if progress.script else ""
    text = f"{command_name} was interrupted{during}: {reason}.{ended} Nothing of it was run a second time."
    return Outcome(DiagnosticCode.FAILED_AFTER_RESTART, message=text, log=_log_tail(progress, layout))


def _end_script(progress: Progress) -> str:
    """End what the killed worker's script has left; says what was done."""
    if progress.boot_id != boot_id() or not progress.script:
        return ""
    if _is(progress.keeper_pid, progress.keeper_start_time):
        _signal(progress.keeper_pid, signal.SIGTERM)
        end = time.monotonic() + KILL_AFTER
        while _is(progress.keeper_pid, progress.keeper_start_time) and time.monotonic() < end:
            time.sleep(0.02)
        _log.warning("The script %s, which had outlived its worker, was ended", progress.script)
        return " Its script was still running and was ended."
    if _is(progress.script_pid, progress.script_start_time):
        # Without its keeper only the process group is left to be found.
        _signal(-progress.script_pid, signal.SIGTERM)
        time.sleep(1.0)
        _signal(-progress.script_pid, signal.SIGKILL)
        return " Its script was still running and was ended."
    return ""


def _is(pid: int, start_time: int) -> bool:
    found = processes.look_up(pid) if pid else None
    return found is not None and found.start_time == start_time and found.state not in "ZX"


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        _log.warning("Process %d could not be signalled: %s", pid, error)


def _log_tail(progress: Progress, layout: Layout) -> str:
    """The last lines of the deployment's script log, which may be those of an earlier event."""
    if not progress.deployment_id:
        return ""
    try:
        path = layout.script_log(layout.deployment(progress.group_id, progress.deployment_id))
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - LOG_TAIL, 0))
            data = file.read()
    except (OSError, SpecificationError):
        return ""
    if size > LOG_TAIL and b"\n" in data[:-1]:
        data = data[data.index(b"\n") + 1 :]
    return data.decode("utf-8", "replace")
