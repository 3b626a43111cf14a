"""The events of one deployment, put together from what it has left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.history.model import ORDER, EventRun

_FACTS = ("application", "group_name", "type", "creator", "appspec", "revision", "planned")


def facts_of_lines(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the first line of a history that says so says of its deployment."""
    for line in lines:
        if "revision" in line:
            return {name: line[name] for name in _FACTS if line.get(name)}
    return {}


def events_of_lines(lines: Iterable[Mapping[str, Any]]) -> list[EventRun]:
    """Return the events of a history in their order; of two ends of one event the later counts."""
    events: list[EventRun] = []
    for line in lines:
        name = line["event"]
        if "started" in line:
            events.append(EventRun(name, started=_number(line["started"])))
            continue
        ended = EventRun(name, **_end_of(line))
        index = next((at for at in reversed(range(len(events))) if events[at].name == name), None)
        if index is None:
            events.append(ended)
        else:
            events[index] = ended._replace(started=events[index].started)
    return events


def with_scripts(events: Sequence[EventRun], logged: Sequence[EventRun]) -> list[EventRun]:
    """Return a history's events with their scripts by the log, and the events that only the log has."""
    known = {event.name for event in events}
    scripts: dict[str, tuple[str, ...]] = {}
    for event in logged:
        scripts[event.name] = scripts.get(event.name, ()) + event.scripts
    merged = [event._replace(scripts=scripts.get(event.name, ())) for event in events]
    return _in_order([*merged, *(event for event in logged if event.name not in known)])


def with_reported(events: Sequence[EventRun], reported: Sequence[EventRun]) -> list[EventRun]:
    """Return the events with those outcomes that only the records of commands have."""
    known = {event.name for event in events if event.status}
    missing = [event for event in reported if event.name and event.name not in known]
    names = {event.name for event in missing}
    merged = [event for event in events if event.name not in names]
    started = {event.name: event for event in events}
    for event in missing:
        before = started.get(event.name, event)
        merged.append(event._replace(started=before.started, scripts=before.scripts))
    return _in_order(sorted(merged, key=lambda event: ORDER.get(event.name, len(ORDER))))


def _in_order(events: Iterable[EventRun]) -> list[EventRun]:
    # The log's times are whole seconds, so those of events that follow at once may be equal to the later digit.
    return sorted(events, key=lambda event: int(event.started or event.ended or 0.0))


def event_of_outcome(found: Mapping[str, Any]) -> EventRun:
    """Return the event that a saved outcome is of."""
    try:
        diagnostics = json.loads(found.get("payload") or "{}")
    except (ValueError, RecursionError, TypeError):
        diagnostics = {}
    diagnostics = diagnostics if isinstance(diagnostics, dict) else {}
    fields = {
        "ended": found.get("ended_at"),
        "status": found.get("status"),
        "closed_as": found.get("closed_as"),
        "code": diagnostics.get("error_code"),
        "script": diagnostics.get("script_name"),
        "message": diagnostics.get("message"),
        "log": diagnostics.get("log"),
    }
    return EventRun(_text(found.get("event")), **_end_of(fields))


def _end_of(line: Mapping[str, Any]) -> dict[str, Any]:
    code = line.get("code")
    return {
        "ended": _number(line.get("ended")),
        "status": _text(line.get("status")),
        "code": code if isinstance(code, int) else None,
        **{name: _text(line.get(name)) for name in ("closed_as", "script", "message", "log")},
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
