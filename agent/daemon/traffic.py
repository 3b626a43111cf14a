"""Having traffic brought in order that a killed worker or a deployment gone quiet has left, by a short-lived child."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable

from agent.daemon.spawn import Child
from agent.store.layout import Layout

EVERY = 60.0
"""Seconds between two children while a record is open; most hosts have none, and then none is started."""


class TrafficCare:
    """Starts a child for the records of groups whose traffic is not settled; one at a time."""

    def __init__(self, layout: Layout, selector: selectors.BaseSelector, start: Callable[[], Child]) -> None:
        self._folder = layout.traffic
        self._selector = selector
        self._start = start
        self._child: Child | None = None
        self._due = 0.0

    def turn(self) -> None:
        """Start a child if that is due and there is something for it to look at. Raises OSError."""
        if self._child is not None or time.monotonic() < self._due or not self._has_records():
            return
        self._due = time.monotonic() + EVERY
        self._child = self._start()
        self._selector.register(self._child.pidfd, selectors.EVENT_READ, self._ended)

    def _has_records(self) -> bool:
        try:
            return any(name.endswith(".json") for name in os.listdir(self._folder))
        except FileNotFoundError:
            return False

    def _ended(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            self._selector.unregister(child.pidfd)
            os.close(child.pidfd)
            os.waitpid(child.pid, 0)
