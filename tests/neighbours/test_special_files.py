"""A FIFO, a socket or a device is where root would read or write: it waits for nobody, and says what is in the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence

import pytest

import neighbour_attacks as attacks
from guards import require
from host_tree import snapshot
from neighbour_accounts import ACCOUNT, Program, by, run_as
from neighbour_host import ONE, TWO, Host
from neighbour_rounds import Rounds

Choose = Callable[[Sequence[int]], list[int]]

pytestmark = pytest.mark.needs("root", "users")


def device(path: str) -> None:
    """Make a device that the account owns, as in a directory that a container was given."""
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))  # /dev/full: who writes to it gets an error


BAITS = {"a FIFO": attacks.fifo, "a socket": attacks.listening_socket, "a device": device}
WITH_EACH_BAIT = pytest.mark.parametrize("bait", BAITS)


def put_there(path: str, bait: str) -> Program:
    """Return the program that puts it there: the account's, or root's for what an account cannot make."""
    if bait == "a device":
        require("devices")
        return lambda: attacks.swap(path, device)
    return by(ACCOUNT, lambda: attacks.swap(path, BAITS[bait]))


@WITH_EACH_BAIT
@pytest.mark.parametrize("behavior", ["DISALLOW", "OVERWRITE", "RETAIN"])
@pytest.mark.parametrize("name", ["app", "app/lib", "app/top.txt"])
def test_a_deployment_does_not_wait_for_what_an_account_has_put_in_its_way(
    name: str, behavior: str, bait: str, host: Host
) -> None:
    host.set_up()
    if name != "app":
        run_as(ACCOUNT, lambda: os.mkdir(host.app))
    assert put_there(f"{host.home}/{name}", bait)() == 1
    before = snapshot(host.home)
    outcome = host.run(host.deployment(ONE, behavior=behavior))
    assert outcome.problems == []
    assert host.losses() == []
    if outcome.error:
        assert f"{host.home}/{name}" in outcome.error
        assert snapshot(host.home) == before
    assert host.afterwards() == []


def second(host: Host) -> Callable[[], Program]:
    """Return what prepares the second deployment."""

    def prepare() -> Program:
        host.set_up_deployed()
        return host.deployment(TWO)

    return prepare


@WITH_EACH_BAIT
@pytest.mark.parametrize("name", [pytest.param("app", marks=pytest.mark.long), "app/lib", "app/top.txt"])
def test_a_deployment_does_not_wait_for_what_appears_while_it_runs(
    name: str, bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host), put_there(f"{host.home}/{name}", bait))
    rounds.run(choose(rounds.steps()))


@pytest.mark.parametrize("bait", ["a FIFO", "a socket"])
def test_a_deployment_does_not_wait_for_what_takes_a_temporary_name(bait: str, host: Host, choose: Choose) -> None:
    take = by(ACCOUNT, lambda: attacks.swap_temporaries(host.home, BAITS[bait]))
    rounds = Rounds(host, second(host), take)
    rounds.run(choose(rounds.steps_with_temporaries()))
