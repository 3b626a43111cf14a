"""What the logs say of deployments and lifecycle events: one grammar, with the service and by hand.

docs/logs.md has it as a table. Programs search for these words, so each line is written here and nowhere else.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

from agent.config.settings import Settings
from agent.deployment.outcome import Outcome
from agent.deployment.spec import DeploymentSpecification, GitHubRevision, Revision, S3Revision
from agent.logs import TO_JOURNAL
from agent.store.history import facts_of
from agent.store.layout import Layout
from agent.store.pointers import read_most_recent

ROLLBACK = "codeDeployRollback"
"""The creator of a deployment by which the service rolls back another one."""

LAST_LINES = 5
"""Lines of a failed script's output that its event's line repeats."""

_LONGEST_LINES = 500  # characters
_HEADERS = ("LifecycleEvent - ", "Script - ")

_log = logging.getLogger(__name__)

_settings: Settings | None = None


def run_on_event(settings: Settings) -> None:
    """Have the program of ``on_event_command``, if there is one, hear of what is logged here from now on."""
    global _settings
    _settings = settings if settings.on_event_command else None


def deployment_began(spec: DeploymentSpecification, layout: Layout) -> None:
    """Log that the first command of a deployment has come, and what it deploys."""
    facts = [spec.deployment_type, f"created by {spec.deployment_creator}"]
    if spec.deployment_creator == ROLLBACK:
        facts.append(_rollback(spec, layout))
    _log.info(
        "Deployment %s of %s/%s (%s): %s",
        spec.deployment_id,
        spec.application_name,
        spec.deployment_group_name,
        ", ".join(facts),
        revision_text(spec.revision),
        extra=TO_JOURNAL,
    )
    _tell("InstanceStart", facts=facts_of(spec))


def deployment_ended(deployment_id: str, *, event: str, succeeded: bool) -> None:
    """Log that a deployment is over on this host, with the event that ended it."""
    if succeeded:
        _log.info("Deployment %s ended: Succeeded", deployment_id, extra=TO_JOURNAL)
    else:
        # No warning: the line of the event is the error, and who deploys by hand has just read it.
        _log.info("Deployment %s ended: Failed in %s", deployment_id, event, extra=TO_JOURNAL)
    _tell("InstanceSuccess" if succeeded else "InstanceFailure", lifecycle_event=event)


def started(event: str) -> None:
    """Log that an event's work begins."""
    _log.info("%s started", event, extra=TO_JOURNAL)


def skipped(event: str, why: str) -> None:
    """Log that an event has nothing to do."""
    _log.info("%s skipped: %s", event, why, extra=TO_JOURNAL)


def ended(event: str, outcome: Outcome, *, seconds: float, output: str = "") -> None:
    """Log how an event ended; ``output`` is the path of what its scripts printed."""
    if outcome.succeeded:
        _log.info("%s succeeded in %.1f s", event, seconds, extra=TO_JOURNAL)
        return
    details = [f"last lines: {lines}"] if (lines := last_lines(outcome.log)) else []
    details += [f"output: {output}"] if output and (lines or outcome.script_name) and os.path.exists(output) else []
    where = f" ({'; '.join(details)})" if details else ""
    reason = outcome.message.strip()
    _log.error("%s failed in %.1f s: %s%s", event, seconds, reason.removesuffix(".") if where else reason, where)
    _tell("LifecycleEventFailure", lifecycle_event=event, **json.loads(outcome.payload()))


def last_lines(log: str) -> str:
    """Return the last lines that a script printed, as one line; ``log`` is that of the diagnostics."""
    printed = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(_HEADERS)]
    text = " | ".join(printed[-LAST_LINES:])
    return text if len(text) <= _LONGEST_LINES else f"...{text[-_LONGEST_LINES:]}"


def revision_text(revision: Revision) -> str:
    """Return where a revision comes from."""
    if isinstance(revision, S3Revision):
        version = f"?versionId={revision.version}" if revision.version else ""
        return f"s3://{revision.bucket}/{revision.key}{version}"
    if isinstance(revision, GitHubRevision):
        return f"https://github.com/{revision.account}/{revision.repository} commit {revision.commit_id}"
    return revision.location


def _tell(trigger: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    if _settings is not None:
        from agent.steps.event_command import start_program  # few hosts have such a program

        start_program(_settings, trigger, facts)


def _rollback(spec: DeploymentSpecification, layout: Layout) -> str:
    # The service does not say which deployment it rolls back. On this host that is the one that was unpacked last.
    try:
        before = os.path.basename(read_most_recent(layout, spec.deployment_group_id) or "")
    except OSError:
        before = ""
    return f"rollback of {before}" if before and before != spec.deployment_id else "rollback"
