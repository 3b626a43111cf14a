"""Whatever the host refuses the supervisor, and whenever: one result for each command, and a true one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from agent_host import AgentHost, deploy, revision, specification
from command_service import CommandService
from install_trace import Call, Fault, fault_at, parse
from install_walk import Walk
from worker_walk import strace_options

ERRORS = ("EMFILE", "ENOMEM", "EIO", "ENOSPC", "EROFS")

pytestmark = [pytest.mark.needs("tracing"), pytest.mark.soak_only]


class SupervisorWalk:
    """A host whose agent is started again and again, each time for one command with a script."""

    def __init__(self, service: CommandService, host: AgentHost, directory: Path) -> None:
        self._service = service
        self._host = host
        self._runs = directory / "runs"
        self._log = directory / "strace.log"
        script = f"echo begin >> {self._runs}\necho end >> {self._runs}"
        self._source = revision(directory / "revision", {"BeforeInstall": script}, to=directory / "out")
        service.until_acknowledged = True
        host.start()
        deploy(service, specification(self._source), ["DownloadBundle"])
        host.kill_everything()

    def run(self, faults: Sequence[Fault]) -> tuple[list[Call], list[str]]:
        """Have a command done while the supervisor meets faults; gives its calls, and everything that is wrong then."""
        self._runs.unlink(missing_ok=True)
        command = self._service.add("BeforeInstall", specification(self._source))
        self._host.before = ["strace", *strace_options(self._log, faults)]
        self._host.start()
        self._host.until(lambda: self._service.completions(command) or self._ended(), "the result")
        self._host.until(lambda: self._is_closed() or self._ended(), "the end of the command")
        calls = parse(self._log.read_bytes())
        if self._ended():
            self._host.before = []
            self._host.start()
            self._host.until(lambda: self._service.completions(command), "the result")
            self._host.until(self._is_closed, "the command to be closed")
        self._host.kill_everything()
        results = [result["status"] for result in self._service.completions(command)]
        runs = self._runs.read_text().split()
        right = results == ["Succeeded"] and runs == ["begin", "end"]
        return calls, [] if right else [f"the script ran so far: {runs}; the results: {results}"]

    def _is_closed(self) -> bool:
        return not list(self._host.state.glob("commands/[!.]*"))

    def _ended(self) -> bool:
        """Whether the fault has ended the agent, which systemd would start again."""
        return self._host.process is not None and self._host.process.poll() is not None


@pytest.fixture
def walk(service: CommandService, host: AgentHost, tmp_path: Path) -> SupervisorWalk:
    return SupervisorWalk(service, host, tmp_path)


def test_an_error_at_any_call_of_the_supervisor_makes_no_second_and_no_false_result(
    walk: SupervisorWalk, host: AgentHost, sample, record_property
) -> None:
    calls, wrong = walk.run([])
    assert not wrong
    first = next(number for number, call in enumerate(calls) if any(str(host.root) in text for text in call.texts))
    every = [call for call in calls[first:] if call.texts and call.texts[0].startswith(("/", "."))]
    found = Walk()
    for number, call in sample(list(enumerate(every)), 24):
        error = ERRORS[number % len(ERRORS)]
        found.note(f"{error} at {call}", walk.run(fault_at(calls, call, f"error={error}"))[1])
    assert not found.problems, found.report()
    record_property("walk", f"errors at calls of the supervisor: {found.points} of {len(every)} points")
