"""The whole of the service in one object: its parts, one lock around them, and the hosts that wait for commands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from agent.sandbox.engine import lifecycle
from agent.sandbox.engine.catalogue import Catalogue
from agent.sandbox.engine.deployments import Deployments
from agent.sandbox.engine.dispatcher import CommandDispatcher
from agent.sandbox.engine.hosts import Ec2Instance, Hosts
from agent.sandbox.engine.records import Json, Limits, Scope, TargetCommand
from agent.sandbox.engine.specification import specification
from agent.sandbox.errors import RefusedError

_LOOK_AGAIN = 1.0  # seconds; a command that was handed out falls due again without anybody ringing


class Engine:
    """Everything that the API and the command service ask of the sandbox; hold ``lock`` while using its parts."""

    def __init__(
        self,
        scope: Scope,
        *,
        ec2: Callable[[], Sequence[Ec2Instance]] = lambda: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lock = threading.RLock()
        self.scope = scope
        self.clock = clock
        self.catalogue = Catalogue(clock)
        self.hosts = Hosts(scope, clock, ec2)
        self.dispatcher = CommandDispatcher(scope, clock)
        self.deployments = Deployments(self.catalogue, self.hosts, self.dispatcher, clock)
        self.github_token: str | None = None
        self._bells: dict[str, threading.Condition] = {}
        self.waiting: list[str] = []  # the hosts whose polls wait
        self._closed = False

    @property
    def limits(self) -> Limits:
        """Return the time limits in force."""
        return self.dispatcher.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        with self.lock:
            self.dispatcher.limits = limits

    def poll(self, host_identifier: str, *, seconds: float, listening: Callable[[], bool] = lambda: True) -> (
            TargetCommand | None):  # fmt: skip
        """Give the host its next command, waiting up to ``seconds`` for one; None if there is none.

        ``listening`` is asked before a command is handed out, so that none goes to a host that has hung up.
        """
        end = time.monotonic() + seconds
        with self.lock:
            bell = self._bells.setdefault(host_identifier, threading.Condition(self.lock))
            while not self._closed:
                command = self.dispatcher.next_for(host_identifier)
                if command is not None:
                    if not listening():
                        return None
                    self.dispatcher.serve(command)
                    return command
                remaining = end - time.monotonic()
                if remaining <= 0:
                    return None
                self.waiting.append(host_identifier)
                bell.wait(min(remaining, _LOOK_AGAIN))
                self.waiting.remove(host_identifier)
        return None

    def specification(self, execution_id: str, host_identifier: str, *, agent: tuple[int, ...]) -> bytes:
        """Return the specification of a deployment execution to its host, whose agent has this version."""
        with self.lock:
            deployment, target = self.dispatcher.execution(execution_id)
            if target.host_identifier != host_identifier:
                raise RefusedError("ClientException", "The deployment execution is another host's.")
            return specification(deployment, self.scope, agent=agent, github_token=self.github_token)

    def acknowledge(self, identifier: str, host_identifier: str, *, noop: bool | None) -> str:
        """Take in an acknowledgement; give the command's status, of which Succeeded and Failed mean: do not execute."""
        with self.lock:
            command = self._command_of(identifier, host_identifier)
            if command.is_over:
                return command.status
            if noop and self.limits.noop_answer == "Succeeded":
                payload = {"error_code": 0, "script_name": "", "message": "No-op", "log": ""}
                self.deployments.complete(command, succeeded=True, diagnostics=lifecycle.diagnostics_of(payload))
                self.ring()
                return command.status
            if command.acknowledged is None:
                self._take_up(command)
            return self.limits.noop_answer if noop else command.status

    def complete(self, identifier: str, host_identifier: str, *, succeeded: bool, payload: Json) -> None:
        """Take in the result of a command; a second result is refused with ClientException."""
        with self.lock:
            command = self._command_of(identifier, host_identifier)
            if command.is_over:
                raise RefusedError("ClientException", f"The host command has ended already, as {command.status}.")
            self.deployments.complete(command, succeeded=succeeded, diagnostics=lifecycle.diagnostics_of(payload))
        self.ring()

    def command_status(self, identifier: str, host_identifier: str) -> str:
        """Return the status of a command of this host."""
        with self.lock:
            return self._command_of(identifier, host_identifier).status

    def ring(self) -> None:
        """Wake the hosts that wait and have a command now."""
        with self.lock:
            for host_identifier, bell in self._bells.items():
                if self._closed or self.dispatcher.next_for(host_identifier) is not None:
                    bell.notify_all()

    def tick(self) -> None:
        """End the commands whose host has let a time limit pass."""
        with self.lock:
            for command, message in self.dispatcher.overdue():
                if not command.is_over:
                    diagnostics = lifecycle.diagnostics_by_service(message)
                    self.deployments.complete(command, succeeded=False, diagnostics=diagnostics)
        self.ring()

    def close(self) -> None:
        """Answer all polls that wait, and all later ones, with nothing."""
        self._closed = True
        self.ring()

    def _command_of(self, identifier: str, host_identifier: str) -> TargetCommand:
        command = self.dispatcher.find(identifier)
        if command.target.host_identifier != host_identifier:
            raise RefusedError("ClientException", "The host command is another host's.")
        return command

    def _take_up(self, command: TargetCommand) -> None:
        command.status = command.event.status = "InProgress"
        command.acknowledged = command.event.started = command.target.updated = self.clock()
