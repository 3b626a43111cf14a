"""The operator's own program, which hears of each deployment's start and end and of each event that fails.

It is run by ``python -m agent.steps.event_command``, a short process that outlives the worker. So it holds up no event
and changes no outcome, whatever it does.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

import psutil

from agent import logs
from agent.config.settings import Settings
from agent.errors import AgentError
from agent.hooks.accounts import Account, find_account
from agent.hooks.environment import script_environment
from agent.runtime.host import layout_of
from agent.runtime.log_files import set_up_logs
from agent.store.history import read_history

VERSION = 1
"""Of the document that the program reads."""

KILL_LIMIT = 10.0
"""Seconds for which what does not end is killed again; what a dead file system holds may never end."""

_FACTS = {
    "application": "application_name",
    "group_name": "deployment_group_name",
    "type": "deployment_type",
    "creator": "deployment_creator",
    "revision": "revision",
}
_VARIABLES = ("application_name", "deployment_group_name", "deployment_group_id", "deployment_id", "lifecycle_event")
_LAST_OUTPUT = 400  # characters
_PR_SET_CHILD_SUBREAPER = 36

_log = logging.getLogger("agent.steps.event_command")  # __name__ is "__main__" in its own process


_started: list[object] = []


def start_program(settings: Settings, trigger: str, facts: Mapping[str, Any]) -> None:
    """Have the program run by a process of its own, which outlives this one; wait for neither, and log a failure.

    ``trigger`` is a name of CodeDeploy's triggers for an instance, or LifecycleEventFailure. ``facts`` may be whatever
    JSON can hold; the ids of the deployment are those that the lines of the log carry.
    """
    ids = logs.bound_ids()
    document = {"version": VERSION, "trigger": trigger, "time": time.time(), **facts}
    document |= {"deployment_id": ids.get("deployment", ""), "deployment_group_id": ids.get("group", "")}
    order = json.dumps({"settings": settings._asdict(), "document": document}).encode()
    command = [sys.executable, "-I", "-m", "agent.steps.event_command"]
    try:
        # A file in memory: writing to a pipe could wait for the process.
        with open(os.memfd_create("order"), "w+b") as file:
            file.write(order)
            file.seek(0)
            process = subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, cwd="/", start_new_session=True)
        _started.append(process)  # or Python would complain that it has not ended
    except OSError as error:
        _log.warning("on_event_command %s does not hear of %s: %s", settings.on_event_command, trigger, error)


def main() -> int:
    """Run the program for the order on the standard input; return 0."""
    order = json.load(sys.stdin.buffer)
    settings, document = Settings(**order["settings"]), order["document"]
    set_up_logs(settings)
    logs.bind(deployment=document["deployment_id"], group=document["deployment_group_id"])
    try:
        _run(settings, document | _facts(settings, document))
    except LookupError:
        _log.warning("on_event_command is not run: there is no user %s; see on_event_user", settings.on_event_user)
    except (AgentError, OSError) as error:
        _log.warning("on_event_command %s cannot be run: %s", settings.on_event_command, error)
    return 0


def _run(settings: Settings, document: Mapping[str, Any]) -> None:
    """Run the program and wait for it and what it has started, for as long as the settings let it. Raises OSError."""
    program, limit = str(settings.on_event_command), settings.on_event_timeout_seconds
    account = find_account(settings.on_event_user) if settings.on_event_user else None
    _adopt_descendants()
    end = time.monotonic() + limit
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=script_environment(os.environ, _variables(document), account=account),
            start_new_session=True,
            **_identity(account),
        )
        try:
            process.communicate(json.dumps(document).encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            _log.warning("on_event_command %s has not ended after %g s and is killed", program, limit)
        if process.returncode:
            how = f"ended with status {process.returncode}: {_end_of(output)}"
            _log.warning("on_event_command %s %s", program, how)
        _end_descendants(end)


def _facts(settings: Settings, document: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of the deployment, under the names of CodeDeploy's documents."""
    found = document.pop("facts", {})
    if not found and document["deployment_group_id"] and document["deployment_id"]:
        layout = layout_of(settings)
        directory = layout.deployment(document["deployment_group_id"], document["deployment_id"])
        for line in read_history(layout, directory):
            found |= line
    named = {name: found[key] for key, name in _FACTS.items() if key in found}
    return {"host_name": os.uname().nodename, **named}


def _variables(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what the program finds in its environment: what scripts find there, and the trigger."""
    return {name.upper(): str(document.get(name, "")) for name in (*_VARIABLES, "trigger")}


def _identity(account: Account | None) -> dict[str, Any]:
    return {"user": account.uid, "group": account.gid, "extra_groups": account.groups} if account else {}


def _end_of(output: IO[bytes]) -> str:
    output.seek(0)
    text = output.read()[-_LAST_OUTPUT:].decode("utf-8", "replace")
    return " ".join(text.split()) or "it has printed nothing"


def _adopt_descendants() -> None:
    """Become the parent of whatever the program leaves behind, also of what has cut itself off from it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_descendants(end: float) -> None:
    """Wait for what the program has left running until ``end`` on the monotonic clock, and kill the rest."""
    this = psutil.Process()
    psutil.wait_procs(this.children(recursive=True), timeout=max(end - time.monotonic(), 0))
    given_up = time.monotonic() + KILL_LIMIT
    while (running := this.children(recursive=True)) and time.monotonic() < given_up:
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(running, timeout=1)
    if running:
        left = ", ".join(str(process.pid) for process in running)
        _log.warning("These processes of on_event_command cannot be ended: %s", left)


if __name__ == "__main__":
    sys.exit(main())
