"""An account that owns a directory of the unpacked revision, which keeps the owners of whoever packed it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import pytest

from guards import require
from install_box import put
from neighbour_accounts import ACCOUNT, Program, run_as
from neighbour_host import Host

SECRET = "for root's eyes only"


@pytest.fixture
def archive(host: Host) -> str:
    """An unpacked revision with a directory of the account's; beside it a directory of root's with a secret."""
    require("root")
    host.set_up()
    put(f"{host.top}/closed/f", SECRET, mode=0o600)
    archive = host.box.revision({"app/d/f": "one", "app/e/g": "one"})
    for path in ("app", "app/d", "app/d/f"):
        os.chown(f"{archive}/{path}", ACCOUNT, ACCOUNT)
    return archive


def deployment(host: Host, archive: str) -> Program:
    return host.deployment(archive, to=[("app", host.app)])


def installed(host: Host) -> str:
    try:
        with open(f"{host.app}/d/f") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def test_an_account_cannot_have_roots_files_installed_by_a_link_in_the_revision(host: Host, archive: str) -> None:
    os.rename(f"{archive}/app/d", f"{archive}/away")
    assert run_as(ACCOUNT, lambda: os.symlink(f"{host.top}/closed", f"{archive}/app/d")) is None
    outcome = host.run(deployment(host, archive))
    assert outcome.error.startswith("UnsafePathError")
    for part in (f"{archive}/app/d", str(ACCOUNT), f"{host.top}/closed", "unsafe_links"):
        assert part in outcome.error
    assert installed(host) == ""


def test_an_account_cannot_have_roots_files_installed_by_a_link_that_it_makes_meanwhile(
    host: Host, archive: str, choose: Callable[[Sequence[int]], list[int]]
) -> None:
    undisturbed = host.run(deployment(host, archive))
    assert undisturbed.error == ""

    def swap() -> None:
        if not os.path.islink(f"{archive}/app/d"):
            os.rename(f"{archive}/app/d", f"{archive}/app/away")
            os.symlink(f"{host.top}/closed", f"{archive}/app/d")

    wins = []
    for step in choose(range(1, undisturbed.steps + 1)):
        host.box.count = 0
        host.set_up()
        put(f"{host.top}/closed/f", SECRET, mode=0o600)
        again = host.box.revision({"app/d/f": "one", "app/e/g": "one"})
        assert again == archive
        for path in ("app", "app/d", "app/d/f"):
            os.chown(f"{archive}/{path}", ACCOUNT, ACCOUNT)
        host.run(deployment(host, archive), at={step: lambda: run_as(ACCOUNT, swap)})
        if installed(host) == SECRET:
            wins.append(step)
    assert wins == []


def test_a_link_of_the_packers_to_another_directory_of_theirs_is_installed(host: Host, archive: str) -> None:
    os.symlink("d", f"{archive}/app/again")
    os.lchown(f"{archive}/app/again", ACCOUNT, ACCOUNT)
    assert host.run(deployment(host, archive)).error == ""
    with open(f"{host.app}/again/f") as file:
        assert file.read() == "one"


@pytest.mark.parametrize(
    ("source", "link"),
    [
        pytest.param("app/d/f", None, id="the account's link above a file that is named"),
        pytest.param("app/d/inner", None, id="the account's link above a directory that is named"),
        pytest.param("again", "app/d", id="root's link to the account's link"),
        pytest.param("app/e", "../d", id="root's link in a directory that is installed"),
    ],
)
def test_an_account_cannot_have_roots_files_installed_by_a_link_on_the_way_to_a_source(
    host: Host, archive: str, source: str, link: str | None
) -> None:
    put(f"{host.top}/closed/inner/f", SECRET, mode=0o600)
    if link is not None:
        os.symlink(link, f"{archive}/{'again' if source == 'again' else f'{source}/h'}")
    os.rename(f"{archive}/app/d", f"{archive}/away")
    assert run_as(ACCOUNT, lambda: os.symlink(f"{host.top}/closed", f"{archive}/app/d")) is None
    outcome = host.run(host.deployment(archive, to=[(source, f"{host.app}/d")]))
    assert outcome.error.startswith("UnsafePathError")
    assert f"{archive}/app/d" in outcome.error
    assert not os.path.exists(f"{host.app}/d/f")
    assert not os.path.exists(f"{host.app}/d/h")
