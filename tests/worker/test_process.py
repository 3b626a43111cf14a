"""What becomes of a command that nobody works on."""

from __future__ import annotations

import pytest

from agent.store.commands import Progress, SavedOutcome
from agent.worker.process import STARTS_AT_MOST, Verdict, judge

OUTCOME = SavedOutcome("Failed", "{}", 1.0)


@pytest.mark.parametrize(
    ("progress", "outcome", "verdict"),
    [
        (None, None, Verdict.BEGIN),
        (Progress("boot"), None, Verdict.BEGIN),
        (Progress("boot", starts=STARTS_AT_MOST), None, Verdict.FAIL),
        (Progress("boot", committed=True), None, Verdict.FAIL),
        (Progress("another boot", committed=True), None, Verdict.FAIL),
        (None, OUTCOME, Verdict.REPORT),
        (Progress("boot"), OUTCOME, Verdict.REPORT),
        (Progress("boot", committed=True), OUTCOME, Verdict.REPORT),
    ],
)
def test_nothing_runs_twice_and_no_outcome_is_forgotten(
    progress: Progress | None, outcome: SavedOutcome | None, verdict: Verdict
) -> None:
    assert judge(progress, outcome) is verdict
