"""Whatever is killed, and whenever: one result for each command, and no hook twice."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent_host import AgentHost, revision, specification
from command_service import CommandService, unavailable

POINTS = ("specification", "acknowledgement", "hook", "completion")
AT_THE_HOOK_FIRST = ["hook", *(pytest.param(point, marks=pytest.mark.long) for point in POINTS if point != "hook")]
OPERATIONS = {
    "specification": "GetDeploymentSpecification",
    "acknowledgement": "PutHostCommandAcknowledgement",
    "completion": "PutHostCommandComplete",
}


class Scene:
    """One BeforeInstall command on its way, held at a named point until it is let go."""

    def __init__(self, service: CommandService, host: AgentHost, directory: Path) -> None:
        self.service = service
        self.host = host
        self.runs = directory / "runs"
        self.go = directory / "go"
        self.ended = directory / "ended"
        self.go_on = threading.Event()
        self.reached = threading.Event()
        script = (
            f"echo $$ >> {self.runs}\necho a line of the hook\n"
            f"until [ -e {self.go} ]; do sleep 0.05; done\necho done >> {self.ended}"
        )
        place = revision(directory / "revision", {"BeforeInstall": script}, to=directory / "out")
        self.specification = specification(place)
        host.start()
        service.completion(service.add("DownloadBundle", self.specification))
        self.command = ""

    def bring_to(self, point: str) -> None:
        """Hand the command out and wait until it has come to the point."""
        if point != "hook":
            self.go.touch()
            self.service.faults[OPERATIONS[point]] = self._hold
        self.command = self.service.add("BeforeInstall", self.specification)
        if point == "hook":
            self.host.until(self._hook_has_spoken, "the hook's line to be in its log")
        else:
            self.host.until(self.reached.is_set, "the report to be sent")

    def _hook_has_spoken(self) -> bool:
        return any("a line of the hook" in log.read_text() for log in self.host.root.glob("*/*/logs/scripts.log"))

    def _hold(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]] | None:
        self.service.faults.clear()
        self.reached.set()
        self.go_on.wait()
        return unavailable(body)  # whoever asked is gone, or asks again

    def let_go(self) -> None:
        self.go_on.set()

    def hook_runs(self) -> int:
        return len(self.runs.read_text().split()) if self.runs.exists() else 0

    def kill_worker(self) -> None:
        (worker,) = self.host.workers()
        worker.kill()
        psutil.wait_procs([worker])

    def kill_fork_server(self) -> None:
        (fork_server,) = self.host.fork_servers()
        fork_server.kill()

    def result(self) -> dict[str, Any]:
        """Wait for the command's end, and for everything that was kept of it to be put away; there is one result."""
        found = self.service.completion(self.command)
        self.host.until(lambda: not list((self.host.state / "commands").iterdir()), "the command to be closed")
        assert len(self.service.completions(self.command)) == 1
        assert not list((self.host.root / "ongoing-deployment").glob("*"))
        return found


