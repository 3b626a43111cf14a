"""The way out of service and the way back: each step of them written down before it is made."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.retry import Clock, Retries
from agent.traffic.errors import NeverHealthyError, TrafficError
from agent.traffic.operations import BalancerOperations, places, reasons, retries_within
from agent.traffic.policy import Policy
from agent.traffic.provider import Member, Stage, Step
from agent.traffic.record import Phase, Records, TrafficRecord
from agent.traffic.report import why

SURVEY_LIMIT = 30.0
"""Seconds for asking all balancers how this host is."""

_log = logging.getLogger(__name__)


class TrafficTransitions:
    """The steps of both ways for one deployment group, whose lock is held.

    ``wall`` gives seconds since the epoch. The methods raise TrafficError, OSError.
    """

    def __init__(
        self,
        group_name: str,
        policy: Policy,
        records: Records,
        operations: BalancerOperations,
        *,
        tell: Callable[[str], None],
        clock: Clock,
        wall: Callable[[], float],
    ) -> None:
        self._group = group_name
        self._policy = policy
        self._records = records
        self._operations = operations
        self._tell = tell
        self._clock = clock
        self._wall = wall

    def begin(self, record: TrafficRecord | None) -> TrafficRecord:
        """The record of a new way out; what an earlier one has left out is taken over, with its former state."""
        retries = self.retries()
        found = self._operations.find(self._policy, retries)
        if record is None or record.is_finalized:
            fresh = TrafficRecord(self._group, self._policy, Phase.BLOCKING, since=self._wall(), members=tuple(found))
            return fresh._replace(seconds_out=record.seconds_out, back_at=record.back_at) if record else fresh
        taken = [member._replace(step=Step.PLANNED) for member in record.ours]
        self._tell(f"This host is out of {places(taken)} already: {why(record)}.")
        new = [member for member in found if not stands_in(taken, member)]
        return record._replace(policy=self._policy, phase=Phase.BLOCKING, members=(*taken, *new), problem="")

    def leave(self, record: TrafficRecord, serving: list[Member], minimum: int, retries: Retries) -> TrafficRecord:
        """Take this host out and wait until it is drained; ``serving`` are the places that the minimum counts for."""
        record, failures = self._operations.block(record, retries)
        if failures:
            raise TrafficError(
                f"This host could not be taken out of {len(failures)} of {len(record.members)} places:"
                f" {reasons(failures)}.",
                remedy=failures[0][1].remedy,
            )
        # Others may have left at the same moment.
        self._operations.guard(serving, minimum, retries)
        slow = self._operations.wait_for(record.ours, (Stage.OUT,), self._policy.drain_seconds, retries)
        ignored = [member for member in slow if self._operations.look(member, retries).stage is not Stage.DRAINING]
        if ignored:
            raise TrafficError(f"{places(ignored)} was told to send this host nothing, and still does.")
        if slow:
            self._tell(f"Still open sessions at {places(slow)}; they are not waited for any longer.")
        return record

    def hold(self, record: TrafficRecord) -> None:
        """See that this host is still out: a balancer that was started anew has forgotten it."""
        retries = retries_within(SURVEY_LIMIT, self._clock)
        try:
            back = self._operations.wait_for(record.ours, (Stage.OUT, Stage.DRAINING), 0, retries)
        except TrafficError as error:
            # It was taken out; a balancer that cannot be asked at the moment is no reason to fail the deployment.
            self._tell(f"Whether this host is still out of service could not be asked: {error.message}")
            back = []
        if back:
            self._tell(f"{places(back)} sends traffic to this host again, and is told once more not to.")
            for member in back:
                record = record.with_step(member, Step.PLANNED)
        self._records.write(record)
        self.keep_out(record)

    def keep_out(self, record: TrafficRecord) -> None:
        """Take this host out where that is still to be done, whoever else is left."""
        record, failures = self._operations.block(record, self.retries())
        self._records.write(record._replace(phase=Phase.OUT, problem=""))
        if failures:
            raise TrafficError(f"This host is to be out of service and is not: {reasons(failures)}.")

    def finish(self, record: TrafficRecord, *, wait: bool) -> None:
        """Put this host back wherever it is, or may be, out because of us; with ``wait``, until it is found healthy."""
        retries = self.retries()
        taken = record.ours
        for member in record.members:
            if member.step is Step.WAS_OUT:
                self._tell(f"This host stays out of {member.place}, as it was before ({member.former}).")
        record = record._replace(phase=Phase.ALLOWING, touched=self._wall())
        self._records.write(record)
        record, failures = self._operations.allow(record, retries)
        if failures:
            raise TrafficError(
                f"This host could not be put back into {len(failures)} of {len(taken)} places: {reasons(failures)}.",
                remedy=failures[0][1].remedy,
            )
        back = [member for member in record.members if member.step is Step.BACK]
        ill = self._operations.wait_for(back, (Stage.HEALTHY,), self._policy.healthy_seconds, retries) if wait else []
        if ill:
            raise NeverHealthyError(
                f"This host was put back and is not found healthy by {places(ill)}.",
                remedy="See what the health check asks for, and whether the application answers it.",
            )
        self.finalize(record)

    def finalize(self, record: TrafficRecord) -> None:
        """Write down that nothing is out because of us, and for how long it was."""
        finalized = record._replace(phase=Phase.FINALIZED, kept="", by_hand=False, problem="", members=())
        if any(member.step is Step.BACK for member in record.members):
            now = self._wall()
            finalized = finalized._replace(seconds_out=max(now - record.since, 0.0), back_at=now)
            self._tell(f"Back in service after {finalized.seconds_out:.1f} s.")
        self._records.write(finalized)

    def needed(self, back: list[Member]) -> list[Member]:
        """Of the places that this host is back in, those where it is healthy and too few others are."""
        retries = retries_within(SURVEY_LIMIT, self._clock)
        try:
            healthy = self._operations.healthy(back, retries)
            needed = [member for member, _ in self._operations.low(healthy, self._policy.minimum_healthy, retries)]
        except TrafficError as error:
            _log.warning("Whether others are in service could not be asked: %s", error)
            return []
        if needed:
            _log.warning("This host stays in %s, where too few others are in service", places(needed))
        return needed

    def retries(self) -> Retries:
        """The limit for a whole way, which begins now."""
        return retries_within(self._policy.time_limit_seconds, self._clock)


def stands_in(taken: list[Member], member: Member) -> bool:
    """Whether a member that was just found is one that we took out, or its empty place."""
    if member.step is Step.WAS_OUT:
        return any(one.provider == member.provider for one in taken)
    return any(one.same_place(member) for one in taken)
