"""A dry run as text."""

from __future__ import annotations

from collections.abc import Iterator

from agent.appspec.model import Script
from agent.cli.output import printable
from agent.errors import Problem
from agent.local.dry_run import Preview

_ACTIONS = {
    "make-directory": "make directory",
    "create": "create",
    "replace": "replace",
    "keep": "keep",
    "remove": "remove",
    "remove-directory": "remove directory if empty",
    "permissions": "permissions",
}

_NAMED_AT_MOST = 3


def lines(preview: Preview) -> Iterator[str]:
    """The preview line by line: the events in their order, the changes below Install, what is wrong at the end.

    Whatever names are in it, each is one line.
    """
    return (printable(line).replace("\n", "?") for line in _lines(preview))


def _lines(preview: Preview) -> Iterator[str]:
    for event in preview.events:
        if event.name == "Install":
            yield f"{event.name}: {_changes_text(len(preview.changes), but=bool(preview.conflicts))}"
            for change in preview.changes:
                detail = f"  ({change.detail})" if change.detail else ""
                yield f"  {_ACTIONS.get(change.action, change.action)} {change.path}{detail}"
        elif event.name == "DownloadBundle":
            yield f"{event.name}: unpack the bundle"
        elif event.scripts:
            whose = f", from the earlier revision in {event.revision}" if event.revision else ""
            yield f"{event.name}: {len(event.scripts)} script{'' if len(event.scripts) == 1 else 's'}{whose}"
            yield from (f"  run {_script_text(script)}" for script in event.scripts)
        else:
            yield f"{event.name}: no scripts"
    scripts = ", ".join(preview.changing[:_NAMED_AT_MOST])
    for conflict in preview.conflicts:
        yield f"note: Install fails unless {scripts} changes this. {conflict}"
    for warning in preview.warnings:
        yield f"note: {warning}"
    yield from (_problem_text(problem) for problem in preview.problems)
    verdict = "" if preview.promising else " The deployment would fail."
    yield f"Dry run: nothing was changed.{verdict}"


def _problem_text(problem: Problem) -> str:
    return f"{'ERROR' if problem.severity == 'error' else 'note'}: {problem}"


def _changes_text(count: int, *, but: bool) -> str:
    text = "no changes" if count == 0 else f"{count:,} change{'' if count == 1 else 's'}"
    return f"{text}, and those that the notes below name" if but else text


def _script_text(script: Script) -> str:
    user = f" as {script.runas}" if script.runas else ""
    sudo = " with sudo" if script.sudo else ""
    return f"{script.location}{user}{sudo}, at most {script.timeout} s"
