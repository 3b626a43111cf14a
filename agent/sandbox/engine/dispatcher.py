"""The commands that wait for hosts: issued, handed out, acknowledged, ended once."""

from __future__ import annotations

from collections.abc import Callable

from agent.sandbox.engine import names
from agent.sandbox.engine.records import Deployment, EventState, Limits, Scope, Target, TargetCommand
from agent.sandbox.errors import RefusedError


class CommandDispatcher:
    """All commands, by identifier and by host; it knows nothing of what a command's end means."""

    def __init__(self, scope: Scope, clock: Callable[[], float]) -> None:
        self.limits = Limits()
        self._scope = scope
        self._clock = clock
        self._commands: dict[str, TargetCommand] = {}
        self._executions: dict[str, tuple[Deployment, Target]] = {}
        self._open: dict[str, list[TargetCommand]] = {}

    def issue(self, deployment: Deployment, target: Target, event: EventState) -> TargetCommand:
        """Make the command for an event; the host gets it at its next poll."""
        if not target.execution_id:
            target.execution_id = names.execution_id(self._scope.region, self._scope.account, deployment.deployment_id)
            self._executions[target.execution_id] = (deployment, target)
        command = TargetCommand(names.command_identifier(), deployment, target, event, at=self._clock())
        self._commands[command.identifier] = command
        self._open.setdefault(target.host_identifier, []).append(command)
        return command

    def next_for(self, host_identifier: str) -> TargetCommand | None:
        """Return the oldest command that the host should be handed now, without handing it out.

        One that was handed out is due again after a while, until it is acknowledged.
        """
        due = self._clock() - self.limits.redelivery
        for command in self._open.get(host_identifier, ()):
            if command.acknowledged is None and (command.served is None or command.served <= due):
                return command
        return None

    def serve(self, command: TargetCommand) -> None:
        """Note that the command was handed out."""
        command.served = self._clock()

    def find(self, identifier: str) -> TargetCommand:
        """Return a command, ended or not; RefusedError for an identifier that was never issued."""
        command = self._commands.get(identifier)
        if command is None:
            raise RefusedError("ClientException", "There is no host command with this identifier.")
        return command

    def execution(self, execution_id: str) -> tuple[Deployment, Target]:
        """Return the deployment and target of an execution id; RefusedError if there is none."""
        found = self._executions.get(execution_id)
        if found is None:
            raise RefusedError("ClientException", f"There is no deployment execution {execution_id}.")
        return found

    def end(self, command: TargetCommand, status: str) -> None:
        """Give a command its final status and take it from its host's list."""
        command.status = status
        self._open[command.target.host_identifier].remove(command)

    def overdue(self) -> list[tuple[TargetCommand, str]]:
        """Return the commands whose host has let a time limit pass, each with what to tell the user."""
        now, found = self._clock(), []
        for commands in self._open.values():
            for command in commands:
                if command.acknowledged is None and now - command.created > self.limits.delivery:
                    found.append((command, _not_taken(command, self.limits.delivery)))
                elif command.acknowledged is not None and now - command.acknowledged > self.limits.event:
                    found.append((command, f"The host did not report an end within {self.limits.event:g} seconds."))
        return found


def _not_taken(command: TargetCommand, limit: float) -> str:
    seen = "was handed the command but did not acknowledge it" if command.served else "did not ask for a command"
    return f"The agent on the host {seen} within {limit:g} seconds. Is it running, and is it registered?"
