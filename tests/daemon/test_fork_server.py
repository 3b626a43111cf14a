"""The supervisor's fork server: there is one when a command comes, whatever has become of the last one."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agent.daemon.fork_server import ForkServer
from agent_host import AgentHost, deploy, revision, specification
from command_service import CommandService
from waiting import until

BEGUN = b"started "


class Handle:
    """A handle of fork servers whose workers end at once, since they are handed nothing."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.fork_server = ForkServer(self.selector)

    def ask(self, *, idle: float = 60, **environment: str) -> int:
        """Ask for a worker, and return the descriptor of its report."""
        path = os.environ["PATH"]
        return self.fork_server.fork("/nowhere", b"{}", environment={"PATH": path, **environment}, idle=idle)

    def fork(self, *, idle: float = 60, **environment: str) -> bytes:
        """Have a worker forked, and return its whole report."""
        with open(self.ask(idle=idle, **environment), "rb") as file:
            return file.read()

    @property
    def server(self) -> psutil.Process:
        """The fork server that runs for this test."""
        (found,) = self.servers()
        return found

    def servers(self) -> list[psutil.Process]:
        """All fork servers of this process."""
        found = []
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # it has just ended
                found += [child] if "agent.worker.fork_server" in child.cmdline() else []
        return found

    def turn(self) -> None:
        """Take note of the ends of fork servers that have come."""
        for key, _ in self.selector.select(0):
            key.data()


@pytest.fixture
def handle(capfd: pytest.CaptureFixture[str]) -> Iterator[Handle]:
    made = Handle()
    yield made
    made.fork_server.stop()
    until(lambda: made.servers() == [], "the fork server to end with its handle")
    made.turn()
    made.selector.close()


def test_one_fork_server_forks_all_workers(handle: Handle) -> None:
    assert handle.fork().startswith(BEGUN)
    first = handle.server.pid
    assert handle.fork().startswith(BEGUN)
    assert handle.server.pid == first


@pytest.mark.parametrize("noticed", [True, False])
def test_a_killed_fork_server_is_followed_by_another(handle: Handle, noticed: bool) -> None:
    handle.fork()
    first = handle.server
    first.kill()
    until(lambda: first.status() == "zombie", "the fork server to be dead")
    if noticed:
        handle.turn()
    assert handle.fork().startswith(BEGUN)
    assert handle.server.pid != first.pid


def test_a_request_that_dies_with_the_fork_server_is_known_not_to_have_begun(handle: Handle) -> None:
    handle.fork()
    handle.server.suspend()
    report = handle.ask()
    handle.fork_server.kill()
    with open(report, "rb") as file:
        assert file.read() == b""
    assert handle.fork().startswith(BEGUN)


def test_a_changed_environment_is_that_of_the_next_worker(handle: Handle) -> None:
    handle.fork(AWS_REGION="one")
    first = handle.server.pid
    handle.fork(AWS_REGION="other")
    until(lambda: first not in [server.pid for server in handle.servers()], "the first fork server to end")
    assert handle.server.environ()["AWS_REGION"] == "other"


def test_a_fork_server_that_is_not_needed_ends(handle: Handle) -> None:
    handle.fork(idle=0)
    until(lambda: handle.servers() == [], "the fork server to end")
    handle.turn()
    assert handle.fork(idle=0).startswith(BEGUN)


def test_a_fork_server_that_cannot_be_started_is_an_error_and_leaves_nothing_open(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        handle.fork()
    assert os.listdir("/proc/self/fd") == before


def test_no_descriptor_stays_open(handle: Handle) -> None:
    handle.fork()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        handle.fork()
    handle.server.kill()
    until(lambda: handle.servers() == [], "the fork server to be dead")
    handle.turn()
    handle.fork()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_changed_setting_counts_for_the_next_command(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {"BeforeInstall": f"env > {tmp_path}/seen"}, to=tmp_path / "out")
    host.environment |= {"OF_THE_AGENT": "1"}
    host.start()
    deploy(service, specification(place), ["DownloadBundle", "BeforeInstall"])
    assert "OF_THE_AGENT=1" in (tmp_path / "seen").read_text()
    (before,) = host.fork_servers()
    host.write_config(restrict_hook_env_to_allowlist="true")
    host.until(lambda: "changed: restrict_hook_env_to_allowlist" in host.log_text(), "the reload")
    deploy(service, specification(place), ["BeforeInstall"])
    assert "OF_THE_AGENT" not in (tmp_path / "seen").read_text()
    assert [server.pid for server in host.fork_servers()] == [before.pid], (
        "the hand-off brings it, not another fork server"
    )


# An agent that gives a fork server three seconds to fork.
HASTY = """
import sys
from agent.daemon import supervisor, workers
workers.LONGEST_START = 3
sys.exit(supervisor.run(sys.argv[1]))
"""


@pytest.mark.long
def test_a_fork_server_that_hangs_is_replaced(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    environment = {**os.environ, **host.environment}
    with subprocess.Popen([sys.executable, "-c", HASTY, str(host.config)], env=environment) as agent:
        try:
            deploy(service, specification(place), ["DownloadBundle"])
            (before,) = host.fork_servers()
            before.suspend()
            assert deploy(service, specification(place), ["Install"])["Install"]["status"] == "Succeeded"
            assert before.pid not in [one.pid for one in host.fork_servers()]
            assert "does not answer" in host.log_text()
        finally:
            agent.terminate()


def test_the_fork_server_ends_with_its_supervisor_and_its_workers_go_on(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f"touch {tmp_path}/here; until [ -e {go} ]; do sleep 0.05; done"
    place = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place), ["DownloadBundle"])
    command = service.add("BeforeInstall", specification(place))
    host.until((tmp_path / "here").exists, "the script to run")
    (worker,) = host.workers()
    assert "agent.worker.process" in worker.cmdline()
    (fork_server,) = host.fork_servers()
    for process in (worker, *worker.children()):  # its script supervisor
        assert process.memory_full_info().uss < fork_server.memory_info().rss / 4, "the memory is shared"
    assert host.stop(signal.SIGTERM) == 0
    assert host.fork_servers() == []
    assert [one.pid for one in host.workers()] == [worker.pid]
    go.touch()
    assert service.completion(command)["status"] == "Succeeded"
