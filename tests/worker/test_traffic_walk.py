"""Whatever is killed before and after each call that a balancer is sent: in service, or out, recorded and shown."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest

from agent.traffic.record import Phase, Records, TrafficRecord
from agent_host import AGENT, AgentHost, revision, specification
from balancer_gates import SIDES, Place, Programs, classic, relayed, target_groups
from balancer_server import running_balancers
from command_service import CommandService, command_service
from haproxy_server import Haproxy

OUT, IN = ("ApplicationStop", "DownloadBundle"), "ValidateService"
MOVES = (OUT[0], IN)
VICTIMS = ("worker", "everything")

Point = tuple[str, str, int, str]
"""The command, the side of the call, its number in that command, and who is killed."""


class Walk:
    """A host whose agent, or what works for it, is killed again and again."""

    def __init__(self, place: Place, service: CommandService, host: AgentHost, source: Path) -> None:
        self.place = place
        self.service = service
        self.host = host
        self._source = source
        self._deployments = (f"d-{number}" for number in itertools.count(1))
        self._calls: dict[str, int] = {}

    def points(self) -> list[Point]:
        """Every point that there is, by what one whole deployment does."""
        deployment = next(self._deployments)
        for name in (*OUT, IN):
            before = self.place.gates.calls
            self._done(name, deployment)
            self._calls[name] = self.place.gates.calls - before
        return [
            (command, side, number, victim)
            for command in MOVES
            for number in range(1, self._calls[command] + 1)
            for side in SIDES
            for victim in VICTIMS
        ]

    def visit(self, point: Point) -> bool:
        """Kill there and check what becomes of the host; gives whether the command came to that point at all.

        How often a balancer is asked whether a host is drained or healthy is a matter of time, so the last points of a
        walk may not be there any more.
        """
        command, side, number, victim = point
        deployment = next(self._deployments)
        for name in OUT if command == IN else ():
            self._done(name, deployment)
        gates = self.place.gates
        gates.hold(number, side)
        identifier = self._add(command, deployment)
        self.host.until(lambda: gates.reached.is_set() or self.service.completions(identifier), f"{point}")
        reached = gates.reached.is_set()
        if reached:
            self._kill(victim)
        ended = self.service.completion(identifier)
        assert ended["error_code"] == (7 if reached else 0), (point, ended)
        if not reached:
            gates.release()
            for name in (OUT[1], IN) if command == OUT[0] else ():
                self._done(name, deployment)
        self.host.until(self.is_in_order, f"the host to be in order after {point}: {self.record()}")
        gates.release()
        # What was held comes to nothing: it must not move the host after all.
        self.host.until(lambda: gates.open == 0, "the call to end")
        assert self.is_in_order(), (point, self.record())
        if self.record() is not None and not self.record().is_finalized:
            self._is_shown(deployment)
        return reached

    def ends_in_service(self) -> None:
        """Check that a deployment that nothing happens to puts the host back, whatever was before."""
        deployment = next(self._deployments)
        for name in (*OUT, IN):
            self._done(name, deployment)
        assert self.place.is_in()
        assert self.record().is_finalized

    def is_in_order(self) -> bool:
        """Whether the host is in service with nothing left to do, or out on purpose."""
        record = self.record()
        if record is None or record.is_finalized:
            return self.place.is_in()
        return record.phase is Phase.OUT and bool(record.kept) and self.place.is_out()

    def record(self) -> Any:
        found: TrafficRecord | None = Records(str(self.host.state / "traffic")).read("Group")
        return found

    def _is_shown(self, deployment: str) -> None:
        command = [AGENT, "traffic", "status", "--json", "--config-file", str(self.host.config)]
        shown = subprocess.run(command, capture_output=True, text=True, env={"AWS_EC2_METADATA_DISABLED": "true"})
        assert shown.returncode == 3, shown
        (row,) = json.loads(shown.stdout)["groups"]
        assert deployment in row["outage"]["why"]
        assert row["outage"]["since"] > 0
        assert len(row["outage"]["places"]) == len(row["places"]) > 0

    def _kill(self, victim: str) -> None:
        (worker,) = self.host.workers()
        if victim == "everything":
            self.host.kill_everything()
            self.host.start()
        else:
            worker.kill()
            psutil.wait_procs([worker])

    def _add(self, name: str, deployment: str) -> str:
        return self.service.add(name, specification(self._source, deployment=deployment))

    def _done(self, name: str, deployment: str) -> None:
        ended = self.service.completion(self._add(name, deployment))
        assert ended["status"] == "Succeeded", (ended, self.host.log_text())


class _Well(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def _serving() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Well) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def _haproxy(directory: Path) -> Iterator[Place]:
    with _serving() as port, Haproxy(directory, [("host-1", port, 30), ("host-2", port, 100)]) as haproxy:
        haproxy.until("host-1", "UP")
        haproxy.until("host-2", "UP")
        with relayed(haproxy, "host-1") as place:
            yield place


@contextmanager
def _target_groups(directory: Path) -> Iterator[Place]:
    with running_balancers() as balancers:
        yield target_groups(balancers)


@contextmanager
def _classic(directory: Path) -> Iterator[Place]:
    with running_balancers() as balancers:
        yield classic(balancers)


@contextmanager
def _programs(directory: Path) -> Iterator[Place]:
    with Programs(directory).served() as place:
        yield place


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Walk]]:
    """Gives a walk over the calls of a place."""
    with ExitStack() as stack:

        def begin(make: Callable[[Path], Any]) -> Walk:
            place = stack.enter_context(make(tmp_path))
            service = stack.enter_context(command_service())
            control = {"groups": ["Group"], "providers": [place.provider]}
            host = AgentHost(tmp_path / "host", service.url, traffic_control=json.dumps(control))
            stack.enter_context(host)
            source = revision(tmp_path / "revision", {}, to=tmp_path / "out")
            host.start()
            return Walk(place, service, host, source)

        yield begin


KINDS = [
    pytest.param(_target_groups, 3, id="elbv2"),
    pytest.param(_classic, 3, id="elb", marks=pytest.mark.long),
    pytest.param(_haproxy, 3, id="haproxy", marks=[pytest.mark.long, pytest.mark.needs_tool("haproxy")]),
    pytest.param(_programs, 3, id="command", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("make", "visits"), KINDS)
def test_a_kill_at_any_call_leaves_no_host_forgotten(make, visits, start, sample, record_property) -> None:
    walk = start(make)
    points = walk.points()
    chosen = sample(points, visits)
    reached = [walk.visit(point) for point in chosen]
    assert sum(reached) >= len(chosen) // 2, "most points were not there"
    walk.ends_in_service()
    record_property("walk", f"kills at calls of a balancer: {sum(reached)} of {len(points)} points")
