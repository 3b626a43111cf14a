"""What the supervisor tells of itself: ``agent-state/status.json``, for ``codedeploy-agent status`` and for people."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

from agent import __version__
from agent.errors import AgentError
from agent.filesystem.durable import replace
from agent.store.directories import make_state_directory
from agent.store.layout import Layout

FRESH_FOR = 30.0
"""Seconds after which the file is written again though nothing but the time of the last poll has changed."""

_log = logging.getLogger(__name__)


class StatusFile:
    """Keeps the file up to date, and writes it only when something has changed or it has become old."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = os.path.join(layout.state, "status.json")
        self._fields: dict[str, Any] = {"pid": os.getpid(), "started": time.time(), "version": __version__}
        self._written: dict[str, Any] = {}
        self._written_at = 0.0

    @property
    def is_polling(self) -> bool:
        """Whether a poll has succeeded and no problem is noted since."""
        return "last_success" in self._fields and self._fields.get("problem") is None

    def note(self, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Change some of the fields."""
        self._fields.update(fields)

    def write_if_due(self) -> None:
        """Write the file where that is worth it; an error is logged and stops nothing."""
        steady = {name: value for name, value in self._fields.items() if name not in ("last_poll", "last_success")}
        if steady == self._written and time.monotonic() - self._written_at < FRESH_FOR:
            return
        self._written, self._written_at = steady, time.monotonic()
        try:
            make_state_directory(self._layout, self._layout.state)
            replace(self._path, json.dumps(self._fields).encode(), mode=0o600)
        except (OSError, AgentError) as error:
            _log.warning("The status file %s cannot be written: %s", self._path, error)
