"""A whole deployment on this host, driven by the local command as the service would drive it."""

from __future__ import annotations

import time
from typing import NamedTuple

from agent.deployment.outcome import Outcome
from agent.store.locks import group_lock
from agent.worker.execute import execute
from agent.worker.host import Host, Observer
from agent.worker.install_command import end_interrupted
from agent.worker.local_request import LocalDeployment


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
    results: list[EventResult] = []
    with lock:
        end_interrupted(spec.deployment_group_id, host)
        for name in deployment.events:
            listener = _Listener(observer)
            observer.event_started(name)
            start = time.monotonic()
            outcome = execute(name, spec, host._replace(observer=listener, custom_events=deployment.custom_events))
            results.append(EventResult(name, outcome, time.monotonic() - start, tuple(listener.scripts)))
            observer.event_ended(results[-1])
            if not outcome.succeeded:
                break
    return results
