"""Wherever a worker is killed while it moves traffic: in service as before, or out, recorded and shown."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.traffic.record import Phase, Records
from agent_host import AGENT, AgentHost, revision, specification
from balancer_server import REGION, Balancers, running_balancers
from command_service import CommandService, command_service

ME, OTHER = "10.0.0.1:80", "10.0.0.2:80"


class Scene:
    """A host in two target groups, its agent, and the service that sends it commands."""

    def __init__(self, directory: Path, service: CommandService, balancers: Balancers, **policy: Any) -> None:
        self.service = service
        self.balancers = balancers
        self.names, self.arns = zip(*[balancers.target_group(ME, OTHER) for _ in range(2)], strict=True)
        provider = {"type": "elbv2", "target_groups": list(self.names), "target_ids": ["10.0.0.1"]}
        provider |= {"region": REGION, "endpoint": balancers.url}
        control = {"groups": ["Group"], "providers": [provider], **policy}
        self.host = AgentHost(directory / "host", service.url, traffic_control=json.dumps(control))
        self.go = directory / "go"
        self.ran = directory / "ran"
        script = f"echo x >> {self.ran}; until [ -e {self.go} ]; do sleep 0.05; done"
        self.place = revision(directory / "revision", {"AfterInstall": script}, to=directory / "out")
        self.reached, self.release = threading.Event(), threading.Event()

    def command(self, name: str, **more: Any) -> str:
        return self.service.add(name, specification(self.place, **more))

    def done(self, *names: str, **more: Any) -> None:
        for name in names:
            assert self.service.completion(self.command(name, **more))["status"] == "Succeeded", self.host.log_text()

    def hold(self, side: str, action: str, number: int) -> None:
        """Have the nth call of an action, once it is made, wait before or after its effect, for good."""
        left = [number]

        def fault(_: str, parameters: dict[str, str]) -> tuple[int, str] | None:
            left[0] -= 1
            if left[0] == 0:
                self.reached.set()
                self.release.wait()
                return 503, "ServiceUnavailable"
            return None

        getattr(self.balancers, side)[action] = fault

    def kill_worker(self) -> None:
        (worker,) = self.host.workers()
        worker.kill()
        psutil.wait_procs([worker])
        self.balancers.before.clear()
        self.balancers.after.clear()
        self.release.set()

    def states(self) -> list[str | None]:
        return [self.balancers.states(arn).get(ME) for arn in self.arns]

    def record(self) -> Any:
        return Records(str(self.host.state / "traffic")).read("Group")

    def is_in_service(self) -> bool:
        return self.states() == ["healthy"] * 2 and self.record().phase is Phase.FINALIZED

    def status(self) -> dict[str, Any]:
        command = [AGENT, "status", "--json", "--config-file", str(self.host.config)]
        found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return found


@pytest.fixture
def balancers() -> Iterator[Balancers]:
    with running_balancers() as running:
        yield running


@pytest.fixture
def scene(tmp_path: Path, balancers: Balancers) -> Iterator[Scene]:
    with command_service() as service:
        made = Scene(tmp_path, service, balancers)
        with made.host as host:
            host.start()
            yield made
            made.go.touch()
            made.release.set()


# All other calls are in test_traffic_walk.
BLOCKING = [("after", "DeregisterTargets", 1), ("before", "DeregisterTargets", 2)]
ALLOWING = [("after", "RegisterTargets", 1), ("before", "RegisterTargets", 2)]


@pytest.mark.parametrize("point", BLOCKING)
def test_a_worker_killed_while_it_takes_the_host_out_leaves_it_in_service(scene: Scene, point) -> None:
    scene.hold(*point)
    command = scene.command("ApplicationStop")
    scene.host.until(scene.reached.is_set, "the call to be held")
    scene.kill_worker()
    assert scene.service.completion(command)["error_code"] == 7
    scene.host.until(scene.is_in_service, "the host to be in service again")


@pytest.mark.parametrize("point", ALLOWING)
def test_a_worker_killed_while_it_puts_the_host_back_leaves_it_in_service(scene: Scene, point) -> None:
    scene.done("ApplicationStop", "DownloadBundle")
    scene.host.until(lambda: scene.states() == [None, None], "the host to be out")
    scene.hold(*point)
    command = scene.command("ValidateService")
    scene.host.until(scene.reached.is_set, "the call to be held")
    scene.kill_worker()
    assert scene.service.completion(command)["error_code"] == 7
    scene.host.until(scene.is_in_service, "the host to be in service again")


def test_a_worker_killed_while_the_host_changes_leaves_it_out_recorded_and_shown(scene: Scene) -> None:
    scene.done("ApplicationStop", "DownloadBundle", "BeforeInstall", "Install")
    command = scene.command("AfterInstall")
    scene.host.until(scene.ran.exists, "the hook to run")
    scene.kill_worker()
    assert scene.service.completion(command)["error_code"] == 7
    assert scene.states() == [None, None]
    (shown,) = scene.status()["out_of_service"]
    assert shown["group"] == "Group"
    assert shown["on_purpose"]
    assert "d-1" in shown["why"]
    assert len(shown["places"]) == 2


@pytest.mark.long  # tests/worker/test_traffic_walk.py kills everywhere
def test_a_worker_killed_over_what_a_killed_one_left_does_not_leave_it_half_done(scene: Scene) -> None:
    scene.done("ApplicationStop", "DownloadBundle")
    command = scene.command("AfterInstall")
    scene.host.until(scene.ran.exists, "the hook to run")
    with Records(str(scene.host.state / "traffic")).lock("Group"):
        scene.kill_worker()
        scene.host.until(lambda: holds_open(scene.host.workers(), ".lock"), "the next worker to come for the record")
        scene.kill_worker()
    assert scene.service.completion(command)["error_code"] == 7
    (shown,) = scene.status()["out_of_service"]
    assert shown["on_purpose"]
    assert "d-1" in shown["why"]


def holds_open(workers: list[psutil.Process], ending: str) -> bool:
    """Whether a worker has a file of the traffic directory open whose name ends like this."""
    for worker in workers:
        with suppress(psutil.Error, OSError):
            directory = Path(f"/proc/{worker.pid}/fd")
            if any(
                "/traffic/" in target and target.endswith(ending) for target in map(os.readlink, directory.iterdir())
            ):
                return True
    return False


@pytest.mark.long  # a rollback is a deployment that allows traffic, as others here
def test_a_rollback_that_succeeds_puts_the_host_back(scene: Scene) -> None:
    scene.done("ApplicationStop", "DownloadBundle")
    command = scene.command("AfterInstall")
    scene.host.until(scene.ran.exists, "the hook to run")
    scene.kill_worker()
    assert scene.service.completion(command)["status"] == "Failed"
    scene.go.touch()
    events = ["ApplicationStop", "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ValidateService"]
    scene.done(*events, deployment="d-2", DeploymentCreator="codeDeployRollback")
    assert scene.is_in_service()
    assert scene.status()["out_of_service"] == []


def test_the_next_supervisor_finishes_what_everything_died_over(scene: Scene) -> None:
    scene.done("ApplicationStop", "DownloadBundle")
    scene.hold("before", "RegisterTargets", 2)
    scene.command("ValidateService")
    scene.host.until(scene.reached.is_set, "the call to be held")
    scene.host.kill_everything()
    scene.balancers.before.clear()
    scene.release.set()
    # What a worker would do is left out: only the record is there.
    for path in (scene.host.state / "commands").iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
    scene.host.start()
    scene.host.until(scene.is_in_service, "the host to be in service again")


def test_a_deployment_that_was_stopped_after_application_stop_is_noticed(tmp_path: Path, balancers: Balancers) -> None:
    with command_service() as service:
        scene = Scene(tmp_path, service, balancers, abandoned_after_seconds=0.1, on_failure="put_back")
        with scene.host as host:
            host.start()
            scene.done("ApplicationStop")
            assert scene.states() == [None, None]
            host.stop()
            host.start()
            host.until(scene.is_in_service, "the host to be put back")
            assert "has sent nothing for" in host.log_text()


@pytest.mark.parametrize(
    "more",
    [
        {"DeploymentType": "BLUE_GREEN"},
        {"DeploymentCreator": "autoscaling"},
        {"DeploymentGroupName": "Another"},
    ],
    ids=["blue/green", "autoscaling", "another group"],
)
def test_deployments_that_are_not_ours_to_move_are_left_alone(scene: Scene, more) -> None:
    scene.done("ApplicationStop", "DownloadBundle", "ValidateService", **more)
    assert scene.balancers.count("DeregisterTargets") == 0
    assert scene.states() == ["healthy"] * 2


def test_a_deployment_that_the_service_moves_is_left_alone(scene: Scene) -> None:
    scene.done("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop", "DownloadBundle", "ValidateService")
    assert scene.balancers.count("DeregisterTargets") == 0


def test_the_two_commands_that_move_traffic_are_never_no_ops(scene: Scene) -> None:
    scene.done("ApplicationStop", "DownloadBundle", "ValidateService")
    told = [body["Diagnostics"]["Payload"] for body in scene.service.of("PutHostCommandAcknowledgement")]
    assert [json.loads(text)["IsCommandNoop"] for text in told] == [False, False, False]
    assert scene.is_in_service()
