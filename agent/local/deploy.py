"""A whole deployment on this host, driven by the local command as the service would drive it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from agent import logs
from agent.deployment.lifecycle import BY_NAME
from agent.deployment.outcome import Outcome, failure
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError
from agent.filesystem.reasons import explained_error
from agent.local.request import LocalDeployment
from agent.runtime.host import Host, Observer
from agent.steps import event_log
from agent.steps.bundle_command import prepared
from agent.steps.execute import execute
from agent.steps.hook_command import scripts_of
from agent.steps.install_command import end_interrupted
from agent.store.history import History
from agent.store.locks import group_lock

DOWNLOAD = "DownloadBundle"


class EventResult(NamedTuple):
    """How one lifecycle event ended; ``scripts`` are those that were started, in order."""

    name: str
    outcome: Outcome
    seconds: float
    scripts: tuple[str, ...] = ()


class LocalObserver(Observer):
    """Hears about a local deployment; this one ignores everything. None of its methods may raise."""

    def event_started(self, name: str) -> None:
        """A lifecycle event begins."""

    def event_ended(self, result: EventResult) -> None:
        """A lifecycle event has ended."""


class _Listener(Observer):
    """Passes everything on and remembers which scripts were started."""

    def __init__(self, inner: Observer) -> None:
        self.inner = inner
        self.scripts: list[str] = []

    def header(self, text: str) -> None:
        if text.startswith("Script - "):
            self.scripts.append(text.removeprefix("Script - "))
        self.inner.header(text)

    def output(self, stream: str, data: bytes) -> None:
        self.inner.output(stream, data)

    def progress(self, done: int, total: int, unit: str) -> None:
        self.inner.progress(done, total, unit)

    def notice(self, text: str) -> None:
        self.inner.notice(text)


def deploy(deployment: LocalDeployment, host: Host, observer: LocalObserver) -> list[EventResult]:
    """Run the events of a deployment in their order, up to the first that fails.

    The lock of the deployment group is held meanwhile. Raises what makes a start impossible (LockTimeoutError,
    RootDirectoryError) and KeyboardInterrupt; failures of events are in the results.
    """
    spec = deployment.spec
    lock = group_lock(host.layout, spec.deployment_group_id)
    lock.acquire(limit=host.settings.lock_wait_seconds, on_wait=observer.notice)
    host = host._replace(custom_events=deployment.custom_events, events=deployment.events)
    with lock, logs.bound(deployment=spec.deployment_id, group=spec.deployment_group_id):
        end_interrupted(spec.deployment_group_id, host)
        event_log.run_on_event(host.settings)
        event_log.deployment_began(spec, host.layout)
        if _runs_scripts_first(deployment, host):
            results = _deploy_checked(deployment, host, observer)
        else:
            results = _run(deployment.events, spec, host, observer)
        last = results[-1]
        event_log.deployment_ended(spec.deployment_id, event=last.name, succeeded=last.outcome.succeeded)
        return results


def _run(
    events: Sequence[str], spec: DeploymentSpecification, host: Host, observer: LocalObserver
) -> list[EventResult]:
    results: list[EventResult] = []
    history = History(host.layout)
    for name in events:
        listener = _Listener(observer)
        observer.event_started(name)
        history.started(spec, name, planned=events)
        start = time.monotonic()
        with logs.bound(lifecycle_event=name):
            outcome = execute(name, spec, host._replace(observer=listener))
        results.append(EventResult(name, outcome, time.monotonic() - start, tuple(listener.scripts)))
        observer.event_ended(results[-1])
        history.ended(spec.deployment_group_id, spec.deployment_id, name, outcome)
        if not outcome.succeeded:
            break
    return results


def _runs_scripts_first(deployment: LocalDeployment, host: Host) -> bool:
    """Return whether an event before DownloadBundle does something on this host."""
    first = deployment.events[: deployment.events.index(DOWNLOAD)]
    if first and host.settings.traffic_control and host.traffic is not None:
        return True
    try:
        return any(scripts_of(BY_NAME[name], deployment.spec, host)[1] for name in first)
    except (AgentError, OSError):
        return False  # the event itself will fail


def _deploy_checked(deployment: LocalDeployment, host: Host, observer: LocalObserver) -> list[EventResult]:
    """Deploy a revision that passes the check before the first script; for another one only DownloadBundle runs.

    The observer hears twice that DownloadBundle starts: what is fetched ahead is shown as its progress.
    """
    from agent.steps.preflight import check_ahead  # only where an earlier revision has scripts to run

    spec, start = deployment.spec, time.monotonic()
    history = History(host.layout)
    observer.event_started(DOWNLOAD)
    try:
        with prepared(spec, host) as revision:
            error = check_ahead(spec, host, revision.archive)
            host = host._replace(prepared=revision._replace(error=error))
            return _run(deployment.events if error is None else (DOWNLOAD,), spec, host, observer)
    except AgentError as error:
        outcome = failure(error)
    except (OSError, MemoryError) as error:
        outcome = failure(explained_error(error, DOWNLOAD))
    result = EventResult(DOWNLOAD, outcome, time.monotonic() - start)
    with logs.bound(lifecycle_event=DOWNLOAD):
        event_log.ended(DOWNLOAD, outcome, seconds=result.seconds)
    observer.event_ended(result)
    history.started(spec, DOWNLOAD, planned=(DOWNLOAD,))
    history.ended(spec.deployment_group_id, spec.deployment_id, DOWNLOAD, outcome)
    return [result]
