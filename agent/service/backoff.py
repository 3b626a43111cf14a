"""How long to wait after a poll that failed."""

from __future__ import annotations

from collections.abc import Callable

LONGEST_PAUSE = 90
STEPS = 10
GROWTH = 1.2675
"""The official agent's formula: the k-th failure in a row costs 90 s divided by 1.2675 to the (10 - k)."""

JITTER = 0.25
"""The largest part of a pause that chance adds, so that hosts which failed together do not come back together."""


def poll_pause(failures: int, *, elapsed: float, random: Callable[[], float]) -> float:
    """Give the pause in seconds after so many failures in a row; 0 after none.

    ``elapsed`` is what the failed poll itself took, and counts. ``random`` gives numbers from 0 to 1.
    """
    if failures < 1:
        return 0.0
    whole = GROWTH ** min(failures, STEPS) * LONGEST_PAUSE // GROWTH**STEPS
    return max(0.0, whole * (1 + JITTER * random()) - elapsed)
