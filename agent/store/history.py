"""What each deployment did, a line of JSON for each start and end of an event: ``GROUP/DEPLOYMENT/.history.jsonl``.

It is for people. Nothing that the agent decides depends on it, it need not survive a power cut, and it is removed with
its deployment, whichever agent removes that. Lines are only added, so the directory keeps the time by which retention
goes.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from agent.deployment.outcome import Outcome
from agent.deployment.spec import DeploymentSpecification, GitHubRevision, Revision, S3Revision
from agent.errors import AgentError
from agent.filesystem.regular import open_regular, read_regular
from agent.store.directories import make_deployment_directory
from agent.store.layout import Layout

VERSION = 1

_LARGEST = 4 << 20

_log = logging.getLogger(__name__)


class History:
    """Writes down what a deployment does; an error is logged once and fails nothing."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._has_failed = False

    def started(self, spec: DeploymentSpecification, event: str, *, planned: Sequence[str] = ()) -> None:
        """Note that an event starts; the first line also says what the deployment is.

        ``planned`` are the events of a local deployment; the service does not say which will come.
        """
        facts = facts_of(spec) | ({"planned": list(planned)} if planned else {})
        fields = {"started": time.time()}
        self._add(spec.deployment_group_id, spec.deployment_id, event, fields, first=facts)

    def ended(
        self, group_id: str, deployment_id: str, event: str, outcome: Outcome | None, *, closed_as: str = ""
    ) -> None:
        """Note how an event ended; without an outcome the service has closed it as ``closed_as``, and nothing was done.

        A deployment without a directory has nothing to look at, and gets none for this.
        """
        fields: dict[str, Any] = {"ended": time.time(), "status": outcome.status if outcome else "Closed"}
        fields |= {"closed_as": closed_as} if closed_as else {}
        if outcome is not None:
            diagnostics = json.loads(outcome.payload())
            fields |= {"code": diagnostics.pop("error_code"), "script": diagnostics.pop("script_name"), **diagnostics}
        self._add(group_id, deployment_id, event, fields)

    def _add(
        self,
        group_id: str,
        deployment_id: str,
        event: str,
        fields: dict[str, Any],
        *,
        first: dict[str, Any] | None = None,
    ) -> None:
        """Add a line; ``first`` belongs to the first one, and makes the directory where it is missing."""
        try:
            directory = self._layout.deployment(group_id, deployment_id)
            path = self._layout.history(directory)
            if not os.path.isdir(directory):
                if first is None:
                    return
                make_deployment_directory(self._layout, group_id, deployment_id)
            if first is not None and not os.path.exists(path):
                fields = fields | first
            line = json.dumps({"version": VERSION, "event": event, **fields}).encode() + b"\n"
            _append(path, line, mode=self._layout.modes.state_file)
        except (AgentError, OSError) as error:
            if not self._has_failed:
                _log.warning("The history of the deployment %s is not complete: %s", deployment_id, error)
            self._has_failed = True


def facts_of(spec: DeploymentSpecification) -> dict[str, Any]:
    """Return what a specification says of its deployment, without its token."""
    return {
        "application": spec.application_name,
        "group_name": spec.deployment_group_name,
        "type": spec.deployment_type,
        "creator": spec.deployment_creator,
        "appspec": spec.appspec_filename,
        "revision": _revision(spec.revision),
    }


def read_history(layout: Layout, deployment: str) -> list[dict[str, Any]]:
    """Return the lines of a deployment's directory, none where there are none; damaged ones are left out.

    Raises OSError.
    """
    try:
        data = read_regular(layout.history(deployment), _LARGEST)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [found for line in data.splitlines() if (found := _parse(line)) is not None]


def _revision(revision: Revision) -> dict[str, Any]:
    fields = {name: value for name, value in revision._asdict().items() if value is not None}
    kind = "s3" if isinstance(revision, S3Revision) else "github" if isinstance(revision, GitHubRevision) else "local"
    return {"kind": kind, **fields, "bundle_type": revision.bundle_type.value}


def _append(path: str, line: bytes, *, mode: int) -> None:
    """Add a line, or nothing where the disk does not take all of it. Raises OSError."""
    descriptor = open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        size = os.fstat(descriptor).st_size
        try:
            if not size:
                os.fchmod(descriptor, mode)
            if os.write(descriptor, line) != len(line):
                raise OSError("The disk has taken only a part of a line")
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and found.get("version") == VERSION and isinstance(found.get("event"), str)
    return found if is_ours else None
