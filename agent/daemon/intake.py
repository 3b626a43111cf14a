"""Taking on what a poll has brought: a record first, then a worker; nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from agent.daemon.schedule import Poll
from agent.daemon.workers import Start, Workers
from agent.errors import AgentError
from agent.service.client import HostCommand
from agent.store.command_ids import ids_of_record
from agent.store.commands import CommandRecord, CommandStore, new_record
from agent.worker.report import CLOSED

REPEAT_AFTER = 60.0
"""Seconds before a command that was reported, but is handed out again, is reported again."""

_log = structlog.stdlib.get_logger(__name__)


class Intake:
    """Decides about each command that the service hands out.

    ``leaves`` says whether one has to wait; ``clock`` gives seconds that never go back.
    """

    def __init__(
        self,
        store: CommandStore,
        workers: Workers,
        start: Start,
        *,
        leaves: Callable[[HostCommand], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._workers = workers
        self._start = start
        self._leaves = leaves
        self._left: set[str] = set()
        self._clock = clock
        self._repeated: dict[str, float] = {}

    def take(self, command: HostCommand) -> Poll:
        """Take a command on, unless it is in hand or was reported already.

        The record is on the disk before anything is done. Raises OSError, RootDirectoryError where the disk neither
        says what is known of the command nor takes its record: then nothing was begun, and the service hands it out
        again.
        """
        record = _record_of(command)
        log = self._log_of(record)
        directory = self._store.directory_of(command.identifier)
        if directory.exists():
            log.debug("The command is in hand already")
            self._workers.look_around()  # should nobody be at work on it, that changes now
            return Poll.KNOWN
        finished = self._store.finished(command.identifier)
        if finished is not None:
            if finished.status != CLOSED:
                self._report_again(record, finished.deployment_id)
            return Poll.KNOWN
        if self._leaves(command):
            if command.identifier not in self._left:
                self._left.add(command.identifier)
                log.info("%s of a new deployment is left to the service while the agent is paused", command.name)
            return Poll.NOTHING
        self._left.discard(command.identifier)
        # The one line with the whole identifier, by which support at AWS finds the command.
        log.info("%s received as command %s", record.command_name, record.command_identifier)
        self._workers.begin(self._store.add(record), self._start)
        return Poll.NEW

    def _report_again(self, record: CommandRecord, deployment_id: str) -> None:
        """Send a known outcome once more: the service seems not to have heard of it."""
        now = self._clock()
        self._repeated = {key: at for key, at in self._repeated.items() if now - at < REPEAT_AFTER}
        if record.command_identifier in self._repeated:
            return
        self._repeated[record.command_identifier] = now
        outcome = self._store.finished(record.command_identifier)
        if outcome is None:
            raise AgentError(f"The outcome of command {record.command_identifier} has just been forgotten.")
        self._log_of(record).bind(deployment=deployment_id).warning(
            "The command was handed out again although it has ended; its outcome is sent once more, and nothing is run"
        )
        self._workers.begin(self._store.add(record, outcome), self._start)

    def _log_of(self, record: CommandRecord) -> structlog.stdlib.BoundLogger:
        return _log.bind(**ids_of_record(record, self._store.layout))


def _record_of(command: HostCommand) -> CommandRecord:
    return new_record(
        {
            "command_identifier": command.identifier,
            "host_identifier": command.host_identifier,
            "execution_id": command.execution_id,
            "command_name": command.name,
        },
        now=time.time(),
    )
