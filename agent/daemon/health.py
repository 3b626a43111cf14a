"""Whether an agent is well: a judgement of its document that touches nothing, for monitoring and for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from agent.daemon.recurring import readable_duration
from agent.text.sizes import human

STALE_AFTER = 90.0
"""Seconds after which a status file is too old to believe; a running agent writes it every 30."""

POLL_LATE_AFTER = 300.0
"""Seconds without a good poll, beyond the pause between two polls, after which the agent is not well."""

PROBLEM_CRITICAL_AFTER = 600.0
"""Seconds after which a problem that lasts is not expected to pass by itself."""

OUTCOME_LATE_AFTER = 120.0
"""Seconds after which an outcome that the service has not accepted deserves a look."""

OUTCOME_LOST_AFTER = 1800.0
"""Seconds after which the deployment of such an outcome is about to fail by the service's own limit of an hour."""

CREDENTIALS_SHORT = 120.0
"""Seconds before their end at which credentials should have been renewed: that is due five minutes before."""

DISK_LOW = (500 * 1024 * 1024, 100 * 1024 * 1024)
"""Free bytes below which the file system of ``root_dir`` is a warning, and critical."""

INODES_LOW = (10_000, 1_000)
"""Free inodes below which it is."""


class Level(IntEnum):
    """How bad a finding is; the numbers are the exit statuses of monitoring plugins."""

    OK = 0
    WARNING = 1
    CRITICAL = 2


