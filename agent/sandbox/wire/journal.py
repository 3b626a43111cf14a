"""What was asked of the command service and what it answered, for whoever wants to check an agent."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any

KEPT = 20_000
"""Entries; older ones are forgotten."""


class CallJournal:
    """A numbered list of calls in their order; all methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def add(self, entry: dict[str, Any]) -> None:
        """Put an entry down under the next number."""
        with self._lock:
            self._entries.append({"number": next(self._numbers), **entry})

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the entries behind a number."""
        with self._lock:
            return [entry for entry in self._entries if entry["number"] > number]
