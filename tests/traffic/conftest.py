"""Balancers over the wire, and a control of this host's traffic whose time passes without waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.network.credentials import Credentials
from agent.retry import Clock
from agent.traffic.control import TrafficControl
from agent.traffic.policy import Policy
from agent.traffic.provider import BalancerAccess
from agent.traffic.record import Records, TrafficRecord
from balancer_server import REGION, Balancers, running_balancers

ME = "10.0.0.1:80"
OTHER = "10.0.0.2:80"
GROUP = "Web"


class Time:
    """Seconds that pass only where somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class Bench:
    """One host at balancers: what it was told, what is recorded, and what the balancers say."""

    def __init__(self, balancers: Balancers, directory: Path) -> None:
        self.balancers = balancers
        self.directory = directory
        self.time = Time()
        balancers.clock = self.time.now
        balancers.drain, balancers.warm_up = 20.0, 40.0
        self.records = Records(str(directory))
        self.told: list[str] = []

    def elbv2(self, *names: str, **more: Any) -> dict[str, Any]:
        values = {"target_groups": list(names), "target_ids": ["10.0.0.1"], "region": REGION}
        return {"type": "elbv2", "endpoint": self.balancers.url, **values, **more}

    def elb(self, *names: str, instance: str) -> dict[str, Any]:
        values = {"load_balancers": list(names), "instance_id": instance, "region": REGION}
        return {"type": "elb", "endpoint": self.balancers.url, **values}

    def control(self, *providers: dict[str, Any], **policy: Any) -> TrafficControl:
        return TrafficControl(
            GROUP,
            Policy(list(providers), **policy),
            self.records,
            BalancerAccess(lambda: Credentials("AKIAEXAMPLE", "secret"), region=REGION),
            tell=self.told.append,
            clock=Clock(self.time.sleep, self.time.now, lambda: 0.5),
            wall=self.time.now,
        )

    @property
    def record(self) -> TrafficRecord:
        found = self.records.read(GROUP)
        assert found is not None
        return found


@pytest.fixture
def balancers() -> Iterator[Balancers]:
    with running_balancers() as running:
        yield running


@pytest.fixture
def bench(balancers: Balancers, tmp_path: Path) -> Bench:
    return Bench(balancers, tmp_path)
