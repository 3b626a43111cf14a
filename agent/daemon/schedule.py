"""When to poll next: the official agents' rule, as a table of what the last poll brought."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from agent.service.backoff import poll_pause


class Poll(Enum):
    """What a poll has brought."""

    NEW = "a command that was taken on"
    KNOWN = "a command that is in hand already"
    NOTHING = "no command"
    FAILED = "an error"
    UNKNOWN = "an error before this host knew who it is"


class Schedule:
    """Says how long to pause before the next poll; ``random`` gives numbers from 0 to 1."""

    def __init__(self, *, wait_between_runs: float, random: Callable[[], float]) -> None:
        self.wait_between_runs = wait_between_runs
        self._random = random
        self._failures = 0
        self._known = 0

    @property
    def failures(self) -> int:
        """Polls that failed, one after the other."""
        return self._failures

    def pause_after(self, poll: Poll, *, elapsed: float) -> float:
        """Seconds until the next poll; ``elapsed`` is how long this one took.

        A new command is followed by a poll at once, since there may be more; so is the first one that is known
        already, but not the second in a row. While a host finds out who it is, just booted perhaps, the pauses begin
        with a second: metadata and network are often late by no more.
        """
        self._failures = self._failures + 1 if poll in (Poll.FAILED, Poll.UNKNOWN) else 0
        self._known = self._known + 1 if poll is Poll.KNOWN else 0
        if self._failures:
            pause = poll_pause(self._failures, elapsed=elapsed, random=self._random)
            return min(pause, 2.0 ** (self._failures - 1)) if poll is Poll.UNKNOWN else pause
        if poll is Poll.NEW or (poll is Poll.KNOWN and self._known == 1):
            return 0.0
        return self.wait_between_runs
