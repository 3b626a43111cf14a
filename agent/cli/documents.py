"""What --json prints: one object that says everything, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agent.deployment.outcome import Outcome
from agent.deployment.spec import DeploymentSpecification
from agent.errors import AgentError, InstallConflictError, ProblemsError
from agent.local.deploy import EventResult
from agent.local.dry_run import Preview
from agent.store.layout import Layout

SUCCEEDED = "Succeeded"
FAILED = "Failed"


def deployment_document(
    spec: DeploymentSpecification, layout: Layout, results: Sequence[EventResult]
) -> dict[str, Any]:
    """The document of a deployment whose events have run."""
    directory = layout.deployment(spec.deployment_group_id, spec.deployment_id)
    last = results[-1]
    return {
        "status": last.outcome.status,
        "deployment_id": spec.deployment_id,
        "deployment_group": spec.deployment_group_id,
        "directory": directory,
        "script_log": layout.script_log(directory),
        "events": [_event(result) for result in results],
        "error": None if last.outcome.succeeded else {"event": last.name, **_diagnostics(last.outcome)},
    }


def error_document(error: AgentError) -> dict[str, Any]:
    """The document of a deployment or dry run that could not begin, or was stopped."""
    fields: dict[str, Any] = {"error_code": int(error.code), "message": error.message, "remedy": error.remedy}
    if isinstance(error, ProblemsError):
        fields["problems"] = [problem._asdict() for problem in error.problems]
    if isinstance(error, InstallConflictError):
        fields["conflicts"] = list(error.conflicts)
    return {"status": FAILED, "error": fields}


def preview_document(spec: DeploymentSpecification, preview: Preview) -> dict[str, Any]:
    """The document of a dry run."""
    return {
        "status": SUCCEEDED if preview.promising else FAILED,
        "dry_run": True,
        "deployment_group": spec.deployment_group_id,
        "events": [
            {
                "name": event.name,
                "scripts": [
                    {"location": script.location, "timeout": script.timeout, "runas": script.runas, "sudo": script.sudo}
                    for script in event.scripts
                ],
                "earlier_revision": event.revision or None,
            }
            for event in preview.events
        ],
        "changes": [
            {"action": change.action, "path": change.path, "detail": change.detail} for change in preview.changes
        ],
        "warnings": list(preview.warnings),
        "conflicts_before_scripts": list(preview.conflicts),
        "problems": [problem._asdict() for problem in preview.problems],
    }


def render(document: dict[str, Any]) -> str:
    """The document as JSON text; what is not UTF-8 in a path is escaped."""
    return json.dumps(document, indent=2)


def _event(result: EventResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "status": result.outcome.status,
        "seconds": round(result.seconds, 3),
        "scripts": list(result.scripts),
    }


def _diagnostics(outcome: Outcome) -> dict[str, Any]:
    return {
        "error_code": int(outcome.error_code),
        "script_name": outcome.script_name,
        "message": outcome.message,
        "remedy": outcome.remedy,
        "log": outcome.log,
    }
