"""What the agent counts and measures, as a file for the textfile collector of Prometheus' node_exporter.

No port is opened. ``metrics_file`` names the file; without it prometheus_client is not even imported.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.config.settings import Settings
from agent.errors import AgentError
from agent.filesystem.durable import replace
from agent.store.commands import SavedOutcome

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Histogram

WRITTEN_EVERY = 15.0
"""Seconds between two writings while nothing happens: the usual time between two scrapes."""

PREFIX = "codedeploy_agent"

_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600)

COUNTERS: dict[str, tuple[str, ...]] = {
    "polls": ("Polls by result: command, empty, or the kind of error.", "result"),
    "lifecycle_events": ("Lifecycle events that have ended.", "event", "status"),
    "deployments": ("Deployments that have ended on this host.", "status"),
}
"""What is counted since the agent started: the help of each counter, and its labels."""

GAUGES: dict[str, str] = {
    "start_time_seconds": "When the agent was started, in seconds since the epoch.",
    "last_poll_timestamp_seconds": "When the agent last asked for commands.",
    "last_successful_poll_timestamp_seconds": "When the service last answered.",
    "poll_duration_seconds": "How long the service took for its last answer.",
    "credentials_expiry_timestamp_seconds": "When the credentials end; absent for those that do not.",
    "commands_in_progress": "Commands that are worked on now.",
    "outcomes_unreported": "Outcomes that the service has not accepted yet.",
    "problem": "1 while a problem lasts that codedeploy-agent status names, else 0.",
    "paused": "1 while the agent is paused, else 0.",
    "groups_out_of_service": "Deployment groups for which this host is out of its load balancer.",
    "root_dir_free_bytes": "What the file system of root_dir has room for.",
    "root_dir_size_bytes": "The size of the file system of root_dir.",
    "resident_memory_bytes": "Memory of the agent's own processes.",
    "cpu_seconds": "Processor time of the agent's own processes that live now.",
}
"""The values that are measured when the file is written, each with its help."""

_log = logging.getLogger(__name__)


class Metrics:
    """Counts what happens, and writes the file; does nothing without a path, and never fails."""

    def __init__(self, path: str | None, *, version: str) -> None:
        self._path: str | None = None
        self._version = version
        self._registry: CollectorRegistry | None = None
        self._counters: dict[str, Counter] = {}
        self._durations: Histogram | None = None
        self.due = 0.0
        """When the file is to be written again, on the monotonic clock."""
        self._has_failed = False
        self.follow(path)

    def follow(self, path: str | None) -> None:
        """Write to another file from now on, or to none."""
        self._path = path
        self.due = 0.0
        if path is not None and self._registry is None:
            self._make_registry()

    @property
    def is_on(self) -> bool:
        """Whether a file is asked for."""
        return self._path is not None

    def polled(self, result: str) -> None:
        """Count a poll: ``command``, ``empty`` or the kind of its error."""
        self._count("polls", result)

    def command_ended(self, outcome: SavedOutcome) -> None:
        """Count a lifecycle event, how long it took since its command came, and the deployment if that is over."""
        if self._durations is None or not outcome.event:
            return
        status = outcome.closed_as or outcome.status
        self._count("lifecycle_events", outcome.event, status)
        self._durations.labels(outcome.event).observe(outcome.seconds)
        if outcome.ends_deployment:
            self._count("deployments", status)
        self.due = 0.0

    def write_if_due(self, settings: Settings) -> None:
        """Write the file if it is time; an error is logged once, until it has passed."""
        if self._path is None or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + WRITTEN_EVERY
        from agent.daemon.document import document, room_of  # with a metrics_file alone

        try:
            self.write(gauges_of(document(settings, disk=room_of(settings.root_dir))))
        except (AgentError, OSError) as error:
            if not self._has_failed:
                why = error.strerror if isinstance(error, OSError) else error
                _log.warning(
                    "metrics_file %s cannot be written: %s. Make its directory, or name another path.", self._path, why
                )
            self._has_failed = True
        else:
            self._has_failed = False

    def write(self, gauges: Mapping[str, float | None]) -> None:
        """Write the file, by a rename; a name of ``gauges`` without a value is left out. Raises OSError."""
        if self._path is None or self._registry is None:
            return
        from prometheus_client import CollectorRegistry, Gauge, generate_latest

        registry = CollectorRegistry()
        registry.register(self._registry)
        Gauge(f"{PREFIX}_info", "The agent's version.", ["version"], registry=registry).labels(self._version).set(1)
        for name, value in gauges.items():
            if value is not None:
                Gauge(f"{PREFIX}_{name}", GAUGES[name], registry=registry).set(value)
        # Not by write_to_textfile: root would follow a link that the directory's owner puts under the temporary name.
        replace(self._path, generate_latest(registry), mode=0o644)

    def _make_registry(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

        # Else each counter has a second metric, with the time when it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        for name, (text, *labels) in COUNTERS.items():
            self._counters[name] = Counter(f"{PREFIX}_{name}", text, labels, registry=self._registry)
        self._durations = Histogram(
            f"{PREFIX}_lifecycle_event_duration_seconds",
            "How long lifecycle events took.",
            ["event"],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def _count(self, name: str, *labels: str) -> None:
        if name in self._counters:
            self._counters[name].labels(*labels).inc()


def gauges_of(document: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of the gauges from what ``codedeploy-agent status --json`` shows; None where unknown."""
    resources, disk = document["resources"] or {}, document["disk"] or {}
    return {
        "start_time_seconds": document["started"],
        "last_poll_timestamp_seconds": document["last_poll"],
        "last_successful_poll_timestamp_seconds": document["last_success"],
        "poll_duration_seconds": document["round_trip"],
        "credentials_expiry_timestamp_seconds": (document["credentials"] or {}).get("expires"),
        "commands_in_progress": len(document["in_progress"]),
        "outcomes_unreported": document["unreported"],
        "problem": int(bool(document["problems"])),
        "paused": int(bool(document["paused"])),
        "groups_out_of_service": len(document["out_of_service"]),
        "root_dir_free_bytes": disk.get("free_bytes"),
        "root_dir_size_bytes": disk.get("total_bytes"),
        "resident_memory_bytes": resources.get("memory_bytes"),
        "cpu_seconds": resources.get("cpu_seconds"),
    }
