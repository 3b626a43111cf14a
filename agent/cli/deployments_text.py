"""What ``codedeploy-agent deployments`` prints: documents for programs, lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.deployment.outcome import SUCCEEDED
from agent.history.model import UNKNOWN, Deployment, EventRun, Group, HostHistory
from agent.text.sizes import human
from agent.text.times import stamp

if TYPE_CHECKING:
    from agent.history.compare import Difference
    from agent.history.prune import Pruned

FILES_SHOWN = 20
"""Files that lines for people name; ``--json`` has all."""

_LOG_LINES = 20
_LONGEST_REASON = 150


def list_document(history: HostHistory) -> dict[str, Any]:
    """Return all deployments, ready for JSON."""
    groups = [
        {
            "group": group.group,
            "group_name": group.fact("group_name") or None,
            "application": group.fact("application") or None,
            "skips": list(group.skips),
            "deployments": [_document(one) for one in group.deployments],
        }
        for group in history.groups
    ]
    return {"groups": groups, "unseen": list(history.unseen)}


def show_document(one: Deployment, files: Sequence[str] | None, log: str) -> dict[str, Any]:
    """Return one deployment with its events, ready for JSON."""
    events = [event._asdict() | {"seconds": _rounded(event.seconds)} for event in one.events]
    return _document(one) | {
        "events": events,
        "files_installed": None if files is None else list(files),
        "scripts_log": log or None,
    }


def _document(one: Deployment) -> dict[str, Any]:
    failed = one.failed_event
    return {
        "deployment": one.deployment,
        "group": one.group,
        "directory": one.directory,
        "application": one.facts.get("application"),
        "group_name": one.facts.get("group_name"),
        "revision": one.facts.get("revision"),
        "type": one.facts.get("type"),
        "creator": one.facts.get("creator"),
        "local": one.is_local,
        "started": one.started or None,
        "ended": one.ended,
        "seconds": _rounded(_seconds(one)),
        "outcome": one.outcome,
        "failed_event": failed.name if failed else None,
        "disk_used": one.disk.size if one.directory else None,
        "disk_used_is_complete": one.disk.is_complete,
        "current": one.is_current,
        "last_successful": one.is_last_successful,
        "removed_next": one.is_removed_next,
    }


def list_lines(history: HostHistory, root_dir: str) -> Iterator[str]:
    """Yield each group with its deployments, the newest first."""
    if not history.groups:
        seen = "is to be seen" if history.unseen else "is known"
        yield f"No deployment {seen} below {root_dir}."
    for number, group in enumerate(history.groups):
        if number:
            yield ""
        yield _heading(group)
        for event in group.skips:
            yield f"  The next deployment skips {event} of the earlier revision, once."
        for one in group.deployments:
            yield from _row(one)
    yield from _unseen(history.unseen)


def _heading(group: Group) -> str:
    if not group.group:
        return "Removed deployments, of which only the log of all deployments is left"
    name, application = group.fact("group_name"), group.fact("application")
    named = f"{name} ({group.group})" if name and name != group.group else group.group
    return f"Group {named}" + (f", application {application}" if application else "")


def _row(one: Deployment) -> Iterator[str]:
    failed = one.failed_event
    used = _used(one)
    numbers = "  ".join(text for text in (_stamp(one.started), _duration(_seconds(one)), used) if text)
    yield f"  {one.deployment:<17}  {one.outcome:<12}  {numbers}".rstrip()
    about = [_revision(one.facts.get("revision")), _kind(one), *_marks(one)]
    text = ", ".join(part for part in about if part)
    if text:
        yield f"    {text}"
    if failed is not None:
        yield _cut(f"    failed at {failed.name or 'an event'}: {' '.join(failed.message.split())}")


def _marks(one: Deployment) -> list[str]:
    marks = {
        "installed last": one.is_last_successful,
        "current": one.is_current,
        "the next deployment removes it": one.is_removed_next,
        "removed": one.directory is None and bool(one.group),
    }
    return [text for text, applies in marks.items() if applies]


def show_lines(one: Deployment, files: Sequence[str] | None, log: str, unseen: Sequence[str]) -> Iterator[str]:
    """Yield what is known of one deployment."""
    yield f"Deployment {one.deployment}: {one.outcome}"
    facts = {
        "Application": one.facts.get("application"),
        "Group": " ".join(
            filter(None, [str(one.facts.get("group_name") or ""), f"({one.group})" if one.group else ""])
        ),
        "Revision": _revision(one.facts.get("revision")),
        "Type": _kind(one),
        "Started": _stamp(one.started),
        "Took": _duration(_seconds(one)),
        "Directory": one.directory or "removed",
        "Disk used": _used(one),
        "Marks": ", ".join(_marks(one)),
        "Scripts' log": log,
    }
    yield from (f"  {name + ':':<14}{value}" for name, value in facts.items() if value)
    if one.events:
        yield "Events:"
    for event in one.events:
        yield from _event(event)
    yield from _failure(one)
    if files is not None:
        yield f"Files installed: {len(files)}"
        yield from (f"  {path}" for path in files[:FILES_SHOWN])
        if len(files) > FILES_SHOWN:
            yield f"  and {len(files) - FILES_SHOWN} more; --json names all"
    yield from _unseen(unseen)


def _event(event: EventRun) -> Iterator[str]:
    status = event.status.lower() or ("started" if event.ended is None else "outcome unknown")
    if event.closed_as:
        status = "nothing to run" if event.has_succeeded else f"ended: {event.closed_as.lower()}"
    moment = _stamp(event.started or event.ended or 0.0)
    yield f"  {moment}  {event.name or 'an event':<18}  {status:<15}  {_duration(event.seconds)}".rstrip()
    yield from (f"      {script}" for script in event.scripts)
    detail = event.message.removeprefix(SUCCEEDED).strip()
    if event.status == "Succeeded" and detail:
        yield f"      {detail}"


def _failure(one: Deployment) -> Iterator[str]:
    failed = one.failed_event
    if failed is not None:
        yield f"Failed at {failed.name or 'an event'}: {' '.join(failed.message.split())}"
        lines = failed.log.splitlines()[-_LOG_LINES:]
        if lines:
            yield "Last lines of its scripts:"
        yield from (f"  | {line}" for line in lines)
    elif one.outcome == UNKNOWN:
        yield "How it ended is not on the disk: an official agent keeps no outcome."


def diff_lines(old: Deployment, new: Deployment, found: Difference) -> Iterator[str]:
    """Yield what two revisions differ in."""
    yield f"From {old.deployment} to {new.deployment}"
    for sign, paths in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        yield from (f"  {sign} {path}" for path in paths)
    if found.appspec:
        yield "AppSpec:"
    yield from (f"  {text}" for text in found.appspec)
    counts = f"{len(found.added)} added, {len(found.removed)} removed, {len(found.changed)} changed"
    yield f"Files: {counts}" if any(found) else "The two revisions are the same."


def prune_lines(groups: Sequence[Pruned], *, keep: int, dry_run: bool) -> Iterator[str]:
    """Yield what was removed, or would be."""
    verb = "Would remove" if dry_run else "Removed"
    rows = [row for group in groups for row in group.removed]
    for group in groups:
        yield from (f"{verb} {row.path} ({human(row.disk.size)})" for row in group.removed)
        if group.failed:
            yield f"Group {group.group}: {group.failed}"
    if rows:
        yield f"{verb} {len(rows)} of the revisions, {human(sum(row.disk.size for row in rows))} in all."
    else:
        yield f"No group has a revision to remove: each keeps {keep}, and what is in use."


def _unseen(unseen: Sequence[str]) -> Iterator[str]:
    if unseen:
        yield "Not seen, as this user may not read it (ask as root):"
    yield from (f"  {text}" for text in unseen)


def _kind(one: Deployment) -> str:
    creator, kind = one.facts.get("creator"), one.facts.get("type")
    if one.is_local:
        return "by hand"
    return f"{kind} by {creator}" if creator else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON].rpartition(' ')[0]} ..."


def _revision(found: Mapping[str, Any] | None) -> str:
    if not found:
        return ""
    if found.get("kind") == "s3":
        version = f" (version {found['version']})" if found.get("version") else ""
        return f"s3://{found.get('bucket')}/{found.get('key')}{version}"
    if found.get("kind") == "github":
        return f"github.com/{found.get('account')}/{found.get('repository')} at {found.get('commit_id')}"
    return str(found.get("location") or "")


def _seconds(one: Deployment) -> float | None:
    if one.outcome == UNKNOWN or one.ended is None or not one.events:
        return None
    return max(one.ended - one.started, 0.0)


def _used(one: Deployment) -> str:
    if not one.directory:
        return ""
    return ("" if one.disk.is_complete else "at least ") + human(one.disk.size)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    return f"{minutes} min {int(seconds) % 60} s" if hours < 1 else f"{hours} h {minutes % 60} min"


def _stamp(moment: float) -> str:
    return stamp(moment) if moment else ""


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