@pytest.fixture
def scene(service: CommandService, host: AgentHost, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(service, host, tmp_path)
    yield made
    made.let_go()


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_worker_costs_no_result_and_runs_no_hook_twice(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    scene.kill_worker()
    scene.let_go()
    _check_after_the_worker_died(scene, point)


@pytest.mark.parametrize("point", AT_THE_HOOK_FIRST)
def test_a_killed_fork_server_costs_nothing(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    scene.kill_fork_server()
    scene.go.touch()
    scene.let_go()
    assert scene.result()["status"] == "Succeeded"
    assert scene.hook_runs() == 1
    assert scene.service.completion(scene.service.add("AfterInstall", scene.specification))["status"] == "Succeeded"


def test_a_fork_server_killed_before_it_has_forked_costs_nothing(scene: Scene) -> None:
    (fork_server,) = scene.host.fork_servers()
    fork_server.suspend()
    scene.go.touch()
    scene.command = scene.service.add("BeforeInstall", scene.specification)
    scene.host.until(lambda: scene.host.commands(), "the command to be taken on")
    scene.kill_fork_server()
    assert scene.result()["status"] == "Succeeded"
    assert scene.hook_runs() == 1


@pytest.mark.parametrize("point", AT_THE_HOOK_FIRST)
def test_a_worker_killed_with_its_fork_server_costs_no_result(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    scene.kill_fork_server()
    scene.kill_worker()
    scene.let_go()
    _check_after_the_worker_died(scene, point)


@pytest.mark.parametrize("point", POINTS)
def test_a_supervisor_killed_and_started_anew_loses_nothing(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    scene.host.stop(signal.SIGKILL)
    scene.host.start()
    scene.go.touch()
    scene.let_go()
    assert scene.result()["status"] == "Succeeded"
    assert scene.hook_runs() == 1


@pytest.mark.parametrize("point", POINTS)
def test_without_a_supervisor_the_worker_reports_by_itself(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    assert scene.host.stop() == 0
    scene.go.touch()
    scene.let_go()
    assert scene.result()["status"] == "Succeeded"
    assert scene.hook_runs() == 1


@pytest.mark.parametrize("point", POINTS)
def test_when_everything_dies_the_next_start_reports(scene: Scene, point: str) -> None:
    scene.bring_to(point)
    scene.host.kill_everything()
    scene.let_go()
    scene.host.start()
    _check_after_the_worker_died(scene, point)


def test_a_restart_in_the_middle_of_a_hook_goes_unnoticed(scene: Scene) -> None:
    scene.bring_to("hook")
    (before,) = scene.host.workers()
    assert scene.host.stop(signal.SIGTERM) == 0
    scene.host.start()
    # The new supervisor polls, so it has looked at what it found.
    count = len(scene.service.of("PollHostCommand"))
    scene.service.wait_for(lambda: len(scene.service.of("PollHostCommand")) > count, "a poll")
    assert [worker.pid for worker in scene.host.workers()] == [before.pid]
    scene.go.touch()
    assert scene.result()["status"] == "Succeeded"
    assert scene.hook_runs() == 1
    assert scene.ended.read_text() == "done\n"


def test_a_killed_hook_fails_its_event_as_a_script_that_failed(scene: Scene) -> None:
    scene.bring_to("hook")
    os.kill(int(scene.runs.read_text()), signal.SIGKILL)
    found = scene.result()
    assert (found["status"], found["error_code"]) == ("Failed", 4)
    assert "a line of the hook" in found["log"]


def test_a_killed_script_supervisor_fails_its_event_and_leaves_no_second_hook(scene: Scene) -> None:
    scene.bring_to("hook")
    psutil.Process(int(scene.runs.read_text())).parent().kill()
    found = scene.result()
    assert (found["status"], found["error_code"]) == ("Failed", 4)
    assert scene.hook_runs() == 1


def test_a_worker_that_is_told_to_stop_ends_its_hook_and_says_so(scene: Scene) -> None:
    scene.bring_to("hook")
    (worker,) = scene.host.workers()
    worker.terminate()
    found = scene.result()
    assert (found["status"], found["error_code"]) == ("Failed", 7)
    assert "SIGTERM" in found["message"]
    assert "a line of the hook" in found["log"]
    assert not _alive(int(scene.runs.read_text()))
    assert not scene.ended.exists()


def test_a_hook_may_not_go_on_for_ever_after_the_agent_was_stopped(service: CommandService, tmp_path: Path) -> None:
    with AgentHost(tmp_path / "host", service.url, kill_agent_max_wait_time_seconds=1) as host:
        scene = Scene(service, host, tmp_path)
        scene.bring_to("hook")
        host.stop()
        found = scene.result()
        assert (found["status"], found["error_code"]) == ("Failed", 7)
        assert "1 s" in found["message"]
        assert not _alive(int(scene.runs.read_text()))


def _check_after_the_worker_died(scene: Scene, point: str) -> None:
    found = scene.result()
    if point == "hook":
        assert (found["status"], found["error_code"]) == ("Failed", 7)
        assert "a line of the hook" in found["log"]
        assert scene.hook_runs() == 1
        # What was left of the hook was ended before the result was sent.
        assert not _alive(int(scene.runs.read_text()))
        assert not scene.ended.exists()
    elif point == "acknowledgement":
        # The service may have heard of it: whether it counts as begun is not ours to say.
        assert (found["status"], found["error_code"]) == ("Failed", 7)
        assert scene.hook_runs() == 0
    else:
        assert found["status"] == "Succeeded"
        assert scene.hook_runs() == 1


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
