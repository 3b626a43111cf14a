"""Nobody else's link or directory leads the agent to what is not theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.filesystem.way import UnsafeTransition, check_own, check_way

pytestmark = pytest.mark.needs("root")

APP, OTHER = 12345, 12346


def directory(path: Path, owner: int) -> Path:
    path.mkdir()
    os.chown(path, owner, owner)
    return path


def link(path: Path, target: object, owner: int) -> Path:
    path.symlink_to(str(target))
    os.chown(path, owner, owner, follow_symlinks=False)
    return path


def test_a_way_that_is_roots_then_one_accounts_is_safe(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    directory(home / "app", APP)

    assert check_way(f"{home}/app/not/yet", owner=0) is None


def test_an_accounts_directory_does_not_lead_to_roots(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    directory(home / "app", 0)

    found = check_way(f"{home}/app", owner=0)

    assert found == UnsafeTransition(str(home), APP, f"{home}/app", 0)
    assert str(home) in found.message
    assert "user id 12345" in found.message
    assert "unsafe_links: follow" in found.remedy


def test_an_accounts_directory_does_not_lead_to_another_accounts(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    directory(home / "app", OTHER)

    assert check_way(f"{home}/app/deeper", owner=0) == UnsafeTransition(str(home), APP, f"{home}/app", OTHER)


@pytest.mark.parametrize("target", ["{tmp_path}/roots", "../roots", "../roots/missing", "../roots/inner/.."])
def test_an_accounts_link_does_not_lead_to_roots_directory(tmp_path: Path, target: str) -> None:
    home = directory(tmp_path / "home", APP)
    directory(directory(tmp_path / "roots", 0) / "inner", 0)
    link(home / "app", target.format(tmp_path=tmp_path), APP)

    found = check_way(f"{home}/app/file", owner=0)

    assert found is not None
    assert (found.owner, found.target_owner) == (APP, 0)


def test_an_accounts_link_in_roots_directory_does_not_lead_to_roots(tmp_path: Path) -> None:
    shared = directory(tmp_path / "shared", 0)
    shared.chmod(0o1777)
    directory(tmp_path / "roots", 0)
    link(shared / "app", "../roots", APP)

    assert check_way(f"{shared}/app", owner=0) == UnsafeTransition(f"{shared}/app", APP, f"{tmp_path}/roots", 0)


def test_an_accounts_link_through_roots_link_does_not_lead_to_roots(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    directory(tmp_path / "roots", 0)
    link(tmp_path / "by-root", tmp_path / "roots", 0)
    link(home / "app", tmp_path / "by-root", APP)

    assert check_way(f"{home}/app", owner=0) == UnsafeTransition(f"{home}/app", APP, f"{tmp_path}/roots", 0)


def test_an_account_may_link_to_its_own_directory_by_any_path(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    directory(home / "releases", APP)
    link(home / "relative", "releases", APP)
    link(home / "absolute", home / "releases", APP)

    assert check_way(f"{home}/relative/x", owner=0) is None
    assert check_way(f"{home}/absolute/x", owner=0) is None


@pytest.mark.parametrize("target", ["{tmp_path}/roots", "../roots"])
def test_a_link_that_root_made_is_followed_wherever_it_is(tmp_path: Path, target: str) -> None:
    home = directory(tmp_path / "home", APP)
    directory(tmp_path / "roots", 0)
    link(home / "app", target.format(tmp_path=tmp_path), 0)

    assert check_way(f"{home}/app", owner=0) is None


def test_an_ordinary_users_agent_trusts_what_is_its_own(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    link(home / "etc", "/etc", APP)

    assert check_way(f"{home}/etc", owner=APP) is None
    assert check_own(f"{home}/state", owner=APP) is None


def test_links_in_a_circle_are_an_error_and_no_endless_walk(tmp_path: Path) -> None:
    link(tmp_path / "one", "two", 0)
    link(tmp_path / "two", "one", 0)

    with pytest.raises(OSError, match="symbolic links"):
        check_way(f"{tmp_path}/one", owner=0)


@pytest.mark.parametrize("below", ["", "/state", "/state/deep"])
def test_the_agent_keeps_no_files_of_its_own_below_somebody_elses_directory(tmp_path: Path, below: str) -> None:
    home = directory(tmp_path / "home", APP)

    found = check_own(f"{home}{below}", owner=0)

    assert found == UnsafeTransition(str(home), APP, f"{home}{below}", 0)


@pytest.mark.parametrize("target", ["{top}/roots", "missing"])
def test_an_account_could_exchange_roots_link_in_its_directory(tmp_path: Path, target: str) -> None:
    home = directory(tmp_path / "home", APP)
    directory(tmp_path / "roots", 0)
    link(home / "agent", target.format(top=tmp_path), 0)

    for itself in (True, False):
        found = check_own(f"{home}/agent", owner=0, itself=itself)
        assert found == UnsafeTransition(str(home), APP, f"{home}/agent", 0)


def test_only_the_directory_itself_may_be_given_away(tmp_path: Path) -> None:
    given = directory(tmp_path / "given", APP)
    directory(given / "inner", APP)
    link(tmp_path / "link", given, 0)

    assert check_own(str(given), owner=0, itself=False) is None
    assert check_own(f"{tmp_path}/link", owner=0, itself=False) is None
    assert check_own(f"{given}/inner", owner=0, itself=False) is not None
    assert check_own(f"{given}/missing", owner=0, itself=False) is not None


def test_a_walk_leaves_no_descriptor_open(tmp_path: Path, open_descriptors: Callable[[], int]) -> None:
    home = directory(tmp_path / "home", APP)
    link(home / "app", "/etc", APP)
    before = open_descriptors()

    check_way(f"{home}/app/file", owner=0)

    assert open_descriptors() == before


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))
