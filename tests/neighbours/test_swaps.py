"""An account exchanges names in its directories while root works there: at every step of an Install.

Each round runs one Install, and the account acts at one of its steps. Then come a recovery and the next deployment, since
what an Install leaves behind can be turned against them too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

import pytest

import neighbour_attacks as attacks
from neighbour_accounts import ACCOUNT, Program, by
from neighbour_host import NEVER, ONE, TWO, Host

Sample = Callable[[Sequence[int], int], list[int]]

pytestmark = pytest.mark.needs("root", "users")

ROUNDS = 24  # at most, in test-hosts; a quarter of it in make test

# What the account puts in the place of a name: by the host, and by the name of root's directory beside it.
BAITS = {
    "a link": lambda host, beside: attacks.link_to(host.roots),
    "a directory of root's": lambda host, beside: attacks.directory(beside),
    "a directory of links": lambda host, beside: attacks.links_into(host.roots),
    "nothing": lambda host, beside: attacks.nothing,
}
WITH_EACH_BAIT = pytest.mark.parametrize(
    "bait", [pytest.param(bait, marks=[pytest.mark.long] if bait == "nothing" else []) for bait in BAITS]
)
# "app" itself, and a directory in it: both are of the revision, and belong to the account once it is deployed.
WITH_EACH_NAME = pytest.mark.parametrize("name", ["app", "app/lib"])


class Attack:
    """Rounds of one attack: ``prepare`` sets a host up and returns the Install, ``act`` is what the account does."""

    def __init__(self, host: Host, prepare: Callable[[], Program], act: Program) -> None:
        self._host = host
        self._prepare = prepare
        self._act = act
        self._problems: list[str] = []
        self._acts = self._rounds = self._lost = 0

    def steps(self, *, while_seen: bool = False) -> list[int]:
        """Run the Install undisturbed and return its steps, or those at which there are temporary names."""
        work = self._prepare()
        if not while_seen:
            return list(range(1, self._host.run(work).steps + 1))
        seen = self._host.run(work, each=lambda: len(attacks.temporaries(self._host.home))).results
        return [step for step, number in enumerate(seen, 1) if number]

    def round(self, step: int, *, at: Mapping[int, Program] = NEVER) -> None:
        """Set up, install, and act at a step; at others somebody else may act too."""
        outcome = self._host.run(self._prepare(), at={**at, step: self._act})
        self._acts += outcome.acts - len(at)
        self._note(step, [*outcome.problems, *self._host.losses()] or self._host.afterwards())

    def killed_round(self, step: int) -> None:
        """Set up, install, kill the agent at a step, let the account act, and recover."""
        outcome = self._host.run(self._prepare(), at={step: lambda: os.kill(os.getpid(), signal.SIGKILL)})
        assert outcome.killed
        acts = self._act()
        self._acts += acts if isinstance(acts, int) else 0
        self._note(step, self._host.afterwards())

    def _note(self, step: int, problems: Sequence[str]) -> None:
        self._rounds += 1
        self._lost += bool(problems)
        self._problems += [f"at step {step}: {problem}" for problem in problems]

    def judge(self) -> None:
        """Fail where anything was lost, or where the account was never able to act."""
        assert self._acts, "the account never did anything, so that nothing is shown"
        assert not self._problems, self._report()

    def _report(self) -> str:
        shown = self._problems[:15]
        rest = len(self._problems) - len(shown)
        first = f"{self._lost} of {self._rounds} rounds were lost"
        return "\n".join([first, *shown, *([f"and {rest} more"] if rest else [])])


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


def second(host: Host, *, given: bool = True, late: bool = False) -> Callable[[], Program]:
    """Return what prepares the second deployment; ``late`` is a name that it makes last."""
    mappings = [("app", host.app), ("last", f"{host.home}/last.d"), ("last", f"{host.home}/late.d")]

    def prepare() -> Program:
        host.set_up_deployed(given=given)
        return host.deployment(TWO, given=given, to=mappings if late else None)

    return prepare


@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_given_to_it_by_swapping_the_staging_directory(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, first(host), put_in_place_of_temporaries(host, bait))
    for step in sample(attack.steps(while_seen=True), ROUNDS):
        attack.round(step)
    attack.judge()


@WITH_EACH_BAIT
def test_an_account_cannot_lead_the_first_deployment_into_roots_directory_while_it_runs(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, first(host), put_in_place_of(host, "app", bait))
    for step in sample(attack.steps(), ROUNDS):
        attack.round(step)
    attack.judge()


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_given_to_it_or_removed_by_swapping_an_installed_directory(
    name: str, bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host), put_in_place_of(host, name, bait))
    for step in sample(attack.steps(), ROUNDS):
        attack.round(step)
    attack.judge()


@WITH_EACH_BAIT
def test_an_account_cannot_swap_an_installed_directory_that_is_not_its_own_but_lies_in_its_directory(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host, given=False), put_in_place_of(host, "app", bait))
    for step in sample(attack.steps(), ROUNDS):
        attack.round(step)
    attack.judge()


@WITH_EACH_BAIT
def test_an_account_cannot_have_roots_files_removed_by_swapping_what_is_kept_aside(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host), put_in_place_of_temporaries(host, bait))
    for step in sample(attack.steps(while_seen=True), ROUNDS):
        attack.round(step)
    attack.judge()


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_have_trees_of_others_removed_while_a_failed_install_is_undone(
    name: str, bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host, late=True), put_in_place_of(host, name, bait))
    obstacle, undoing = steps_of_undo(host, attack)
    for step in sample(undoing, ROUNDS):
        attack.round(step, at=obstacle)
    attack.judge()


@WITH_EACH_BAIT
def test_an_account_cannot_have_trees_of_others_removed_as_temporary_ones_while_a_failed_install_is_undone(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host, late=True), put_in_place_of_temporaries(host, bait))
    obstacle, undoing = steps_of_undo(host, attack)
    for step in sample(undoing, ROUNDS):
        attack.round(step, at=obstacle)
    attack.judge()


@WITH_EACH_NAME
@WITH_EACH_BAIT
def test_an_account_cannot_lead_the_recovery_after_a_kill_into_a_directory_of_others(
    name: str, bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host), put_in_place_of(host, name, bait))
    for step in sample(attack.steps(while_seen=True), ROUNDS):
        attack.killed_round(step)
    attack.judge()


@WITH_EACH_BAIT
def test_an_account_cannot_have_the_recovery_after_a_kill_remove_trees_of_others_as_temporary_ones(
    bait: str, host: Host, sample: Sample
) -> None:
    attack = Attack(host, second(host), put_in_place_of_temporaries(host, bait))
    for step in sample(attack.steps(while_seen=True), ROUNDS):
        attack.killed_round(step)
    attack.judge()


@pytest.mark.parametrize("bait", ["a link", "a directory of root's"])
def test_members_of_its_group_cannot_turn_a_directory_of_roots_that_they_may_write_to_against_it(
    bait: str, host: Host, sample: Sample
) -> None:
    host.shared = True
    attack = Attack(host, first(host), put_in_place_of_temporaries(host, bait))
    for step in sample(attack.steps(while_seen=True), ROUNDS):
        attack.round(step)
    attack.judge()
    attack = Attack(host, second(host, given=False), put_in_place_of(host, "app", bait))
    for step in sample(attack.steps(), ROUNDS):
        attack.round(step)
    attack.judge()


def steps_of_undo(host: Host, attack: Attack) -> tuple[Mapping[int, Program], list[int]]:
    """Return what makes the second deployment fail at its last name, and the steps from its first change on."""
    start = attack.steps(while_seen=True)[0]
    obstacle = {start: by(ACCOUNT, lambda: attacks.swap(f"{host.home}/late.d", os.mkdir))}
    outcome = host.run(second(host, late=True)(), at=obstacle, each=lambda: int(os.path.lexists(f"{host.app}/new")))
    assert "late.d" in outcome.error, f"it was to fail at its last name, and ended with {outcome.error!r}"
    first_change = outcome.results.index(1, start)
    return obstacle, list(range(first_change + 1, outcome.steps + 1))
