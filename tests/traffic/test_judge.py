from __future__ import annotations

import pytest

from agent.traffic.judge import Verdict, judge
from agent.traffic.policy import Policy
from agent.traffic.provider import Member, Step
from agent.traffic.record import Phase, Record

POLICY = Policy([])
NOW = 10_000.0


def record(phase, *, step=Step.TAKEN, **fields):
    member = Member({}, "a place", {}, "healthy", step)
    return Record("Web", POLICY, phase, members=(member,), **{"touched": NOW, **fields})


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (record(Phase.FINALIZED), Verdict.NOTHING),
        (record(Phase.BLOCKING, step=Step.PLANNED), Verdict.UNDO),
        (record(Phase.BLOCKING), Verdict.UNDO),
        (record(Phase.BLOCKING, kept="d-1 failed"), Verdict.TAKE_OUT),
        (record(Phase.OUT), Verdict.NOTHING),
        (record(Phase.OUT, kept="d-1 failed", touched=0.0), Verdict.NOTHING),
        (record(Phase.OUT, kept="by hand", by_hand=True, touched=0.0), Verdict.NOTHING),
        (record(Phase.OUT, touched=NOW - 4500), Verdict.NOTHING),
        (record(Phase.OUT, touched=NOW - 4501), Verdict.ABANDONED),
        (record(Phase.OUT, touched=NOW + 100), Verdict.NOTHING),
        (record(Phase.OUT, step=Step.PLANNED, kept="never healthy"), Verdict.TAKE_OUT),
        (record(Phase.ALLOWING), Verdict.FINISH),
        (record(Phase.ALLOWING, step=Step.BACK), Verdict.FINISH),
    ],
)
def test_a_record_alone_says_what_is_to_be_done_after_a_crash(found, verdict):
    assert judge(found, now=NOW) is verdict
