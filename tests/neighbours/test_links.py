"""An account puts a link, or a directory of somebody else's, where root will deploy: no race is needed.

Such a deployment is refused before anything is changed, and the message says how to go on.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

import pytest

import neighbour_attacks as attacks
from host_tree import snapshot
from install_box import Link, put
from neighbour_accounts import ACCOUNT, OTHER_ACCOUNT, run_as
from neighbour_host import ONE, THREE, TWO, Host, Outcome, make_roots_tree
from revisions import write_revision

pytestmark = pytest.mark.needs("root", "users")


def assert_refused(outcome: Outcome, link: str, *, owner: int, leads_to: str) -> None:
    """The message names the link, its owner, where it leads, and both ways out."""
    assert outcome.error.startswith("UnsafePathError"), outcome.error or "it was installed"
    assert link in outcome.error
    assert str(owner) in outcome.error
    assert leads_to in outcome.error
    assert "root" in outcome.error.replace(leads_to, "")  # make it root's ...
    assert "unsafe_links" in outcome.error  # ... or the setting


def plant(host: Host, path: str, bait: attacks.Bait, *, account: int = ACCOUNT) -> None:
    assert run_as(account, lambda: attacks.swap(path, bait)) == 1


def make_directory(path: str, account: int, mode: int = 0o755) -> None:
    os.mkdir(path)
    os.chown(path, account, account)
    os.chmod(path, mode)


@pytest.mark.parametrize("behavior", ["DISALLOW", "OVERWRITE", "RETAIN"])
@pytest.mark.parametrize("where", ["the destination", "a directory in it", "a directory above it"])
def test_an_account_cannot_have_roots_files_replaced_by_a_link_before_the_first_deployment(
    where: str, behavior: str, host: Host
) -> None:
    host.set_up()
    if where == "a directory in it":
        make_directory(host.app, ACCOUNT)
    link, target = {
        "the destination": (host.app, host.roots),
        "a directory in it": (f"{host.app}/lib", f"{host.roots}/lib"),
        "a directory above it": (f"{host.home}/apps", os.path.dirname(host.roots)),
    }[where]
    plant(host, link, attacks.link_to(target))
    before = snapshot(host.home)
    to = [("app", f"{host.home}/apps/app")] if where == "a directory above it" else [("app", host.app)]
    outcome = host.run(host.deployment(ONE, to=to, behavior=behavior))
    assert host.losses() == []
    assert_refused(outcome, link, owner=ACCOUNT, leads_to=target)
    assert snapshot(host.home) == before


def test_an_account_cannot_have_roots_files_replaced_by_a_link_in_the_middle_of_a_chain(host: Host) -> None:
    host.set_up()
    plant(host, f"{host.home}/second", attacks.link_to("../roots"))
    plant(host, host.app, attacks.link_to("second/app"))
    outcome = host.run(host.deployment(ONE))
    assert host.losses() == []
    assert_refused(outcome, f"{host.home}/second", owner=ACCOUNT, leads_to=f"{host.top}/roots")


def test_a_link_that_root_has_made_in_an_accounts_directory_is_followed(host: Host) -> None:
    host.set_up()
    os.symlink(host.roots, host.app)
    outcome = host.run(host.deployment(ONE, behavior="OVERWRITE"))
    assert not outcome.error
    assert snapshot(host.roots)["top.txt"].endswith('"one"')


def test_an_account_cannot_have_a_directory_of_others_deployed_into(host: Host) -> None:
    host.set_up()
    plant(host, host.app, attacks.link_to(f"{host.top}/others"))
    outcome = host.run(host.deployment(ONE))
    assert host.losses() == []
    assert_refused(outcome, host.app, owner=ACCOUNT, leads_to=f"{host.top}/others")


@pytest.mark.parametrize("name", ["app", "app/lib"])
def test_an_account_cannot_have_a_directory_of_roots_deployed_into_by_renaming_it(name: str, host: Host) -> None:
    host.set_up()
    beside = host.vault
    if name != "app":
        make_directory(host.app, ACCOUNT)
        beside = f"{host.app}/vault"
        make_roots_tree(beside, ["a", "b"])
        host.watch(beside)
    plant(host, f"{host.home}/{name}", attacks.what_is_at(beside))
    outcome = host.run(host.deployment(ONE))
    assert host.losses() == []
    assert outcome.error.startswith("UnsafePathError"), outcome.error
    assert f"{host.home}/{name}" in outcome.error


def test_another_account_cannot_lead_root_away_by_a_link_in_a_directory_that_all_may_write_to(host: Host) -> None:
    host.set_up()
    make_directory(f"{host.top}/shared", 0, 0o1777)
    plant(host, f"{host.top}/shared/app", attacks.link_to(host.roots), account=OTHER_ACCOUNT)
    outcome = host.run(host.deployment(ONE, to=[("app", f"{host.top}/shared/app")]))
    assert host.losses() == []
    assert_refused(outcome, f"{host.top}/shared/app", owner=OTHER_ACCOUNT, leads_to=host.roots)


def test_another_account_cannot_lead_root_from_a_shared_directory_into_that_of_the_account(host: Host) -> None:
    host.set_up()
    make_directory(f"{host.top}/shared", 0, 0o1777)
    host.watch(host.home)
    plant(host, f"{host.top}/shared/app", attacks.link_to(host.home), account=OTHER_ACCOUNT)
    outcome = host.run(host.deployment(ONE, to=[("app", f"{host.top}/shared/app")]))
    assert host.losses() == []
    assert_refused(outcome, f"{host.top}/shared/app", owner=OTHER_ACCOUNT, leads_to=host.home)


@pytest.mark.parametrize("bait", ["a link", "a directory of root's", "a directory of links"])
def test_an_account_cannot_have_the_clean_up_remove_files_of_others(bait: str, host: Host) -> None:
    host.set_up_deployed()
    path, baits = f"{host.app}/old", {"a link": attacks.link_to(f"{host.roots}/old")}
    if bait != "a link":
        path = host.app
        baits["a directory of root's"] = attacks.what_is_at(host.vault)
        baits["a directory of links"] = attacks.links_into(host.roots)
    plant(host, path, baits[bait])
    outcome = host.run(host.deployment(TWO))
    assert outcome.problems == []
    assert host.losses() == []
    assert host.afterwards() == []


def test_an_account_cannot_have_the_clean_up_remove_files_of_others_when_nothing_new_is_installed(host: Host) -> None:
    host.set_up_deployed()
    plant(host, f"{host.app}/lib", attacks.link_to(f"{host.roots}/lib"))
    host.run(host.deployment({"app/else": "two", "last": "two"}, to=[("last", f"{host.top}/elsewhere")]))
    assert host.losses() == []


def test_permissions_do_not_reach_what_an_account_has_put_where_an_installed_link_leads(host: Host) -> None:
    host.set_up()
    plant(host, f"{host.home}/data", attacks.link_to(f"{host.roots}/top.txt"))
    revision = {**ONE, "app/current": Link("../data")}
    host.run(host.deployment(revision))
    assert host.losses() == []


def test_a_link_that_root_has_made_is_followed(host: Host) -> None:
    host.set_up()
    os.mkdir(f"{host.top}/big-disk")
    os.symlink(f"{host.top}/big-disk", f"{host.top}/srv")
    outcome = host.run(host.deployment(ONE, to=[("app", f"{host.top}/srv/app")], given=False))
    assert outcome.error == ""
    assert snapshot(f"{host.top}/big-disk/app")["top.txt"].endswith('"one"')


def test_a_link_of_the_account_is_followed_to_what_is_its_own(host: Host) -> None:
    host.set_up()
    make_directory(f"{host.home}/release-1", ACCOUNT)
    plant(host, host.app, attacks.link_to("release-1"))
    outcome = host.run(host.deployment(ONE))
    assert outcome.error == ""
    assert snapshot(f"{host.home}/release-1")["top.txt"].endswith('"one"')
    assert host.run(host.deployment(THREE)).error == ""
    assert host.losses() == []


@pytest.fixture
def local(host: Host, program: Callable[[str], str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run codedeploy-local with settings on a revision with one file, where the account has put a link."""

    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        config, bundle = f"{host.top}/agent.yml", f"{host.top}/bundle"
        put(config, json.dumps({"root_dir": host.box.root, "log_dir": f"{host.top}/log", **settings}))
        write_revision(bundle, {"conf/top.txt": "one"}, appspec=f"files: [{{source: conf, destination: {host.app}}}]\n")
        command = [program("codedeploy-local"), "-c", config, "-l", bundle, "-t", "directory", "-b", "OVERWRITE"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    host.set_up()
    plant(host, host.app, attacks.link_to(host.roots))
    return run


def test_the_local_command_says_what_it_refused_and_why(
    local: Callable[..., subprocess.CompletedProcess[str]], host: Host
) -> None:
    result = local()
    assert host.losses() == []
    assert result.returncode != 0
    for part in (host.app, str(ACCOUNT), host.roots, "chown -h root", "unsafe_links"):
        assert part in result.stdout + result.stderr


def test_a_setting_has_links_followed_as_the_official_agent_does_it(
    local: Callable[..., subprocess.CompletedProcess[str]], host: Host
) -> None:
    assert local(unsafe_links="follow").returncode == 0
    assert snapshot(host.roots)["top.txt"].endswith('"one"')


def test_a_directory_that_the_group_has_made_stays_its_own_whatever_root_puts_into_it(host: Host) -> None:
    host.set_up()
    for revision in (ONE, TWO, THREE):
        outcome = host.run(host.deployment(revision, given=False))
        assert outcome.error == ""
        put(f"{host.app}/log-of-{len(os.listdir(host.app))}", "root's")


def test_a_directory_that_takes_the_place_of_one_that_the_group_has_made_is_refused(host: Host) -> None:
    host.set_up()
    assert host.run(host.deployment(ONE, given=False)).error == ""

    def exchange() -> None:
        os.rename(host.app, f"{host.home}/moved")
        os.rename(host.vault, host.app)

    assert run_as(ACCOUNT, exchange) is None
    outcome = host.run(host.deployment(TWO, given=False))
    assert outcome.error.startswith("UnsafePathError")
    assert host.losses() == []
