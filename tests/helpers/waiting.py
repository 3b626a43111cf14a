"""Waiting for what other processes do, however busy the machine is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

TIMEOUT = 120.0
"""Seconds of a quiet machine after which something will never come that takes one or two of them."""

_PAUSE = 0.02


class Guard:
    """Tells when a wait is in vain. The busier the machine, the slower its seconds count, so load never ends a wait."""

    def __init__(self, seconds: float = TIMEOUT) -> None:
        self._seconds = seconds
        self._last = time.monotonic()
        self._spent = 0.0

    @property
    def has_hung(self) -> bool:
        """Whether a quiet machine would have done by now what is waited for; to be asked again and again."""
        now = time.monotonic()
        passed, self._last = min(now - self._last, 1.0), now  # more than that was the waiting process's own pause
        self._spent += passed * min(1.0, (os.cpu_count() or 1) / max(os.getloadavg()[0], 0.01))
        return self._spent > self._seconds


def until(
    met: Callable[[], Found], what: str | Callable[[], str], *, alive: Callable[[], bool] = lambda: True
) -> Found:
    """Wait until something is so, and return it; ``alive`` says whether it can still come, ``what`` what failed to."""
    guard = Guard()
    while not (found := met()):
        failed = not alive() or guard.has_hung
        if failed and not (found := met()):  # what has died may have done it just before
            raise AssertionError(f"waited in vain for {what if isinstance(what, str) else what()}")
        if not failed:
            time.sleep(_PAUSE)
    return found
