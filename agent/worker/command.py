"""One host command of the service, from its record to its outcome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from agent import logs
from agent.deployment.outcome import Outcome, failure, success
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError
from agent.filesystem.boot import boot_id
from agent.filesystem.locks import FileLock
from agent.filesystem.reasons import explained_error
from agent.hooks.context import RunningScript
from agent.retry import Clock, Retries, RetryPolicy, growing
from agent.runtime.host import Observer
from agent.service.client import CommandService
from agent.steps import event_log
from agent.steps.execute import execute, is_noop
from agent.steps.install_command import end_interrupted
from agent.store.bindings import Bindings
from agent.store.commands import CommandDirectory, CommandRecord, Progress, SavedOutcome
from agent.store.history import History, read_history
from agent.store.layout import Layout
from agent.store.tracking import write_tracking
from agent.worker.queue_position import wait_in_queue
from agent.worker.report import CLOSED, save
from agent.worker.session import Session
from agent.worker.time_limit import TimeLimit

COMPLETED_NOOP = "CompletedNoopCommand"

UNTIL_ACKNOWLEDGED = RetryPolicy(growing(0.3, 10.0), limit=3600.0)
"""The service waits for an agent's acknowledgement for an hour, by the CodeDeploy user guide."""

Answer = TypeVar("Answer")

_TERMINAL = ("Succeeded", "Failed")

_log = logging.getLogger(__name__)


