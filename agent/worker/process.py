"""The worker process, which the fork server forks for a command.

``python -m agent.worker.process COMMAND_DIRECTORY``, with a hand-off on its standard input, is the same without one.
Whatever state the directory is in, the worker brings the command to its end: it begins it, reports a saved outcome, or
judges what an earlier worker has left. It outlives the supervisor that started it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from enum import Enum
from types import FrameType
from typing import NoReturn

from agent import logs
from agent.deployment.outcome import Outcome, failure
from agent.errors import AgentError
from agent.filesystem.locks import LockTimeoutError
from agent.filesystem.reasons import place_and_reason
from agent.runtime.host import Observer
from agent.runtime.log_files import set_up_logs
from agent.runtime.own_directories import own_directories_are_safe
from agent.steps import event_log
from agent.store.command_ids import short_id
from agent.store.commands import CommandDirectory, CommandRecord, Progress, RecordError, SavedOutcome
from agent.worker.command import Command
from agent.worker.handoff import EXIT_UNREPORTED, forgo_core_dumps, parse_handoff
from agent.worker.interrupted import interrupted, script_log_of
from agent.worker.report import CLOSED, Reporter, save
from agent.worker.session import Session
from agent.worker.time_limit import WorkerStopped

LOCK_TIMEOUT = 0.5
"""Seconds to wait for the command's lock: long enough for a process that only looks whether it is held."""

STARTS_AT_MOST = 3
"""How often a command is begun whose workers keep dying before they have acknowledged it."""

_log = logging.getLogger("agent.worker.process")  # __name__ is "__main__" here


class Verdict(Enum):
    """What a worker that finds a command does with it."""

    BEGIN = "begin it"
    REPORT = "report its outcome"
    FAIL = "fail it, because its worker was killed"


