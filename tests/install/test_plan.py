"""The plan: all conflicts together before anything is touched, and what a person is told that will happen."""

from __future__ import annotations

import os
import re

import pytest

from agent.appspec.model import Permission
from agent.errors import InstallConflictError
from agent.install.installer import plan_install
from agent.install.options import InstallOptions
from agent.install.plan import Plan
from install_box import Box, Link, Tree, as_ordinary_user, give_to_ordinary_user, put, tree, with_own_mounts


def conflicts(box: Box, revision: Tree, behavior: str = "DISALLOW") -> tuple[str, ...]:
    before = tree(box.top)
    archive = box.revision(revision)
    with pytest.raises(InstallConflictError) as caught:
        box.plan(archive, behavior=behavior)
    assert {path: what for path, what in tree(box.top).items() if path in before} == before
    return caught.value.conflicts


def changes(box: Box, plan: Plan) -> set[tuple[str, str]]:
    return {(change.action, change.path.removeprefix(f"{box.dest}/")) for change in plan.changes}


def test_planning_changes_nothing_at_all(box: Box) -> None:
    box.install({"app/a": "1", "app/old/b": "1"})
    archive = box.revision({"app/a": "2", "app/new/c": "2"})
    before = tree(box.top)
    box.plan(archive)
    assert tree(box.top) == before


def test_planning_the_very_first_deployment_makes_no_directory(box: Box) -> None:
    archive = box.revision({"app/a": "1"})
    before = tree(box.top)
    box.plan(archive)
    assert tree(box.top) == before


# Conflicts


def test_all_conflicts_are_named_together(box: Box) -> None:
    box.put("out/a", "foreign")
    box.put("out/sub/b", "foreign")
    box.put("out/link", Link("a"))
    box.put("out/directory")
    box.put("out/not-a-directory", "foreign")
    revision = ("app/a", "app/sub/b", "app/link", "app/directory", "app/not-a-directory/x", "app/fine")
    found = conflicts(box, dict.fromkeys(revision, "1"))
    assert len(found) == 5
    for name in ("a", "sub/b", "link", "directory", "not-a-directory"):
        assert sum(bool(re.search(rf"{re.escape(box.dest)}/out/{name}\b", text)) for text in found) == 1, name


def test_a_conflict_says_what_is_there_and_what_would_resolve_it(box: Box) -> None:
    box.put("out/a", "foreign")
    (text,) = conflicts(box, {"app/a": "1"})
    assert "a file" in text
    assert all(word in text for word in ("file_exists_behavior", "OVERWRITE", "RETAIN", "BeforeInstall"))


def test_the_deployment_group_that_owns_a_file_is_named(box: Box) -> None:
    box.install({"app/a": "theirs"}, group="group-b")
    box.put("out/b", "nobody's")
    found = conflicts(box, {"app/a": "1", "app/b": "1"})
    assert [("group-b" in text) for text in sorted(found)] == [True, False]


@pytest.mark.parametrize("theirs", ["real/out", "alias/out"])
def test_the_owning_group_is_found_also_behind_an_alias(box: Box, theirs: str) -> None:
    box.put("real")
    box.put("alias", Link("real"))
    box.install({"app/a": "theirs"}, to=theirs, group="group-b")
    with pytest.raises(InstallConflictError, match="group-b"):
        box.plan({"app/a": "1"}, to="alias/out")


def test_conflicts_on_the_host_and_in_the_appspec_come_together(box: Box) -> None:
    box.put("out/a", "foreign")
    permission = Permission(f"{box.dest}/out", owner="no-such-user-here", line=9)
    request = box.request(
        {"app/a": "1", "app/b": "1"},
        to=[("app", f"{box.dest}/out"), ("missing", f"{box.dest}/out")],
        permissions=[permission],
    )
    with pytest.raises(InstallConflictError) as caught:
        plan_install(request, options=InstallOptions())
    text = str(caught.value)
    assert "3 conflicts" in text
    assert all(word in text for word in (f"{box.dest}/out/a", "'missing'", "no-such-user-here"))


def test_files_of_the_own_group_are_no_conflict_even_if_changed_by_hand(box: Box) -> None:
    box.install({"app/a": "1", "app/b": "1", "app/c/d": "1"})
    put(f"{box.dest}/out/a", "by hand")
    os.unlink(f"{box.dest}/out/b")
    os.symlink("a", f"{box.dest}/out/b")
    assert changes(box, box.plan({"app/a": "2", "app/b": "2"})) == {
        ("replace", "out/a"),
        ("replace", "out/b"),
        ("remove", "out/c/d"),
        ("remove-directory", "out/c"),
    }


@pytest.mark.parametrize("behavior", ["overwrite", "BOGUS", ""])
def test_an_unknown_behaviour_is_a_conflict_only_where_a_file_is_in_the_way(box: Box, behavior: str) -> None:
    box.plan({"app/a": "1"}, behavior=behavior)
    box.put("out/a", "foreign")
    (text,) = conflicts(box, {"app/a": "1"}, behavior)
    assert repr(behavior) in text
    assert "DISALLOW, OVERWRITE or RETAIN" in text


