"""What ``codedeploy-agent status`` shows, as a document for programs and as lines for people."""

from __future__ import annotations

import time
from typing import Any

from agent.config.settings import Settings
from agent.daemon.recurring import readable_duration
from agent.daemon.status import (
    InProgress,
    SupervisorStatus,
    commands_in_progress,
    last_outcome,
    outcomes_to_report,
    read_supervisor,
)
from agent.store.layout import Layout
from agent.traffic.record import Records
from agent.traffic.report import outage_line, outages


def document(settings: Settings, pid: int | None) -> dict[str, Any]:
    """Everything that is known, ready for JSON; times are in seconds since the epoch, null where unknown.

    Raises OSError where the records cannot be read.
    """
    layout = Layout(settings.root_dir, tracking_name=settings.ongoing_deployment_tracking)
    supervisor = read_supervisor(layout, pid) if pid is not None else SupervisorStatus()
    last = last_outcome(layout)
    return {
        "running": pid is not None,
        "pid": pid,
        "version": supervisor.version or None,
        "started": supervisor.started or None,
        "host_identifier": supervisor.host_identifier or None,
        "last_poll": supervisor.last_poll or None,
        "last_success": supervisor.last_success or None,
        "problem": {"since": supervisor.problem_since or None, "text": supervisor.problem}
        if supervisor.problem
        else None,
        "in_progress": [found._asdict() for found in commands_in_progress(layout)],
        "last_outcome": last._asdict() if last else None,
        "unreported": outcomes_to_report(layout),
        "out_of_service": outages(Records(layout.traffic)),
    }


def lines(found: dict[str, Any], now: float) -> list[str]:
    """The document as lines; the first says whether the agent is running."""
    if found["running"]:
        text = [f"The AWS CodeDeploy agent is running as PID {found['pid']}"]
    else:
        text = ["The AWS CodeDeploy agent is not running."]
    text += _polls(found, now)
    text += [f"In progress: {progress_line(InProgress(**row), now)}" for row in found["in_progress"]]
    last = found["last_outcome"]
    if last:
        message = " ".join(last["message"].split()).removeprefix(f"{last['status']}:").strip()
        of = f", deployment {last['deployment']}" if last["deployment"] else ""
        why = f": {message}" if message else ""
        text.append(f"Last outcome: {last['status']}{of}, {_ago(last['ended'], now)}{why}")
    text += [outage_line(row, _stamp(row["since"] or 0)) for row in found["out_of_service"]]
    if found["unreported"]:
        text.append(f"Not yet reported: {found['unreported']}")
    return text


def progress_line(found: InProgress, now: float) -> str:
    """One lifecycle event in progress."""
    event = found.event or "a lifecycle event"
    of = f" of deployment {found.deployment}" if found.deployment else f" ({found.command})"
    since = f", for {readable_duration(now - found.since)}" if found.since else ""
    return f"{event}{of}{since}"


def _polls(found: dict[str, Any], now: float) -> list[str]:
    if not found["running"]:
        return []
    text = []
    if found["host_identifier"]:
        text.append(f"Host: {found['host_identifier']}")
    if found["started"]:
        text.append(f"Started: {_ago(found['started'], now)}")
    if found["last_success"]:
        text.append(f"Last successful poll: {_ago(found['last_success'], now)}")
    elif found["started"]:
        text.append("Last successful poll: none yet")
    if found["problem"]:
        since = found["problem"]["since"]
        lasting = f" (since {_stamp(since)})" if since else ""
        text.append(f"Problem{lasting}: {' '.join(found['problem']['text'].split())}")
    return text


def _ago(moment: float, now: float) -> str:
    return f"{_stamp(moment)} ({readable_duration(now - moment)} ago)"


def _stamp(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
