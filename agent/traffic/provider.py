"""What every kind of load balancer has to be able to do."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple, Protocol

from agent.network.credentials import Credentials


class Step(str, Enum):
    """How far this host is on its way out of one place and back."""

    WAS_OUT = "was_out"
    """It took no traffic there before; it is left so."""
    PLANNED = "planned"
    """It is to be taken out; whether the call has had its effect is not known."""
    TAKEN = "taken"
    BACK = "back"
    GONE = "gone"
    """The place does not exist any more."""


class Member(NamedTuple):
    """This host in one place of one balancer.

    ``provider`` is the provider's own settings, ``place`` a phrase for people, ``details`` what is needed
    to put the host back exactly, ``former`` its state there before it was taken out.
    """

    provider: dict[str, Any]
    place: str
    details: dict[str, Any]
    former: str
    step: Step = Step.PLANNED

    def same_place(self, other: Member) -> bool:
        """Whether two members are this host in the same place."""
        return (self.provider, self.place) == (other.provider, other.place)


class Stage(Enum):
    """What a balancer does with this host."""

    OUT = "out"
    DRAINING = "draining"
    """No new requests; some that began earlier are still open."""
    STARTING = "not healthy"
    """In, and not (yet) found healthy."""
    HEALTHY = "in service"


class Look(NamedTuple):
    """What a balancer says about this host; ``text`` is in its own words."""

    stage: Stage
    text: str


class CallLimits(NamedTuple):
    """Seconds within which a balancer should have drained a host, or found it healthy."""

    drain: float
    healthy: float


class BalancerAccess(NamedTuple):
    """How balancers are reached.

    ``credentials`` None means those of whoever runs the command; ``instance_id`` is empty outside EC2.
    """

    credentials: Callable[[], Credentials] | None = None
    region: str = ""
    instance_id: str = ""
    proxy: str | None = None
    ca_bundle: str | None = None


class Provider(Protocol):
    """One kind of load balancer; every method raises TrafficError.

    ``block`` and ``allow`` may be called again at any time, with the same effect. ``forgets`` tells one that, started
    anew, takes a host for one that is in service.
    """

    forgets: bool

    def find(self) -> list[Member]:
        """This host in every place that is meant: planned where it takes traffic, else ``WAS_OUT``."""

    def block(self, member: Member) -> None:
        """Send this host no new requests."""

    def allow(self, member: Member) -> None:
        """Put this host back exactly as it was."""

    def look(self, member: Member) -> Look:
        """What the balancer does with this host now."""

    def others(self, member: Member) -> int | None:
        """How many other hosts are in service there; None where it cannot be told."""

    def limits(self, member: Member) -> CallLimits:
        """How long draining and health checks may take by the balancer's own settings."""
