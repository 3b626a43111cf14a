"""How often a request to S3 is made again, and after which delays."""

from __future__ import annotations

from collections.abc import Callable

from agent.retry import Clock, Retries, RetryPolicy

ATTEMPTS = RetryPolicy((0.5, 1.0, 2.0, 4.0, 8.0), attempts=6)
"""Six failures in a row, without a byte gained, end a download."""


class Patience(Retries):
    """The retries of one request, or of one part of a download."""

    def __init__(self, name: str, sleep: Callable[[float], None]) -> None:
        super().__init__(ATTEMPTS, name, Clock(sleep))

    def gained(self) -> None:
        """Something came, so the next failure is a first one."""
        self.succeeded()