class Closed(Exception):  # noqa: N818 - not an error: the service wants nothing more of this command
    """The service has already closed the command; nothing is to be done or reported. ``status`` is its end."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Command(Observer):
    """One command in the hands of its worker, which holds the lock of its directory.

    As an observer it keeps the running script in the progress file, for whoever has to clean up after this worker.
    """

    def __init__(
        self,
        directory: CommandDirectory,
        record: CommandRecord,
        session: Session,
        *,
        starts: int,
        clock: Clock | None = None,
    ) -> None:
        self._directory = directory
        self._record = record
        self._session = session
        self.state = Progress(boot_id(), starts=starts)
        self.limit = TimeLimit(session)
        self._group_lock: FileLock | None = None
        self._retries = Retries(UNTIL_ACKNOWLEDGED, record.command_name, clock)
        self._is_bound = False
        self._may_end = False
        self._is_over = False
        self._history = History(session.layout)

    def run(self) -> SavedOutcome:
        """Do what the service asks for, and save the outcome; its status is ``CLOSED`` where the service wants none.

        Every failure that can be explained becomes an outcome. Raises KeyboardInterrupt when the worker is told to
        stop, and then the script that ran is ended and an unfinished Install is undone.
        """
        outcome: Outcome | None
        closed_as = ""
        began = time.monotonic()
        try:
            outcome = self._outcome()
        except Closed as closed:
            outcome, closed_as = None, closed.status
        except AgentError as error:
            outcome = self._failed(error, began)
        except (OSError, MemoryError) as error:
            outcome = self._failed(explained_error(error, self._record.command_name), began)
        if self._is_bound:
            self._note_end(outcome.status if outcome else closed_as)
        saved = self.saved(outcome, closed_as=closed_as)
        save(self._directory, saved)
        if self._group_lock is not None:
            # The next command of the group may come as soon as this one's outcome is known.
            self._group_lock.release()
        return saved

    def _failed(self, error: AgentError, began: float) -> Outcome:
        """Log that the command failed before its work began; return its outcome."""
        outcome = failure(error)
        event_log.ended(self._record.command_name, outcome, seconds=time.monotonic() - began)
        return outcome

    def end(self, outcome: Outcome) -> SavedOutcome:
        """Return the outcome of a command whose work was cut off, as it is kept; what that ends is noted and logged."""
        if self.state.committed and self.state.deployment_id:
            self._note_end(outcome.status)
        return self.saved(outcome)

    def saved(self, outcome: Outcome | None, *, closed_as: str = "") -> SavedOutcome:
        """Return an outcome as it is kept, and note it in the history; None means that the service has closed it."""
        state, event = self.state, self._record.command_name
        if state.deployment_id and (self._is_bound or state.committed):
            self._history.ended(state.group_id, state.deployment_id, event, outcome, closed_as=closed_as)
        return SavedOutcome(
            outcome.status if outcome else CLOSED,
            outcome.payload() if outcome else "",
            time.time(),
            deployment_id=state.deployment_id,
            group_id=state.group_id,
            event=event,
            seconds=max(time.time() - self._record.received_at, 0.0),
            ends_deployment=self._is_over,
            closed_as=closed_as,
        )

    def _note_end(self, status: str) -> None:
        """Note and log how the command has ended where that ends its deployment here; a disk that refuses is logged."""
        event, state, succeeded = self._record.command_name, self.state, status == "Succeeded"
        ids = {"deployment_id": state.deployment_id, "group_id": state.group_id}
        try:
            over = Bindings(self._session.layout).end(event, succeeded=succeeded, **ids)
            # Whether events for load balancers follow is known by those that came first.
            over = over or (succeeded and self._may_end and not _began_with_traffic(self._session.layout, state))
        except (AgentError, OSError) as error:
            _log.warning("It will not be known that the deployment %s is over: %s", state.deployment_id, error)
            return
        self._is_over = over
        if over:
            event_log.deployment_ended(state.deployment_id, event=event, succeeded=succeeded)

    def _outcome(self) -> Outcome:
        session, record = self._session, self._record
        self._directory.save_progress(self.state, durably=False)
        spec = self._specification()
        logs.bind(deployment=spec.deployment_id, group=spec.deployment_group_id)
        self.state = self.state._replace(
            deployment_id=spec.deployment_id,
            group_id=spec.deployment_group_id,
            group_name=spec.deployment_group_name,
        )
        self._directory.save_progress(self.state, durably=False)
        self.expect(session.settings.lock_wait_seconds)
        self._group_lock = wait_in_queue(
            self._directory,
            record,
            spec.deployment_group_id,
            layout=session.layout,
            limit=session.settings.lock_wait_seconds,
            on_wait=self.notice,
        )
        self.expect(0)
        self._bind(spec)
        host = session.host(self)
        if record.command_name != "Install":  # which does so itself
            end_interrupted(spec.deployment_group_id, host)
        if session.settings.traffic_control:
            from agent.steps.traffic import note_managed  # most hosts are spared the import

            note_managed(record.command_name, spec, host)
        noop = is_noop(record.command_name, spec, host)
        if self._acknowledge(noop=noop) == "Failed":
            return success(COMPLETED_NOOP)
        write_tracking(session.layout, spec.deployment_id, record.command_identifier)
        self._history.started(spec, record.command_name)
        return execute(record.command_name, spec, host)

    def _specification(self) -> DeploymentSpecification:
        from agent.deployment.document import parse_specification  # not needed by a worker that only reports
        from agent.trust.envelope import open_envelope

        record, session = self._record, self._session
        host = session.handoff.identity.host_identifier
        envelope = self._ask(lambda service: service.specification(record.execution_id, host))
        payload = open_envelope(envelope.format, envelope.payload, policy=session.signer_policy(), now=time.time())
        return parse_specification(payload)

    def _bind(self, spec: DeploymentSpecification) -> None:
        """Hold a specification to the command that brought it; in turn, so that what came before has ended."""
        record, ids = self._record, {"deployment_id": spec.deployment_id, "group_id": spec.deployment_group_id}
        is_new = Bindings(self._session.layout).bind(record.execution_id, record.command_name, **ids)
        self._is_bound = True
        self._may_end = record.command_name == "ValidateService" and spec.deployment_type == "IN_PLACE"
        if is_new:
            event_log.deployment_began(spec, self._session.layout)

    def _acknowledge(self, *, noop: bool) -> str:
        """Tell the service that the command is taken on; gives its answer.

        Raises Closed where the service wants it not to be done, and what the call raises.
        """
        self.state = self.state._replace(committed=True)
        self._directory.save_progress(self.state, durably=True)
        identifier = self._record.command_identifier
        status = self._ask(lambda service: service.acknowledge(identifier, is_noop=noop))
        if status in _TERMINAL and not (status == "Failed" and noop):
            why = "the AppSpec has no script for it" if noop else f"the service had ended it as {status}"
            event_log.skipped(self._record.command_name, why)
            raise Closed(status)
        return status

    def _ask(self, question: Callable[[CommandService], Answer]) -> Answer:
        """Ask the service for as long as it waits for an acknowledgement."""
        self.expect(UNTIL_ACKNOWLEDGED.limit)
        try:
            return self._retries.run(lambda: self._session.ask(question))
        finally:
            self.expect(0)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Note that the command goes on."""
        self.limit.expect()

    def expect(self, seconds: float) -> None:
        """Allow the next step this time."""
        self.limit.expect(seconds)

    def script_started(self, script: RunningScript) -> None:
        """Remember which processes are to be ended should this worker be killed."""
        self.state = self.state._replace(
            script=script.location,
            script_pid=script.pid,
            script_start_time=script.start_time,
            supervisor_pid=script.supervisor_pid,
            supervisor_start_time=script.supervisor_start_time,
            script_timeout=script.timeout,
        )
        try:
            self._directory.save_progress(self.state, durably=False)
        except OSError as error:
            _log.warning("The progress of the command cannot be written down: %s", error)

    def notice(self, text: str) -> None:
        """Log what a person should know."""
        _log.info("%s", text)


def _began_with_traffic(layout: Layout, progress: Progress) -> bool:
    directory = layout.deployment(progress.group_id, progress.deployment_id)
    return any(line["event"] == "BeforeBlockTraffic" for line in read_history(layout, directory))
