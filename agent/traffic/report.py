"""What this host is out of, since when and why: from the records alone, without asking a balancer."""

from __future__ import annotations

from typing import Any

from agent.text.times import stamp
from agent.traffic.errors import TrafficError
from agent.traffic.record import Phase, Records, TrafficRecord

_WORDS = {
    Phase.BLOCKING: "is being taken out of service",
    Phase.OUT: "is out of service",
    Phase.ALLOWING: "is being put back into service",
}


def is_shown(record: TrafficRecord) -> bool:
    """Whether a record says anything that somebody should know: this host is, or may be, out because of us."""
    return not record.is_finalized and (bool(record.ours) or record.phase is not Phase.OUT)


def outages(records: Records) -> list[dict[str, Any]]:
    """Everything that this host is, or may be, out of because of us; a record that cannot be read is among it."""
    readable, errors = records.all()
    return [outage(record) for record in readable if is_shown(record)] + [_unknown(error) for error in errors]


def outage(record: TrafficRecord) -> dict[str, Any]:
    """A record ready for JSON; times in seconds since the epoch, null where unknown."""
    return {
        "group": record.group_name,
        "state": record.phase.value,
        "places": [member.place for member in record.ours],
        "since": record.since or None,
        "why": why(record),
        "on_purpose": bool(record.kept),
        "by_hand": record.by_hand,
        "deployment": record.deployment_id or None,
        "problem": record.problem or None,
    }


def _unknown(error: TrafficError) -> dict[str, Any]:
    found: dict[str, Any] = {"group": None, "state": None, "places": [], "since": None, "why": str(error)}
    return found | {"on_purpose": False, "by_hand": False, "deployment": None, "problem": None}


def why(record: TrafficRecord) -> str:
    """Why this host is out: the reason that was written down, else who is at work."""
    if record.kept:
        return record.kept
    if record.deployment_id:
        return f"deployment {record.deployment_id} is in progress"
    return "a person moves the traffic by hand"


def outage_line(found: dict[str, Any]) -> str:
    """Return one outage for people."""
    if found["state"] is None:
        return f"Traffic: {found['why']}"
    places = f" ({', '.join(found['places'])})" if found["places"] else ""
    problem = f"; looked after every minute: {found['problem']}" if found["problem"] else ""
    words = _WORDS[Phase(found["state"])]
    since = stamp(found["since"] or 0)
    return f"Traffic of {found['group']}: this host {words}{places} since {since}: {found['why']}{problem}"
