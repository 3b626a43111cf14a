"""While a person has paused the agent nothing new begins, and what has begun is brought to its end."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from agent.daemon.pause import Pause, Paused, end_pause, pause_file, read_pause, write_pause
from agent.service.client import HostCommand
from agent.store.bindings import Bindings
from agent.store.commands import CommandStore, SavedOutcome, new_record
from agent.store.layout import Layout
from agent_host import AgentHost, deploy, revision, specification
from command_service import HOST, CommandService


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "root"))


def command(execution: str = "execution-1", identifier: str = "command-1") -> HostCommand:
    return HostCommand(identifier, HOST, execution, "ApplicationStop")


def pause(layout: Layout, **fields: Any) -> Paused:
    paused = Paused(**{"reason": "the database moves", "since": time.time(), "by": "alice", **fields})
    write_pause(layout, paused)
    return paused


def test_a_pause_is_durable_and_ends_by_itself_or_by_hand(layout: Layout) -> None:
    assert read_pause(layout, now=1.0) is None
    paused = pause(layout, until=2000.0)
    assert os.stat(pause_file(layout)).st_mode & 0o777 == 0o600
    assert read_pause(layout, now=1999.0) == paused
    assert read_pause(layout, now=2000.0) is None
    paused = pause(layout)
    assert read_pause(layout, now=1e11) == paused
    assert end_pause(layout)
    assert not end_pause(layout)


def test_a_file_that_cannot_be_understood_is_still_a_pause(layout: Layout) -> None:
    pause(layout)
    Path(pause_file(layout)).write_bytes(b'{"reason": 1')
    found = read_pause(layout, now=time.time())
    assert found is not None
    assert "resume removes it" in found.reason


def test_only_a_new_deployment_has_to_wait_and_the_log_has_both_ends_of_a_pause(
    layout: Layout, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    noted: list[Any] = []
    held = Pause(layout, noted.append)
    Bindings(layout).bind("execution-1", "ApplicationStop", deployment_id="d-1", group_id="g")
    assert not held.leaves(command("execution-2"))
    paused = pause(layout)
    assert not held.leaves(command("execution-1"))
    assert held.leaves(command("execution-2"))
    assert held.leaves(command("execution-2"))
    assert caplog.text.count("New deployments wait: the agent is paused by alice: the database moves") == 1
    end_pause(layout)
    assert not held.leaves(command("execution-2"))
    assert caplog.text.count("The pause is over") == 1
    assert noted == [paused._asdict(), None]


def test_the_service_is_asked_only_while_a_deployment_is_in_hand(layout: Layout) -> None:
    held = Pause(layout, lambda paused: None)
    assert held.may_poll()
    pause(layout)
    assert not held.may_poll()
    store, bindings = CommandStore(layout), Bindings(layout)
    bindings.bind("execution-1", "ApplicationStop", deployment_id="d-1", group_id="g")
    fields = dict.fromkeys(("command_identifier", "host_identifier", "execution_id", "command_name"), "x")
    directory = store.add(new_record(fields, now=1.0))
    assert held.may_poll()
    store.finish(directory, SavedOutcome("Succeeded", "{}", 1.0))
    assert held.may_poll(), "the next event of the deployment may come"
    os.utime(os.path.join(layout.state, "finished"), (1, 1))
    assert not held.may_poll(), "the service has long given it up"


def test_a_deployment_that_has_begun_ends_and_a_new_one_waits_for_the_resume(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    host.start()
    deploy(service, specification(place, deployment="d-1"), ["DownloadBundle"])
    layout = Layout(str(host.root))
    pause(layout)
    assert deploy(service, specification(place, deployment="d-1"), ["Install"])["Install"]["status"] == "Succeeded"
    service.until_acknowledged = True
    new = service.add("DownloadBundle", specification(place, deployment="d-2"))
    host.until(lambda: "left to the service" in host.log_text(), "the new deployment to be left")
    assert not service.of("PutHostCommandAcknowledgement", new)
    end_pause(layout)
    assert service.completion(new)["status"] == "Succeeded"
    assert host.log_text().count("left to the service") == 1


def test_an_agent_that_starts_while_it_is_paused_asks_for_nothing_and_says_why(
    service: CommandService, host: AgentHost, tmp_path: Path
) -> None:
    pause(Layout(str(host.root)))
    host.start()
    host.until(lambda: "This host is" in host.log_text(), "the agent to know who it is")
    status = host.state / "status.json"
    host.until(lambda: status.exists() and "the database moves" in status.read_text(), "the status to say so")
    assert not service.of("PollHostCommand")
    end_pause(Layout(str(host.root)))
    place = revision(tmp_path / "rev", {}, to=tmp_path / "out")
    assert service.completion(service.add("DownloadBundle", specification(place)))["status"] == "Succeeded"
