"""Telling the service how a command ended, until it has accepted it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from agent.errors import AgentError
from agent.retry import RetryPolicy, growing
from agent.service.errors import ServiceError, ServiceErrorKind
from agent.store.commands import CommandDirectory, SavedOutcome
from agent.store.tracking import remove_tracking
from agent.worker.session import Session
from agent.worker.time_limit import TimeLimit

CLOSED = "Closed"
"""The status of an outcome of which the service wants to hear nothing; never sent."""

ATTEMPTS = RetryPolicy(growing(0.3, 90.0))

ATTEMPTS_WITH_SUPERVISOR = 8
"""How often a worker tries while a supervisor lives, which would start another one later: about a minute."""

REFUSED_AT_MOST = 3
"""How often the service may say that it does not want an outcome before we believe it."""

_log = logging.getLogger(__name__)


def save(directory: CommandDirectory, outcome: SavedOutcome) -> bool:
    """Write an outcome down, and return whether the disk took it; else it is kept until this host goes down."""
    try:
        directory.save_outcome(outcome)
    except OSError as error:
        _log.error("The outcome %s cannot be written down yet: %s", outcome.status, error)
        _keep(directory, outcome, reported=False)
        return False
    return True


def _keep(directory: CommandDirectory, outcome: SavedOutcome, *, reported: bool) -> None:
    try:
        directory.keep(outcome, reported=reported)
    except OSError as error:
        _log.error("Only this process knows the outcome %s: %s", outcome.status, error)


class Reporter:
    """Reports outcomes for one worker; ``sleep`` takes seconds."""

    def __init__(self, session: Session, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._session = session
        self._sleep = sleep

    def report(self, directory: CommandDirectory, command_identifier: str, outcome: SavedOutcome) -> bool:
        """Tell the service and close the command's record; False where the service could not be told yet.

        While no supervisor is there that would try again later, this goes on for as long as the settings let a worker
        outlive its supervisor; and for as long as the outcome is not on the disk, since then nobody else knows it.
        """
        with TimeLimit(self._session) as limit:
            return self._report(directory, command_identifier, outcome, limit)

    def _report(
        self, directory: CommandDirectory, command_identifier: str, outcome: SavedOutcome, limit: TimeLimit
    ) -> bool:
        refused = 0
        for pause in self._pauses(directory, outcome):
            limit.expect(pause)
            try:
                self._session.ask(
                    lambda service: service.complete(command_identifier, status=outcome.status, payload=outcome.payload)
                )
                _log.info("Reported %s to the service", outcome.status)
                return self.close(directory, command_identifier, outcome)
            except AgentError as error:  # also when there are no credentials: others may come
                # One without a name comes from something between here and the service, whose word does not count.
                named = isinstance(error, ServiceError) and error.kind is ServiceErrorKind.CLIENT and error.service_code
                refused += bool(named)
                if refused >= REFUSED_AT_MOST:
                    _log.error("The service does not want the outcome %s, which is dropped: %s", outcome.status, error)
                    return self.close(directory, command_identifier, outcome)
                _log.warning("The outcome %s could not be reported and will be sent again: %s", outcome.status, error)
            self._sleep(pause)
        return False

    def close(self, directory: CommandDirectory, command_identifier: str, outcome: SavedOutcome) -> bool:
        """Forget what was in hand of a command, but for its outcome; False where the disk refuses.

        Then the service knows the outcome all the same, and the record is put away later.
        """
        try:
            if outcome.deployment_id:
                remove_tracking(self._session.layout, outcome.deployment_id, command_identifier)
            self._session.store.finish(directory, outcome)
        except OSError as error:
            _log.error("The record of the command cannot be put away yet: %s", error)
            _keep(directory, outcome, reported=True)
            return False
        return True

    def _pauses(self, directory: CommandDirectory, outcome: SavedOutcome) -> Iterator[float]:
        """Growing pauses with jitter, until somebody else may go on."""
        number = 0
        alone_until = time.monotonic() + self._session.settings.kill_agent_max_wait_time_seconds
        while True:
            number += 1
            yield ATTEMPTS.delay(number)
            saved = _is_saved(directory) or save(directory, outcome)
            if self._session.supervisor_is_gone():
                if time.monotonic() >= alone_until:
                    return
            elif saved and number >= ATTEMPTS_WITH_SUPERVISOR:
                return


def _is_saved(directory: CommandDirectory) -> bool:
    try:
        return directory.is_saved()
    except OSError:
        return False
