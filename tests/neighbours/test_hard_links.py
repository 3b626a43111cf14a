"""A file of root's has a second name in the directory of an account.

Where fs.protected_hardlinks is 0, the account gives it that name itself; here root does it beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

import neighbour_attacks as attacks
from agent.appspec.model import AclEntry, Permission
from install_box import Link, Tree, put
from neighbour_accounts import ACCOUNT, Program, by
from neighbour_host import ONE, TWO, Host
from neighbour_rounds import Rounds

Choose = Callable[[Sequence[int]], list[int]]

pytestmark = pytest.mark.needs("root", "users")

LEADS_OUT: Tree = {**ONE, "app/current": Link("../data")}


def give_second_name(host: Host, path: str) -> None:
    os.link(f"{host.roots}/secret", path)


def permissions(host: Host, kind: str) -> tuple[Permission, ...]:
    """Return an entry for the link in the revision, which leads to what the account has put there."""
    link = f"{host.app}/current"
    return {
        "owner": (Permission(link, owner=str(ACCOUNT), group=str(ACCOUNT)),),
        "mode": (Permission(link, mode=0o666),),
        "acl": (Permission(link, acls=(AclEntry("user", "daemon", 6), AclEntry("mask", "", 6))),),
    }[kind]


@pytest.mark.parametrize("kind", ["owner", "mode", "acl"])
def test_an_account_is_not_given_a_file_of_roots_that_has_a_second_name_where_an_installed_link_leads(
    kind: str, host: Host
) -> None:
    host.set_up()
    give_second_name(host, f"{host.home}/data")
    outcome = host.run(host.deployment(LEADS_OUT, given=False, permissions=permissions(host, kind)))
    assert outcome.problems == []
    assert host.losses() == []
    assert host.afterwards() == []


@pytest.mark.parametrize("kind", ["owner", "mode", "acl"])
def test_an_account_is_not_given_such_a_file_by_putting_it_there_while_root_deploys(
    kind: str, host: Host, choose: Choose
) -> None:
    def prepare() -> Program:
        host.set_up()
        give_second_name(host, f"{host.home}/.second")
        put(f"{host.home}/data", "the account's")
        os.chown(f"{host.home}/data", ACCOUNT, ACCOUNT)
        return host.deployment(LEADS_OUT, given=False, permissions=permissions(host, kind))

    put_there = by(ACCOUNT, lambda: attacks.swap(f"{host.home}/data", attacks.what_is_at(f"{host.home}/.second")))
    rounds = Rounds(host, prepare, put_there)
    rounds.run(choose(rounds.steps()))


def test_an_account_is_not_given_a_file_of_roots_in_place_of_an_installed_one(host: Host, choose: Choose) -> None:
    def prepare() -> Program:
        host.set_up_deployed()
        give_second_name(host, f"{host.app}/.second")
        return host.deployment(TWO)

    put_there = by(ACCOUNT, lambda: attacks.swap(f"{host.app}/top.txt", attacks.what_is_at(f"{host.app}/.second")))
    rounds = Rounds(host, prepare, put_there)
    rounds.run(choose(rounds.steps()))


@pytest.mark.parametrize("behavior", ["OVERWRITE", "RETAIN"])
def test_a_file_of_roots_that_is_in_the_way_of_the_first_deployment_stays_as_it_is(behavior: str, host: Host) -> None:
    host.set_up()
    os.mkdir(host.app)
    os.chown(host.app, ACCOUNT, ACCOUNT)
    give_second_name(host, f"{host.app}/top.txt")
    outcome = host.run(host.deployment(ONE, behavior=behavior))
    assert outcome.problems == []
    assert host.losses() == []
    assert host.afterwards() == []
