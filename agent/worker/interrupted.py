"""A command whose worker was killed: what still runs of it is ended, and it is Failed with the official code 7."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import time

from agent.deployment.outcome import Outcome
from agent.errors import DiagnosticCode, SpecificationError
from agent.filesystem.boot import boot_id
from agent.hooks import processes
from agent.store.commands import Progress
from agent.store.layout import Layout
from agent.store.script_logs import ScriptLog

LOG_TAIL = 2048
"""Bytes of the script log that go with the report, as much as the official agents send of a script's output."""

# Enough for that many bytes without the times of the lines.
_READ_AT_MOST = 32 * LOG_TAIL

_STAMP = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", re.MULTILINE)

_END = re.compile(rb"^End - .*(?:\n|\Z)", re.MULTILINE)  # which the official agents do not send

KILL_AFTER = 15.0
"""Seconds for which a script supervisor that was told to end its script is waited for; it has 5 for TERM itself."""

TERM_AFTER = 1.0
"""Seconds that a script without a script supervisor has between TERM and KILL."""

_log = logging.getLogger(__name__)


def interrupted(command_name: str, progress: Progress, layout: Layout, *, reason: str) -> Outcome:
    """The outcome of a command whose worker ended in the middle of it.

    The script that ran, and everything it had started, is ended first. ``reason`` completes "The command was
    interrupted: ...".
    """
    ended = _end_script(progress)
    during = f" during {progress.script}" if progress.script else ""
    text = f"{command_name} was interrupted{during}: {reason}.{ended} Nothing of it was run a second time."
    outcome = Outcome(DiagnosticCode.FAILED_AFTER_RESTART, message=text, log=_log_tail(progress, layout))
    if ended and progress.deployment_id:
        log = ScriptLog(layout, layout.deployment(progress.group_id, progress.deployment_id))
        log.header(f"End - {progress.script}: stopped, because its worker had ended")
        log.close()
    return outcome


def _end_script(progress: Progress) -> str:
    """End what the killed worker's script has left; says what was done."""
    if progress.boot_id != boot_id() or not progress.script:
        return ""
    supervisor = progress.supervisor_pid, progress.supervisor_start_time
    if processes.is_running(*supervisor):
        try:
            processes.send_signal(*supervisor, signal.SIGTERM)
        except PermissionError as error:
            _log.warning("Process %d could not be signalled: %s", progress.supervisor_pid, error)
        end = time.monotonic() + KILL_AFTER
        while processes.is_running(*supervisor) and time.monotonic() < end:
            time.sleep(0.02)
        _log.warning("The script %s, which had outlived its worker, was ended", progress.script)
        return " Its script was still running and was ended."
    # Without its script supervisor only the process group and what is below it are left to be found.
    tree = processes.signal_tree(progress.script_pid, progress.script_start_time, signal.SIGTERM)
    if not tree:
        return ""
    end = time.monotonic() + TERM_AFTER
    while any(processes.is_running(one.pid, one.start_time) for one in tree) and time.monotonic() < end:
        time.sleep(0.02)
    for one in tree:
        with contextlib.suppress(PermissionError):  # which was logged above
            processes.send_signal(one.pid, one.start_time, signal.SIGKILL)
    # No other process gets this pid as long as the group has members.
    if processes.look_up(progress.script_pid) is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(progress.script_pid, signal.SIGKILL)
    return " Its script was still running and was ended."


def script_log_of(progress: Progress, layout: Layout) -> str:
    """Return the path of the log of the deployment's scripts, empty where the deployment is not known."""
    try:
        return layout.script_log(layout.deployment(progress.group_id, progress.deployment_id))
    except SpecificationError:  # one of the ids is empty
        return ""


def _log_tail(progress: Progress, layout: Layout) -> str:
    """Return the last lines of the deployment's script log, without their times as in all diagnostics.

    They may be those of an earlier event.
    """
    try:
        with open(script_log_of(progress, layout), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _READ_AT_MOST, 0))
            data = _END.sub(b"", _STAMP.sub(b"", file.read()))
    except OSError:
        return ""
    if size > _READ_AT_MOST or len(data) > LOG_TAIL:
        data = data[-LOG_TAIL:]
        data = data[data.index(b"\n") + 1 :] if b"\n" in data[:-1] else data
    return data.decode("utf-8", "replace")
