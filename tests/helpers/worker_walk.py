"""The workers of a whole deployment, started one by one as a supervisor does, with a fault at a chosen system call."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agent.config.settings import Settings
from agent.filesystem.locks import FileLock
from agent.identity.identity import HostIdentity
from agent.identity.on_premises import OnPremises
from agent.runtime.host import layout_of
from agent.store.commands import CommandDirectory, CommandStore, new_record
from agent.worker.handoff import Handoff
from agent_host import revision, specification
from command_service import HOST, CommandService
from install_trace import CHANGING, Call, Fault, fault_at, parse
from install_walk import PARTLY
from waiting import until

EVENTS = ("DownloadBundle", "BeforeInstall", "Install")
STARTS_AT_MOST = 8
_STOPPED = "--- stopped by SIGSTOP ---"


class Point(NamedTuple):
    """A call of a worker, among all that it makes."""

    event: str
    call: Call
    calls: Sequence[Call]

    def __str__(self) -> str:
        return f"{self.event}, {self.call}"


class WorkerWalk:
    """A host without a supervisor: commands come from the service, and each worker is started by hand."""

    def __init__(self, service: CommandService, directory: Path, root: Path) -> None:
        self._service = service
        self._out = directory / "out"
        self._runs = directory / "runs"
        self._log = directory / "strace.log"
        self._settings = Settings(
            root_dir=str(root),
            log_dir=str(directory / "log"),
            pid_dir=str(directory / "pid"),
            deploy_control_endpoint=service.url,
        )
        (directory / "pid").mkdir()
        self._supervisor = FileLock(str(directory / "pid" / "lock"), purpose="the test")
        self._supervisor.acquire()  # so that a worker knows of somebody who tries again
        self._layout = layout_of(self._settings)
        self._store = CommandStore(self._layout)
        self._revisions = [self._make_revision(directory, text) for text in ("one", "two")]
        for number in (0, 1):
            self._finish(self.add("DownloadBundle", number))

    def close(self) -> None:
        """Remove what is outside of the test's own directory."""
        self._supervisor.release()
        shutil.rmtree(self._layout.kept, ignore_errors=True)

    def _make_revision(self, directory: Path, text: str) -> Path:
        script = f"echo begin >> {self._runs}\necho end >> {self._runs}"
        files = {"index.html": text}
        return revision(directory / f"revision-{text}", {"BeforeInstall": script}, files=files, to=self._out)

    def add(self, event: str, number: int) -> CommandDirectory:
        """Take on a command of one of the two deployments."""
        spec = specification(self._revisions[number], deployment=f"d-{number}")
        self._service.add(event, spec)
        found = self._service.hand_out()
        fields = {
            "command_identifier": found["HostCommandIdentifier"],
            "host_identifier": HOST,
            "execution_id": found["DeploymentExecutionId"],
            "command_name": event,
        }
        self._runs.unlink(missing_ok=True)
        return self._store.add(new_record(fields, now=time.time()))

    def points(self) -> list[Point]:
        """Every call of the undisturbed workers, from the first that concerns its command."""
        return [point for event in EVENTS for point in self._points(event)]

    def _points(self, event: str) -> list[Point]:
        directory = self.add(event, self.other())
        calls = self._traced(directory, [])
        assert not directory.exists()
        first = next(number for number, call in enumerate(calls) if any(directory.key in text for text in call.texts))
        files = [call for call in calls[first:] if call.texts and call.texts[0].startswith(("/", "."))]
        return [Point(event, call, calls) for call in files]

    def disturb(self, point: Point, error: str) -> list[str]:
        """Let a worker meet an error, and others bring its command to its end; gives everything that is wrong then."""
        self._finalize()
        number, before = self.other(), self.installed()
        directory = self.add(point.event, number)
        identifier = directory.record().command_identifier
        self._traced(directory, fault_at(point.calls, point.call, f"error={error}"))
        self._finish(directory)
        return self._judge(point.event, identifier, number, before)

    def interrupt(self, point: Point, break_disk: Callable[[], None], repair: Callable[[], None]) -> list[str]:
        """As ``disturb``, but the worker is stopped at the call, and the disk breaks before it goes on."""
        self._finalize()
        number, before = self.other(), self.installed()
        directory = self.add(point.event, number)
        identifier = directory.record().command_identifier
        stop = fault_at(point.calls, point.call, "signal=STOP")
        worker = self._start(directory, ["strace", *self._options(stop)])
        try:
            until(lambda: _STOPPED in self._log.read_text() or worker.poll() is not None, "the worker to stop")
            break_disk()
        finally:
            for child in _children(worker.pid):
                os.kill(child, signal.SIGCONT)
        worker.wait()
        repair()
        self._finish(directory)
        return self._judge(point.event, identifier, number, before)

    def installed(self) -> str:
        """What the host has of the application."""
        path = self._out / "index.html"
        return path.read_text() if path.exists() else ""

    def other(self) -> int:
        """The deployment that is not installed."""
        return 1 if self.installed() == "one" else 0

    def _finalize(self) -> None:
        """Let an undisturbed Install end what an interrupted one has left."""
        if list(Path(self._layout.state).glob("install/*.journal")):
            self._finish(self.add("Install", self.other()))

    def _judge(self, event: str, identifier: str, number: int, before: str) -> list[str]:
        results = self._service.completions(identifier)
        if len(results) != 1:
            return [f"{len(results)} results: {results}"]
        result: dict[str, Any] = results[0]
        succeeded = result["status"] == "Succeeded"
        runs = self._runs.read_text().split() if self._runs.exists() else []
        wrong = []
        if event == "BeforeInstall" and runs != (["begin", "end"] if succeeded else []):
            wrong.append(f"the script ran so far: {runs}")
        if event == "Install" and PARTLY not in result["message"]:
            desired = ("one", "two")[number] if succeeded else before
            if self.installed() != desired:
                wrong.append(f"{self.installed()!r} is installed, and not {desired!r}")
        archive = Path(self._layout.archive(self._layout.deployment("group-1", f"d-{number}")))
        if event == "DownloadBundle" and succeeded and not (archive / "appspec.yml").exists():
            wrong.append("there is no revision")
        return [f"{line}; the result: {result}" for line in wrong]

    def _finish(self, directory: CommandDirectory) -> None:
        """Start workers as long as there is something to do for them."""
        for _ in range(STARTS_AT_MOST):
            if not directory.exists():
                return
            self._start(directory, []).wait()
        log = Path(self._settings.log_dir, "codedeploy-agent.log").read_text()
        raise AssertionError(f"{directory.path} is never closed:\n{log[-4000:]}")

    def _traced(self, directory: CommandDirectory, faults: Sequence[Fault]) -> list[Call]:
        self._start(directory, ["strace", *self._options(faults)]).wait()
        return parse(self._log.read_bytes())

    def _options(self, faults: Sequence[Fault]) -> list[str]:
        return strace_options(self._log, faults)

    def _start(self, directory: CommandDirectory, before: Sequence[str]) -> subprocess.Popen[bytes]:
        self._log.unlink(missing_ok=True)
        self._log.touch()
        command = [*before, sys.executable, "-I", "-m", "agent.worker.process", directory.path]
        # Its own messages are in its log; a traceback of what could not even start tells nothing here.
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert worker.stdin is not None
        worker.stdin.write(self._handoff())
        worker.stdin.close()
        return worker

    def _handoff(self) -> bytes:
        on_premises = OnPremises(HOST, "eu-central-1", "AKIAEXAMPLE", "secret", None, "/nowhere")
        identity = HostIdentity(HOST, "eu-central-1", "", "iam-user", "the test")
        return Handoff(self._settings, identity, on_premises, supervisor_lock=self._supervisor.path).render()


def strace_options(log: Path, faults: Sequence[Fault]) -> list[str]:
    """How strace writes a log that ``install_trace.parse`` reads, and lets faults happen."""
    traced = ",".join(f"?{name}" for name in CHANGING)
    options = ["-o", str(log), "-y", "-s", "4096", "-e", f"trace={traced}"]
    for fault in faults:
        options += ["-e", fault.option]
    return options


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in re.findall(r"\d+", Path(f"/proc/{pid}/task/{pid}/children").read_text())]
    except FileNotFoundError:
        return []
