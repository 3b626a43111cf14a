"""Takes a deployment from event to event and from host to host until it is over."""

from __future__ import annotations

from collections.abc import Callable

from agent.sandbox.engine import health, lifecycle
from agent.sandbox.engine.dispatcher import CommandDispatcher
from agent.sandbox.engine.records import Deployment, EventState, Json, Target, TargetCommand


class Orchestrator:
    """The rules of a deployment's progress; ``over`` is called once for every deployment that ends."""

    def __init__(
        self, dispatcher: CommandDispatcher, clock: Callable[[], float], over: Callable[[Deployment], None]
    ) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._over = over

    def begin(self, deployment: Deployment) -> None:
        """Start a deployment whose targets are known; one without targets fails at once."""
        deployment.status = "InProgress"
        if not deployment.targets:
            self._finish(deployment, "Failed", "NO_INSTANCES", _NO_INSTANCES)
        elif health.required(deployment.minimum_healthy, len(deployment.targets)) >= len(deployment.targets):
            self._skip_waiting(deployment)
            self._finish(deployment, "Failed", "HEALTH_CONSTRAINTS_INVALID", _too_many(deployment))
        else:
            self._update(deployment)

    def complete(self, command: TargetCommand, *, succeeded: bool, diagnostics: Json) -> None:
        """Take in the end of a command and go on with its target and deployment."""
        self._dispatcher.end(command, "Succeeded" if succeeded else "Failed")
        deployment, target, event = command.deployment, command.target, command.event
        target.command = None
        self._end_event(target, event, "Succeeded" if succeeded else "Failed", diagnostics)
        forgiven = deployment.request.get("ignoreApplicationStopFailures") and event.name in lifecycle.STOP_EVENTS
        if succeeded or forgiven:
            self._proceed(deployment, target)
        else:
            self._end_target(target, "Failed")
        self._update(deployment)

    def stop(self, deployment: Deployment) -> bool:
        """Let nothing further begin; tell whether the deployment is over already.

        A host that has taken up a command may end it; a command that no host has seen is withdrawn.
        """
        deployment.stopping = True
        self._skip_waiting(deployment)
        for target in deployment.targets:
            command = target.command
            if command is not None and command.acknowledged is None:
                self._dispatcher.end(command, "Failed")
                target.command = None
                self._end_target(target, "Skipped")
        self._update(deployment)
        return deployment.is_over

    def _proceed(self, deployment: Deployment, target: Target) -> None:
        """Do the service's own events and issue the command for the host's next one."""
        for event in target.events:
            if event.status != "Pending":
                continue
            if deployment.stopping:
                self._end_target(target, "Skipped")
                return
            if event.name in lifecycle.BY_SERVICE:
                event.started = self._clock()
                self._end_event(target, event, "Succeeded", None)
                continue
            target.command = self._dispatcher.issue(deployment, target, event)
            return
        self._end_target(target, "Succeeded")
        deployment.group.installed[target.host_identifier] = deployment.revision

    def _update(self, deployment: Deployment) -> None:
        """Begin with further hosts, or end the deployment, as its configuration allows."""
        if deployment.is_over:
            return
        for target in _waiting(deployment)[: health.may_start(deployment.minimum_healthy, progress_of(deployment))]:
            target.status = "InProgress"
            self._proceed(deployment, target)
        progress = progress_of(deployment)
        if health.is_lost(deployment.minimum_healthy, progress):
            self._skip_waiting(deployment)
            self._finish(deployment, "Failed", "HEALTH_CONSTRAINTS", _too_few(deployment, progress))
        elif not progress.running and not progress.pending:
            self._conclude(deployment, progress)

    def _conclude(self, deployment: Deployment, progress: health.RolloutProgress) -> None:
        if deployment.stopping:
            self._finish(deployment, "Stopped", "MANUAL_STOP", "The deployment was stopped by its user.")
        elif health.has_succeeded(deployment.minimum_healthy, progress):
            self._finish(deployment, "Succeeded")
        else:
            self._finish(deployment, "Failed", "HEALTH_CONSTRAINTS", _too_few(deployment, progress))

    def _finish(self, deployment: Deployment, status: str, code: str = "", message: str = "") -> None:
        deployment.status = status
        deployment.completed = self._clock()
        deployment.error = {"code": code, "message": message} if code else None
        if status == "Succeeded":
            deployment.group.last_successful = deployment
        self._over(deployment)

    def _skip_waiting(self, deployment: Deployment) -> None:
        for target in _waiting(deployment):
            self._end_target(target, "Skipped")

    def _end_target(self, target: Target, status: str) -> None:
        for event in target.events:
            if event.status == "Pending":
                event.status = "Skipped"
        target.status = status
        target.updated = self._clock()

    def _end_event(self, target: Target, event: EventState, status: str, diagnostics: Json | None) -> None:
        event.status = status
        event.ended = target.updated = self._clock()
        event.started = event.started or event.ended
        event.diagnostics = diagnostics or lifecycle.diagnostics_of(
            {"error_code": 0, "script_name": "", "message": status, "log": ""}
        )


def progress_of(deployment: Deployment) -> health.RolloutProgress:
    """Count a deployment's targets; skipped ones have no part in its health."""
    count = [target.status for target in deployment.targets].count
    return health.RolloutProgress(
        pending=count("Pending"), running=count("InProgress"), succeeded=count("Succeeded"), failed=count("Failed")
    )


def _waiting(deployment: Deployment) -> list[Target]:
    return [target for target in deployment.targets if target.status == "Pending"]


_NO_INSTANCES = (
    "No host was found for the deployment group. Its tag filters must match registered on-premises hosts "
    "or running EC2 instances."
)


def _too_many(deployment: Deployment) -> str:
    return (
        f"{deployment.config_name} keeps {health.required(deployment.minimum_healthy, len(deployment.targets))} hosts "
        f"healthy, and there are only {len(deployment.targets)}: none of them could be deployed to."
    )


def _too_few(deployment: Deployment, progress: health.RolloutProgress) -> str:
    return (
        f"Too many hosts failed: {progress.failed} of {progress.total}, and {deployment.config_name} "
        f"keeps {max(1, health.required(deployment.minimum_healthy, progress.total))} healthy."
    )
