"""Short-lived children that do something for the supervisor and tell their result to the log."""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections.abc import Callable, Mapping
from functools import partial

from agent.daemon.spawn import Child, spawn_module
from agent.store.layout import Layout

_TRAFFIC_EVERY = 60.0
"""Seconds between two children while a record is open; most hosts have none, and then none is started."""

_log = logging.getLogger(__name__)


class BackgroundJobs:
    """Starts such children and waits for their ends, which ``selector`` tells: each pidfd has what to call as data."""

    def __init__(self, selector: selectors.BaseSelector, environment: Mapping[str, str]) -> None:
        self._selector = selector
        self._environment = environment
        self._running: dict[str, Child] = {}

    def start(self, module: str, handoff: bytes) -> None:
        """Start one with what it reads from its standard input, unless it still runs; a host without room is logged."""
        if module in self._running:
            return
        try:
            child = spawn_module(module, handoff=handoff, environment=self._environment)
        except OSError as error:
            _log.error("%s could not be started, and nothing of it is done now: %s", module, error)
            return
        self._running[module] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._ended, module))

    def _ended(self, module: str) -> None:
        child = self._running.pop(module)
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        os.waitpid(child.pid, 0)


class TrafficCare:
    """Has a child look at the groups whose traffic is not finalized, now and then; ``start`` starts it."""

    def __init__(self, layout: Layout, start: Callable[[], None]) -> None:
        self._directory = layout.traffic
        self._start = start
        self._due = 0.0

    def turn(self) -> None:
        """Start the child if that is due and there is something for it to look at."""
        if time.monotonic() >= self._due and self._has_records():
            self._due = time.monotonic() + _TRAFFIC_EVERY
            self._start()

    def _has_records(self) -> bool:
        try:
            return any(name.endswith(".json") for name in os.listdir(self._directory))
        except OSError:
            return False
