"""The clean-up list on disk: what it may make an agent remove, and what it must not lose."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.install.cleanup_list import CleanupFile, decode, digest, encode, other_lists
from install_box import NOBODY, official_instructions, put

ASCII_SPACES = " \t\n\v\f\r\0"


@pytest.fixture
def file(tmp_path: Path) -> CleanupFile:
    os.mkdir(tmp_path / "instructions")
    return CleanupFile(f"{tmp_path}/instructions/g-cleanup", f"{tmp_path}/extra/g.json")


def by_another_agent(file: CleanupFile, *lines: str, instructed: Iterable[str] | None = None) -> None:
    """Write a list and its instructions as another agent would; those name the lines, unless others are given."""
    put(file.path, "".join(f"{line}\n" for line in lines))
    put(file.instructions, official_instructions(lines if instructed is None else instructed))


def by_ruby(content: bytes) -> list[str]:
    """What 1.8.1 reads from a list: a last line without newline does not count, and lines are stripped."""
    return [line.strip(ASCII_SPACES) for line in os.fsdecode(content).split("\n")[:-1]]


def by_rust(content: bytes) -> list[str]:
    """What 2.x reads: spaces of Unicode are stripped too."""
    return [line.strip() for line in os.fsdecode(content).split("\n")[:-1]]


def test_the_official_format_is_one_path_a_line_in_the_order_of_the_install() -> None:
    assert encode(["/srv", "/srv/b", "/srv/a"]) == b"/srv\n/srv/b\n/srv/a\n"
    assert decode(b"/srv\n/srv/b\n/srv/a\n") == ["/srv", "/srv/b", "/srv/a"]


def test_an_empty_list_is_an_empty_file() -> None:
    assert encode([]) == b""
    assert decode(b"") == []


def test_a_last_line_that_was_cut_off_names_nothing() -> None:
    assert decode(b"/srv/app\n/srv/app/conf") == ["/srv/app"]
    assert decode(b"/srv") == []


@pytest.mark.parametrize(
    "line",
    [
        "relative/path",
        "../up",
        "/srv/../etc/passwd",
        "/srv/..",
        "/..",
        "/srv/a\0b",
        "semanage\0relative",
        "semanage\0/a/../b",
    ],
)
def test_a_line_that_no_agent_writes_is_left_out(line: str, caplog: pytest.LogCaptureFixture) -> None:
    assert decode(os.fsencode(f"/srv/a\n{line}\n/srv/b\n")) == ["/srv/a", "/srv/b"]
    assert "not an absolute path" in caplog.text


def test_a_list_full_of_rubbish_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert decode(b"/srv/a\n" + b"rubbish\n" * 1000) == ["/srv/a"]
    assert len(caplog.records) < 10
    assert "995 more" in caplog.text


def test_empty_lines_are_passed_over_silently(caplog: pytest.LogCaptureFixture) -> None:
    assert decode(b"\n/srv/a\n  \n\n") == ["/srv/a"]
    assert not caplog.text


def test_spaces_around_a_path_do_not_count() -> None:
    assert decode(b"  /srv/a \t\r\n") == ["/srv/a"]


@pytest.mark.parametrize("space", ["\u00a0", "\u0085", "\u3000", "\x1c"])
def test_a_name_that_ends_in_a_wide_space_does_not_become_its_neighbours_name(space: str) -> None:
    assert decode(os.fsencode(f"/srv/name{space}\n")) == [f"/srv/name{space}"]


def test_dots_within_a_name_are_no_climbing() -> None:
    assert decode(b"/srv/..a/b../...\n") == ["/srv/..a/b../..."]


def test_names_that_are_not_utf_8_come_back_byte_by_byte() -> None:
    assert decode(encode(["/srv/caf\udce9"])) == ["/srv/caf\udce9"]


def test_selinux_rules_stand_in_the_list_as_the_official_agents_write_them() -> None:
    assert encode(["/srv/a", "semanage\0/srv/a"]) == b"/srv/a\nsemanage\0/srv/a\n"
    assert decode(b"/srv/a\nsemanage\0/srv/a\n") == ["/srv/a", "semanage\0/srv/a"]


def test_a_name_with_a_newline_never_gets_another_file_removed() -> None:
    content = encode(["/srv/x\n/etc/victim", "/srv/y"])
    assert content == b"/srv/y\n"


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(paths, unique=True, max_size=8))
def test_no_agent_ever_reads_a_path_that_was_not_put_in(listed: list[str]) -> None:
    content = encode(listed)
    assert set(decode(content)) <= set(listed)
    assert set(by_ruby(content)) <= set(listed)
    assert set(by_rust(content)) <= set(listed)


@given(st.lists(paths, unique=True, max_size=8))
def test_every_path_that_was_put_in_comes_back(tmp_path_factory: pytest.TempPathFactory, listed: list[str]) -> None:
    directory = tmp_path_factory.mktemp("list")
    file = CleanupFile(f"{directory}/g-cleanup", f"{directory}/g.json")
    file.write(listed)
    assert sorted(file.paths()) == sorted(listed)


def test_odd_names_are_cleaned_up_at_the_next_deployment(file: CleanupFile) -> None:
    file.write(["/srv", "/srv/new\nline", "/srv/space ", "/srv/plain"])
    assert sorted(file.paths()) == sorted(["/srv", "/srv/new\nline", "/srv/space ", "/srv/plain"])


def test_an_odd_directory_comes_before_what_it_holds(file: CleanupFile) -> None:
    listed = ["/srv", "/srv/odd ", "/srv/odd /child", "/srv/odd /deep\n", "/srv/odd /deep\n/leaf", "/srv/z"]
    file.write(listed)
    order = file.paths()
    for path in listed:
        assert all(order.index(path) <= order.index(other) for other in listed if other.startswith(f"{path}/")), path


def test_odd_names_are_stale_once_another_agent_has_written_the_list(file: CleanupFile) -> None:
    file.write(["/srv", "/srv/odd "])
    by_another_agent(file, "/other")
    assert file.paths() == ["/other"]


def test_odd_names_of_an_earlier_list_hold_while_that_list_may_come_back(file: CleanupFile) -> None:
    before = file.write(["/srv", "/srv/old "])
    file.write(["/srv", "/srv/old ", "/srv/new ", "/srv/plain"], keep=[digest(before)])
    file.restore(before, odd=["/srv/old "])
    assert file.paths() == ["/srv", "/srv/old "]


def test_odd_names_are_for_nobody_elses_eyes(file: CleanupFile) -> None:
    file.write(["/srv/odd "])
    assert os.stat(file.extra).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(file.extra)).st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"DIGEST": 5}',
        '{"DIGEST": [5, "relative"]}',
        '{"lists": 5}',
        '{"lists": {"DIGEST": {"odd": 5}}}',
        "",
    ],
)
def test_a_damaged_file_of_odd_names_does_not_stop_a_deployment(file: CleanupFile, damage: str) -> None:
    content = file.write(["/srv/plain"])
    put(file.extra, damage.replace("DIGEST", digest(content)))
    put(file.instructions, official_instructions(["/srv/plain"]))
    assert file.paths() == ["/srv/plain"]


def test_a_missing_list_is_told_from_an_empty_one(file: CleanupFile) -> None:
    assert file.content() is None
    assert file.paths() == []
    file.write([])
    assert file.content() == b""


def test_a_list_that_is_a_symbolic_link_is_left_out(
    file: CleanupFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(f"{tmp_path}/forged", "/etc/passwd\n")
    os.symlink(f"{tmp_path}/forged", file.path)
    assert file.content() is None
    assert file.path in caplog.text


@pytest.mark.needs("root")
def test_a_list_of_another_user_is_left_out(file: CleanupFile, caplog: pytest.LogCaptureFixture) -> None:
    put(file.path, "/etc/passwd\n")
    os.chown(file.path, NOBODY, NOBODY)
    assert file.paths() == []
    assert file.path in caplog.text


def test_a_list_that_a_group_may_write_counts_as_it_does_for_the_official_agent(file: CleanupFile) -> None:
    by_another_agent(file, "/srv/a")
    os.chmod(file.path, 0o664)
    assert file.paths() == ["/srv/a"]


def test_a_list_that_everybody_may_write_is_left_out(file: CleanupFile, caplog: pytest.LogCaptureFixture) -> None:
    put(file.path, "/etc/passwd\n", mode=0o646)
    assert file.paths() == []
    assert file.path in caplog.text


def test_a_fifo_or_directory_in_the_lists_place_does_not_hang_the_agent(file: CleanupFile) -> None:
    os.mkfifo(file.path)
    assert file.content() is None
    os.unlink(file.path)
    os.mkdir(file.path)
    assert file.content() is None


def test_a_list_that_is_left_out_leaks_no_descriptor(file: CleanupFile) -> None:
    put(file.path, "/etc/passwd\n", mode=0o646)
    before = sorted(os.listdir("/proc/self/fd"))
    file.paths()
    os.unlink(file.path)
    os.mkdir(file.path)
    file.paths()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_the_list_gets_its_mode_whatever_the_umask(file: CleanupFile) -> None:
    before = os.umask(0o077)
    try:
        file.write(["/srv/a"])
    finally:
        os.umask(before)
    assert os.stat(file.path).st_mode & 0o777 == 0o644


def test_restoring_no_list_leaves_none(file: CleanupFile) -> None:
    file.restore(None, odd=[])
    file.write(["/srv/a"])
    file.restore(None, odd=[])
    assert file.content() is None


def test_two_megabytes_of_paths_are_read_and_written(file: CleanupFile) -> None:
    listed = [f"/srv/{'directory' * 12}/{number:08}" for number in range(25_000)]
    assert len(file.write(listed)) > 2_000_000
    assert file.paths() == listed


def test_a_half_written_list_never_replaces_a_whole_one(file: CleanupFile) -> None:
    before = file.write(["/srv/a"])
    os.mkdir(f"{os.path.dirname(file.path)}/.g-cleanup.new~")
    with pytest.raises(OSError, match="Is a directory"):
        file.write(["/srv/b"], keep=[digest(before)])
    assert file.paths() == ["/srv/a"]


# Whose list it is


def test_what_we_have_listed_is_cleaned_up_whatever_the_instructions_say(file: CleanupFile) -> None:
    file.write(["/srv", "/srv/mount"])
    put(file.instructions, official_instructions([]))
    assert file.paths() == ["/srv", "/srv/mount"]


def test_a_list_of_an_earlier_version_with_odd_names_is_still_ours(file: CleanupFile) -> None:
    content = file.write(["/srv/a", "/srv/odd "])
    put(file.extra, json.dumps({digest(content): ["/srv/odd "]}))
    assert file.paths() == ["/srv/a", "/srv/odd "]


def test_the_second_line_of_a_foreign_name_deletes_no_foreign_file(
    file: CleanupFile, caplog: pytest.LogCaptureFixture
) -> None:
    by_another_agent(file, "/srv/app", "/srv/app/x", "/etc/victim", instructed=["/srv/app", "/srv/app/x\n/etc/victim"])
    assert file.paths() == ["/srv/app", "/srv/app/x\n/etc/victim"]
    by_another_agent(file, "/srv/app", "/srv/app/x", "/etc/victim", instructed=["/srv/app", "/srv/app/x"])
    assert file.paths() == ["/srv/app", "/srv/app/x"]
    assert "/etc/victim" in caplog.text


def test_a_foreign_name_with_a_space_at_its_end_deletes_no_neighbour(file: CleanupFile) -> None:
    by_another_agent(file, "/srv/a ", "/srv/b ", instructed=["/srv/a ", "/srv/b"])
    assert file.paths() == ["/srv/a ", "/srv/b"]


def test_lines_that_another_agent_added_to_our_list_are_left_alone(
    file: CleanupFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.write(["/srv/a"])
    by_another_agent(file, "/srv/a", "/etc/victim", instructed=["/srv/a"])
    assert file.paths() == ["/srv/a"]
    assert "/etc/victim" in caplog.text


def test_many_lines_that_are_left_alone_do_not_fill_the_log(
    file: CleanupFile, caplog: pytest.LogCaptureFixture
) -> None:
    by_another_agent(file, *[f"/etc/{number}" for number in range(1000)], instructed=["/srv/a"])
    assert file.paths() == []
    assert len(caplog.records) < 10
    assert "995 more" in caplog.text


def test_directories_and_rules_of_another_agent_are_cleaned_up(file: CleanupFile, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    instructions = [
        {"type": "mkdir", "directory": "/srv"},
        {"type": "copy", "source": "/archive/a", "destination": "/srv/a"},
        {"type": "semanage", "context": {"type": "x"}, "file": f"{tmp_path}/link"},
        {"type": "chmod", "mode": "644", "file": "/etc/passwd"},
    ]
    by_another_agent(file, "/srv", "/srv/a", f"semanage\0{tmp_path}/real", "/etc/passwd")
    put(file.instructions, json.dumps({"instructions": instructions}))
    assert file.paths() == ["/srv", "/srv/a", f"semanage\0{tmp_path}/real"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"instructions": 5}', '{"instructions": [5]}', "[" * 100_000])
def test_without_usable_instructions_nothing_of_a_foreign_list_is_removed(
    file: CleanupFile, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    by_another_agent(file, "/srv/a")
    put(file.instructions, damage)
    assert file.paths() == []
    os.unlink(file.instructions)
    assert file.paths() == []
    for record in caplog.records:
        assert file.instructions in record.message
        assert "by hand" in record.message


def test_instructions_that_everybody_may_write_confirm_nothing(file: CleanupFile) -> None:
    by_another_agent(file, "/etc/passwd")
    os.chmod(file.instructions, 0o666)
    assert file.paths() == []


def test_an_undone_install_makes_no_foreign_list_ours(file: CleanupFile) -> None:
    by_another_agent(file, "/srv/a", "/etc/victim", instructed=["/srv/a"])
    before = file.content()
    file.write(["/srv/a", "/srv/new"], keep=[digest(before)])
    file.restore(before, odd=[])
    assert file.paths() == ["/srv/a"]


def test_what_was_confirmed_holds_after_our_instructions_have_replaced_the_others(file: CleanupFile) -> None:
    by_another_agent(file, "/srv/a", "/srv/b", "/etc/victim", instructed=["/srv/a", "/srv/b"])
    before = file.content()
    file.adopt(file.paths())
    put(file.instructions, official_instructions(["/etc/victim"]))
    file.write(["/srv/a", "/srv/b", "/srv/new"], keep=[digest(before)])
    file.restore(before, odd=[])
    assert file.paths() == ["/srv/a", "/srv/b"]


def test_an_undone_install_leaves_our_list_ours(file: CleanupFile) -> None:
    before = file.write(["/srv/a"])
    file.write(["/srv/a", "/srv/new"], keep=[digest(before)])
    file.restore(before, odd=[])
    assert file.paths() == ["/srv/a"]


def test_what_is_known_of_a_list_beside_its_odd_names_is_kept_with_it(file: CleanupFile) -> None:
    before = file.write(["/srv/a"])
    put(file.extra, json.dumps({"lists": {digest(before): {"odd": [], "directories": {"/srv": [1]}}}}))
    file.write(["/srv/a", "/srv/new"], keep=[digest(before)])
    file.restore(before, odd=[])
    with open(file.extra, encoding="ascii") as text:
        assert json.load(text)["lists"] == {digest(before): {"odd": [], "directories": {"/srv": [1]}}}


def test_other_groups_are_known_by_their_lists(tmp_path: Path) -> None:
    for group in ("one", "two", "three"):
        put(f"{tmp_path}/{group}-cleanup", f"/srv/{group}\n")
    put(f"{tmp_path}/one-install.json", json.dumps({}))
    assert other_lists(str(tmp_path), but="two") == {"one": {"/srv/one"}, "three": {"/srv/three"}}


def test_a_host_without_any_list_has_no_other_groups(tmp_path: Path) -> None:
    assert other_lists(f"{tmp_path}/missing", but="g") == {}
