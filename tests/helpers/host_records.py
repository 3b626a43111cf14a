"""A root directory with deployments of the past, as our agent and the official one leave them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from agent.deployment.outcome import Outcome, success
from agent.deployment.spec import BundleType, DeploymentSpecification, S3Revision
from agent.errors import DiagnosticCode
from agent.store.commands import CommandStore, SavedOutcome, new_record
from agent.store.history import History
from agent.store.layout import Layout

EVENTS = (
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
)


class HostRecords:
    """What is below one root directory; the deployments of a test are added one after the other."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root))
        self._age = 1000

    def deployment(
        self,
        name: str,
        *,
        group: str = "g",
        events: tuple[str, ...] = EVENTS,
        fails: str = "",
        planned: tuple[str, ...] = (),
        files: dict[str, str] | None = None,
    ) -> str:
        """Write a deployment of ours with its history; the event ``fails`` does so, and the others go well."""
        revision = S3Revision("releases", f"{name}.zip", BundleType.ZIP, version="3")
        spec = DeploymentSpecification(name, group, "Web", "Shop", revision)
        history = History(self.layout)
        for event in events:
            history.started(spec, event, planned=planned)
            history.ended(group, name, event, _failure(event) if event == fails else success())
            if event == fails:
                break
        directory = self.layout.deployment(group, name)
        self._fill(directory, files or {})
        return directory

    def official(self, name: str, *, group: str = "g") -> str:
        """Write a deployment as the official agent leaves it: its revision and the log of its scripts."""
        directory = self.layout.deployment(group, name)
        log = Path(self.layout.script_log(directory))
        log.parent.mkdir(parents=True)
        log.write_text(
            "2026-11-23 05:13:13 LifecycleEvent - BeforeInstall\n"
            "2026-11-23 05:13:13 Script - scripts/prepare.sh\n"
            "2026-11-23 05:13:15 [stdout]ready\n"
            "2026-11-23 05:13:20 LifecycleEvent - AfterInstall\n"
            "2026-11-23 05:13:20 Script - scripts/after.sh\n"
        )
        self._fill(directory, {})
        return directory

    def _fill(self, directory: str, files: dict[str, str]) -> None:
        """Write a revision's files, and let each deployment look older than those that follow."""
        for path, text in files.items():
            place = Path(self.layout.archive(directory)) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        os.makedirs(self.layout.archive(directory), exist_ok=True)
        self._age -= 1
        moment = time.time() - self._age
        os.utime(directory, (moment, moment))

    def point(self, pointer: str, directory: str) -> None:
        """Write a pointer to a deployment's directory."""
        os.makedirs(self.layout.instructions, exist_ok=True)
        Path(pointer).write_text(directory)

    def installed(self, paths: list[str], *, group: str = "g") -> None:
        """Write the instructions of an Install as every agent does."""
        rows: list[dict[str, Any]] = [{"type": "mkdir", "directory": "/d"}]
        rows += [{"type": "copy", "source": "/s", "destination": path} for path in paths]
        os.makedirs(self.layout.instructions, exist_ok=True)
        Path(self.layout.instructions, f"{group}-install.json").write_text(json.dumps({"instructions": rows}))

    def reported(self, name: str, event: str, outcome: Outcome, *, group: str = "g") -> None:
        """Write down the outcome of a command that the service has accepted."""
        fields = dict.fromkeys(("host_identifier", "execution_id"), "x")
        fields |= {"command_identifier": f"{name}-{event}", "command_name": event}
        store = CommandStore(self.layout)
        saved = SavedOutcome(outcome.status, outcome.payload(), time.time(), name, group, event)
        directory = store.add(new_record(fields, now=time.time()))
        store.finish(directory, saved)


def _failure(event: str) -> Outcome:
    return Outcome(
        DiagnosticCode.SCRIPT_FAILED, "scripts/a.sh", f"Script scripts/a.sh of {event} failed.", "one\nlast\n"
    )
