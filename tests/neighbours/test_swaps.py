"""An account exchanges names in its directories while root works there: at every step of an Install.

In each round root does one Install, and the account acts at one of its steps. Then come a recovery and the next
deployment, since what an Install leaves behind can be turned against them too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

import neighbour_attacks as attacks
from neighbour_accounts import ACCOUNT, Program, by
from neighbour_host import ONE, TWO, Host
from neighbour_rounds import Rounds, late, obstacle_at_the_end

Choose = Callable[[Sequence[int]], list[int]]

pytestmark = pytest.mark.needs("root", "users")

# What the account puts in the place of a name: by the host, and by the name of root's directory beside it.
BAITS = {
    "a link": lambda host, beside: attacks.link_to(host.roots),
    "a directory of root's": lambda host, beside: attacks.what_is_at(beside),
    "a directory of links": lambda host, beside: attacks.links_into(host.roots),
    "nothing": lambda host, beside: attacks.nothing,
}
WITH_EACH_BAIT = pytest.mark.parametrize(
    "bait", [pytest.param(bait, marks=[pytest.mark.soak_only] if bait == "nothing" else []) for bait in BAITS]
)
# "app" itself, and a directory in it: both are of the revision, and belong to the account once it is deployed.
WITH_EACH_NAME = pytest.mark.parametrize("name", ["app", pytest.param("app/lib", marks=pytest.mark.soak_only)])


def put_in_place_of(host: Host, name: str, bait: str) -> Program:
    """Return the program by which the account puts a bait in the place of a name in its directory."""
    path = f"{host.home}/{name}"
    return by(ACCOUNT, lambda: attacks.swap(path, BAITS[bait](host, f"{os.path.dirname(path)}/vault")))


def put_in_place_of_temporaries(host: Host, bait: str) -> Program:
    """Return the program by which the account does so with all that the agent has made and not yet renamed."""
    return by(ACCOUNT, lambda: attacks.swap_temporaries(host.home, BAITS[bait](host, host.vault)))


def first(host: Host) -> Callable[[], Program]:
    """Return what prepares the first deployment."""

    def prepare() -> Program:
        host.set_up()
        return host.deployment(ONE)

    return prepare


def second(host: Host, *, given: bool = True, to_late: bool = False) -> Callable[[], Program]:
    """Return what prepares the second deployment; ``to_late`` also to a destination that comes last."""
    to = [*host.mappings, ("last", late(host))] if to_late else None

    def prepare() -> Program:
        host.set_up_deployed(given=given)
        return host.deployment(TWO, given=given, to=to)

    return prepare


@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_given_to_it_by_swapping_the_staging_directory(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, first(host), put_in_place_of_temporaries(host, bait))
    rounds.run(choose(rounds.steps_with_temporaries()))


@WITH_EACH_BAIT
def test_an_account_cannot_lead_the_first_deployment_into_roots_directory_while_it_runs(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, first(host), put_in_place_of(host, "app", bait))
    rounds.run(choose(rounds.steps()))


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_given_to_it_or_removed_by_swapping_an_installed_directory(
    name: str, bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host), put_in_place_of(host, name, bait))
    rounds.run(choose(rounds.steps()))


@WITH_EACH_BAIT
def test_an_account_cannot_swap_an_installed_directory_that_is_not_its_own_but_lies_in_its_directory(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host, given=False), put_in_place_of(host, "app", bait))
    rounds.run(choose(rounds.steps()))


@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_removed_by_swapping_what_is_kept_aside(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host), put_in_place_of_temporaries(host, bait))
    rounds.run(choose(rounds.steps_with_temporaries()))


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_have_trees_of_others_removed_while_a_failed_install_is_undone(
    name: str, bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host, to_late=True), put_in_place_of(host, name, bait))
    obstacle, undoing = failing(host)
    rounds.run(choose(undoing), at=obstacle)


@WITH_EACH_BAIT
def test_an_account_cannot_have_trees_of_others_removed_as_temporary_ones_while_a_failed_install_is_undone(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host, to_late=True), put_in_place_of_temporaries(host, bait))
    obstacle, undoing = failing(host)
    rounds.run(choose(undoing), at=obstacle)


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_lead_the_recovery_after_a_kill_into_a_directory_of_others(
    name: str, bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host), put_in_place_of(host, name, bait))
    rounds.run_after_kills(choose(rounds.steps_with_temporaries()))


@WITH_EACH_BAIT
def test_an_account_cannot_have_the_recovery_after_a_kill_remove_trees_of_others_as_temporary_ones(
    bait: str, host: Host, choose: Choose
) -> None:
    rounds = Rounds(host, second(host), put_in_place_of_temporaries(host, bait))
    rounds.run_after_kills(choose(rounds.steps_with_temporaries()))


@pytest.mark.parametrize("bait", ["a link", "a directory of root's"])
def test_members_of_its_group_cannot_turn_a_directory_of_roots_that_they_may_write_to_against_it(
    bait: str, host: Host, choose: Choose
) -> None:
    """Which of root's directories lies there before an Install is theirs to say, since root lets them write there."""
    host.shared = True
    afterwards = bait == "a link"
    rounds = Rounds(host, first(host), put_in_place_of_temporaries(host, bait))
    rounds.run(choose(rounds.steps_with_temporaries()), afterwards=afterwards)
    rounds = Rounds(host, second(host, given=False), put_in_place_of(host, "app", bait))
    rounds.run(choose(rounds.steps_with_temporaries()), afterwards=afterwards)


def failing(host: Host) -> tuple[dict[int, Program], list[int]]:
    """Return what makes the second deployment fail when it has almost ended, and its steps from then on."""
    prepare = second(host, to_late=True)
    start, obstacle = obstacle_at_the_end(host, prepare)
    outcome = host.run(prepare(), at={start: obstacle})
    assert late(host) in outcome.error, f"it was to fail at its last name, and ended with {outcome.error!r}"
    return {start: obstacle}, list(range(start + 1, outcome.steps + 1))
