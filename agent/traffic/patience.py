"""Asking again after an error that passes, and waiting for what takes its time, within one limit."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from agent.traffic.errors import TrafficError

Answer = TypeVar("Answer")

FIRST_PAUSE = 0.5
"""Seconds; doubled each time, and up to twice as long by chance, so that a fleet does not ask in step."""

LONGEST_PAUSE = 20.0

FIRST_LOOK = 0.2
"""Seconds between the first looks at a host that is drained or checked; half as long again each time."""

LONGEST_LOOK = 5.0


class Clock(NamedTuple):
    """Where time and chance come from; ``now`` gives seconds that never go back."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = _random.random


class Patience:
    """One limit in seconds for a whole step, shared by every call and every wait in it."""

    def __init__(self, limit: float, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._end = clock.now() + limit

    def left(self) -> float:
        """Seconds until the limit; 0 or less after it."""
        return self._end - self._clock.now()

    def insist(self, call: Callable[[], Answer]) -> Answer:
        """Call until it succeeds or fails for good. Raises the last TrafficError, also when the limit is near."""
        pause = FIRST_PAUSE
        while True:
            try:
                return call()
            except TrafficError as error:
                wait = pause * (1 + self._clock.random())
                if not error.passing or self.left() <= wait:
                    raise
            self._clock.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    def until(self, met: Callable[[], bool], *, limit: float) -> bool:
        """Wait until something is so, for at most ``limit`` seconds and the whole limit; gives whether it is."""
        end = self._clock.now() + min(limit, max(self.left(), 0))
        pause = FIRST_LOOK
        while not met():
            left = end - self._clock.now()
            if left <= 0:
                return False
            self._clock.sleep(min(pause * (1 + self._clock.random() / 4), left))
            pause = min(pause * 1.5, LONGEST_LOOK)
        return True
