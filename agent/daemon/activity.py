"""What the running agent is doing, in one line for systemd and as rows for the status file."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from agent.daemon.notify import Notifier
from agent.daemon.status import describe_command, last_outcome
from agent.daemon.status_file import StatusFile
from agent.store.commands import CommandDirectory
from agent.store.layout import Layout
from agent.text.times import stamp

LONGEST_STATUS = 500
"""The longest status text that systemd gets, in characters."""

_EARLY = 10.0
"""Seconds after a command has come in which its deployment becomes known."""


class Activity:
    """Follows the commands in hand, and reports what the agent does whenever that changes."""

    def __init__(self, layout: Layout, status: StatusFile, notifier: Notifier) -> None:
        self._layout = layout
        self._status = status
        self._notifier = notifier
        self._keys: list[str] | None = None
        self._line = ""
        self.is_early = False
        """Whether a command has just come, so that its deployment is known a moment later."""

    def turn(self, at_work: Iterable[CommandDirectory]) -> None:
        """Look at the commands that are worked on now."""
        directories = list(at_work)
        keys = [directory.key for directory in directories]
        if keys != self._keys:
            self._keys = keys
            with suppress(OSError):  # a disk that does not say is among the problems
                last = last_outcome(self._layout)
                self._status.note(last_outcome=last._asdict() if last else None)
        rows = [row for directory in directories if (row := describe_command(directory)) is not None]
        self.is_early = any(not row.deployment and time.time() - row.since < _EARLY for row in rows)
        self._status.note(in_hand=[row._asdict() for row in rows])
        self.tell()

    def tell(self) -> None:
        """Send systemd the line, if it is another one than before."""
        line = status_line(self._status.fields)
        if line != self._line:
            self._line = line
            self._notifier.status(line)


def status_line(fields: Mapping[str, Any]) -> str:
    """Return in one line what an agent with this status does, which problem lasts and how the last command ended."""
    rows, problem, last, paused = (fields.get(name) for name in ("in_hand", "problem", "last_outcome", "paused"))
    parts = [_running(row) for row in rows or ()]
    if paused:
        parts.append(f"Paused since {stamp(paused['since'] or 0)}: {paused['reason']}")
    if problem:
        parts.append(f"Problem since {stamp(problem['since'] or 0)}: {problem['text']}")
    elif not parts:
        parts.append("Polling" if fields.get("state") == "polling" else "Finding out who this host is")
    if last:
        parts.append(_ended(last))
    return "; ".join(part.rstrip(".") for part in parts)[:LONGEST_STATUS]


def _running(row: Mapping[str, Any]) -> str:
    of = f" of deployment {row['deployment']}" if row["deployment"] else ""
    group = row.get("group_name") or row["group"]
    where = f" ({group})" if group else ""
    return f"{row['event'] or 'A lifecycle event'}{of}{where} runs since {stamp(row['since'] or 0)}"


def _ended(last: Mapping[str, Any]) -> str:
    of = f" of deployment {last['deployment']}" if last["deployment"] else ""
    status = (last.get("closed_as") or last["status"]).lower()
    return f"last outcome: {last.get('event') or 'a lifecycle event'}{of} {status} at {stamp(last['ended'] or 0)}"
