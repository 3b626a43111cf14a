"""What is known of deployments: values alone, all of them optional but for the ids."""

from __future__ import annotations

from typing import Any, NamedTuple

from agent.deployment.lifecycle import LIFECYCLE
from agent.filesystem.disk_use import DiskUse

SUCCEEDED, FAILED, IN_PROGRESS, WAITING, INTERRUPTED, UNFINISHED, UNKNOWN = (
    "succeeded",
    "failed",
    "in progress",
    "waiting",
    "interrupted",
    "unfinished",
    "unknown",
)
"""How a deployment went: ``waiting`` for its next event, ``unfinished`` where no more came; an official agent keeps no
outcome on the disk, so those of its deployments are ``unknown``."""

ORDER = {event.name: number for number, event in enumerate(LIFECYCLE)}
"""The place of each event in a deployment."""

_MAY_END = ORDER["ValidateService"]
_MAY_FAIL = ORDER["ApplicationStop"]
"""A deployment may go on after a failure of this event and of those before it."""


class EventRun(NamedTuple):
    """One lifecycle event of a deployment; times in seconds since the epoch, None where unknown.

    ``status`` is Succeeded, Failed, Closed (by the service, as ``closed_as``), or empty where none is known;
    ``code`` is that of the diagnostics.
    """

    name: str
    started: float | None = None
    ended: float | None = None
    status: str = ""
    code: int | None = None
    script: str = ""
    message: str = ""
    log: str = ""
    scripts: tuple[str, ...] = ()
    closed_as: str = ""

    @property
    def seconds(self) -> float | None:
        """How long it took, None where that is unknown."""
        return None if self.started is None or self.ended is None else max(self.ended - self.started, 0.0)

    @property
    def has_succeeded(self) -> bool:
        """Whether it went well; the service itself closes an event that has no script as Succeeded."""
        return "Succeeded" in (self.status, self.closed_as)


class Deployment(NamedTuple):
    """One deployment; ``directory`` is None once it is removed, ``facts`` are those of ``agent.store.history``.

    ``is_current`` marks the revision unpacked last in its group, ``is_last_successful`` the one installed last, and
    ``is_removed_next`` what the next deployment of the group removes.
    """

    deployment: str
    group: str
    directory: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 - nothing changes it
    events: tuple[EventRun, ...] = ()
    changed: float = 0.0
    is_in_progress: bool = False
    is_expected: bool = False
    is_current: bool = False
    is_last_successful: bool = False
    is_removed_next: bool = False
    disk: DiskUse = DiskUse()

    @property
    def is_local(self) -> bool:
        """Whether the local command made it."""
        return self.deployment.endswith("-local")

    @property
    def started(self) -> float:
        """When it began here, as far as that is known: at its first event, or when its directory last changed."""
        return min((event.started for event in self.events if event.started is not None), default=self.changed)

    @property
    def ended(self) -> float | None:
        """When its last event ended, None while one goes on or none is known."""
        if self.is_in_progress or not self.events:
            return None
        return max((event.ended for event in self.events if event.ended is not None), default=None)

    @property
    def failed_event(self) -> EventRun | None:
        """The event whose failure ended it."""
        for number, event in enumerate(self.events):
            is_forgiven = ORDER.get(event.name, len(ORDER)) <= _MAY_FAIL and number + 1 < len(self.events)
            if event.status == "Failed" and not is_forgiven:
                return event
        return None

    @property
    def outcome(self) -> str:
        """How it went, in one of the words above."""
        if self.is_in_progress:
            return IN_PROGRESS
        if self.failed_event is not None:
            return FAILED
        if not any(event.status for event in self.events):
            return INTERRUPTED if self.facts else UNKNOWN
        last = self.events[-1]
        if not last.status:
            return INTERRUPTED
        planned = self.facts.get("planned")
        is_last = last.name == planned[-1] if planned else ORDER.get(last.name, 0) >= _MAY_END
        if is_last and last.has_succeeded:
            return SUCCEEDED
        return WAITING if self.is_expected else UNFINISHED


class Group(NamedTuple):
    """A deployment group's deployments, the newest first; ``skips`` are the events of which the next one is skipped."""

    group: str
    deployments: tuple[Deployment, ...] = ()
    skips: tuple[str, ...] = ()

    def fact(self, name: str) -> str:
        """Return what the newest deployment that says so says of the group or its application."""
        return next((str(one.facts[name]) for one in self.deployments if one.facts.get(name)), "")


class HostHistory(NamedTuple):
    """All that was found; ``unseen`` are paths that this user may not read, each with what it would say."""

    groups: tuple[Group, ...]
    unseen: tuple[str, ...] = ()
