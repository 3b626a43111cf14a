"""Trying again: after which delays, how often and for how long; one policy for every part of the agent."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from agent.errors import AgentError

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)


class Clock(NamedTuple):
    """Where time and chance come from; ``now`` gives seconds that never go back."""

    sleep: Callable[[float], object] = time.sleep
    now: Callable[[], float] = time.monotonic
    random: Callable[[], float] = random.random


class RetryPolicy(NamedTuple):
    """How often something that failed is tried again, and after which delays.

    ``delays`` are the seconds before each further attempt, the last of them for all that follow. ``attempts`` counts
    the first one too. No attempt begins later than ``limit`` seconds after the first. ``jitter`` is the largest part
    of a delay that chance adds, so that hosts which failed together do not come back together.
    """

    delays: Sequence[float]
    attempts: float = math.inf
    limit: float = math.inf
    jitter: float = 0.25

    def delay(self, failures: int, random: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return self.delays[min(failures, len(self.delays)) - 1] * (1 + self.jitter * random())


class Retries:
    """What is tried under a policy, whose limit begins now; ``what`` names it in the log where the error does not.

    Only errors that are ``passing`` are tried again.
    """

    def __init__(self, policy: RetryPolicy, what: str = "", clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._policy = policy
        self._what = what
        self._end = self.clock.now() + policy.limit
        self._failures = 0
        self._logged = ""

    def left(self) -> float:
        """Return the seconds until the limit; 0 or less after it."""
        return self._end - self.clock.now()

    def run(self, call: Callable[[], Answer]) -> Answer:
        """Call until it succeeds. Raises the error that does not pass, or the last one."""
        self.succeeded()
        while True:
            try:
                return call()
            except AgentError as error:
                self.failed(error)

    def succeeded(self) -> None:
        """Count the next failure as a first one."""
        self._failures = 0

    def failed(self, error: AgentError) -> None:
        """Wait before the next attempt. Raises the error where there is none."""
        self._failures += 1
        delay = self._policy.delay(self._failures, self.clock.random)
        if not error.passing or self._failures >= self._policy.attempts or delay >= self.left():
            raise error
        # An outage fails every attempt in the same words: one line is enough.
        level = logging.DEBUG if error.message == self._logged else logging.WARNING
        self._logged = error.message
        prefix = "" if self._what in error.message else f"{self._what}: "
        _log.log(level, "%s%s Another attempt follows in %.1f s", prefix, error.message, delay)
        self.clock.sleep(delay)


def growing(first: float, longest: float, *, factor: float = 2.0) -> tuple[float, ...]:
    """Return delays from the first to the longest, each ``factor`` times the one before."""
    delays = [first]
    while delays[-1] < longest:
        delays.append(min(delays[-1] * factor, longest))
    return tuple(delays)
