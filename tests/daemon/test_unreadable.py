"""A mistake in a file that the agent starts with is reported where people look, and needs nobody to start it again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from agent_host import AGENT, AgentHost
from command_service import CommandService


def ask(host: AgentHost, verb: str) -> subprocess.CompletedProcess[str]:
    command = [AGENT, verb, "--config-file", str(host.config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def spoil(host: AgentHost, file: str, mistake: str) -> None:
    path: Path = getattr(host, file)
    path.write_text(path.read_text() + mistake)


@pytest.mark.parametrize(
    ("file", "mistake", "says"),
    [
        ("config", "max_revisions: several\n", "max_revisions is 'several'"),
        ("config", "\tmax_revisions: 3\n", "A tab indents this line"),
        ("on_premises", "iam_session_arn: arn:aws:sts::123456789012:assumed-role/a/b\n", "iam_session_arn"),
    ],
)
def test_the_agent_says_what_is_wrong_and_goes_on_when_it_is_corrected(
    service: CommandService, host: AgentHost, file: str, mistake: str, says: str
) -> None:
    right: Path = getattr(host, file)
    text = right.read_text()
    spoil(host, file, mistake)
    host.start()
    host.until(lambda: says in host.log_text(), "the mistake in the log")
    status = host.until(
        lambda: (found := ask(host, "status")).returncode == 0 and "Problem" in found.stdout and found, ""
    )
    assert says in status.stdout
    assert says in (host.directory / "stdout").read_text()
    right.write_text(text)
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    assert "can be read now" in host.log_text()
    host.until(lambda: "Problem" not in ask(host, "status").stdout, "the status to be well")


def test_systemd_learns_that_the_agent_is_up_and_why_it_waits(host: AgentHost) -> None:
    spoil(host, "config", "max_revisions: several\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(host.directory / "notify"))
        manager.settimeout(60)
        host.environment |= {"NOTIFY_SOCKET": str(host.directory / "notify"), "WATCHDOG_USEC": "400000"}
        host.start()
        heard = b""
        while not all(word in heard for word in (b"READY=1", b"max_revisions", b"WATCHDOG=1")):
            heard += manager.recv(4096)


@pytest.mark.parametrize("by", ["signal", "command"])
def test_an_agent_that_waits_can_be_stopped(host: AgentHost, by: str) -> None:
    spoil(host, "config", "max_revisions: several\n")
    host.start()
    host.until(lambda: "max_revisions" in host.log_text(), "the mistake in the log")
    assert host.process is not None
    if by == "signal":
        assert host.stop(signal.SIGTERM) == 0
    else:
        host.until(lambda: ask(host, "stop").returncode == 0 and host.process.poll() is not None, "the end")
    assert not os.path.exists(host.directory / "pid" / "codedeploy-agent.pid")
    status = ask(host, "status")
    assert (status.returncode, "max_revisions" in status.stderr) == (4, True)


def test_a_second_agent_does_not_wait_beside_the_first(host: AgentHost, service: CommandService) -> None:
    host.start()
    service.wait_for(lambda: service.of("PollHostCommand"), "a poll")
    spoil(host, "config", "max_revisions: several\n")
    second = ask(host, "start")
    assert second.returncode == 1
    assert "max_revisions" in second.stderr
    assert "Another agent is running" in second.stderr
