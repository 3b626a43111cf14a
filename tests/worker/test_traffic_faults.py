"""What balancers do to a deployment of the real agent: they throttle, lose answers, refuse, vanish and start anew."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from agent.traffic.record import Records
from agent_host import AGENT, AgentHost, deploy, revision, specification
from balancer_gates import classic, target_groups
from balancer_server import LOST, Balancers, running_balancers
from command_service import CommandService, command_service
from haproxy_server import Haproxy

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "traffic.md"
EVENTS = ["ApplicationStop", "DownloadBundle", "ValidateService"]


class Scene:
    """A host behind one provider, its agent, and the service that sends it commands."""

    def __init__(self, directory: Path, service: CommandService, provider: dict[str, Any], **policy: Any) -> None:
        self.service = service
        control = {"groups": ["Group"], "providers": [provider], **policy}
        self.host = AgentHost(directory / "host", service.url, traffic_control=json.dumps(control))
        self._source = revision(directory / "revision", {}, to=directory / "out")

    def deploy(self, deployment: str, events: list[str] = EVENTS) -> dict[str, dict[str, Any]]:
        """Deploy; gives how each event ended, of which a failed one is the last."""
        return deploy(self.service, specification(self._source, deployment=deployment), events)

    def succeed(self, deployment: str, events: list[str] = EVENTS) -> None:
        """Deploy, and check that nothing has failed."""
        ended = self.deploy(deployment, events)
        assert [row["status"] for row in ended.values()] == ["Succeeded"] * len(events), (ended, self.host.log_text())

    @property
    def record(self) -> Any:
        return Records(str(self.host.state / "traffic")).read("Group")

    def outage(self) -> Any:
        """What ``traffic status`` says."""
        command = [AGENT, "traffic", "status", "--json", "--config-file", str(self.host.config)]
        shown = subprocess.run(command, capture_output=True, text=True, env={"AWS_EC2_METADATA_DISABLED": "true"})
        (row,) = json.loads(shown.stdout)["groups"]
        assert shown.returncode == (3 if row["outage"] else 0), shown
        return row["outage"]


@pytest.fixture
def balancers() -> Iterator[Balancers]:
    with running_balancers() as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """Starts the agent of a host behind a provider."""
    with ExitStack() as stack:

        def begin(provider: dict[str, Any], **policy: Any) -> Scene:
            scene = Scene(tmp_path, stack.enter_context(command_service()), provider, **policy)
            stack.enter_context(scene.host)
            scene.host.start()
            return scene

        yield begin


def sometimes(*answers: tuple[int, str]) -> Callable[..., tuple[int, str] | None]:
    """A fault that the first calls meet, and no later ones."""
    left = list(answers)
    return lambda *_: left.pop(0) if left else None


def refuse(arn: str) -> Callable[..., tuple[int, str] | None]:
    """A fault at one target group for good."""
    return lambda _, parameters: (403, "AccessDenied") if parameters["TargetGroupArn"] == arn else None


@pytest.mark.parametrize(
    ("make", "actions"),
    [
        (target_groups, ["DescribeTargetHealth", "DeregisterTargets", "RegisterTargets"]),
        pytest.param(
            classic,
            ["DescribeLoadBalancers", "DeregisterInstancesFromLoadBalancer", "RegisterInstancesWithLoadBalancer"],
            marks=pytest.mark.long,  # as for a target group
        ),
    ],
    ids=["elbv2", "elb"],
)
def test_throttling_and_lost_answers_are_waited_out(balancers: Balancers, start, make, actions) -> None:
    place = make(balancers)
    for action in actions:
        balancers.before[action] = sometimes((400, "Throttling"))
        balancers.after[action] = sometimes(LOST)
    before = len(balancers.calls)
    scene = start(place.provider)
    scene.succeed("d-1", EVENTS[:2])
    assert place.is_out()
    scene.succeed("d-1", EVENTS[2:])
    assert place.is_in()
    assert scene.outage() is None
    permissions = DOCUMENT.read_text().partition("## Permissions")[2]
    assert [name for name, _ in balancers.calls[before:] if name not in permissions] == []
    assert "Back in service after" in scene.host.log_text()


@pytest.mark.long  # tests/traffic/test_control.py has twenty too, without an agent
def test_of_twenty_balancers_one_that_refuses_is_named_and_the_host_is_nowhere_left_half_way(
    balancers: Balancers, start
) -> None:
    place = target_groups(balancers, 20)
    scene = start(place.provider)
    name, arn = place.names[12], place.places[12]

    balancers.before["DeregisterTargets"] = refuse(arn)
    ended = scene.deploy("d-1")
    assert list(ended) == EVENTS[:1]
    assert f"1 of 20 places: target group {name}" in ended["ApplicationStop"]["message"]
    scene.host.until(place.is_in, "the host to be in service")
    assert scene.outage() is None

    balancers.before["DeregisterTargets"] = lambda *_: None
    balancers.before["RegisterTargets"] = refuse(arn)
    ended = scene.deploy("d-2")
    assert list(ended) == EVENTS
    assert f"1 of 20 places: target group {name}" in ended["ValidateService"]["message"]
    scene.host.until(place.is_out, "the host to be out of service")
    outage = scene.outage()
    assert len(outage["places"]) == 20
    assert outage["on_purpose"]
    assert name in outage["why"]

    balancers.before["RegisterTargets"] = lambda *_: None
    scene.succeed("d-3")
    assert place.is_in()
    assert scene.outage() is None


@pytest.mark.long  # tests/traffic/test_control.py has a host that does not come back
def test_a_host_that_is_never_healthy_fails_its_deployment_and_is_out_with_the_reason(
    balancers: Balancers, start
) -> None:
    place = target_groups(balancers)
    scene = start(place.provider, healthy_seconds=0.5)
    scene.succeed("d-1", EVENTS[:2])
    balancers.sick.add("10.0.0.1")
    ended = scene.deploy("d-1", EVENTS[2:])
    assert "is not found healthy" in ended["ValidateService"]["message"]
    scene.host.until(place.is_out, "the host to be out of service")
    assert "is not found healthy" in scene.outage()["why"]
    balancers.sick.clear()
    scene.succeed("d-2")
    assert place.is_in()


def test_a_target_group_that_is_deleted_while_the_host_is_out_does_not_keep_it_out_of_the_others(
    balancers: Balancers, start
) -> None:
    place = target_groups(balancers)
    scene = start(place.provider)
    scene.succeed("d-1", EVENTS[:2])
    balancers.client().delete_target_group(TargetGroupArn=place.places[0])
    scene.succeed("d-1", EVENTS[2:])
    assert balancers.states(place.places[1])["10.0.0.1:80"] == "healthy"
    assert scene.record.is_finalized
    assert f"{place.names[0]}, target 10.0.0.1:80 does not exist any more" in scene.host.log_text()


class _Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[Haproxy]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Well) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        port = server.server_address[1]
        with Haproxy(tmp_path, [("host-1", port, 30), ("host-2", port, 100)]) as running:
            running.until("host-1", "UP")
            running.until("host-2", "UP")
            yield running
        server.shutdown()
        thread.join()


@pytest.mark.needs_tool("haproxy")
def test_a_haproxy_that_is_restarted_in_the_middle_is_told_again_and_gets_the_host_back(
    haproxy: Haproxy, start
) -> None:
    provider = {"type": "haproxy", "sockets": [haproxy.socket], "servers": ["web/host-1"]}
    scene = start(provider)
    scene.succeed("d-1", EVENTS[:1])
    haproxy.stop()
    haproxy.start()  # it has forgotten the host's state, which the supervisor's next look or the next event notices
    scene.succeed("d-1", EVENTS[1:2])
    assert haproxy.statuses()["host-1"] == "DRAIN"
    haproxy.stop()
    haproxy.start()
    scene.succeed("d-1", EVENTS[2:])
    haproxy.until("host-1", "UP")
    assert scene.outage() is None
