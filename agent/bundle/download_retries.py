"""How often a request to S3 is made again, and after which delays."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.network.http import MinimumRate
from agent.retry import Clock, Retries, RetryPolicy

ATTEMPTS = RetryPolicy((0.5, 1.0, 2.0, 4.0, 8.0), attempts=6)
"""Six failures in a row, without a byte gained or too slow, end a download."""

DEFAULT_RATE = MinimumRate()


class DownloadRetries(Retries):
    """The retries of one request, or of one part of a download."""

    def __init__(
        self,
        name: str,
        sleep: Callable[[float], None],
        *,
        rate: MinimumRate = DEFAULT_RATE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(ATTEMPTS, name, Clock(sleep, now))
        self._rate = rate
        self._since, self._count = now(), 0

    def gained(self, count: int) -> None:
        """Make the next failure a first one; after a while only where bytes come at the least rate."""
        self._count += count
        elapsed = self.clock.now() - self._since
        if elapsed < self._rate.seconds:
            self.succeeded()
        elif self._count >= self._rate.rate * elapsed:
            self.succeeded()
            self._since, self._count = self.clock.now(), 0
