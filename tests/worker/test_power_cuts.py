"""The power fails between two events or within one: each command has one true end, and no success has other bytes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from command_service import command_service
from install_box import with_own_mounts
from install_trace import KILL, Call, fault_at
from power_host import EVENTS, MOUNTED, PowerHost

Sample = Callable[[Sequence[Call], int], list[Call]]

pytestmark = pytest.mark.needs("root", "images", "tracing")

KINDS = ["ext4", pytest.param("xfs", marks=pytest.mark.needs_tool("mkfs.xfs"))]
DISTURBED = ("DownloadBundle", "BeforeInstall", "Install")
MANY = pytest.param(3000, marks=pytest.mark.soak_only)
SMALLEST = 6
_MEMORY = "/dev/shm"


@pytest.fixture
def top() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="codedeploy-power-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    yield directory
    shutil.rmtree(directory)


class Trial:
    """Deployments of many files onto a host whose power fails; ``problems`` is everything that is wrong."""

    def __init__(self, host: PowerHost, files: int) -> None:
        self.host = host
        self.problems: list[str] = []
        self._files = files
        self._made: dict[str, dict[str, str]] = {}

    def made(self, deployment: str) -> dict[str, Any]:
        """Make a deployment; each has other bytes in the same files."""
        files = {f"f{number}": f"{deployment} {number} " * 30 for number in range(self._files)}
        self._made[deployment] = {**files, MOUNTED: deployment}
        return self.host.specification(deployment, files)

    def run(self, event: str, deployment: dict[str, Any]) -> None:
        """Do a command that nothing disturbs: it succeeds."""
        status = self.host.run(event, deployment)
        if status != "Succeeded":
            self.problems.append(f"{event} of {deployment['DeploymentId']} ended as {status!r}")
        self.look(event, deployment)

    def look(self, event: str, deployment: dict[str, Any]) -> None:
        """See what must be there after an event has succeeded."""
        desired = self._made[deployment["DeploymentId"]]
        position = EVENTS.index(event)
        if position >= EVENTS.index("DownloadBundle"):
            archive = self.host.archive(deployment["DeploymentId"])
            self._compare(f"the revision after {event}", desired, _texts(f"{archive}/app"))
        if position >= EVENTS.index("Install"):
            self._compare(f"what is installed after {event}", desired, _texts(self.host.destination))

    def look_for_either(self, old: str, new: str) -> None:
        """See that the host is wholly as before an Install or wholly as after it."""
        found = _texts(self.host.destination)
        if found not in (self._made[old], self._made[new]):
            self._compare("the host, which is of neither revision,", self._made[new], found)

    def _compare(self, what: str, desired: dict[str, str], found: dict[str, str]) -> None:
        other = sorted(name for name in desired.keys() | found.keys() if desired.get(name) != found.get(name))
        if other:
            first = other[0]
            self.problems.append(f"{what}: {len(other)} of {len(desired)} differ, {first} is {found.get(first)!r:.60}")


def _texts(directory: str) -> dict[str, str]:
    found = {}
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), encoding="utf-8", errors="replace") as file:
            found[name] = file.read()
    return found


def after_each_report(trial: Trial, events: Sequence[str] = EVENTS) -> None:
    """Cut the power after each report of a deployment, made over another one."""
    first, second = trial.made("d-1"), trial.made("d-2")
    for event in DISTURBED:
        trial.run(event, first)
    for event in events:
        trial.run(event, second)
        trial.host.cut()
        trial.look(event, second)


def within(trial: Trial, event: str, choose: Callable[[Sequence[Call]], Sequence[Call]]) -> None:
    """Cut the power at chosen calls within a command; then the deployment goes on, or is made anew."""
    host, first, second = trial.host, trial.made("d-1"), trial.made("d-2")
    for one in EVENTS:
        trial.run(one, first)
    before, after = EVENTS[: EVENTS.index(event)], EVENTS[EVENTS.index(event) + 1 :]
    for one in before:
        trial.run(one, second)
    host.sync()
    host.save("before")
    calls = [call for call in host.watch(event, second) if call.changes and call.name not in ("sendto", "close")]
    third = trial.made("d-3")
    for call in choose(calls):
        host.restore("before")
        command = host.cut_within(event, second, fault_at(calls, call, KILL))
        status = host.status(command)
        trial.look_for_either("d-1", "d-2")
        if status == "Succeeded":
            trial.look(event, second)
            for one in after:
                trial.run(one, second)
        elif status != "Failed":
            trial.problems.append(f"{event} ended as {status!r}")
        for one in EVENTS:
            trial.run(one, third)
        if trial.problems:
            trial.problems.append(f"the cut was at {call}")
            return


def problems_of(top: str, kind: str, files: int, action: Callable[[Trial], None]) -> str:
    """Do something with a host in a process with mounts of its own; return what was wrong."""

    def play() -> str:
        with command_service() as service:
            trial = Trial(PowerHost(top, kind, service), files)
            action(trial)
        return json.dumps(trial.problems)

    return with_own_mounts(play)


def test_a_revision_and_what_was_installed_are_there_after_a_power_cut(top: str) -> None:
    desired = ("DownloadBundle", "Install")
    assert problems_of(top, "ext4", 100, lambda trial: after_each_report(trial, desired)) == "[]"


@pytest.mark.soak_only
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("files", [100, MANY])
def test_what_was_reported_is_there_after_a_power_cut(top: str, kind: str, files: int) -> None:
    assert problems_of(top, kind, files, after_each_report) == "[]"


@pytest.mark.soak_only
@pytest.mark.parametrize("event", DISTURBED)
@pytest.mark.parametrize("files", [100, MANY])
@pytest.mark.parametrize("kind", KINDS)
def test_a_command_that_a_power_cut_ends_has_one_true_end(
    top: str, kind: str, files: int, event: str, sample: Sample
) -> None:
    def choose(calls: Sequence[Call]) -> list[Call]:
        # Each cut copies two disks and makes two deployments: of thousands of calls a part must do in a soak too.
        return sample([*calls[:: len(calls) // 24 + 1], calls[-1]], SMALLEST)

    assert problems_of(top, kind, files, lambda trial: within(trial, event, choose)) == "[]"
