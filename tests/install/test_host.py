"""Looking at the host: the answers are the kernel's, also for what will be there after a clean-up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.install.host import DIRECTORY, FILE, LINK, OTHER, HostFiles, View
from install_box import Box, Link, as_ordinary_user, put


@pytest.fixture
def top(tmp_path: Path) -> str:
    # Where the directory of all tests is reached through a link, the real paths would differ.
    return os.path.realpath(tmp_path)


def test_every_kind_of_thing_is_told_apart(top: str) -> None:
    put(f"{top}/file", "x")
    put(f"{top}/directory")
    put(f"{top}/link", Link("directory"))
    put(f"{top}/dangling", Link("nowhere"))
    os.mkfifo(f"{top}/pipe")
    expected = {"file": FILE, "directory": DIRECTORY, "link": LINK, "dangling": LINK, "pipe": OTHER, "missing": None}
    one_by_one = {name: HostFiles().kind(f"{top}/{name}") for name in expected}
    assert one_by_one == expected


def test_many_questions_about_a_directory_get_the_answers_of_few(top: str) -> None:
    put(f"{top}/link", Link("nowhere"))
    os.mkfifo(f"{top}/pipe")
    for number in range(20):
        put(f"{top}/{number}", "x")
    host = HostFiles()
    assert {host.kind(f"{top}/{number}") for number in range(20)} == {FILE}
    assert [host.kind(f"{top}/{name}") for name in ("link", "pipe", "missing")] == [LINK, OTHER, None]


def test_below_a_file_or_a_missing_directory_there_is_nothing(top: str) -> None:
    put(f"{top}/file", "x")
    host = HostFiles()
    for number in range(20):
        assert host.kind(f"{top}/file/{number}") is None
        assert host.kind(f"{top}/missing/{number}") is None
    assert host.children(f"{top}/file") == {}
    assert host.children(f"{top}/missing") == {}


def test_the_root_directory_is_a_directory() -> None:
    assert HostFiles().kind("/") == DIRECTORY
    assert View(HostFiles()).resolve("/") == "/"
    assert View(HostFiles()).real("/") == "/"


def test_a_plan_sees_one_host_even_if_it_changes_meanwhile(top: str) -> None:
    host = HostFiles()
    assert host.kind(f"{top}/file") is None
    put(f"{top}/file", "x")
    assert host.kind(f"{top}/file") is None


def test_a_directory_that_may_be_passed_but_not_read_is_no_obstacle(open_box: Box) -> None:
    for number in range(20):
        put(f"{open_box.top}/closed/{number}", "x")
    os.chmod(f"{open_box.top}/closed", 0o711 if os.geteuid() == 0 else 0o300)

    def look() -> object:
        host = HostFiles()
        return [host.kind(f"{open_box.top}/closed/{number}") for number in range(20)] == [FILE] * 20

    try:
        assert as_ordinary_user(look) == "True"
    finally:
        os.chmod(f"{open_box.top}/closed", 0o700)


def test_one_question_asked_often_never_reads_a_whole_directory(open_box: Box) -> None:
    put(f"{open_box.top}/closed/home", "x")
    os.chmod(f"{open_box.top}/closed", 0o711 if os.geteuid() == 0 else 0o300)

    def look() -> object:
        host = HostFiles()
        return {host.kind(f"{open_box.top}/closed/home") for _ in range(20)}

    try:
        assert as_ordinary_user(look) == "{'file'}"
    finally:
        os.chmod(f"{open_box.top}/closed", 0o700)


def test_links_are_followed_in_directories_but_not_in_the_name_itself(top: str) -> None:
    put(f"{top}/real/file", "x")
    put(f"{top}/alias", Link("real"))
    put(f"{top}/real/link", Link("file"))
    view = View(HostFiles())
    assert view.real(f"{top}/alias/link") == f"{top}/real/link"
    assert view.resolve(f"{top}/alias/link") == f"{top}/real/file"


def test_parts_that_do_not_exist_are_taken_as_they_are(top: str) -> None:
    put(f"{top}/alias", Link("real"))
    assert View(HostFiles()).resolve(f"{top}/alias/new/er") == f"{top}/real/new/er"


def test_two_dots_after_a_link_lead_where_the_kernel_goes(top: str) -> None:
    put(f"{top}/real/sub")
    put(f"{top}/real/file", "x")
    put(f"{top}/x/link", Link("../real/sub"))
    put(f"{top}/y", Link("x/link/../file"))
    assert View(HostFiles()).resolve(f"{top}/y") == f"{top}/real/file"


def test_a_circle_of_links_is_an_error_and_not_a_hang(top: str) -> None:
    put(f"{top}/a", Link("b"))
    put(f"{top}/b", Link("a"))
    with pytest.raises(OSError, match="symbolic links") as caught:
        View(HostFiles()).resolve(f"{top}/a/x")
    assert f"{top}/a" in str(caught.value)


def test_a_circle_of_links_leads_to_nothing(top: str) -> None:
    put(f"{top}/a", Link("a"))
    assert View(HostFiles()).followed_kind(f"{top}/a") is None


def test_as_many_links_are_followed_as_the_kernel_follows(top: str) -> None:
    put(f"{top}/0", "x")
    for number in range(1, 42):
        put(f"{top}/{number}", Link(str(number - 1)))
    assert os.path.exists(f"{top}/40")
    assert not os.path.exists(f"{top}/41")
    view = View(HostFiles())
    assert view.followed_kind(f"{top}/40") == FILE
    assert view.followed_kind(f"{top}/41") is None


def test_a_very_deep_path_is_resolved(top: str) -> None:
    deep = f"{top}/{'x/' * 1500}y"
    assert View(HostFiles()).resolve(deep) == deep


def test_after_the_clean_up_what_was_removed_is_gone_with_all_below_it(top: str) -> None:
    put(f"{top}/real/sub/file", "x")
    put(f"{top}/link", Link("real"))
    view = View(HostFiles(), [f"{top}/link"])
    assert view.kind(f"{top}/link") is None
    # A look at the host as it is now would go through the link.
    assert view.kind(f"{top}/link/sub") is None
    assert view.kind(f"{top}/link/sub/file") is None
    assert view.kind(f"{top}/real/sub/file") == FILE
    assert view.resolve(f"{top}/link/sub") == f"{top}/link/sub"


def test_a_link_to_something_removed_is_dangling(top: str) -> None:
    put(f"{top}/file", "x")
    put(f"{top}/link", Link("file"))
    assert View(HostFiles()).followed_kind(f"{top}/link") == FILE
    assert View(HostFiles(), [f"{top}/file"]).followed_kind(f"{top}/link") is None


NAMES = ("a", "b", "c")
targets = st.lists(st.sampled_from([*NAMES, ".."]), min_size=1, max_size=3).map("/".join)
places = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)


@given(content=st.lists(st.tuples(places, st.none() | targets), max_size=8), asked=places)
def test_resolving_agrees_with_the_kernel(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str | None]], asked: str
) -> None:
    # So deep that no chain of these links climbs out of the test's own directory.
    top = put(os.path.realpath(tmp_path_factory.mktemp("links")) + "/d" * 30)
    for path, target in content:
        try:
            put(f"{top}/{path}", None if target is None else Link(target))
        except OSError:
            continue  # the name is taken, or a link on the way leads nowhere
    try:
        expected = os.path.realpath(f"{top}/{asked}", strict=True)
    except OSError:
        return
    assert View(HostFiles()).resolve(f"{top}/{asked}") == expected
