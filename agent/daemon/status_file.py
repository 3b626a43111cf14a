"""What the supervisor writes down about itself, for ``codedeploy-agent status`` and for people.

``agent-state/status.json`` is replaced now and then. A second file is replaced with every poll; for root it is in
memory, so it stays true where ``root_dir`` takes nothing any more.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from contextlib import suppress
from typing import Any

from agent import __version__
from agent.config.settings import Settings
from agent.daemon.recurring import Recurring
from agent.errors import AgentError
from agent.filesystem.durable import make_directory, remove_if_there, replace
from agent.filesystem.reasons import explained_error
from agent.runtime.host import RUN_DIRECTORY, layout_of
from agent.store.directories import make_state_directory

FRESH_FOR = 30.0
"""Seconds after which the file below ``root_dir`` is written again though nothing but the last poll has changed."""

_OF_POLLS = ("last_poll", "last_success", "round_trip")

_log = logging.getLogger(__name__)


def status_files(settings: Settings, pid: int) -> list[str]:
    """Return where the agent with this pid may have written about itself."""
    return [_in_memory(pid), _beside_pid_file(settings), os.path.join(layout_of(settings).state, "status.json")]


def _in_memory(pid: int) -> str:
    return os.path.join(RUN_DIRECTORY, f"status-{pid}.json")


def _beside_pid_file(settings: Settings) -> str:
    return os.path.join(settings.pid_dir, "codedeploy-agent.status.json")


class StatusFile:
    """Keeps both files up to date; may be used from several threads.

    ``problems`` are those that last: they are logged, counted and part of the status.
    """

    def __init__(self, settings: Settings) -> None:
        self.problems = Recurring(_log)
        self._layout = layout_of(settings)
        self._path = os.path.join(self._layout.state, "status.json")
        self._live = _in_memory(os.getpid()) if os.geteuid() == 0 else _beside_pid_file(settings)
        restricted = settings.restrict_log_dir_permissions or settings.restrict_agent_dir_permissions
        # Like the agent's log it is for every user, so that monitoring needs no root.
        self._live_mode = 0o600 if restricted else 0o644
        self._fields: dict[str, Any] = {
            "pid": os.getpid(),
            "started": time.time(),
            "version": __version__,
            "state": "starting",
            "wait_between_runs": settings.wait_between_runs,
        }
        self._written: dict[str, Any] = {}
        self._written_at = 0.0
        self._lock = threading.Lock()
        if os.path.dirname(self._live) == RUN_DIRECTORY:
            _prepare()

    @property
    def fields(self) -> dict[str, Any]:
        """A copy of what is known now, with the problems that last."""
        lasting = [problem._asdict() for problem in self.problems.lasting()]
        with self._lock:
            return {**self._fields, "problem": lasting[0] if lasting else None, "problems": lasting}

    def note(self, **fields: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Change some of the fields."""
        with self._lock:
            self._fields.update(fields)

    def polled(self, round_trip: float) -> None:
        """Note a poll that was answered within so many seconds, and write it where that costs no disk."""
        now = time.time()
        self.note(last_poll=now, last_success=now, round_trip=round(round_trip, 3), state="polling")
        self._write_live()

    def write_if_due(self) -> None:
        """Write the files where that is worth it; an error is noted among the problems and stops nothing."""
        fields = self.fields
        steady = {name: value for name, value in fields.items() if name not in _OF_POLLS}
        changed = steady != self._written
        if not changed and time.monotonic() - self._written_at < FRESH_FOR:
            return
        self._write_live()
        self._written, self._written_at = steady, time.monotonic()
        try:
            make_state_directory(self._layout, self._layout.state)
            replace(self._path, _render(fields), mode=0o600)
        except (OSError, AgentError) as error:
            if isinstance(error, OSError):
                error.filename, error.filename2 = self._path, None  # not the name that it had while it was written
                error = explained_error(error, "root_dir does not take the agent's status file")
            self.problems.happened("root_dir", str(error))
            self._write_live()
        else:
            if self.problems.over("root_dir", "root_dir takes the agent's status file again"):
                self.write_if_due()

    def close(self) -> None:
        """Remove the file in memory: this agent is about to end."""
        with suppress(OSError):
            remove_if_there(self._live)
            if os.path.dirname(self._live) == RUN_DIRECTORY:
                os.rmdir(RUN_DIRECTORY)  # unless another agent uses it

    def _write_live(self) -> None:
        with suppress(OSError):  # a reader sees how old it is
            make_directory(os.path.dirname(self._live))
            replace(self._live, _render(self.fields), mode=self._live_mode)


def _render(fields: dict[str, Any]) -> bytes:
    return json.dumps({**fields, "written": time.time()}).encode()


def _prepare() -> None:
    """Open the directory in memory for readers, and remove what agents that were killed have left there."""
    with suppress(OSError):
        make_directory(RUN_DIRECTORY)
        os.chmod(RUN_DIRECTORY, 0o755)  # outcomes that are kept there are in a closed directory of their own
        for name in os.listdir(RUN_DIRECTORY):
            pid = name.removeprefix("status-").removesuffix(".json")
            if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                remove_if_there(os.path.join(RUN_DIRECTORY, name))
