"""What a supervisor hands to its workers, and what they report, each over a pipe.

Secrets belong neither on a disk nor in an environment.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from agent.config.settings import Settings
from agent.identity.identity import HostIdentity
from agent.identity.on_premises import OnPremises
from agent.network.credentials import Credentials

EXIT_UNREPORTED = 3
"""A worker's exit status when the outcome is saved but the service could not be told."""

STARTED = "started"
"""A worker reports its process id before anything else."""
ENDED = "ended"
"""A worker reports its exit status last; one that was killed does not."""
NOT_FORKED = "not-forked"
"""The fork server reports an error number in place of a worker."""


class Handoff(NamedTuple):
    """The settings, who this host is, and what it signs with.

    ``supervisor_lock`` is the file that a supervisor holds locked as long as it lives. ``core_limit`` is the soft limit
    on core dumps, in bytes, that scripts get; None leaves theirs as the worker's.
    """

    settings: Settings
    identity: HostIdentity
    on_premises: OnPremises | None = None
    credentials: Credentials | None = None
    supervisor_lock: str = ""
    core_limit: int | None = None

    def render(self) -> bytes:
        """The hand-off as JSON."""
        fields: dict[str, Any] = {
            "settings": self.settings._asdict(),
            "identity": self.identity._asdict(),
            "on_premises": self.on_premises._asdict() if self.on_premises else None,
            "credentials": self.credentials._asdict() if self.credentials else None,
            "supervisor_lock": self.supervisor_lock,
            "core_limit": self.core_limit,
        }
        return json.dumps(fields).encode()

    def __repr__(self) -> str:
        """Show what may be logged."""
        return f"Handoff(identity={self.identity!r})"


def parse_handoff(data: bytes) -> Handoff:
    """Read what ``Handoff.render`` has written, maybe in another version of the agent that is being upgraded.

    Raises ValueError, TypeError, KeyError for anything else.
    """
    fields = json.loads(data)
    on_premises, credentials = fields["on_premises"], fields["credentials"]
    return Handoff(
        settings=Settings(**known(Settings, fields["settings"])),
        identity=HostIdentity(**known(HostIdentity, fields["identity"])),
        on_premises=OnPremises(**known(OnPremises, on_premises)) if on_premises else None,
        credentials=Credentials(**known(Credentials, credentials)) if credentials else None,
        supervisor_lock=fields["supervisor_lock"],
        core_limit=fields.get("core_limit"),
    )


def render_report(word: str, number: int) -> bytes:
    """Return one line of a worker's report."""
    return f"{word} {number}\n".encode()


def parse_report(report: bytes) -> dict[str, int]:
    """Return the numbers that a report has so far, by their words."""
    return {word: int(number) for word, number in map(str.split, report.decode().splitlines())}


def forgo_core_dumps() -> int:
    """Set this process's soft limit on core dumps to 0; return what it was.

    The hard limit stays, so that a script can have the former limit again.
    """
    import resource  # only where the setting asks for it

    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    return soft


def known(kind: Any, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any of the named tuples
    """The fields that a kind of tuple has: processes of two versions may talk to each other during an upgrade."""
    return {name: value for name, value in fields.items() if name in kind._fields}
