"""How often a request is made again, and after which pauses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from agent.bundle.fetch import TransientError
from agent.errors import AgentError
from agent.network.errors import NetworkError, NetworkReason

ATTEMPTS = 6
"""Failures in a row, without a byte gained, that end the download."""

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_RETRIED = frozenset({NetworkReason.DNS, NetworkReason.CONNECT, NetworkReason.TIMEOUT, NetworkReason.BROKEN})

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class Patience:
    """Waits after a failure, longer each time, and gives up when too many come in a row."""

    def __init__(self, name: str, sleep: Callable[[float], None]) -> None:
        self._name = name
        self._sleep = sleep
        self._failures = 0

    def gained(self) -> None:
        """Something came, so the next failure is a first one."""
        self._failures = 0

    def failed(self, error: AgentError) -> None:
        """Wait before the next attempt. Raises the error where another one makes no sense or was the last."""
        if isinstance(error, NetworkError) and error.reason not in _RETRIED:
            raise error
        self._failures += 1
        if self._failures >= ATTEMPTS:
            raise error
        pause = _PAUSES[self._failures - 1]
        _log.info("%s: %s Another attempt follows in %.1f s", self._name, error.message, pause)
        self._sleep(pause)

    def run(self, call: Callable[[], Result]) -> Result:
        """Call until it succeeds."""
        while True:
            try:
                return call()
            except (NetworkError, TransientError) as error:
                self.failed(error)
