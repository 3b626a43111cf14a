"""What is to be done about a record that nobody works on any more: decided from the record alone."""

from __future__ import annotations

from enum import Enum

from agent.traffic.provider import Step
from agent.traffic.record import Phase, Record


class Verdict(Enum):
    """What recovery does."""

    NOTHING = "nothing"
    UNDO = "undo"
    """It was being taken out and nothing on the host has changed: put it back."""
    FINISH = "finish"
    """It was being put back: go on."""
    TAKE_OUT = "take out"
    """It is to be out on purpose, and is not everywhere."""
    ABANDONED = "abandoned"
    """Its deployment has gone quiet: the failure policy applies."""


def judge(record: Record, *, now: float) -> Verdict:
    """What is to be done, whatever point a worker was killed at; ``now`` in seconds since the epoch."""
    if record.phase is Phase.FINALIZED:
        return Verdict.NOTHING
    if record.phase is Phase.ALLOWING:
        return Verdict.FINISH
    if record.phase is Phase.BLOCKING:
        # One that was out on purpose before stays so: what made it so has not been fixed.
        return Verdict.TAKE_OUT if record.kept else Verdict.UNDO
    if any(member.step is Step.PLANNED for member in record.members):
        return Verdict.TAKE_OUT
    if record.kept:
        return Verdict.NOTHING
    quiet = now - record.touched
    return Verdict.ABANDONED if quiet > record.policy.abandoned_after_seconds else Verdict.NOTHING
