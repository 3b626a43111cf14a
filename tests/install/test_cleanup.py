"""What removing the old revision's files comes to: the official agent's rules, and nothing that is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.install.cleanup import Cleanup, plan_cleanup
from agent.install.host import HostFiles
from install_box import Link, Tree, put, tree


@pytest.fixture
def top(tmp_path: Path) -> str:
    return str(tmp_path)


def make(top: str, content: Tree) -> None:
    for path, what in content.items():
        put(f"{top}/{path}", what)


def cleanup(top: str, *listed: str) -> Cleanup:
    """Plan for paths below ``top``; the answer is relative to it too."""
    found = plan_cleanup([f"{top}/{path}" for path in listed], HostFiles())
    found.files[:] = [path.removeprefix(f"{top}/") for path in found.files]
    found.directories[:] = [path.removeprefix(f"{top}/") for path in found.directories]
    return found


def test_files_and_their_directories_go_the_innermost_first(top: str) -> None:
    make(top, {"a/b/one": "1", "a/two": "2"})
    found = cleanup(top, "a", "a/two", "a/b", "a/b/one")
    assert found.files == ["a/b/one", "a/two"]
    assert found.directories == ["a/b", "a"]


def test_a_directory_that_holds_a_foreign_file_stays_and_so_do_those_above_it(top: str) -> None:
    make(top, {"a/b/ours": "1", "a/b/theirs": "2", "a/c/ours": "3"})
    found = cleanup(top, "a", "a/b", "a/b/ours", "a/c", "a/c/ours")
    assert found.files == ["a/c/ours", "a/b/ours"]
    assert found.directories == ["a/c"]


def test_a_link_goes_and_what_it_leads_to_stays(top: str) -> None:
    make(top, {"a/link": Link("../theirs"), "theirs/file": "x", "a/dangling": Link("nowhere")})
    found = cleanup(top, "a", "a/link", "a/dangling")
    assert sorted(found.files) == ["a/dangling", "a/link"]
    assert found.directories == ["a"]


def test_what_is_missing_is_passed_over(top: str) -> None:
    make(top, {"a/file": "x"})
    found = cleanup(top, "a", "a/file", "a/gone", "a/gone/deeper", "a/file/below")
    assert found.files == ["a/file"]
    assert found.directories == ["a"]


def test_a_file_that_is_a_directory_now_goes_when_it_is_empty(top: str) -> None:
    make(top, {"empty": None, "full/theirs": "x"})
    found = cleanup(top, "empty", "full")
    assert found.files == []
    assert found.directories == ["empty"]


def test_a_directory_that_is_a_file_now_goes(top: str) -> None:
    make(top, {"was-directory": "by hand"})
    assert cleanup(top, "was-directory", "was-directory/inner").files == ["was-directory"]


def test_special_files_go_too(top: str) -> None:
    os.mkfifo(f"{top}/pipe")
    assert cleanup(top, "pipe").files == ["pipe"]


def test_a_directory_replaced_by_a_link_is_followed_as_the_official_agent_follows_it(top: str) -> None:
    make(top, {"elsewhere/file": "x", "a": Link("elsewhere")})
    assert cleanup(top, "a", "a/file").files == ["elsewhere/file", "a"]


def test_one_file_under_two_names_is_removed_once(top: str) -> None:
    make(top, {"real/file": "x", "alias": Link("real")})
    assert cleanup(top, "real/file", "alias/file").files == ["real/file"]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("loop", id="a link to itself"),
        pytest.param("loop/below", id="below a link to itself"),
        pytest.param("x" * 300, id="a name that is too long"),
        pytest.param("x/" * 1500 + "x", id="a deep path"),
        pytest.param("/".join(["y" * 200] * 30), id="a path that is too long"),
    ],
)
def test_a_line_that_cannot_be_looked_up_does_not_block_the_group_for_ever(top: str, line: str) -> None:
    make(top, {"loop": Link("loop"), "file": "x"})
    found = cleanup(top, "file", line)
    assert "file" in found.files
    assert set(found.files) <= {"file", "loop"}


def test_a_link_to_itself_is_removed(top: str) -> None:
    make(top, {"loop": Link("loop")})
    assert cleanup(top, "loop").files == ["loop"]


def test_two_slashes_at_the_beginning_are_one(top: str) -> None:
    make(top, {"file": "x"})
    assert plan_cleanup([f"/{top}/file"], HostFiles()).files == [f"{top}/file"]


def test_dots_and_double_slashes_do_not_hide_a_file(top: str) -> None:
    make(top, {"a/file": "x"})
    assert cleanup(top, "a/.//file").files == ["a/file"]


@pytest.mark.parametrize("line", ["/", "//", "/."])
def test_the_root_directory_is_never_removed(line: str) -> None:
    assert plan_cleanup([line], HostFiles()) == Cleanup([], [], [])


def test_selinux_rules_are_told_from_paths() -> None:
    found = plan_cleanup(["semanage\0/srv/a", "semanage\0/srv/b"], HostFiles())
    assert found == Cleanup([], [], ["/srv/b", "/srv/a"])


def test_planning_touches_nothing(top: str) -> None:
    make(top, {"a/file": "x", "a/link": Link("file"), "a/b/c": None})
    before = tree(top)
    cleanup(top, "a", "a/file", "a/link", "a/b", "a/b/c")
    assert tree(top) == before


def test_a_directory_is_not_emptied_by_names_that_are_not_listed_below_it(top: str) -> None:
    make(top, {"a/file": "x", "ab/file": "y"})
    found = cleanup(top, "a", "ab", "ab/file")
    assert found.files == ["ab/file"]
    assert found.directories == ["ab"]
