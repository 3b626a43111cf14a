"""An account exchanges names as fast as it can while root deploys many files: what no choice of steps foresees.

How often it gets to it depends on the machine; what is asked is that nothing is lost, however often.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import pytest

import neighbour_attacks as attacks
from install_box import Tree
from neighbour_accounts import ACCOUNT, Program, become, run_as
from neighbour_host import NAMES, NEVER, Host
from neighbour_rounds import late, obstacle_at_the_end

pytestmark = pytest.mark.needs("root", "users")

FILES = 120
MORE_NAMES = [f"lib/f{number}" for number in range(FILES)]
OLD: Tree = {**{f"app/{name}": "one" for name in [*NAMES, *MORE_NAMES] if name != "new/y"}, "last": "one"}
# Half of the files go, half are replaced.
NEW: Tree = {
    **{f"app/{name}": "two" for name in MORE_NAMES[::2]},
    "app/bin/tool": "two",
    "app/new/y": "two",
    "last": "two",
}

WITH_EACH_BAIT = pytest.mark.parametrize("bait", ["a link", "a directory of root's"])


@pytest.fixture
def big_host(host: Host) -> Host:
    host.names = [*NAMES, *MORE_NAMES]
    return host


def lay_bait(host: Host, bait: str) -> str:
    """Return the path of what the account exchanges with a name: a link of its own, or root's directory."""
    if bait != "a link":
        return host.vault
    path = f"{host.home}/bait"
    assert run_as(ACCOUNT, lambda: attacks.swap(path, attacks.link_to(host.roots))) == 1
    return path


def race(
    host: Host,
    prefix: str,
    bait: str,
    rounds: int,
    prepare: Callable[[], Program],
    *,
    at: Mapping[int, Program] = NEVER,
) -> None:
    """Let the account exchange what begins with a prefix while root deploys, so many times.

    At one step of each Install, another one in each round, root waits until the account has been quick enough once.
    """
    exchanges, problems = 0, []
    steps = steps_with(host, prefix, prepare, at)
    for number in range(rounds):
        work = prepare()
        racer = attacks.Racer(lambda: become(ACCOUNT), host.home, [prefix], lay_bait(host, bait))
        outcome = host.run(work, at={steps[number * len(steps) // rounds]: racer.wait, **at})
        exchanges += racer.stop()
        found = [*outcome.problems, *host.losses()] or host.afterwards()
        problems += [f"round {number}: {line}" for line in found[:3]]
    assert exchanges, "the account exchanged nothing, so that nothing is shown"
    assert not problems, "\n".join([f"{rounds} rounds, {exchanges} exchanges", *problems[:20]])


def steps_with(host: Host, prefix: str, prepare: Callable[[], Program], at: Mapping[int, Program]) -> list[int]:
    """Install once, and return the steps at which there is a name with the prefix, after all that happens at others."""
    seen = host.run(
        prepare(), at=at, each=lambda: any(name.startswith(prefix) for name in os.listdir(host.home))
    ).results
    return [step for step, found in enumerate(seen, 1) if found and step > max(at, default=0)]


def first(host: Host) -> Callable[[], Program]:
    def prepare() -> Program:
        host.set_up()
        return host.deployment(OLD)

    return prepare


def second(host: Host, *, given: bool = True) -> Callable[[], Program]:
    """Return what prepares the second deployment."""
    to = [*host.mappings, ("last", late(host))]

    def prepare() -> Program:
        host.set_up_deployed(OLD, given=given)
        return host.deployment(NEW, given=given, to=to)

    return prepare


@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_for_the_staging_directory(bait: str, big_host: Host, rounds: int) -> None:
    race(big_host, attacks.TEMPORARY_PREFIX, bait, rounds, first(big_host))


@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_for_an_installed_directory(bait: str, big_host: Host, rounds: int) -> None:
    race(big_host, "app", bait, rounds, second(big_host))


@pytest.mark.long
@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_for_a_directory_that_stays_roots(
    bait: str, big_host: Host, rounds: int
) -> None:
    race(big_host, "app", bait, rounds, second(big_host, given=False))


@pytest.mark.parametrize("prefix", [pytest.param("app", marks=pytest.mark.long), attacks.TEMPORARY_PREFIX])
@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_against_the_undoing_of_a_failed_install(
    bait: str, prefix: str, big_host: Host, rounds: int
) -> None:
    prepare = second(big_host)
    start, obstacle = obstacle_at_the_end(big_host, prepare)
    race(big_host, prefix, bait, rounds, prepare, at={start: obstacle})
