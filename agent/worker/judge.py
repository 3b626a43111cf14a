"""What is to become of a command that nobody works on, by what was written down of it."""

from __future__ import annotations

from enum import Enum

from agent.store.commands import Progress, SavedOutcome

STARTS_AT_MOST = 3
"""How often a command is begun whose workers keep dying before they have acknowledged it."""


class Verdict(Enum):
    """What a worker that finds a command does with it."""

    BEGIN = "begin it"
    REPORT = "report its outcome"
    FAIL = "fail it, because its worker was killed"


def judge(progress: Progress | None, outcome: SavedOutcome | None) -> Verdict:
    """Judge a command whose lock is free.

    One that was acknowledged, or was about to be, is never begun a second time, because its scripts may have run. One
    that was not has left no trace on this host, and the service does not count it as begun either.
    """
    if outcome is not None:
        return Verdict.REPORT
    if progress is None or (not progress.committed and progress.starts < STARTS_AT_MOST):
        return Verdict.BEGIN
    return Verdict.FAIL
