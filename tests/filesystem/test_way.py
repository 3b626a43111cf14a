"""The agent notices every part of a path to its own files that another account could exchange."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.filesystem.way import ForeignPart, first_foreign_part

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


def test_a_link_of_another_account_counts_also_in_a_directory_of_roots(tmp_path: Path) -> None:
    shared = directory(tmp_path / "shared", 0)
    shared.chmod(0o1777)
    directory(tmp_path / "roots", 0)
    link(shared / "agent", "../roots", APP)

    assert first_foreign_part(f"{shared}/agent/state", owner=0) == ForeignPart(f"{shared}/agent", APP)


def test_a_link_of_roots_to_a_directory_of_roots_is_no_way_in(tmp_path: Path) -> None:
    directory(tmp_path / "roots", 0)
    link(tmp_path / "agent", "roots", 0)

    assert first_foreign_part(f"{tmp_path}/agent/not/yet", owner=0) is None


def test_an_ordinary_users_agent_trusts_what_is_its_own(tmp_path: Path) -> None:
    home = directory(tmp_path / "home", APP)
    link(home / "etc", "/etc", APP)

    assert first_foreign_part(f"{home}/etc", owner=APP) is None
    assert first_foreign_part(f"{home}/state", owner=APP) is None


def test_links_in_a_circle_are_an_error_and_no_endless_walk(tmp_path: Path) -> None:
    link(tmp_path / "one", "two", 0)
    link(tmp_path / "two", "one", 0)

    with pytest.raises(OSError, match="symbolic links"):
        first_foreign_part(f"{tmp_path}/one", owner=0)


@pytest.mark.parametrize("below", ["", "/state", "/state/deep"])
def test_the_agent_keeps_no_files_of_its_own_below_the_directory_of_another_account(tmp_path: Path, below: str) -> None:
    home = directory(tmp_path / "home", APP)

    found = first_foreign_part(f"{home}{below}", owner=0)

    assert found == ForeignPart(str(home), APP)


@pytest.mark.parametrize("target", ["{top}/roots", "missing"])
def test_an_account_could_exchange_roots_link_in_its_directory(tmp_path: Path, target: str) -> None:
    home = directory(tmp_path / "home", APP)
    directory(tmp_path / "roots", 0)
    link(home / "agent", target.format(top=tmp_path), 0)

    for itself in (True, False):
        found = first_foreign_part(f"{home}/agent", owner=0, itself=itself)
        assert found == ForeignPart(str(home), APP)


def test_only_the_directory_itself_may_be_given_away(tmp_path: Path) -> None:
    given = directory(tmp_path / "given", APP)
    directory(given / "inner", APP)
    link(tmp_path / "link", given, 0)

    assert first_foreign_part(str(given), owner=0, itself=False) is None
    assert first_foreign_part(f"{tmp_path}/link", owner=0, itself=False) is None
    assert first_foreign_part(f"{given}/inner", owner=0, itself=False) is not None
    assert first_foreign_part(f"{given}/missing", owner=0, itself=False) is not None


def test_a_walk_leaves_no_descriptor_open(tmp_path: Path, open_descriptors: Callable[[], int]) -> None:
    home = directory(tmp_path / "home", APP)
    link(home / "app", "/etc", APP)
    before = open_descriptors()

    first_foreign_part(f"{home}/app/file", owner=0)

    assert open_descriptors() == before


@pytest.fixture
def open_descriptors() -> Callable[[], int]:
    return lambda: len(os.listdir("/proc/self/fd"))