@pytest.mark.parametrize("behavior", ["DISALLOW", "OVERWRITE"])
def test_no_behaviour_replaces_a_directory_by_a_file(box: Box, behavior: str) -> None:
    box.put("out/a/precious", "foreign")
    (text,) = conflicts(box, {"app/a": "1"}, behavior)
    assert f"{box.dest}/out/a:" in text
    assert "directory" in text


def test_retain_leaves_a_directory_where_a_file_should_be(box: Box) -> None:
    box.put("out/a/precious", "foreign")
    plan = box.plan({"app/a": "1", "app/b": "1"}, behavior="RETAIN")
    assert changes(box, plan) == {("keep", "out/a"), ("create", "out/b")}


def test_two_sources_for_what_retain_keeps_do_not_matter(box: Box) -> None:
    box.put("out/a", "foreign")
    revision = {"app/a": "1", "other/a": "1"}
    mappings = [("app", f"{box.dest}/out"), ("other", f"{box.dest}/out")]
    plan = box.plan(revision, to=mappings, behavior="RETAIN")
    assert changes(box, plan) == {("keep", "out/a")}
    os.unlink(f"{box.dest}/out/a")
    with pytest.raises(InstallConflictError, match="already"):
        box.plan(revision, to=mappings, behavior="RETAIN")


@pytest.mark.parametrize("behavior", ["DISALLOW", "OVERWRITE", "RETAIN"])
def test_a_foreign_file_where_a_directory_should_be_is_a_conflict_under_any_behaviour(box: Box, behavior: str) -> None:
    box.put("out/a", "foreign")
    (text,) = conflicts(box, {"app/a/b": "1"}, behavior)
    assert f"needs a directory at {box.dest}/out/a" in text


def test_a_dangling_foreign_link_is_no_conflict_as_with_the_official_agent(box: Box) -> None:
    box.put("out/a", Link("nowhere"))
    assert changes(box, box.plan({"app/a": "1"})) == {("replace", "out/a")}


def test_a_foreign_link_to_a_file_is_a_conflict(box: Box) -> None:
    box.put("file", "x")
    box.put("out/a", Link("../file"))
    (text,) = conflicts(box, {"app/a": "1"})
    assert "a symbolic link" in text


def test_a_fifo_in_the_way_is_a_conflict(box: Box) -> None:
    box.put("out")
    os.mkfifo(f"{box.dest}/out/a")
    (text,) = conflicts(box, {"app/a": "1"})
    assert "special file" in text


def test_a_directory_that_cannot_be_read_fails_the_plan_with_its_name(open_box: Box) -> None:
    open_box.put("out/sub")
    archive = open_box.revision({"app/sub/a": "1"})
    give_to_ordinary_user(open_box.top)
    os.chmod(f"{open_box.dest}/out/sub", 0)
    try:
        said = as_ordinary_user(lambda: open_box.plan(archive))
    finally:
        os.chmod(f"{open_box.dest}/out/sub", 0o755)
    assert said.startswith("InstallError")
    assert f"{open_box.dest}/out/sub" in said
    assert "Permission denied" in said


# What a person is shown


def test_every_kind_of_change_is_shown(box: Box) -> None:
    box.install({"app/same": "1", "app/gone/x": "1", "app/becomes-directory": "1", "app/becomes-file/x": "1"})
    box.put("out/kept", "foreign")
    plan = box.plan(
        {
            "app/same": "2",
            "app/new": "2",
            "app/fresh/deep/x": "2",
            "app/fresh/link": Link("deep/x"),
            "app/becomes-directory/x": "2",
            "app/becomes-file": "2",
            "app/kept": "2",
        },
        behavior="RETAIN",
    )
    assert changes(box, plan) == {
        ("replace", "out/same"),
        ("create", "out/new"),
        ("make-directory", "out/fresh"),
        ("make-directory", "out/fresh/deep"),
        ("create", "out/fresh/deep/x"),
        ("create", "out/fresh/link"),
        ("make-directory", "out/becomes-directory"),
        ("create", "out/becomes-directory/x"),
        ("replace", "out/becomes-file"),
        ("keep", "out/kept"),
        ("remove", "out/gone/x"),
        ("remove-directory", "out/gone"),
        ("remove", "out/becomes-file/x"),
    }


def test_permissions_are_shown(box: Box) -> None:
    request = box.request({"app/a": "1"}, permissions=[Permission(f"{box.dest}/out/a", mode=0o600)])
    plan = plan_install(request, options=InstallOptions())
    assert [(change.path, change.detail) for change in plan.changes if change.action == "permissions"] == [
        (f"{box.dest}/out/a", "mode 0600")
    ]


def test_the_sources_are_shown(box: Box) -> None:
    archive = box.revision({"app/a": "1"})
    details = {change.path: change.detail for change in box.plan(archive).changes}
    assert details[f"{box.dest}/out/a"] == f"{archive}/app/a"


