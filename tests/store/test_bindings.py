"""A signed message that was recorded is good for its own deployment, as long as that goes on, and for nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.deployment.lifecycle import LIFECYCLE
from agent.errors import AgentError
from agent.store import bindings as module
from agent.store.bindings import MOST_EXECUTIONS, Bindings, ReplayError
from agent.store.layout import Layout

EVENTS = [event.name for event in LIFECYCLE]
IN_PLACE = EVENTS[EVENTS.index("ApplicationStop") : EVENTS.index("ValidateService") + 1]
TRAFFIC = ["BeforeAllowTraffic", "AfterAllowTraffic"]


class Host:
    """The bindings of a host; each use of them is that of another process."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(str(directory / "root"))
        self.directory = directory / "root" / "agent-state" / "bindings"

    def bind(self, deployment: str, event: str, execution: str = "", *, group: str = "g") -> None:
        ids = {"deployment_id": deployment, "group_id": group}
        Bindings(self.layout).bind(execution or f"e-{deployment}", event, **ids)

    def end(self, deployment: str, event: str, *, succeeded: bool = True, group: str = "g") -> None:
        Bindings(self.layout).end(event, deployment_id=deployment, group_id=group, succeeded=succeeded)

    def run(self, deployment: str, events: Sequence[str] = IN_PLACE, *, group: str = "g") -> None:
        for event in events:
            self.bind(deployment, event, group=group)
            self.end(deployment, event, group=group)

    def refuses(self, deployment: str, event: str, execution: str = "", *, group: str = "g") -> str:
        before = {path.name: path.read_bytes() for path in self.directory.iterdir()}
        with pytest.raises(ReplayError, match="replay") as caught:
            self.bind(deployment, event, execution, group=group)
        assert {path.name: path.read_bytes() for path in self.directory.iterdir()} == before, "a refusal left a trace"
        return str(caught.value)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_deployments_one_after_the_other_are_no_replays(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        host.run(f"d-{number}", EVENTS)
        host.run(f"other-{number}", IN_PLACE, group="other")
    assert caplog.text == ""


def test_an_execution_id_belongs_to_one_deployment_for_ever(host: Host) -> None:
    host.bind("d-1", "DownloadBundle", "e-1")
    assert "belongs to another deployment than d-2" in host.refuses("d-2", "Install", "e-1")
    for number in range(3, 150):
        host.run(f"d-{number}", ["ValidateService"])
    assert "belongs to another deployment than d-2" in host.refuses("d-2", "Install", "e-1")
    assert "belongs to another deployment than d-2" in host.refuses("d-2", "Install", "e-1", group="h")


@pytest.mark.parametrize("execution", ["", "e-new"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_deployment_that_has_ended_is_not_begun_again(host: Host, execution: str, event: str) -> None:
    host.run("d-1", EVENTS)
    assert "d-1 is over on this host" in host.refuses("d-1", event, execution)


@pytest.mark.parametrize("execution", ["", "e-new"])
@pytest.mark.parametrize("event", IN_PLACE)
def test_after_validate_service_only_the_traffic_events_may_follow(host: Host, execution: str, event: str) -> None:
    host.run("d-1")
    assert "has come past ValidateService" in host.refuses("d-1", event, execution)
    host.run("d-1", TRAFFIC[:1])
    assert "has come past BeforeAllowTraffic" in host.refuses("d-1", TRAFFIC[0], execution)
    host.run("d-1", TRAFFIC[1:])
    host.refuses("d-1", TRAFFIC[1], execution)


@pytest.mark.parametrize("event", [event for event in EVENTS if event not in EVENTS[: EVENTS.index("DownloadBundle")]])
def test_a_failure_ends_a_deployment(host: Host, event: str) -> None:
    host.bind("d-1", event)
    host.end("d-1", event, succeeded=False)
    for name in EVENTS:
        host.refuses("d-1", name)
        host.refuses("d-1", name, "e-new")


@pytest.mark.parametrize("event", EVENTS[: EVENTS.index("DownloadBundle")])
def test_a_failure_that_the_deployment_may_ignore_does_not_end_it(host: Host, event: str) -> None:
    host.bind("d-1", event)
    host.end("d-1", event, succeeded=False)
    host.run("d-1", IN_PLACE)


def test_a_deployment_that_was_stopped_is_over_when_the_next_one_has_ended(host: Host) -> None:
    host.run("d-1", ["ApplicationStop", "DownloadBundle"])
    host.run("d-2", IN_PLACE[:3])
    assert "over" in host.refuses("d-1", "BeforeInstall", "e-new")
    host.bind("d-1", "BeforeInstall")  # both go on, as far as this host knows
    host.run("d-2", IN_PLACE[3:])
    host.refuses("d-1", "BeforeInstall")


def test_the_end_of_an_older_deployment_does_not_end_a_newer_one(host: Host) -> None:
    host.run("d-1", ["DownloadBundle"])
    host.run("d-2", ["DownloadBundle"])
    host.end("d-1", "BeforeInstall", succeeded=False)
    host.run("d-2", IN_PLACE[2:])
    host.refuses("d-1", "Install")


def test_a_deployment_that_goes_on_is_taken_under_another_execution_id_with_a_warning(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.bind("d-1", "DownloadBundle")
    host.bind("d-1", "Install", "e-new")
    host.bind("d-1", "AfterInstall", "e-new")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'e-new'" in record.getMessage()
    host.refuses("d-2", "Install", "e-new")


def test_one_deployment_does_not_fill_the_file(host: Host) -> None:
    for number in range(MOST_EXECUTIONS):
        host.bind("d-1", "DownloadBundle", f"e-{number}")
    assert f"under {MOST_EXECUTIONS} ids before" in host.refuses("d-1", "DownloadBundle", "e-new")
    host.bind("d-1", "Install", "e-0")


def test_a_full_file_refuses_what_is_new_and_forgets_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 3)
    host.run("d-1")
    host.run("d-2")
    host.run("d-3", ["DownloadBundle"])
    with pytest.raises(AgentError, match="full") as caught:
        host.bind("d-4", "DownloadBundle")
    assert "delete the file" in caught.value.remedy
    host.refuses("d-1", "DownloadBundle")
    host.refuses("d-2", "DownloadBundle", "e-new")
    host.bind("d-3", "Install")


@pytest.mark.parametrize("cut", [1, 31])
def test_a_pair_that_a_power_cut_tore_is_written_again(host: Host, cut: int) -> None:
    host.run("d-1", EVENTS)
    host.bind("d-2", "DownloadBundle")
    os.truncate(host.directory / "pairs", 64 - cut)
    host.bind("d-2", "DownloadBundle")
    assert (host.directory / "pairs").stat().st_size == 64
    host.refuses("d-1", "Install")
    host.refuses("d-3", "Install", "e-d-2")


def test_a_disk_that_refuses_the_first_binding_of_a_deployment_does_not_make_it_a_replay(host: Host) -> None:
    host.run("d-1", EVENTS)
    in_the_way = host.directory / ".going-on.json.new~"
    in_the_way.mkdir()
    with pytest.raises(OSError, match="directory"):
        host.bind("d-2", "DownloadBundle")
    in_the_way.rmdir()
    host.bind("d-2", "DownloadBundle")
    host.refuses("d-1", "DownloadBundle")


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"g": 1}', b'{"g": {"d-1": 1}}', b"[" * 100_000])
def test_without_the_file_of_what_goes_on_everything_of_before_is_over(host: Host, damage: bytes | None) -> None:
    host.run("d-1", ["DownloadBundle"])
    file = host.directory / "going-on.json"
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    host.refuses("d-1", "Install")
    host.run("d-2")


def test_nobody_else_may_read_or_write_the_bindings(host: Host) -> None:
    host.bind("d-1", "DownloadBundle")
    assert host.directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in host.directory.iterdir()} == {0o600}


def test_workers_that_bind_at_the_same_time_lose_no_binding(host: Host) -> None:
    threads = [threading.Thread(target=host.run, args=(f"d-{n}", EVENTS), kwargs={"group": f"g-{n}"}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (host.directory / "pairs").stat().st_size == 8 * 32
    for number in range(8):
        host.refuses(f"d-{number}", "Install", group=f"g-{number}")


def test_an_execution_id_of_any_characters_is_shown_on_one_line(host: Host) -> None:
    host.bind("d-1", "DownloadBundle", "e\n\x1b[31m\ud800" + "x" * 500)
    said = host.refuses("d-2", "DownloadBundle", "e\n\x1b[31m\ud800" + "x" * 500)
    assert said.isprintable()
    assert len(said) < 600
