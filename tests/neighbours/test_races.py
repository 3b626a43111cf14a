"""An account exchanges names as fast as it can while root deploys many files: what no choice of steps foresees.

How often it gets to it depends on the machine, so nothing is lost is all that is asked; but each race goes on until the
account has exchanged a name at least once.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

import neighbour_attacks as attacks
from install_box import Tree
from neighbour_accounts import ACCOUNT, Program, become, run_as
from neighbour_host import NAMES, Host
from neighbour_rounds import late, obstacle_at_the_end

pytestmark = pytest.mark.needs("root", "users")

FILES = 200
MORE_NAMES = [f"lib/f{number}" for number in range(FILES)]
OLD: Tree = {**{f"app/{name}": "one" for name in [*NAMES, *MORE_NAMES]}, "last": "one"}
# Half of the files go, half are replaced.
NEW: Tree = {
    **{f"app/{name}": "two" for name in MORE_NAMES[::2]},
    "app/bin/tool": "two",
    "app/new/y": "two",
    "last": "two",
}
AT_MOST = 5  # times the rounds, until the account was quick enough once

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
    host: Host, prefix: str, bait: str, rounds: int, prepare: Callable[[], Program], **disturbance: object
) -> None:
    """Let the account exchange what begins with a prefix while root deploys, so many times."""
    exchanges, problems, tried = 0, [], 0
    while tried < rounds or (not exchanges and tried < rounds * AT_MOST):
        tried += 1
        work = prepare()
        racer = attacks.Racer(lambda: become(ACCOUNT), host.home, [prefix], lay_bait(host, bait))
        outcome = host.run(work, **disturbance)  # type: ignore[arg-type]
        exchanges += racer.stop()
        found = [*outcome.problems, *host.losses()] or host.afterwards()
        problems += [f"round {tried}: {line}" for line in found[:3]]
    assert exchanges, f"the account exchanged nothing in {tried} rounds, so that nothing is shown"
    assert not problems, "\n".join([f"{tried} rounds, {exchanges} exchanges", *problems[:20]])


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


@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_for_a_directory_that_stays_roots(
    bait: str, big_host: Host, rounds: int
) -> None:
    race(big_host, "app", bait, rounds, second(big_host, given=False))


@pytest.mark.parametrize("prefix", ["app", attacks.TEMPORARY_PREFIX])
@WITH_EACH_BAIT
def test_an_account_cannot_win_the_race_against_the_undoing_of_a_failed_install(
    bait: str, prefix: str, big_host: Host, rounds: int
) -> None:
    prepare = second(big_host)
    start, obstacle = obstacle_at_the_end(big_host, prepare)
    race(big_host, prefix, bait, rounds, prepare, at={start: obstacle})