def test_an_empty_destination_is_the_root_directory(box: Box) -> None:
    name = "codedeploy-test-no-such-file"
    plan = box.plan({name: "x"}, to=[(name, "")])  # only planned: nothing is ever installed there
    assert [(change.action, change.path) for change in plan.changes] == [("create", f"/{name}")]
    assert plan.recorded == [f"/{name}"]


# What another agent would find if we were killed


def test_the_list_meanwhile_names_everything_old_new_and_temporary(box: Box) -> None:
    box.install({"app/old/x": "1", "app/same": "1"})
    plan = box.plan({"app/same": "2", "app/new/y": "2"})
    names = plan.listed_meanwhile()
    assert set(names) > {f"{box.dest}/out/{name}" for name in ("old", "old/x", "same", "new", "new/y")}
    temporary = [name for operation in plan.operations for name in (operation.temp, operation.backup) if name]
    assert set(temporary) | {temp for _, temp in plan.nested} <= set(names)


def test_the_list_meanwhile_names_what_moves_with_a_directory_that_is_swapped_out(box: Box) -> None:
    box.install({"app/gone/z": "1", "app/gone/inner/y": "1"})
    plan = box.plan({"app/gone": "now a file"})
    (swap,) = [operation for operation in plan.operations if operation.kind == "swap"]
    aside = {operation.backup for operation in plan.operations if operation.kind == "remove"}
    assert len(aside) == 2
    assert not any(name.startswith(f"{swap.path}/") for name in aside)
    assert aside | {swap.backup, f"{swap.backup}/inner", *plan.stages} <= set(plan.listed_meanwhile())


def test_the_list_meanwhile_has_directories_before_what_they_hold(box: Box) -> None:
    box.install({"app/gone/z": "1", "app/gone/inner/y": "1", "app/link": Link("gone")}, follow=False)
    names = box.plan({"app/gone": "now a file", "app/fresh/deep/x": "2", "app/link/x": "2"}).listed_meanwhile()
    at = {name: number for number, name in enumerate(names)}
    assert len(at) == len(names)
    for name in names:
        directory = os.path.dirname(name)
        assert at.get(directory, -1) < at[name], name


def test_temporary_names_are_hidden_and_match_no_usual_include_pattern(box: Box) -> None:
    box.install({"app/conf.d/a.conf": "1"})
    for operation in box.plan({"app/conf.d/a.conf": "2", "app/conf.d/b.conf": "2"}).operations:
        for name in filter(None, (operation.temp, operation.backup)):
            assert re.fullmatch(r"\.codedeploy-[0-9a-f]{8}-\d+~", os.path.basename(os.path.dirname(name)))


def test_a_long_name_gets_a_temporary_name_that_is_not_too_long(box: Box) -> None:
    box.install({f"app/{'n' * 255}": "1"})
    box.install({f"app/{'n' * 255}": "2"})
    assert box.tree("out") == {"n" * 255: "2"}


# Old lists


def test_two_megabytes_of_old_paths_are_planned(box: Box) -> None:
    box.write_list(f"{box.dest}/out/{'directory' * 12}/{number:08}" for number in range(25_000))
    plan = box.plan({"app/a": "1"})
    assert len(plan.old_paths) == 25_000
    assert changes(box, plan) == {("make-directory", box.dest), ("make-directory", "out"), ("create", "out/a")}


def test_a_hostile_list_gets_nothing_else_removed(box: Box) -> None:
    box.put("victim", "precious")
    box.put("ours", "old")
    box.write_list(["victim", f"{box.dest}/x/../victim", f"{box.dest}/victim\0x", "../victim", f"{box.dest}/ours"])
    os.makedirs(f"{box.dest}/x")
    assert ("remove", "victim") not in changes(box, box.plan({"app/a": "1"}, cwd=box.dest))
    assert ("remove", "ours") in changes(box, box.plan({"app/a": "1"}, cwd=box.dest))


def test_an_old_list_that_names_a_directory_by_its_alias_is_understood(box: Box) -> None:
    box.put("real")
    box.put("alias", Link("real"))
    box.install({"app/a": "1", "app/b": "1"}, to="alias/out")
    found = changes(box, box.plan({"app/a": "2"}, to="real/out"))
    assert found == {("replace", "real/out/a"), ("remove", "real/out/b")}


@pytest.mark.needs("root", "mount")
def test_a_mounted_file_of_the_old_revision_stays_and_stays_listed(box: Box) -> None:
    box.install({"app/mounted": "1", "app/b": "1"})
    put(f"{box.top}/other", "x")

    def plan() -> object:
        plan = box.plan({"app/b": "2"})
        return [changes(box, plan), plan.recorded, plan.warnings]

    said = with_own_mounts(plan, ["mount", "--bind", f"{box.top}/other", f"{box.dest}/out/mounted"])
    assert "'remove'" not in said
    assert f"'{box.dest}/out/mounted'" in said
    assert "mount point" in said
