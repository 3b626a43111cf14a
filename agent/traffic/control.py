"""Taking this host out of service and putting it back, for a deployment, by hand, and after a crash.

Every operation holds the group's lock, and writes down what it is about to do before it does it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum

from agent.filesystem.locks import FileLock
from agent.retry import Clock
from agent.traffic.errors import NeverHealthyError, TrafficError
from agent.traffic.operations import BalancerOperations, places, retries_within
from agent.traffic.policy import STAY_OUT, Policy
from agent.traffic.provider import BalancerAccess, Stage, Step
from agent.traffic.record import Phase, Records, TrafficRecord
from agent.traffic.transitions import SURVEY_LIMIT, TrafficTransitions, stands_in

LOCK_LIMIT = 3600.0
"""Seconds to wait for somebody else who moves the same group's traffic; that has its own limit."""

_log = logging.getLogger(__name__)


class TrafficControl:
    """One deployment group's traffic on this host.

    ``tell`` hears what a person should know, ``wall`` gives seconds since the epoch. The methods raise TrafficError,
    LockTimeoutError, OSError.
    """

    def __init__(
        self,
        group_name: str,
        policy: Policy,
        records: Records,
        access: BalancerAccess,
        *,
        tell: Callable[[str], None],
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._group = group_name
        self._policy = policy
        self._records = records
        self._tell = tell
        self._clock = clock or Clock()
        self._wall = wall
        self._operations = BalancerOperations(records, access, tell)
        self._transitions = TrafficTransitions(
            group_name, policy, records, self._operations, tell=tell, clock=self._clock, wall=wall
        )

    def take_out(self, *, deployment_id: str, group_id: str) -> None:
        """Take this host out for a deployment, and wait until it is drained; nothing happens where that was done.

        A host that a person took out is left so. Raises LastHealthyError where too few others would be left, and
        TrafficError where a place cannot be left: then it is back in service everywhere, or the message says where not.
        """
        with self._locked():
            record = self._records.read(self._group)
            if record is not None and record.by_hand and not record.is_finalized:
                self._tell(f"This host stays out of service: {record.kept}.")
                return
            if record is not None and record.phase is Phase.OUT and record.deployment_id == deployment_id:
                # It goes on; that an earlier command of it failed does not keep the host out any more.
                self._transitions.hold(record._replace(kept="", touched=self._wall()))
                return
            begun = self._transitions.begin(record)._replace(deployment_id=deployment_id, group_id=group_id)
            self._block(begun, guarded=True)

    def put_back(self) -> None:
        """Put this host back wherever we took it out, and wait until it is found healthy.

        A host that a person took out is left so. Raises NeverHealthyError, TrafficError.
        """
        with self._locked():
            record = self._records.read(self._group)
            if record is None or record.is_finalized:
                return
            if record.by_hand:
                self._tell(f"This host stays out of service: {record.kept}.")
                return
            self._transitions.finish(record, wait=True)

    def failed(self, reason: str, *, interrupted: bool = False) -> None:
        """Do as the failure policy says, after a command of the deployment has failed; never raises TrafficError.

        ``interrupted`` tells that its worker was ended in the middle.
        """
        with self._locked():
            record = self._records.read(self._group)
            if record is None or record.is_finalized or record.by_hand:
                return
            try:
                if record.phase is Phase.OUT:
                    self._apply_policy(record, reason)
                elif record.phase is Phase.BLOCKING:
                    self._resume(record)
                elif interrupted:
                    # Whoever told the worker to stop does not wait for health checks.
                    self._transitions.finish(record, wait=False)
                else:
                    self._not_back(record, reason)
            except TrafficError as error:
                self._note(str(error))

    def recover(self) -> None:
        """Do what a record asks for that nobody works on any more; never raises TrafficError.

        Raises LockTimeoutError at once where somebody does work on it.
        """
        with self._locked(limit=0):
            record = self._records.read(self._group)
            if record is None:
                return
            try:
                self._resume(record)
            except TrafficError as error:
                self._note(str(error))

    def block_by_hand(self, reason: str, *, force: bool) -> None:
        """Take this host out until a person puts it back; ``force`` also where too few others are left."""
        with self._locked():
            record = self._records.read(self._group)
            if record is not None and record.phase is Phase.OUT:
                record = record._replace(by_hand=True, kept=reason)
                self._records.write(record)
                self._transitions.hold(record)
                return
            # Until the host is out, this is undone like any other way out that breaks off.
            self._block(self._transitions.begin(record)._replace(deployment_id=""), guarded=not force, kept=reason)

    def allow_by_hand(self, *, force: bool) -> bool:
        """Put this host back, whoever took it out; gives whether there was anything to do.

        Raises TrafficError for one that a deployment has taken out and not finished with, unless with ``force``.
        """
        with self._locked():
            record = self._records.read(self._group)
            if record is None or record.is_finalized:
                return False
            if record.phase is Phase.OUT and not record.kept and not force:
                raise TrafficError(
                    f"Deployment {record.deployment_id} has taken this host out of service and is still going on.",
                    remedy="Wait for its end, or use --force: then the host takes traffic while it changes.",
                )
            self._transitions.finish(record._replace(by_hand=False), wait=True)
            return True

    def survey(self) -> list[tuple[str, str]]:
        """Every place that is meant or that this host is out of, and what the balancer says now; changes nothing."""
        retries = retries_within(SURVEY_LIMIT, self._clock)
        record = self._records.read(self._group)
        taken = list(record.ours) if record is not None else []
        found = self._operations.find(self._policy, retries)
        members = [*taken, *(member for member in found if not stands_in(taken, member))]
        return [(member.place, self._operations.look(member, retries).text) for member in members]

    # What the operations are made of. The group's lock is held.

    def _block(self, record: TrafficRecord, *, guarded: bool, kept: str = "") -> None:
        """Take this host out; ``kept`` is the reason of a person who wants that, empty for a deployment."""
        retries = self._transitions.retries()
        record = record._replace(touched=self._wall())
        for member in record.members:
            if member.step is Step.WAS_OUT:
                self._tell(f"This host was out of {member.place} before ({member.former}), and stays so.")
        if not record.members:
            self._tell("No load balancer holds this host, so there is nothing to take it out of.")
        if record.ours:
            minimum = self._policy.minimum_healthy if guarded else 0
            serving = self._operations.healthy(record.ours, retries) if minimum else []
            self._operations.guard(serving, minimum, retries)
            self._records.write(record)
            try:
                record = self._transitions.leave(record, serving, minimum, retries)
            except TrafficError as error:
                raise self._undone(error) from error
        self._records.write(record._replace(phase=Phase.OUT, kept=kept, by_hand=bool(kept), problem=""))
        if record.ours:
            self._tell(f"Out of service: {places(record.ours)}.")

    def _undone(self, error: TrafficError) -> TrafficError:
        """Undo a way out that failed half-way; gives the error with what came of it."""
        record = self._records.read(self._group)
        if record is None:
            return error
        try:
            self._resume(record)
        except TrafficError as another:
            self._note(str(another))
            end = f"{another.message} That is tried again every minute"
        else:
            end = f"It stays out on purpose: {record.kept}" if record.kept else "It is back in service everywhere"
        found = type(error)(f"{error.message} {end}.", remedy=error.remedy)
        return found

    def _resume(self, record: TrafficRecord) -> None:
        """Do what a record asks for, from wherever its worker was ended."""
        verdict = judge(record, now=self._wall())
        if verdict is Recovery.UNDO:
            _log.warning("%s was being taken out of service; that is undone", self._group)
            self._transitions.finish(record, wait=False)
        elif verdict is Recovery.TAKE_OUT:
            self._transitions.keep_out(record)
        elif verdict is Recovery.FINISH:
            self._finish_or_keep(record)
        elif verdict is Recovery.ABANDONED:
            quiet = int(record.policy.abandoned_after_seconds // 60)
            self._apply_policy(record, f"deployment {record.deployment_id} has sent nothing for {quiet} minutes")
        elif record.phase is Phase.OUT:
            self._look_after(record)

    def _look_after(self, record: TrafficRecord) -> None:
        """See whether a host that is to be out is still out, by one question to each balancer."""
        if record.touched > self._wall():
            # The clock was set back; without this the deployment would count as going on until it has caught up.
            record = record._replace(touched=self._wall())
            self._records.write(record)
        back = self._operations.wait_for(record.ours, (Stage.OUT, Stage.DRAINING), 0, retries_within(0, self._clock))
        forgotten = [member for member in back if self._operations.provider(member).forgets]
        if forgotten:
            _log.warning("%s has forgotten that this host is out, and is told again", places(forgotten))
            for member in forgotten:
                record = record.with_step(member, Step.PLANNED)
            self._transitions.keep_out(record)
        others = [member for member in back if member not in forgotten]
        self._note(
            f"{places(others)} sends this host traffic again, and it was not this agent that put it back."
            " Put it back with codedeploy-agent traffic allow, or take it out there."
            if others
            else ""
        )

    def _finish_or_keep(self, record: TrafficRecord) -> None:
        try:
            self._transitions.finish(record, wait=True)
        except NeverHealthyError as error:
            self._not_back(self._records.read(self._group) or record, error.message)

    def _apply_policy(self, record: TrafficRecord, reason: str) -> None:
        if not record.ours:
            self._transitions.finalize(record)
        elif record.policy.on_failure == STAY_OUT:
            self._records.write(record._replace(kept=reason))
            _log.warning("This host stays out of service, out of %s: %s", places(record.ours), reason)
        else:
            _log.warning("This host is put back into service although its deployment has failed: %s", reason)
            self._transitions.finish(record, wait=False)

    def _not_back(self, record: TrafficRecord, reason: str) -> None:
        """End a way back that failed: out again, or in as it is, by the failure policy."""
        if record.policy.on_failure != STAY_OUT:
            self._transitions.finish(record, wait=False)
            return
        needed = self._transitions.needed([member for member in record.members if member.step is Step.BACK])
        again = tuple(
            member._replace(step=Step.PLANNED) if member.step is Step.BACK and member not in needed else member
            for member in record.members
        )
        record = record._replace(phase=Phase.OUT, kept=reason, members=again)
        self._records.write(record)
        _log.warning("This host is taken out of service again, out of %s: %s", places(record.ours), reason)
        self._transitions.keep_out(record)

    def _note(self, problem: str) -> None:
        """Keep what is wrong, for whoever asks; empty where nothing is any more."""
        record = self._records.read(self._group)
        if record is None or record.problem == problem:
            _log.debug("%s", problem)
            return
        if problem:
            _log.error("%s", problem)
        self._records.write(record._replace(problem=problem))

    def _locked(self, *, limit: float = LOCK_LIMIT) -> FileLock:
        lock = self._records.lock(self._group)
        lock.acquire(limit=limit, on_wait=self._tell if limit else None)
        return lock


class Recovery(Enum):
    """What recovery does about a record that no process works on."""

    NOTHING = "nothing"
    UNDO = "undo"
    """It was being taken out and nothing on the host has changed: put it back."""
    FINISH = "finish"
    """It was being put back: go on."""
    TAKE_OUT = "take out"
    """It is to be out on purpose, and is not everywhere."""
    ABANDONED = "abandoned"
    """Its deployment has gone quiet: the failure policy applies."""


def judge(record: TrafficRecord, *, now: float) -> Recovery:
    """Return what is to be done, whatever point a worker was killed at; ``now`` in seconds since the epoch."""
    if record.phase is Phase.FINALIZED:
        return Recovery.NOTHING
    if record.phase is Phase.ALLOWING:
        return Recovery.FINISH
    if record.phase is Phase.BLOCKING:
        # One that was out on purpose before stays so: what made it so has not been fixed.
        return Recovery.TAKE_OUT if record.kept else Recovery.UNDO
    if any(member.step is Step.PLANNED for member in record.members):
        return Recovery.TAKE_OUT
    if record.kept:
        return Recovery.NOTHING
    quiet = now - record.touched
    return Recovery.ABANDONED if quiet > record.policy.abandoned_after_seconds else Recovery.NOTHING
