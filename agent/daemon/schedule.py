"""When to poll next: the official agents' rule, as a table of what the last poll brought."""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import Enum

from agent.retry import Clock, RetryPolicy, growing

QUICK = (0.3, 0.6, 1.2)
"""Seconds before a poll is repeated after an error that may be gone already, as in the official agent's SDK."""

BACKOFF = (10.0, 13.0, 17.0, 21.0, 27.0, 34.0, 44.0, 56.0, 71.0, 90.0)
"""Seconds between polls that fail on: the official agent's formula, 90 s divided by 1.2675 to the (10 - k)."""

AFTER_EVENT = (0.1, 0.1, 0.2, 0.4, 0.8)
"""Seconds between the polls that follow the end of an event: the service may take a moment to hand out the next."""

AGAIN = RetryPolicy((*QUICK, *BACKOFF))
UNKNOWN_AGAIN = RetryPolicy(growing(1.0, 30.0))
"""While a host finds out who it is, just booted perhaps: metadata and network are often late by a second."""


class Poll(Enum):
    """What a poll has brought."""

    NEW = "a command that was taken on"
    KNOWN = "a command that is in hand already"
    NOTHING = "no command"
    PASSING = "an error that may be gone a moment later"
    FAILED = "an error"
    UNKNOWN = "an error before this host knew who it is"


class Schedule:
    """Says how long to pause before the next poll.

    Each host has its own moments to poll, ``wait_between_runs`` apart and drawn at the start. So hosts that started
    together, or were cut off together, do not poll in the same second for ever.
    """

    def __init__(self, *, wait_between_runs: float, clock: Clock | None = None) -> None:
        self.wait_between_runs = wait_between_runs
        self._clock = clock or Clock()
        self._phase = self._clock.random()
        self._failures = 0
        self._known = 0
        self._unknown = 0
        self._soon: Iterator[float] = iter(())

    @property
    def is_failing(self) -> bool:
        """Whether the last poll failed."""
        return self._failures > 0

    @property
    def is_repeating(self) -> bool:
        """Whether the last poll failed, and is repeated so soon that nobody needs to know."""
        return 0 < self._failures <= len(QUICK)

    def pause_after(self, poll: Poll, *, elapsed: float) -> float:
        """Return the seconds until the next poll; ``elapsed`` is how long this one took.

        A new command is followed by a poll at once, since there may be more; so is the first one that is known
        already, but not the second in a row.
        """
        self._known = self._known + 1 if poll is Poll.KNOWN else 0
        if poll in (Poll.PASSING, Poll.FAILED, Poll.UNKNOWN):
            return self._pause_after_failure(poll, elapsed)
        self._failures = 0
        return 0.0 if poll is Poll.NEW or self._known == 1 else self.pause_after_nothing()

    def _pause_after_failure(self, poll: Poll, elapsed: float) -> float:
        if poll is Poll.UNKNOWN:
            self._unknown += 1
            return UNKNOWN_AGAIN.delay(self._unknown, self._clock.random)
        self._failures = max(self._failures, 0 if poll is Poll.PASSING else len(QUICK)) + 1
        pause = AGAIN.delay(self._failures, self._clock.random)
        return pause if self.is_repeating else max(0.0, pause - elapsed)

    def event_ended(self) -> None:
        """Poll a few times within the next seconds, since another event may follow."""
        self._soon = iter(AFTER_EVENT)

    def pause_after_nothing(self) -> float:
        """Return the seconds to the next poll after one that has brought no command."""
        return min(next(self._soon, math.inf), self.until_own_moment())

    def until_own_moment(self) -> float:
        """Return the seconds to this host's first own moment that is at least half a ``wait_between_runs`` away."""
        wait = self.wait_between_runs
        if not wait:
            return 0.0
        earliest = self._clock.now() + wait / 2
        return wait / 2 + (self._phase * wait - earliest) % wait
