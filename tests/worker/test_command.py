"""A command while the service cannot be reached."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import logs
from agent.config.settings import Settings
from agent.identity.identity import HostIdentity
from agent.network.credentials import Credentials
from agent.retry import Clock
from agent.store.commands import SavedOutcome, new_record
from agent.worker.command import UNTIL_ACKNOWLEDGED, Command
from agent.worker.handoff import Handoff
from agent.worker.session import Session
from agent_host import revision, specification
from command_service import HOST, Fault, command_service, unavailable

OPERATIONS = ["GetDeploymentSpecification", "PutHostCommandAcknowledgement"]


class Scene:
    """A worker's command, a service over the wire, and a time that only passes while the worker waits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, operation: str, fault: Fault, *, seconds: float, host: str = HOST) -> SavedOutcome:
        """Carry out DownloadBundle while an operation fails for the first so many seconds."""
        with command_service() as service:
            service.faults[operation] = lambda body: fault(body) if self.now < seconds else None
            place = revision(self.directory / "rev", {}, to=self.directory / "out")
            service.add("DownloadBundle", specification(place))
            found = service.answer("PollHostCommand", {})[1]["HostCommand"] | {"HostIdentifier": host}
            session = self.session(service.url)
            names = ("HostCommandIdentifier", "HostIdentifier", "DeploymentExecutionId", "CommandName")
            keys = ("command_identifier", "host_identifier", "execution_id", "command_name")
            record = new_record({key: found[name] for key, name in zip(keys, names, strict=True)}, now=time.time())
            clock = Clock(self.sleep, lambda: self.now, lambda: 0.0)
            try:
                return Command(session.store.add(record), record, session, starts=1, clock=clock).run()
            finally:
                session.http.close()

    def session(self, url: str) -> Session:
        settings = Settings(
            root_dir=f"{self.directory}/root", log_dir=f"{self.directory}/log", deploy_control_endpoint=url
        )
        identity = HostIdentity(HOST, "eu-central-1")
        return Session(Handoff(settings, identity, credentials=Credentials("AKIAEXAMPLE", "secret", "", None)))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(logs, "_of_process", {})  # a command names itself in every line of its process
    return Scene(tmp_path)


def apart(call: Callable[[], Any]) -> Any:
    """Call something whose log lines' ids are not for the tests that follow."""
    return contextvars.copy_context().run(call)


def cut_off(_: dict[str, Any]) -> None:
    """A fault: the connection ends without an answer."""
    raise ConnectionError


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", [unavailable, cut_off])
@pytest.mark.parametrize("seconds", [10, 1800])
def test_an_outage_between_poll_and_acknowledgement_fails_nothing(
    scene: Scene, operation: str, fault: Fault, seconds: float
) -> None:
    outcome = apart(lambda: scene.run(operation, fault, seconds=seconds))
    assert outcome.status == "Succeeded"
    assert seconds <= scene.now < seconds + 10


def test_a_specification_is_asked_for_in_the_name_of_this_host(scene: Scene) -> None:
    asked: list[str] = []
    outcome = apart(
        lambda: scene.run(OPERATIONS[0], lambda body: asked.append(body["HostIdentifier"]), seconds=1, host=HOST[-4:])
    )
    assert (outcome.status, asked) == ("Succeeded", [HOST])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_event_fails_once_the_service_does_not_wait_for_it_any_longer(scene: Scene, operation: str) -> None:
    outcome = apart(lambda: scene.run(operation, unavailable, seconds=float("inf")))
    assert outcome.status == "Failed"
    assert "status 500" in outcome.payload
    assert UNTIL_ACKNOWLEDGED.limit - 10 <= scene.now <= UNTIL_ACKNOWLEDGED.limit
