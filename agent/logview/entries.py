"""A line of any of the logs as one kind of entry. Pure: it sees bytes and returns values."""

from __future__ import annotations

import calendar
import json
import re
import time
from typing import Any, NamedTuple

LEVELS = ("DEBUG", "INFO", "WARN", "ERROR")
"""From the least to the most important; CRITICAL of a library counts as ERROR."""

_AGENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d) ([A-Z]+) +\[[^\[\]]*\(\d+\)\]: (.*)", re.DOTALL)
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s"=]+)'
_IDS = re.compile(rf"((?: (?:event|command|deployment|group)={_VALUE})+)$")
_ID = re.compile(rf" (\w+)=({_VALUE})")
_SCRIPT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:\[(stdout|stderr)\])?(.*)", re.DOTALL)
_DEPLOYMENTS = re.compile(
    r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.\d+\] \[([^\]]*)\](?:\[(stdout|stderr)\])?(.*)", re.DOTALL
)
_EVENT = "LifecycleEvent - "
# The first line of the agent after what a script printed, which may be of the same second.
_LATE = re.compile(r"\w+ (?:succeeded in|failed in) |Deployment \S+ ended: |Reported ")
_RUNS = "Running script "
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z")


class Entry(NamedTuple):
    """One line: ``time`` in seconds since the epoch, ``stream`` stdout or stderr for what a script printed.

    ``rank`` orders the entries of one second, ``source`` is agent, local or script; texts are empty where unknown.
    """

    time: float
    rank: int
    source: str
    level: str
    text: str
    deployment: str = ""
    group: str = ""
    event: str = ""
    command: str = ""
    stream: str = ""


class AgentLines:
    """Reads the lines of the agent's log or of codedeploy-local's, in both of their formats."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._time = 0.0
        self._running: set[str] = set()

    def entry(self, line: bytes) -> Entry:
        """Return a line's entry; one of another form belongs to the time of the line before."""
        text = line.decode("utf-8", "surrogateescape")
        found = _of_json(text) if text.startswith("{") else None
        if found is None and (match := _AGENT.fullmatch(text)):
            said, ids = _split_ids(match[3])
            found = {"time": _local(match[1].replace("T", " ")), "level": match[2], "message": said, **ids}
        if found is None:
            return Entry(self._time, 2, self._source, "INFO", text)
        self._time = found["time"]
        level = {"WARNING": "WARN", "CRITICAL": "ERROR"}.get(found["level"], found["level"])
        ids = {name: str(found.get(name, "")) for name in ("deployment", "group", "event", "command")}
        return Entry(
            self._time, self._rank(found["message"], ids["deployment"]), self._source, level, found["message"], **ids
        )

    def _rank(self, message: str, deployment: str) -> int:
        """Return 2 for what was logged after a script of the deployment, else 0: what it printed comes between."""
        if message.startswith(_RUNS):
            self._running.add(deployment)
        elif deployment in self._running and _LATE.match(message):
            self._running.discard(deployment)
            return 2
        return 0


class ScriptLines:
    """Reads the lines of one deployment's ``scripts.log``."""

    def __init__(self, deployment: str, group: str) -> None:
        self._deployment = deployment
        self._group = group
        self._event = ""
        self._time = 0.0

    def entry(self, line: bytes) -> Entry:
        """Return a line's entry; one without a time goes on with the line before."""
        text = line.decode("utf-8", "surrogateescape")
        match = _SCRIPT.fullmatch(text)
        stream, said = (match[2] or "", match[3]) if match else ("stdout", text)
        if match:
            self._time = _local(match[1])
        if not stream and said.startswith(_EVENT):
            self._event = said.removeprefix(_EVENT)
        return Entry(self._time, 1, "script", "INFO", said, self._deployment, self._group, self._event, "", stream)


class DeploymentsLines:
    """Reads the lines of the log of all deployments' scripts."""

    def __init__(self) -> None:
        self._events: dict[str, str] = {}
        self._time = 0.0
        self._deployment = ""

    def entry(self, line: bytes) -> Entry:
        """Return a line's entry; one of another form, such as the file's first line, has no deployment."""
        text = line.decode("utf-8", "surrogateescape")
        match = _DEPLOYMENTS.fullmatch(text)
        if match is None:
            return Entry(self._time, 1, "script", "INFO", text)
        self._time, deployment, stream, said = _local(match[1]), match[2], match[3] or "", match[4]
        if not stream and said.startswith(_EVENT):
            self._events.pop(deployment, None)
            self._events[deployment] = said.removeprefix(_EVENT)
            if len(self._events) > 1000:
                del self._events[next(iter(self._events))]
        event = self._events.get(deployment, "")
        return Entry(self._time, 1, "script", "INFO", said, deployment, "", event, "", stream)


def _of_json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
        match = _ISO.fullmatch(found["time"])
        if match is None:
            return None
        moment = _utc(match[1]) + float(match[2] or 0)
        return {**found, "time": moment, "level": str(found["level"]).upper(), "message": str(found["message"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _split_ids(text: str) -> tuple[str, dict[str, str]]:
    match = _IDS.search(text) if "=" in text else None
    if match is None:
        return text, {}
    ids = {name: json.loads(value) if value[0] == '"' else value for name, value in _ID.findall(match[1])}
    return text[: match.start()], ids


_stamps: dict[str, float] = {}


def _local(stamp: str) -> float:
    """Return the time of a stamp without a zone; thousands of lines share one."""
    if (found := _stamps.get(stamp)) is None:
        if len(_stamps) > 1000:
            _stamps.clear()
        try:
            found = time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S"))
        except (ValueError, OverflowError):
            found = 0.0
        _stamps[stamp] = found
    return found


def _utc(stamp: str) -> float:
    return float(calendar.timegm(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")))
