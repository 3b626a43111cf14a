"""Having traffic brought in order that a killed worker or a deployment gone quiet has left, by a short-lived child."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from agent.store.layout import Layout

EVERY = 60.0
"""Seconds between two children while a record is open; most hosts have none, and then none is started."""


class TrafficCare:
    """Has a child look at the groups whose traffic is not finalized, now and then; ``start`` starts it."""

    def __init__(self, layout: Layout, start: Callable[[], None]) -> None:
        self._directory = layout.traffic
        self._start = start
        self._due = 0.0

    def turn(self) -> None:
        """Start the child if that is due and there is something for it to look at."""
        if time.monotonic() >= self._due and self._has_records():
            self._due = time.monotonic() + EVERY
            self._start()

    def _has_records(self) -> bool:
        try:
            return any(name.endswith(".json") for name in os.listdir(self._directory))
        except OSError:
            return False
