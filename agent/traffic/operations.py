"""Moving this host out of many places and back: each call recorded, each failure named, nothing forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from agent.retry import Answer, Clock, Retries, RetryPolicy, growing
from agent.traffic.errors import LastHealthyError, TrafficError
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess, CallLimits, Look, Member, Provider, Stage, Step
from agent.traffic.record import Records, TrafficRecord

Failures = list[tuple[Member, TrafficError]]

ATTEMPTS = RetryPolicy(growing(0.5, 20.0), jitter=1.0)
"""For one call to a balancer."""

LOOKS = RetryPolicy(growing(0.2, 5.0, factor=1.5))
"""For looking again at a host that is drained or checked."""

GONE = Look(Stage.OUT, "does not exist any more")
"""What is to be said about a place that was removed."""

_NO_TIME = CallLimits(0.0, 0.0)


def retries_within(limit: float, clock: Clock) -> Retries:
    """Return one limit in seconds for a whole step, shared by every call and every wait in it."""
    return Retries(ATTEMPTS._replace(limit=limit), clock=clock)


class BalancerOperations:
    """The steps that taking out and putting back are made of; ``tell`` hears what a person should know."""

    def __init__(self, records: Records, access: BalancerAccess, tell: Callable[[str], None]) -> None:
        self._records = records
        self._access = access
        self._tell = tell
        self._providers: dict[str, Provider] = {}

    def provider(self, member: Member) -> Provider:
        """Whoever can move a member. Raises TrafficError."""
        return self._provider(member.provider)

    def find(self, policy: Policy, retries: Retries) -> list[Member]:
        """This host in every place that a policy means. Raises TrafficError."""
        return [one for config in policy.providers for one in retries.run(self._provider(config).find)]

    def block(self, record: TrafficRecord, retries: Retries) -> tuple[TrafficRecord, Failures]:
        """Take this host out of every place where that is still to be done."""
        planned = [member for member in record.members if member.step is Step.PLANNED]
        return self._each(record, planned, lambda member: self.provider(member).block(member), Step.TAKEN, retries)

    def allow(self, record: TrafficRecord, retries: Retries) -> tuple[TrafficRecord, Failures]:
        """Put this host back into every place that it is, or may be, out of."""
        return self._each(record, record.ours, lambda member: self.provider(member).allow(member), Step.BACK, retries)

    def healthy(self, members: Iterable[Member], retries: Retries) -> list[Member]:
        """The members that take traffic and are found healthy now. Raises TrafficError."""
        return [one for one in members if self.look(one, retries).stage is Stage.HEALTHY]

    def low(self, members: Iterable[Member], minimum: int, retries: Retries) -> list[tuple[Member, int]]:
        """The members with fewer other hosts in service than the minimum, and how many. Raises TrafficError."""
        found = []
        for member in members if minimum else ():
            others = _unless_gone(lambda member=member: self.provider(member).others(member), retries, None)  # type: ignore[misc]
            if others is not None and others < minimum:
                found.append((member, others))
        return found

    def guard(self, members: Sequence[Member], minimum: int, retries: Retries) -> None:
        """See that enough other hosts are in service wherever this one leaves.

        Best effort: several hosts may ask at the same moment. Raises LastHealthyError, TrafficError.
        """
        low = self.low(members, minimum, retries)
        if low:
            found = "; ".join(f"{member.place} has {others} other hosts in service" for member, others in low)
            raise LastHealthyError(
                f"This host is not taken out of service: {found}, and minimum_healthy is {minimum}.",
                remedy="Bring other hosts into service first, or set minimum_healthy to 0 to allow it.",
            )

    def wait_for(
        self, members: Sequence[Member], stages: Sequence[Stage], limit: float | None, retries: Retries
    ) -> list[Member]:
        """Wait until every member is at one of the stages; gives those that do not come to be there in time.

        A place that is gone is not waited for. ``limit`` None is what each balancer has for itself. Raises TrafficError
        where a balancer cannot be asked.
        """
        waiting = list(members)
        if not waiting:
            return []
        if limit is None:
            drained = Stage.OUT in stages
            limits = [self._limits(one, retries) for one in waiting]
            limit = max(found.drain if drained else found.healthy for found in limits)

        clock, looks = retries.clock, 0
        end = clock.now() + min(limit, max(retries.left(), 0))
        while waiting := [one for one in waiting if not self._is_at(one, stages, retries)]:
            left = end - clock.now()
            if left <= 0:
                break
            looks += 1
            clock.sleep(min(LOOKS.delay(looks, clock.random), left))
        return waiting

    def look(self, member: Member, retries: Retries) -> Look:
        """What a balancer does with this host; ``GONE``, where its place is gone. Raises TrafficError."""
        return _unless_gone(lambda: self.provider(member).look(member), retries, GONE)

    def _is_at(self, member: Member, stages: Sequence[Stage], retries: Retries) -> bool:
        look = self.look(member, retries)
        if look is GONE:
            self._tell(f"{member.place} does not exist any more.")
        return look is GONE or look.stage in stages

    def _limits(self, member: Member, retries: Retries) -> CallLimits:
        return _unless_gone(lambda: self.provider(member).limits(member), retries, _NO_TIME)

    def _each(
        self,
        record: TrafficRecord,
        members: Sequence[Member],
        call: Callable[[Member], None],
        step: Step,
        retries: Retries,
    ) -> tuple[TrafficRecord, Failures]:
        failures: Failures = []
        for member in members:
            try:
                retries.run(lambda member=member: call(member))  # type: ignore[misc]
            except TrafficError as error:
                if not error.gone:
                    failures.append((member, error))
                    continue
                self._tell(f"{member.place} does not exist any more: {error.message}")
                record = record.with_step(member, Step.GONE)
            else:
                record = record.with_step(member, step)
            self._records.write(record)
        return record, failures

    def _provider(self, config: dict[str, object]) -> Provider:
        key = json.dumps(config, sort_keys=True)
        if key not in self._providers:
            self._providers[key] = make_provider(config, self._access)
        return self._providers[key]


def _unless_gone(call: Callable[[], Answer], retries: Retries, gone: Answer) -> Answer:
    try:
        return retries.run(call)
    except TrafficError as error:
        if not error.gone:
            raise
        return gone


def places(members: Iterable[Member]) -> str:
    """The places of members as a list for people."""
    return ", ".join(member.place for member in members)


def reasons(failures: Failures) -> str:
    """What went wrong where."""
    return "; ".join(f"{member.place}: {error.message}" for member, error in failures)


def make_provider(config: dict[str, Any], access: BalancerAccess) -> Provider:
    """The provider that a mapping of the settings asks for. Raises TrafficError for a type that nobody knows."""
    if config["type"] == "elbv2":
        from agent.traffic.elbv2 import TargetGroups

        return TargetGroups(config, access)
    if config["type"] == "elb":
        from agent.traffic.elb import ClassicBalancers

        return ClassicBalancers(config, access)
    if config["type"] == "haproxy":
        from agent.traffic.haproxy import HaproxyServers

        return HaproxyServers(config)
    if config["type"] == "command":
        from agent.traffic.command import Commands

        return Commands(config)
    raise TrafficError(f'There is no kind of load balancer "{config["type"]}".')
