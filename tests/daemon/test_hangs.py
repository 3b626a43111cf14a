"""Wherever a worker hangs, it ends by its own limit, and its command has a result."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_host import AgentHost, deploy, revision, specification
from command_service import CommandService

LIMIT = 2


@pytest.fixture
def host(service: CommandService, silent: int, tmp_path: Path) -> Iterator[AgentHost]:
    """A host whose commands may make no progress for two seconds; its S3 accepts connections and says nothing."""
    endpoint = f"http://127.0.0.1:{silent}"
    limits = {"command_stall_seconds": LIMIT, "s3_endpoint_override": endpoint}
    with AgentHost(tmp_path / "host", service.url, **limits) as made:
        made.start()
        yield made


@pytest.fixture
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def hold(service: CommandService) -> Iterator[Any]:
    """Lets the service keep an answer back until the test is over; gives how often it was asked."""
    over = threading.Event()

    def begin(operation: str, *, times: int) -> list[str]:
        asked: list[str] = []

        def wait(body: dict[str, Any]) -> None:
            asked.append(operation)
            if len(asked) <= times:
                over.wait()

        service.faults[operation] = wait
        return asked

    yield begin
    over.set()


def ended(service: CommandService, host: AgentHost, command: str) -> dict[str, Any]:
    """The one result of a command."""
    found = service.completion(command)
    host.until(lambda: not list((host.state / "commands").iterdir()), "the command to be closed")
    assert len(service.completions(command)) == 1
    return found


def check_stalled(found: dict[str, Any]) -> None:
    assert (found["status"], found["error_code"]) == ("Failed", 7)
    assert f"it made no progress for {LIMIT} s" in found["message"]
    assert "command_stall_seconds" in found["message"]


def test_a_download_that_hangs_fails_its_command(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    from_s3 = {"RevisionType": "S3", "S3Revision": {"Bucket": "bucket", "Key": "key", "BundleType": "tar"}}
    check_stalled(ended(service, host, service.add("DownloadBundle", specification(tmp_path, Revision=from_s3))))


def test_an_install_that_hangs_fails_its_command(service: CommandService, host: AgentHost, tmp_path: Path) -> None:
    source = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    deploy(service, specification(source), ["DownloadBundle"])
    (host.state / "install").mkdir()
    os.mkfifo(host.state / "install" / "group-1.journal")  # reading it never ends
    check_stalled(ended(service, host, service.add("Install", specification(source))))
    assert not (tmp_path / "out").exists()


@pytest.mark.soak_only  # a script supervisor that does not answer is waited for
def test_a_hook_whose_supervisor_hangs_fails_its_command(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    script = f"echo $PPID > {here}; until [ -e {go} ]; do sleep 0.05; done"
    source = revision(tmp_path / "rev", {"BeforeInstall": script}, to=tmp_path / "out")
    appspec = source / "appspec.yml"
    appspec.write_text(appspec.read_text().replace(".sh\n", ".sh\n      timeout: 2\n"))
    deploy(service, specification(source), ["DownloadBundle"])
    command = service.add("BeforeInstall", specification(source))
    host.until(lambda: here.exists() and here.read_text().endswith("\n"), "the script to run")
    supervisor = psutil.Process(int(here.read_text()))
    supervisor.send_signal(signal.SIGSTOP)
    found = ended(service, host, command)
    supervisor.kill()
    go.touch()
    assert found["status"] == "Failed"
    assert found["error_code"] in (3, 7)


@pytest.mark.soak_only  # the supervisor waits before it starts another worker
def test_a_report_that_hangs_is_sent_again(service: CommandService, host: AgentHost, hold: Any, tmp_path: Path) -> None:
    source = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    asked = hold("PutHostCommandComplete", times=1)
    assert ended(service, host, service.add("DownloadBundle", specification(source)))["status"] == "Succeeded"
    assert len(asked) > 1


def test_a_worker_that_hangs_before_it_has_begun_is_started_again(
    service: CommandService, host: AgentHost, hold: Any, tmp_path: Path
) -> None:
    source = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    hold("GetDeploymentSpecification", times=1)
    assert ended(service, host, service.add("DownloadBundle", specification(source)))["status"] == "Succeeded"
