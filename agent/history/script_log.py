"""What the logs of scripts say of events: in our deployments which scripts ran, in others all that there is."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator

from agent.history.model import EventRun

_LARGEST = 4 << 20
"""Bytes from the end of a log that are read."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)")
_DEPLOYMENTS_STAMP = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d{3}\] \[([^\]]+)\](.*)")
_EVENT, _SCRIPT = "LifecycleEvent - ", "Script - "


def events_of_log(path: str) -> list[EventRun]:
    """Return the events that ``scripts.log`` has, with their scripts; nothing says how they ended. Raises OSError."""
    found: list[EventRun] = []
    for line in _lines(path):
        if match := _STAMP.match(line):
            _add(found, _time(match[1]), match[2])
    return found


def deployments_of_log(path: str) -> dict[str, list[EventRun]]:
    """Return the events of each deployment that the log of all deployments has. Raises OSError."""
    found: dict[str, list[EventRun]] = {}
    for line in _lines(path):
        if match := _DEPLOYMENTS_STAMP.match(line):
            _add(found.setdefault(match[2], []), _time(match[1]), match[3])
    return found


def last_lines(path: str, count: int) -> str:
    """Return the last lines of a log, without what could steer a terminal. Raises OSError."""
    return "\n".join(list(_lines(path))[-count:])


def _add(events: list[EventRun], moment: float | None, text: str) -> None:
    if text.startswith(_EVENT):
        events.append(EventRun(text.removeprefix(_EVENT).strip(), moment, moment))
    elif events and text.startswith(_SCRIPT):
        scripts = (*events[-1].scripts, text.removeprefix(_SCRIPT).strip())
        events[-1] = events[-1]._replace(scripts=scripts, ended=moment)
    elif events:
        events[-1] = events[-1]._replace(ended=moment)


def _lines(path: str) -> Iterator[str]:
    """Yield the last lines of a log, none where there is no regular file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return
        file.seek(max(status.st_size - _LARGEST, 0))
        lines = file.read(_LARGEST).split(b"\n")
    if status.st_size > _LARGEST:
        del lines[0]
    for line in lines[:-1] if lines and not lines[-1] else lines:
        yield line.decode("utf-8", "replace").rstrip("\r")


def _time(text: str) -> float | None:
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return None
