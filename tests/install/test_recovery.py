"""Going back or forward after an interruption: to the old revision or the new one, and never over a stranger's work."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import pytest

from agent.errors import InstallError
from agent.filesystem.directories import Directories
from agent.install.cleanup_list import digest
from agent.install.installer import recover
from agent.install.journal import COMMITTED, STAGED, InstallRecord
from agent.install.options import InstallOptions
from agent.install.recovery import go_back, go_forward
from install_box import GROUP, NOBODY, Box, Link, in_child, put, tree

OLD = {"app/a": "1", "app/same": "s", "app/gone/x": "1", "app/directory/f": "1", "app/link": Link("a"), "app/odd ": "1"}
NEW = {
    "app/a": "2",
    "app/same": "s",
    "app/directory": "2",
    "app/new/y": "2",
    "app/link/z": "2",
    "app/odd ": "2",
    "app/odder ": "2",
}


def killed_while(box: Box, files: dict[str, str | Link], when: Callable[[int, int], bool]) -> dict[str, object]:
    """Install the old revision, then kill an Install of these files in mid-work; give the host as it was before."""
    box.install(OLD)
    before = tree(box.dest)
    archive = box.revision(files)

    def die(done: int, total: int) -> None:
        if when(done, total):
            os._exit(0)

    assert in_child(lambda: box.install(archive, progress=die)) == ""
    assert box.open_journals() == [f"{GROUP}.journal"]
    return dict(before)


def recovered(box: Box) -> list[str]:
    return recover(box.root, options=InstallOptions())


def interrupted(box: Box) -> InstallRecord:
    """The record of the Install that was interrupted."""
    record = box.state.journal(GROUP).read()
    assert record is not None
    return record


def test_where_nothing_was_interrupted_nothing_is_done(box: Box) -> None:
    assert recovered(box) == []
    box.install(OLD)
    before = tree(box.top)
    assert recovered(box) == []
    assert tree(box.top) == before


@pytest.mark.parametrize("last", [False, True], ids=["at the first file", "at the last file"])
def test_an_install_killed_while_building_is_undone(box: Box, last: bool) -> None:
    before = killed_while(box, NEW, lambda done, total: done == (total if last else 1))
    listed = sorted(name for name in box.listed() if ".codedeploy-" not in name)
    assert set(listed) >= set(before) - {"out/odd ", "out/odder "}
    (said,) = recovered(box)
    assert GROUP in said
    assert "undone" in said
    assert box.tree() == before
    assert set(box.listed()) == {name for name in before if name != "."} | {box.dest}
    assert box.open_journals() == []


def test_recovery_may_be_repeated(box: Box) -> None:
    before = killed_while(box, NEW, lambda done, total: done == total)
    record, journal = interrupted(box), box.state.journal(GROUP)
    for _ in range(3):
        journal.begin(record)
        with Directories(known=record.directories) as directories:
            go_back(record, journal, box.state.cleanup_file(GROUP), directories)
        assert box.tree() == before


def test_the_next_install_recovers_by_itself(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    killed_while(box, NEW, lambda done, total: done == total)
    box.install({"app/third": "3"})
    assert box.tree() == {"out": None, "out/third": "3"}
    assert "undone" in caplog.text


def test_an_install_of_another_group_recovers_too(box: Box) -> None:
    before = killed_while(box, NEW, lambda done, total: done == total)
    box.install({"app/theirs": "3"}, to="other", group="group-b")
    assert box.open_journals() == []
    assert {path: what for path, what in box.tree().items() if not path.startswith("other")} == before


@pytest.mark.parametrize("mark", ["", "staged"])
def test_nothing_is_touched_once_another_agent_has_installed_meanwhile(box: Box, mark: str) -> None:
    before = killed_and_installed_by_another_agent(box, mark)
    (said,) = recovered(box)
    assert "Another agent" in said
    assert box.tree() == before
    assert box.listed() == ["out", "out/official"]
    assert box.open_journals() == [f"{GROUP}.journal.set-aside"]


def test_nothing_is_touched_once_another_agent_has_installed_over_a_finished_install(box: Box) -> None:
    before = killed_and_installed_by_another_agent(box, "staged", "committed")
    recovered(box)
    assert box.tree() == before
    assert box.listed() == ["out", "out/official"]


def killed_and_installed_by_another_agent(box: Box, *marks: str) -> dict[str, str | None]:
    killed_while(box, NEW, lambda done, total: done == total)
    for word in filter(None, marks):
        box.state.journal(GROUP).mark(word)
    put(f"{box.dest}/out/official", "3")
    box.write_list([f"{box.dest}/out", f"{box.dest}/out/official"])
    return box.tree()


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("call", ["unlink", "rmdir"])
def test_an_install_killed_while_finishing_is_completed(box: Box, call: str, number: int) -> None:
    """Only finishing removes anything."""
    box.install({**OLD, "app/swapped/d/e": "1", "app/swapped/f": "1", "app/gone/deep/x": "1"})
    new = {**NEW, "app/swapped": Link("swapped")}
    archive = box.revision(new)

    def die_at_the_call() -> None:
        function = getattr(os, call)
        left = number

        def die(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            return os._exit(0) if left == 0 else function(*arguments, **options)

        setattr(os, call, die)

    assert in_child(lambda: box.install(archive) and "finished", before=die_at_the_call) in ("", "finished")
    recovered(box)
    assert {path: what for path, what in box.tree("out").items() if what is not None} == {
        path.removeprefix("app/"): what for path, what in new.items()
    }
    assert set(box.listed()) == set(box.tree()) | {box.dest}
    with open(box.state.last_successful(GROUP)) as pointer:
        assert pointer.read() == os.path.dirname(archive)
    assert box.open_journals() == []


def replayed(box: Box, marks: str, *, new_list: bool) -> tuple[dict[str, object], list[str]]:
    """Open the journal of a finished Install again, as a kill between two of its writes leaves it; then recover."""
    box.install(OLD)
    old = box.raw_list()
    records: list[InstallRecord] = []
    box.install(NEW, progress=lambda _done, _total: records.append(interrupted(box)))
    if not new_list:
        put(box.list_path(), old)
    journal = box.state.journal(GROUP)
    journal.begin(records[-1])
    for word in marks.split():
        journal.mark(word)
    before = tree(f"{box.top}/dest")
    said = recovered(box)
    assert tree(f"{box.top}/dest") == before
    return before, said


def test_a_kill_before_the_journal_of_a_finished_install_is_closed_costs_nothing(box: Box) -> None:
    replayed(box, "staged committed", new_list=True)
    assert box.open_journals() == []
    assert set(box.listed()) == set(box.tree()) | {box.dest}


@pytest.mark.parametrize("marks", ["", "staged reverting reverted"], ids=["nothing had begun", "all was undone"])
def test_a_kill_while_the_host_is_as_before_costs_nothing(box: Box, marks: str) -> None:
    replayed(box, marks, new_list=False)
    assert box.open_journals() == []


def test_a_list_that_only_looks_like_the_one_before_is_another_agents(box: Box) -> None:
    """It has deployed the same revision again: our names are gone from the host, and its files must stay."""
    _, (said,) = replayed(box, "staged", new_list=False)
    assert "Another agent" in said
    assert box.open_journals() == [f"{GROUP}.journal.set-aside"]


def test_going_back_once_decided_is_not_changed_by_a_mark_that_was_half_written(box: Box) -> None:
    """Writing "committed" failed and yet reached the disk; then the agent was killed while it went back."""
    box.install({"app/a": "1", "app/d/e": "1", "app/link": Link("a")})
    before, listed = tree(box.dest), box.listed()
    archive = box.revision({"app/a": "2", "app/d": "2", "app/link/x": "2", "app/new/y": "2"})

    def die_when_something_is_removed() -> None:
        os.unlink = lambda *_arguments, **_options: os._exit(0)

    assert in_child(lambda: box.install(archive), before=die_when_something_is_removed) == ""
    assert box.read("out/a") == "2"
    box.state.journal(GROUP).mark("reverting")
    recovered(box)
    assert tree(box.dest) == before
    assert box.listed() == listed


def test_a_damaged_journal_does_not_block_deployments_for_ever(box: Box) -> None:
    box.install(OLD)
    put(box.state.journal(GROUP).path, "{")
    (said,) = recovered(box)
    assert f"{GROUP}.journal.set-aside" in said
    box.install({"app/a": "2"})
    assert box.tree("out") == {"a": "2"}


def test_one_groups_damaged_journal_does_not_keep_another_from_being_recovered(box: Box) -> None:
    before = killed_while(box, NEW, lambda done, total: done == total)
    put(box.state.journal("a-damaged-one").path, "{")
    assert len(recovered(box)) == 2
    assert box.tree() == before


def test_a_strangers_file_that_appeared_meanwhile_is_not_undone(box: Box) -> None:
    before = killed_while(box, NEW, lambda done, total: done == total)
    box.put("out/new", "stranger")
    box.state.journal(GROUP).mark("staged")
    recovered(box)
    assert box.tree() == {**before, "out/new": "stranger"}


def test_what_a_stranger_put_into_a_directory_that_was_swapped_out_is_kept_and_named(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.install(OLD)

    def intrude(_done: int, _total: int) -> None:
        if not os.path.exists(f"{box.dest}/out/directory/stranger"):
            box.put("out/directory/stranger", "precious")

    box.install({"app/directory": "2"}, progress=intrude)
    (kept,) = [path for path, what in tree(box.top).items() if what == "precious"]
    assert os.path.dirname(kept) in caplog.text
    assert "exchanged" not in caplog.text
    assert box.read("out/directory") == "2"


def test_a_directory_full_of_old_links_is_swapped_out_without_leftovers(box: Box) -> None:
    box.put("theirs/f", "foreign")
    links = {"app/d/loop": Link("."), "app/d/out": Link("../../theirs"), "app/d/f": Link("nowhere")}
    box.install({**links, "app/d/e/g": "1"})
    box.install({"app/d": "2"})
    assert box.tree() == {"out": None, "out/d": "2", "theirs": None, "theirs/f": "foreign"}


def test_an_old_directory_is_not_removed_through_a_link_that_took_its_parents_place(box: Box) -> None:
    box.install({"app/a/b/c": None, "app/a/d": None})
    box.put("shared/b/c")
    box.put("shared/d")
    box.install({"app/a": Link("../shared")})
    assert box.tree() == {
        "out": None,
        "out/a": Link("../shared"),
        "shared": None,
        "shared/b": None,
        "shared/b/c": None,
        "shared/d": None,
    }


@pytest.mark.parametrize("marks", [[], ["staged"]], ids=["building", "staged"])
def test_a_file_system_that_is_mounted_late_is_not_left_with_leftovers_for_ever(box: Box, marks: list[str]) -> None:
    killed_while(box, NEW, lambda done, total: done == total)
    for word in marks:
        box.state.journal(GROUP).mark(word)
    os.rename(box.dest, f"{box.top}/not-mounted-yet")
    with suppress(InstallError):
        recovered(box)  # at the start of the agent, say
    os.rename(f"{box.top}/not-mounted-yet", box.dest)
    box.install({"app/third": "3"})
    assert box.tree() == {"out": None, "out/third": "3"}


def test_finishing_may_be_repeated(box: Box) -> None:
    box.install(OLD)
    archive = box.revision(NEW)
    request_record: list[InstallRecord] = []

    def note(_done: int, _total: int) -> None:
        request_record[:] = [interrupted(box)]

    box.install(archive, progress=note)
    after = tree(box.top)
    journal = box.state.journal(GROUP)
    made = {path: one for path, one in box.state.cleanup_file(GROUP).directories().items() if one is not None}
    record = request_record[0]._replace(installed=made)
    for _ in range(2):
        journal.begin(record)
        with Directories(known=record.directories) as directories:
            go_forward(record, journal, box.state, directories)
        assert tree(box.top) == after


def test_leftovers_of_a_killed_write_are_swept_and_strangers_files_are_not(box: Box) -> None:
    box.install(OLD)
    directory = box.state.instructions_dir
    for name in (f".{GROUP}-cleanup.new~", f".{GROUP}-install.json.new~", ".notes.new~", "notes"):
        put(f"{directory}/{name}", "x")
    recovered(box)
    assert {name for name in os.listdir(directory) if "notes" in name or name.startswith(".")} == {
        ".notes.new~",
        "notes",
    }


def test_a_group_that_cannot_be_recovered_stops_no_other_groups_deployments(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    os.makedirs(box.state.journal("group-b").path)  # no journal can be read there
    box.install(OLD)
    assert "group-b" in caplog.text
    with pytest.raises(InstallError, match="group-b"):
        recovered(box)
    with pytest.raises(InstallError):
        box.install(NEW, to="other", group="group-b")
    assert not os.path.exists(f"{box.dest}/other")


@pytest.mark.needs("root")
def test_what_the_last_version_has_committed_below_an_account_is_deployed_again(box: Box) -> None:
    box.put("home")
    os.chown(f"{box.dest}/home", NOBODY, NOBODY)
    paths = [box.put("home/out"), box.put("home/out/a", "1"), box.put("home/out/d"), box.put("home/out/d/b", "1")]
    box.write_list(paths)
    with open(box.list_path(), "rb") as file:
        during = digest(file.read())
    os.makedirs(box.state.journal_dir)
    journal = box.state.journal(GROUP)
    journal.begin(InstallRecord(GROUP, "/d-1", {"before": "none", "during": during}, cleanup_after=paths, version=1))
    journal.mark(STAGED)
    journal.mark(COMMITTED)
    (said,) = recovered(box)
    assert "completed" in said
    box.install({"app/a": "2", "app/d/b": "2"}, to="home/out")
    assert box.read("home/out/d/b") == "2"
