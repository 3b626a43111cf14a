"""Sending a request again after a fault that passes."""

from __future__ import annotations

import random as _random
import time
from collections.abc import Callable
from typing import TypeVar

from agent.network.errors import NetworkError, NetworkReason
from agent.service.errors import ServiceError, ServiceErrorKind

Result = TypeVar("Result")

FIRST_PAUSE = 0.3
"""Seconds; doubled each time: 0.3, 0.6, 1.2, as the official agent waits."""

JITTER = 0.25
PASSING = (NetworkReason.DNS, NetworkReason.CONNECT, NetworkReason.TIMEOUT, NetworkReason.BROKEN)


def with_retries(
    call: Callable[[], Result],
    *,
    attempts: int = 4,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> Result:
    """Call until it succeeds, at most so many times, with growing pauses between.

    Only for requests that may be sent twice. Repeated are faults that pass: of the network (not TLS and not the
    proxy's refusals) and of the service (5xx). Throttling is not repeated here: the gate has done that already.
    Raises the last error.
    """
    for attempt in range(1, attempts):
        try:
            return call()
        except (NetworkError, ServiceError) as error:
            if not is_passing(error):
                raise
        sleep(FIRST_PAUSE * 2 ** (attempt - 1) * (1 + JITTER * random()))
    return call()


def is_passing(error: NetworkError | ServiceError) -> bool:
    """Tell whether an error may be gone a second later."""
    if isinstance(error, NetworkError):
        return error.reason in PASSING
    return error.kind is ServiceErrorKind.SERVER
