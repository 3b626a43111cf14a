"""The status of an agent as lines for people, and as the line of a monitoring plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agent.daemon.health import CREDENTIALS_SHORT, DISK_LOW, INODES_LOW, POLL_LATE_AFTER, Finding, level_of
from agent.daemon.recurring import readable_duration
from agent.daemon.status import InProgress
from agent.text.sizes import human
from agent.text.times import stamp
from agent.traffic.report import outage_line

_SHOWN_ELSEWHERE = ("not-running", "traffic", "paused")
"""Findings that other lines say already, beside those of problems that last."""


def lines(found: dict[str, Any], findings: Sequence[Finding], now: float) -> list[str]:
    """The document as lines; the first says whether the agent is running."""
    text = [_first(found)]
    if found["running"]:
        text += _running(found, now)
    if found["paused"]:
        text.append(_paused(found["paused"]))
    for group, events in found["skips"].items():
        text.append(f"The next deployment of group {group} skips {' and '.join(events)} of the earlier revision, once.")
    text += [f"In progress: {progress_line(_row(row), now)}" for row in found["in_progress"]]
    if found["last_outcome"]:
        text.append(_outcome_line(found["last_outcome"], now, is_official=found["state"] == "official"))
    text += [outage_line(row) for row in found["out_of_service"]]
    if found["unreported"]:
        text.append(f"Not yet reported: {found['unreported']}")
    if found["running"]:
        text += _resources(found)
    shown = {*_SHOWN_ELSEWHERE, *(problem["key"] or "problem" for problem in found["problems"])}
    text += [
        f"{finding.level.name.capitalize()}: {finding.text} {finding.remedy}".rstrip()
        for finding in findings
        if finding.key not in shown
    ]
    if found["not_seen"]:
        text.append(f"Not seen, for want of permission: {'; '.join(found['not_seen'])}. Ask as root to see it.")
    return text


def _paused(paused: Mapping[str, Any]) -> str:
    until = f" until {stamp(paused['until'])}" if paused.get("until") else ""
    by = f" by {paused['by']}" if paused.get("by") else ""
    return f"Paused since {stamp(paused.get('since') or 0)}{until}{by}: {paused.get('reason')}"


def _first(found: Mapping[str, Any]) -> str:
    if found["running"]:
        return f"The AWS CodeDeploy agent is running as PID {found['pid']}"
    if found["state"] == "dead":
        return "The AWS CodeDeploy agent is not running: it ended without removing its pid file."
    return "The AWS CodeDeploy agent is not running."


def _row(row: Mapping[str, Any]) -> InProgress:
    return InProgress(**{name: row[name] for name in InProgress._fields if name in row})


def progress_line(found: InProgress, now: float) -> str:
    """One lifecycle event in progress."""
    event = found.event or "a lifecycle event"
    of = f" of deployment {found.deployment}" if found.deployment else f" ({found.command})"
    group = f" ({found.group_name})" if found.group_name else ""
    since = f", for {readable_duration(now - found.since)}" if found.since else ""
    script = ""
    if found.script:
        limit = f" of at most {readable_duration(found.script_timeout)}" if found.script_timeout else ""
        script = f"; script {found.script} for {readable_duration(now - found.script_since)}{limit}"
    return f"{event}{of}{group}{since}{script}"


def _outcome_line(last: Mapping[str, Any], now: float, *, is_official: bool) -> str:
    status, closed_as = last["status"], last.get("closed_as")
    message = " ".join(last["message"].split()).removeprefix(f"{status}:").strip()
    if status == "Closed":
        status = closed_as or "Ended by the service"
        message = "the service had ended it already, so nothing ran here"
        if closed_as == "Succeeded":
            message = "there was nothing to run"
    deployment = f"deployment {last['deployment']}" if last["deployment"] else ""
    what = " of ".join(filter(None, [last.get("event"), deployment]))
    whose = " of this agent, not of the official one" if is_official else ""
    of = f", {what}" if what else ""
    why = f": {message}" if message else ""
    return f"Last outcome{whose}: {status}{of}, {_ago(last['ended'], now)}{why}"


def _running(found: Mapping[str, Any], now: float) -> list[str]:
    text = []
    if found["version"]:
        text.append(f"Version: {found['version']}")
    if found["host_identifier"]:
        region = f" in {found['region']}" if found["region"] else ""
        source = f", by {found['identity_source']}" if found["identity_source"] else ""
        text.append(f"Host: {found['host_identifier']}{region}{source}")
    if found["endpoint"]:
        text.append(f"Service: {', '.join(filter(None, (found[name] for name in _ROUTE)))}")
    credentials = found["credentials"]
    if credentials and credentials.get("source"):
        expires = credentials.get("expires")
        until = f", valid until {stamp(expires)}" if isinstance(expires, int | float) else ""
        text.append(f"Credentials: {credentials['source']}{until}")
    if found["started"]:
        text.append(f"Started: {_ago(found['started'], now)}")
    if found["last_success"]:
        trip = f", answered in {found['round_trip']:.3g} s" if found["round_trip"] else ""
        text.append(f"Last successful poll: {_ago(found['last_success'], now)}{trip}")
    elif found["started"] and found["state"] != "waiting":
        text.append("Last successful poll: none yet")
    for problem in found["problems"]:
        lasting = f" (since {stamp(problem['since'])})" if problem["since"] else ""
        text.append(f"Problem{lasting}: {' '.join(problem['text'].split())}")
    return text


_ROUTE = ("endpoint", "proxy", "certificates")


def _resources(found: Mapping[str, Any]) -> list[str]:
    text = []
    used, disk = found["resources"], found["disk"]
    if used:
        memory, seconds = human(used["memory_bytes"]), f"{used['cpu_seconds']:.1f} s"
        text.append(f"Processes: {used['processes']}, with {memory} of memory and {seconds} of processor time")
    if disk:
        takes = f", of which it takes {human(disk['used_bytes'])}" if disk["used_bytes"] is not None else ""
        text.append(f"Disk of {disk['path']}: {human(disk['free_bytes'])} free of {human(disk['total_bytes'])}{takes}")
    return text


def check_line(found: Mapping[str, Any], findings: Sequence[Finding], now: float) -> str:
    """The line of a monitoring plugin: the verdict, the reasons, and performance data."""
    if findings:
        text = "; ".join(finding.text.rstrip(".") for finding in findings)
    else:
        busy = f"{len(found['in_progress'])} in progress" if found["in_progress"] else "nothing in progress"
        poll = (
            f"last poll {readable_duration(now - found['last_success'])} ago"
            if found["last_success"]
            else "no poll yet"
        )
        text = f"running as PID {found['pid']}, {poll}, {busy}"
    if found["not_seen"]:
        text += f" (not seen: {'; '.join(found['not_seen'])})"
    data = " ".join(_performance(found, now))
    return f"CODEDEPLOY {level_of(list(findings)).name} - {' '.join(text.replace('|', '/').split())} | {data}"


def unknown_line(text: str) -> str:
    """The line of a monitoring plugin that could not look."""
    return f"CODEDEPLOY UNKNOWN - {' '.join(text.replace('|', '/').split())}"


def _performance(found: Mapping[str, Any], now: float) -> list[str]:
    data = [f"in_progress={len(found['in_progress'])}", f"unreported={found['unreported']}"]
    data.append(f"problems={len(found['problems'])}")
    if found["last_success"]:
        late = POLL_LATE_AFTER + (found["wait_between_runs"] or 0.0)
        data.append(f"last_poll={max(now - found['last_success'], 0):.0f}s;;{late:g}")
    if found["round_trip"]:
        data.append(f"round_trip={found['round_trip']:g}s")
    expires = (found["credentials"] or {}).get("expires")
    if isinstance(expires, int | float):
        data.append(f"credentials_left={expires - now:.0f}s;{CREDENTIALS_SHORT:g}:;0:")
    if found["resources"]:
        data.append(f"memory={found['resources']['memory_bytes']}B")
        data.append(f"cpu={found['resources']['cpu_seconds']:g}s")
    if found["disk"]:
        disk = found["disk"]
        data.append(f"disk_free={disk['free_bytes']}B;{DISK_LOW[0]}:;{DISK_LOW[1]}:;0;{disk['total_bytes']}")
        if disk["inodes"]:
            data.append(f"inodes_free={disk['free_inodes']};{INODES_LOW[0]}:;{INODES_LOW[1]}:;0;{disk['inodes']}")
    return data


def _ago(moment: float, now: float) -> str:
    return f"{stamp(moment)} ({readable_duration(now - moment)} ago)"