class Finding(NamedTuple):
    """One thing that is not as it should be, and what to do about it; ``key`` names it for programs."""

    level: Level
    key: str
    text: str
    remedy: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding for a JSON document."""
        return {"level": self.level.name.lower(), "key": self.key, "text": self.text, "remedy": self.remedy}


def judge(found: Mapping[str, Any], now: float) -> list[Finding]:
    """Return what is wrong by a document of ``agent.daemon.document``, the worst first."""
    findings = [finding for check in _CHECKS for finding in check(found, now)]
    return sorted(findings, key=lambda finding: -finding.level)


def level_of(findings: list[Finding]) -> Level:
    """Return the worst level among findings."""
    return max((finding.level for finding in findings), default=Level.OK)


def _state(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    state = found["state"]
    if state == "dead":
        text = "The agent ended without removing its pid file: it was killed, or the host went down."
        yield Finding(Level.CRITICAL, "not-running", text, "Start it: systemctl start codedeploy-agent.")
    elif state == "stopped":
        text = "The agent is not running."
        yield Finding(Level.CRITICAL, "not-running", text, "Start it: systemctl start codedeploy-agent.")
    elif state == "official":
        text = f"Process {found['pid']} is the official agent, of which only its process is known here."
        yield Finding(Level.WARNING, "official-agent", text, "Run one agent on a host: see docs/installing.md.")
    if found["other_agent"] is not None:
        yield Finding(
            Level.WARNING if found["running"] else Level.CRITICAL,
            "other-agent",
            f"Process {found['other_agent']} is an agent with another pid_dir on the same root_dir.",
            "Name that agent's configuration with --config-file, or give each agent a root_dir of its own.",
        )


def _status_file(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    if not found["running"] or found["state"] == "official":
        return
    file = found["status_file"]
    if file["written"] is None and file["path"] is None and (file["unusable"] or found["not_seen"]):
        why = "; ".join(file["unusable"]) or "there is none"
        text = f"What the running agent does is not known: no status file of PID {found['pid']} can be read ({why})."
        yield Finding(Level.WARNING, "status-file", text, "Look at its log, or restart it.")
    elif file["written"] is not None and now - file["written"] > STALE_AFTER:
        age = readable_duration(now - file["written"])
        text = f"The status file {file['path']} is {age} old: the agent cannot write it, or hangs."
        yield Finding(Level.CRITICAL, "status-file", text, "Look at its log and at the file system of root_dir.")


def _problems(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    for problem in found["problems"]:
        lasts = now - (problem["since"] or now)
        level = Level.CRITICAL if lasts > PROBLEM_CRITICAL_AFTER or found["state"] == "waiting" else Level.WARNING
        text = f"For {readable_duration(lasts)}: {' '.join(problem['text'].split())}"
        yield Finding(level, problem.get("key") or "problem", text)


def _polls(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    if not found["running"] or found["started"] is None or found["state"] == "waiting":
        return
    if found["problems"] or found["paused"]:  # which say why
        return
    since = found["last_success"] or found["started"]
    if now - since > POLL_LATE_AFTER + (found["wait_between_runs"] or 0.0):
        text = f"The last good poll is {readable_duration(now - since)} ago, and no error is known."
        yield Finding(Level.CRITICAL, "poll", text, "Look at the agent's log; restart the agent if it hangs.")


def _credentials(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    credentials = found["credentials"] or {}
    expires = credentials.get("expires")
    if not found["running"] or not isinstance(expires, int | float) or expires - now > CREDENTIALS_SHORT:
        return
    gone = expires <= now
    when = (
        f"expired {readable_duration(now - expires)} ago" if gone else f"expire in {readable_duration(expires - now)}"
    )
    text = f"The credentials from {credentials.get('source')} {when}, and were not renewed."
    yield Finding(Level.CRITICAL if gone else Level.WARNING, "credentials", text, "Check what renews them.")


def _outcomes(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    since = found["unreported_since"]
    if found["unreported"] and now - (since or now) > OUTCOME_LATE_AFTER:
        age = now - (since or now)
        text = f"The service has not accepted {found['unreported']} outcomes, the oldest for {readable_duration(age)}."
        level = Level.CRITICAL if age > OUTCOME_LOST_AFTER else Level.WARNING
        yield Finding(level, "outcomes", text, "The agent sends them again; its log has the service's answer.")


def _disk(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    disk = found["disk"]
    if disk is None:
        return
    where = f"the file system of root_dir {disk['path']}"
    if disk["read_only"]:
        remedy = "See the kernel log for the reason, repair the disk and mount it writable."
        yield Finding(Level.CRITICAL, "read-only", f"{where[0].upper()}{where[1:]} is read-only.", remedy)
    free = disk["free_bytes"]
    if (level := _low(free, DISK_LOW)) is not Level.OK:
        text = f"There are {human(free)} free on {where}."
        yield Finding(level, "disk", text, "Free some space; max_revisions limits the revisions that are kept.")
    # Some file systems have no fixed number of inodes.
    if disk["inodes"] and (level := _low(disk["free_inodes"], INODES_LOW)) is not Level.OK:
        text = f"There are {disk['free_inodes']} inodes free on {where}."
        yield Finding(level, "inodes", text, "Remove small files (df -i); max_revisions limits the revisions kept.")


def _low(free: int, limits: tuple[int, int]) -> Level:
    warning, critical = limits
    return Level.CRITICAL if free < critical else Level.WARNING if free < warning else Level.OK


def _traffic(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    for row in found["out_of_service"]:
        if row["state"] is None:
            yield Finding(Level.WARNING, "traffic", f"Traffic: {row['why']}")
        elif row["problem"] or not any(active["deployment"] == row["deployment"] for active in found["in_progress"]):
            places = ", ".join(row["places"])
            text = f"This host is out of service for {row['group']} ({places}): {row['problem'] or row['why']}"
            yield Finding(Level.WARNING, "traffic", text, "codedeploy-agent traffic status shows more.")


def _paused(found: Mapping[str, Any], now: float) -> Iterator[Finding]:
    if found["paused"]:
        text = f"The agent is paused, and new deployments wait: {found['paused'].get('reason')}"
        yield Finding(Level.WARNING, "paused", text, "codedeploy-agent resume ends the pause.")


_CHECKS: tuple[Callable[[Mapping[str, Any], float], Iterator[Finding]], ...] = (
    _state,
    _status_file,
    _problems,
    _polls,
    _credentials,
    _outcomes,
    _disk,
    _traffic,
    _paused,
)