def judge(progress: Progress | None, outcome: SavedOutcome | None) -> Verdict:
    """Judge a command whose lock is free.

    One that was acknowledged, or was about to be, is never begun a second time, because its scripts may have run. One
    that was not has left no trace on this host, and the service does not count it as begun either.
    """
    if outcome is not None:
        return Verdict.REPORT
    if progress is None or (not progress.committed and progress.starts < STARTS_AT_MOST):
        return Verdict.BEGIN
    return Verdict.FAIL


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring the command of a directory to its end; gives 0, or ``EXIT_UNREPORTED``."""
    path = (sys.argv[1:] if arguments is None else arguments)[0]
    return work(path, sys.stdin.buffer.read())


def work(path: str, handoff: bytes) -> int:
    """As ``main``, in a process of its own: the one that is here, or a fork of the fork server."""
    session = Session(parse_handoff(handoff))
    if not own_directories_are_safe(session.settings):
        return EXIT_UNREPORTED  # the supervisor tries again later
    _detach(session)
    event_log.run_on_event(session.settings)
    directory = session.store.directory_at(os.path.basename(path))
    logs.bind(command=directory.short)
    lock = directory.lock()
    try:
        try:
            lock.acquire(limit=LOCK_TIMEOUT)
        except (LockTimeoutError, FileNotFoundError):
            return 0  # another worker has it, or has just closed it
        with lock:
            return _bring_to_its_end(directory, session)
    except WorkerStopped as stop:
        _log.info("Stopped while an outcome was being reported: %s", stop)
    except OSError as error:
        # What is known of the command cannot be read now, so nothing is judged by it.
        _log.error("The record of the command cannot be used now: %s", place_and_reason(error))
    return EXIT_UNREPORTED


def _detach(session: Session) -> None:
    """Cut what ties the process to the one that started it, and hear of being told to stop as an exception."""
    os.umask(0o022)
    os.chdir("/")
    set_up_logs(session.settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if session.settings.disable_core_dumps:
        forgo_core_dumps()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)
    raise WorkerStopped(f"its worker was told to stop by {signal.Signals(number).name}")


def _bring_to_its_end(directory: CommandDirectory, session: Session) -> int:
    try:
        record = directory.record()
    except RecordError as error:
        if directory.exists():
            _log.warning("%s It is now %s, and everything else goes on", error, session.store.set_aside(directory))
        return 0
    logs.bind(lifecycle_event=record.command_name, command=short_id(record.command_identifier))
    progress, outcome = _what_is_known(directory)
    known = outcome or progress
    if known is not None:
        logs.bind(deployment=known.deployment_id, group=known.group_id)
    reported = outcome is not None and _is_reported(directory, record, outcome, session)
    verdict = judge(progress, outcome)
    if verdict is Verdict.BEGIN:
        outcome = _begin(directory, record, session, starts=progress.starts + 1 if progress else 1)
    elif verdict is Verdict.FAIL and progress is not None:
        outcome = _fail(directory, record, progress, session)
    if outcome is None:
        return 0
    if outcome.deployment_id:
        logs.bind(deployment=outcome.deployment_id, group=outcome.group_id)
    reporter = Reporter(session)
    if reported or outcome.status == CLOSED:
        return 0 if reporter.close(directory, record.command_identifier, outcome) else EXIT_UNREPORTED
    return 0 if reporter.report(directory, record.command_identifier, outcome) else EXIT_UNREPORTED


def _is_reported(directory: CommandDirectory, record: CommandRecord, outcome: SavedOutcome, session: Session) -> bool:
    kept = directory.kept()
    return (kept is not None and kept.reported) or outcome == session.store.finished(record.command_identifier)


def _what_is_known(directory: CommandDirectory) -> tuple[Progress | None, SavedOutcome | None]:
    """What an earlier worker has written; where that is damaged the command counts as interrupted."""
    progress: Progress | None
    try:
        progress = directory.progress()
    except RecordError as error:
        _log.warning("%s So it is not known how far the command came", error)
        progress = Progress(boot_id="", committed=True)
    try:
        return progress, directory.outcome()
    except RecordError as error:
        _log.warning("%s So it is not known how the command ended, and it is failed", error)
        return (progress or Progress(boot_id=""))._replace(committed=True), None


def _begin(directory: CommandDirectory, record: CommandRecord, session: Session, *, starts: int) -> SavedOutcome | None:
    """Carry a command out; gives its outcome, None where it was stopped so early that it can be begun again."""
    command = Command(directory, record, session, starts=starts)
    try:
        with command.limit:
            return command.run()
    except WorkerStopped as stop:
        if not command.state.committed:
            _log.info("%s was stopped before it was acknowledged, and will be begun again", record.command_name)
            return None
        outcome = interrupted(record.command_name, command.state, session.layout, reason=str(stop))
    except Exception as error:  # noqa: BLE001 - a defect of ours must not cost the deployment its outcome
        _log.error("A defect of the agent ended %s", record.command_name, exc_info=True)
        outcome = _defect(error)
    _log_failure(record, outcome, command.state, session)
    saved = command.end(outcome)
    save(directory, saved)
    return saved


def _defect(error: Exception) -> Outcome:
    return failure(
        AgentError(
            f"The agent itself failed: {type(error).__name__}: {error}.",
            remedy="This is a defect of the agent; please report it with the lines of its log.",
        )
    )


def _fail(directory: CommandDirectory, record: CommandRecord, progress: Progress, session: Session) -> SavedOutcome:
    reason = "the process that worked on it is gone, because it was killed or the host went down"
    outcome = interrupted(record.command_name, progress, session.layout, reason=reason)
    _log_failure(record, outcome, progress, session)
    command = Command(directory, record, session, starts=progress.starts)
    command.state = progress
    saved = command.end(outcome)
    if session.settings.traffic_control and progress.deployment_id:
        from agent.steps.traffic import finalize_killed  # most hosts are spared the import

        finalize_killed(progress.deployment_id, session.host(Observer()))
    _free_room(record, progress, session)
    save(directory, saved)  # last: should this worker be ended too, the next one does all of it again
    return saved


def _log_failure(record: CommandRecord, outcome: Outcome, progress: Progress, session: Session) -> None:
    """Log the failure of an event that this or an earlier worker left; it has lasted since its command was received."""
    seconds = max(time.time() - record.received_at, 0.0)
    event_log.ended(record.command_name, outcome, seconds=seconds, output=script_log_of(progress, session.layout))


def _free_room(record: CommandRecord, progress: Progress, session: Session) -> None:
    """Remove what a killed DownloadBundle has left, unless its group is at work; then the group's next one does it."""
    if record.command_name != "DownloadBundle" or not progress.group_id:
        return
    from agent.steps.bundle_command import remove_unfinished
    from agent.store.locks import group_lock  # seldom needed

    try:
        lock = group_lock(session.layout, progress.group_id)
        lock.acquire(limit=0)
        with lock:
            remove_unfinished(session.layout, progress.group_id)
    except (AgentError, OSError) as error:
        _log.info("What DownloadBundle has left is removed by the next one: %s", error)


if __name__ == "__main__":
    sys.exit(main())
