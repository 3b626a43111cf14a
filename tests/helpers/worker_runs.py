"""Workers without a supervisor: a test takes a command on and runs its worker, watched or killed at a chosen call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from agent.config.settings import Settings
from agent.identity.identity import HostIdentity
from agent.identity.on_premises import OnPremises
from agent.network.credentials import Credentials
from agent.runtime.host import layout_of
from agent.store.commands import CommandDirectory, CommandStore, new_record
from agent.worker.handoff import Handoff
from command_service import HOST, CommandService
from install_trace import CHANGING, Call, Fault, known, parse

# Besides what changes files: what is told to others, locks that are let go, and processes that are started.
WATCHED = (*CHANGING, "sendto", "close", "clone", "clone3", "fork", "vfork")


class WorkerHost:
    """A host below ``directory`` whose commands are done when a test says so; ``settings`` are the agent's own."""

    def __init__(self, directory: str, service: CommandService, **settings: Any) -> None:
        self.directory = directory
        self.service = service
        self.settings = Settings(
            root_dir=f"{directory}/root",
            log_dir=f"{directory}/log",
            pid_dir=f"{directory}/pid",
            on_premises_config_file=f"{directory}/none.yml",
            deploy_control_endpoint=service.url,
            **{"kill_agent_max_wait_time_seconds": 10.0, **settings},
        )
        self.layout = layout_of(self.settings)
        self.store = CommandStore(self.layout)
        os.makedirs(self.settings.root_dir, exist_ok=True)

    @property
    def handoff(self) -> bytes:
        identity = HostIdentity(HOST, "eu-central-1", "amazonaws.com", "iam-user", "a test")
        keys = OnPremises(HOST, "eu-central-1", "AKIAEXAMPLE", "secret", None, "a test")
        return Handoff(self.settings, identity, keys, Credentials("AKIAEXAMPLE", "secret")).render()

    def take_on(self, event: str, specification: dict[str, Any]) -> CommandDirectory:
        """Have the service hand a command out, and write it down as the supervisor does."""
        self.service.add(event, specification)
        _, answer = self.service.answer("PollHostCommand", {})
        command = answer["HostCommand"]
        fields = {
            "command_identifier": command["HostCommandIdentifier"],
            "host_identifier": command["HostIdentifier"],
            "execution_id": command["DeploymentExecutionId"],
            "command_name": command["CommandName"],
        }
        return self.store.add(new_record(fields, now=time.time()))

    def work(self, directory: CommandDirectory, *, watched: bool = False, faults: Sequence[Fault] = ()) -> list[Call]:
        """Run the worker of a command to its end, which a fault may bring; return its own calls if it is watched."""
        return self.run("agent.worker.process", directory.path, given=self.handoff, watched=watched, faults=faults)

    def run(
        self, module: str, *arguments: str, given: bytes, watched: bool = False, faults: Sequence[Fault] = ()
    ) -> list[Call]:
        """Run one of the agent's programs."""
        command = [sys.executable, "-P", "-m", module, *arguments]
        return run_traced(
            command, given=given, log=f"{self.directory}.calls" if watched or faults else "", faults=faults
        )


def run_traced(command: Sequence[str], *, given: bytes = b"", log: str, faults: Sequence[Fault] = ()) -> list[Call]:
    """Run a program under strace, which writes to ``log``, or without it; return what its first process did."""
    tracer: list[str] = []
    if log:
        tracer = ["strace", "-o", log, "-y", "-s", "4096", "-e", f"trace={known(WATCHED)}"]
        tracer += [word for fault in faults for word in ("-e", fault.option)]
    done = subprocess.run(
        [*tracer, *command], input=given, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    if not faults:
        assert done.returncode == 0, done.stderr.decode()
    elif done.returncode:
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr.decode()
    if not log:
        return []
    with open(log, "rb") as text:
        return parse(text.read())


class Story:
    """What one process did, in order; every method gives the number of a call, and fails where there is none."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = [call for call in calls if call.changes and call.succeeded]

    def first(self, what: Callable[[Call], bool], *, after: int = -1, named: str = "such a call") -> int:
        """The first call of a kind after another one."""
        found = next((at for at in range(after + 1, len(self.calls)) if what(self.calls[at])), None)
        assert found is not None, f"there is no {named} after {self.calls[after] if after >= 0 else 'the start'}"
        return found

    def last(self, what: Callable[[Call], bool], *, before: int, named: str = "such a call") -> int:
        """The last call of a kind before another one."""
        found = next((at for at in range(before - 1, -1, -1) if what(self.calls[at])), None)
        assert found is not None, (
            f"there is no {named} before {self.calls[before] if before < len(self.calls) else 'the end'}"
        )
        return found

    def sent(self, operation: str) -> int:
        """The first request of an operation of the command service."""
        return self.first(
            lambda call: call.name == "sendto" and f".{operation}\r\n" in "".join(call.texts), named=operation
        )

    def renamed(self, path: str, *, before: int | None = None) -> int:
        """The last time that something got a name, before another call."""

        def gets_it(call: Call) -> bool:
            return call.name.startswith("rename") and call.changed[-1:] == (path,)

        return self.last(gets_it, before=len(self.calls) if before is None else before, named=f"rename to {path}")

    def synced(self, path: str, *, after: int) -> int:
        """When a file or the names in a directory were synced."""
        return self.first(
            lambda call: call.name in ("fsync", "fdatasync") and path in call.changed,
            after=after,
            named=f"sync of {path}",
        )

    def durable(self, path: str, *, before: int | None = None) -> int:
        """When the content that a file got last, before another call, was on the disk under its name."""
        at = self.renamed(path, before=before)
        temporary = self.calls[at].changed[0]
        made = self.last(
            lambda call: temporary in call.changed and call.name != "close", before=at, named=f"change of {temporary}"
        )
        assert self.calls[made].name in ("fsync", "fdatasync"), f"{path}: renamed before it was synced"
        return self.synced(os.path.dirname(path), after=at)
