"""Whole Installs, one after the other: what a deployment leaves on the host, and what it must leave alone."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.appspec.model import AppSpec, FileExistsBehavior, Permission, SelinuxContext
from agent.errors import InstallConflictError, InstallError
from agent.install import selinux
from agent.install.installer import explained, install, recover
from agent.install.options import InstallOptions
from host_tree import snapshot
from install_box import (
    GROUP,
    NOBODY,
    Box,
    Content,
    Link,
    Tree,
    as_ordinary_user,
    content_of,
    give_to_ordinary_user,
    put,
    with_own_mounts,
)

ONE = {"app/a": "1", "app/sub/b": "1", "app/empty": None, "app/link": Link("a"), "app/.hidden": "1"}
TWO = {"app/a": "2", "app/sub/c": "2", "app/link": Link("sub/c")}


def installed(revision: Tree) -> dict[str, Content]:
    """What a revision's directory "app" looks like on the host."""
    names = {path.removeprefix("app/"): content for path, content in revision.items()}
    parents = {os.path.dirname(path): None for path in names if "/" in path}
    return {**parents, **names}


def fails(box: Box, revision: Tree | str, *, to: str = "out", behavior: str = "DISALLOW") -> str:
    """Install something that cannot be; give the error, having seen that host and list are as before."""
    archive = revision if isinstance(revision, str) else box.revision(revision)
    before, listed = snapshot(box.dest), box.listed()
    with pytest.raises(InstallError) as caught:
        box.install(archive, to=to, behavior=behavior)
    assert snapshot(box.dest) == before
    assert box.listed() == listed
    assert box.open_journals() == []
    return str(caught.value)


# One revision after the other


def test_a_revision_is_installed_and_then_another_over_it(box: Box) -> None:
    box.install(ONE)
    assert box.tree("out") == installed(ONE)
    box.install(TWO)
    assert box.tree("out") == installed(TWO)


def test_the_clean_up_list_names_exactly_what_was_made(box: Box) -> None:
    box.put("")
    box.install(ONE)
    assert sorted(box.listed()) == sorted(["out", *(f"out/{path}" for path in installed(ONE))])
    box.install(TWO)
    assert sorted(box.listed()) == sorted(["out", *(f"out/{path}" for path in installed(TWO))])


def test_the_same_revision_again_is_no_conflict(box: Box) -> None:
    archive = box.revision(ONE)
    for _ in range(3):
        box.install(archive)
        assert box.tree("out") == installed(ONE)


def test_an_install_of_nothing_removes_the_old_revision(box: Box) -> None:
    box.put("")
    box.install(ONE)
    box.install({"app/a": "2"}, to=[])
    assert box.tree() == {}
    assert box.raw_list() == ""


def test_an_old_destination_is_left_when_it_moves(box: Box) -> None:
    box.put("")
    box.install(ONE, to="here/out")
    box.install(ONE, to="there/out")
    assert box.tree("there/out") == installed(ONE)
    assert not os.path.exists(f"{box.dest}/here")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param({"app/x": "1"}, {"app/x/y/z": "2"}, id="a file becomes a directory"),
        pytest.param({"app/x/y/z": "1"}, {"app/x": "2"}, id="a directory becomes a file"),
        pytest.param({"app/x/y/z": "1"}, {"app/x": Link("nowhere")}, id="a directory becomes a link to nothing"),
        pytest.param({"app/x/y/z": "1"}, {"app/x": Link(".")}, id="a directory becomes a link to its parent"),
        pytest.param({"app/x/y/z": "1"}, {"app/x": Link("x")}, id="a directory becomes a link to itself"),
        pytest.param({"app/x/y/z": "1", "app/w/v": "1"}, {"app/x": Link("w"), "app/w": "2"}, id="to a file"),
        pytest.param({"app/x": Link("nowhere")}, {"app/x/y/z": "2"}, id="a link becomes a directory"),
        pytest.param({"app/x": Link(".")}, {"app/x/x/x": "2"}, id="a link to its parent becomes a directory"),
        pytest.param({"app/x": "1"}, {"app/x": Link("x")}, id="a file becomes a link to itself"),
        pytest.param({"app/x": Link("x")}, {"app/x": "2"}, id="a link to itself becomes a file"),
        pytest.param({"app/x/y": "1", "app/y/x": "1"}, {"app/x/y/x": "2"}, id="directories move into each other"),
    ],
)
def test_one_kind_of_thing_replaces_another_and_back(box: Box, first: Tree, second: Tree) -> None:
    one, two = box.revision(first), box.revision(second)
    for archive, content in ((one, first), (two, second), (one, first), (two, second)):
        box.install(archive)
        shown = {path: what for path, what in box.tree("out").items() if what is not None}
        assert shown == installed({path: what for path, what in content.items() if what is not None}) or shown == {
            path.removeprefix("app/"): what for path, what in content.items()
        }


def test_an_old_link_to_a_directory_is_replaced_by_a_directory_and_not_followed(box: Box) -> None:
    box.put("releases/1/sub/f", "foreign")
    box.install({"app/current": Link("../releases/1")})
    box.install({"app/current/sub/f": "2", "app/current/sub/deep/g": "2"})
    assert box.tree("out") == {
        "current": None,
        "current/sub": None,
        "current/sub/f": "2",
        "current/sub/deep": None,
        "current/sub/deep/g": "2",
    }
    assert box.tree("releases") == {"1": None, "1/sub": None, "1/sub/f": "foreign"}


def test_a_directory_that_stays_gets_the_metadata_of_a_new_one(box: Box) -> None:
    box.install({"app/d/f": "1"})
    os.chmod(f"{box.dest}/out/d", 0o2700)
    before = os.stat(f"{box.dest}/out/d").st_ino
    box.install({"app/d/f": "2"})
    assert stat.S_IMODE(os.stat(f"{box.dest}/out/d").st_mode) == 0o755
    assert os.stat(f"{box.dest}/out/d").st_ino == before


def test_a_directory_with_a_foreign_file_keeps_its_metadata_and_is_ours_no_more(box: Box) -> None:
    box.install({"app/d/f": "1"})
    box.put("out/d/theirs", "foreign")
    os.chmod(f"{box.dest}/out/d", 0o2700)
    box.install({"app/d/f": "2"})
    assert stat.S_IMODE(os.stat(f"{box.dest}/out/d").st_mode) == 0o2700
    assert box.listed() == ["out/d/f"]
    os.unlink(f"{box.dest}/out/d/theirs")
    box.install({"app/g": "3"})
    assert box.tree("out") == {"d": None, "g": "3"}


def test_an_old_directory_goes_only_when_it_is_empty(box: Box) -> None:
    box.install({"app/d/e/f": "1"})
    box.put("out/d/theirs", "foreign")
    box.install({"app/g": "2"})
    assert box.tree("out") == {"d": None, "d/theirs": "foreign", "g": "2"}


def test_a_directory_that_was_there_before_is_never_removed(box: Box) -> None:
    box.put("out/d", mode=0o700)
    box.install({"app/d/f": "1"})
    box.install({"app/g": "2"})
    assert box.tree("out") == {"d": None, "g": "2"}
    assert stat.S_IMODE(os.stat(f"{box.dest}/out/d").st_mode) == 0o700


def test_files_changed_or_removed_by_hand_do_not_stop_the_next_deployment(box: Box) -> None:
    box.install({"app/a": "1", "app/b": "1", "app/c": "1", "app/d/e": "1"})
    put(f"{box.dest}/out/a", "by hand")
    os.unlink(f"{box.dest}/out/b")
    os.unlink(f"{box.dest}/out/c")
    os.mkdir(f"{box.dest}/out/c")
    shutil.rmtree(f"{box.dest}/out/d")
    put(f"{box.dest}/out/d", "by hand")
    box.install({"app/a": "2", "app/b": "2", "app/c": "2", "app/d/e": "2"})
    assert box.tree("out") == {"a": "2", "b": "2", "c": "2", "d": None, "d/e": "2"}


def test_names_that_no_list_can_hold_are_cleaned_up_all_the_same(box: Box) -> None:
    box.put("victim", "precious")
    odd = {"app/new\nline": "1", "app/space ": "1", "app/ ": "1", "app/directory /f": "1", "app/caf\udce9": "1"}
    box.install({**odd, f"app/x\n{box.dest}/victim": "1"})
    box.install({"app/plain": "2"})
    assert box.tree("out") == {"plain": "2"}
    assert box.tree()["victim"] == "precious"


def test_a_file_named_like_two_lines_never_removes_the_second(box: Box) -> None:
    box.put("victim", "precious")
    box.install({f"app/x\n{box.dest.removeprefix('/')}/victim": "1", "app/y": "1"})
    assert f"\n{box.dest}/victim\n" not in f"\n{box.raw_list()}"
    # The official agents know only what stands in the list.
    os.unlink(f"{box.root}/agent-state/cleanup/{GROUP}.json")
    box.install({"app/z": "2"})
    assert box.read("victim") == "precious"


# Files that are there already


def test_a_conflict_leaves_the_old_revision_in_place(box: Box) -> None:
    """The official agent has removed it by then."""
    box.install(ONE)
    box.put("out/new", "foreign")
    assert f"{box.dest}/out/new" in fails(box, {"app/new": "2", "app/a": "2"})


def test_overwrite_takes_a_file_over_and_the_next_deployment_removes_it(box: Box) -> None:
    box.put("out/a", "foreign")
    box.install({"app/a": "1"}, behavior="OVERWRITE")
    assert box.read("out/a") == "1"
    box.install({"app/b": "2"})
    assert box.tree("out") == {"b": "2"}


def test_retained_files_survive_this_and_all_later_deployments(box: Box) -> None:
    box.put("out/a", "foreign")
    box.put("out/link", Link("a"))
    box.install({"app/a": "1", "app/b": "1", "app/link": "1"}, behavior="RETAIN")
    assert box.tree("out") == {"a": "foreign", "b": "1", "link": Link("a")}
    assert "out/a" not in box.listed()
    box.install({"app/c": "2"}, behavior="RETAIN")
    box.install({"app/d": "3"})
    assert box.tree("out") == {"a": "foreign", "link": Link("a"), "d": "3"}


def test_retain_replaces_what_is_our_own(box: Box) -> None:
    box.install({"app/a": "1"})
    put(f"{box.dest}/out/a", "by hand")
    box.install({"app/a": "2"}, behavior="RETAIN")
    assert box.tree("out") == {"a": "2"}


def test_the_appspecs_behaviour_beats_the_deployments(box: Box) -> None:
    box.put("out/a", "foreign")
    request = box.request({"app/a": "1"}, behavior="DISALLOW")
    appspec = AppSpec("appspec.yml", request.appspec.files, file_exists_behavior=FileExistsBehavior.OVERWRITE)
    install(type(request)(**{**fields_of(request), "appspec": appspec}), options=InstallOptions())
    assert box.read("out/a") == "1"


def fields_of(request: object) -> dict[str, object]:
    return {name: getattr(request, name) for name in type(request)._fields}


# Other groups


def test_groups_have_lists_of_their_own(box: Box) -> None:
    box.install({"app/a": "1"}, to="a", group="group-a")
    box.install({"app/b": "1"}, to="b", group="group-b")
    box.install({"app/c": "2"}, to="a", group="group-a")
    assert {path: what for path, what in box.tree().items() if what} == {"a/c": "2", "b/b": "1"}


def test_cleaning_up_one_group_removes_what_another_took_over_as_with_the_official_agent(box: Box) -> None:
    box.install({"app/shared": "a"}, group="group-a")
    box.install({"app/shared": "b"}, group="group-b", behavior="OVERWRITE")
    assert box.read("out/shared") == "b"
    box.install({"app/other": "a"}, group="group-a")
    assert not os.path.exists(f"{box.dest}/out/shared")


# Changing between agents


def test_a_list_of_the_official_agent_is_cleaned_up_before_our_install(box: Box) -> None:
    for path in ("out/a", "out/sub/b"):
        box.put(path, "official")
    box.write_list(f"{box.dest}/{path}" for path in ("out", "out/a", "out/sub", "out/sub/b"))
    box.install({"app/a": "ours"})
    assert box.tree("out") == {"a": "ours"}


def test_a_failed_install_leaves_the_official_agents_list_to_the_next_one(box: Box) -> None:
    for path in ("out/a", "out/sub/b"):
        box.put(path, "official")
    box.write_list(f"{box.dest}/{path}" for path in ("out", "out/a", "out/sub", "out/sub/b"))
    before = box.tree()

    def fail(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InstallError):
        box.install({"app/c": "ours"}, progress=fail)
    assert box.tree() == before
    box.install({"app/c": "ours"})
    assert box.tree("out") == {"c": "ours"}


def test_our_list_lets_the_official_agent_clean_up_everything(box: Box) -> None:
    box.put("")
    box.install({**ONE, "app/deep/er/still/f": "1"})
    for line in reversed(box.raw_list().split("\n")[:-1]):  # 1.8.1's way
        if os.path.islink(line) or os.path.isfile(line):
            os.unlink(line)
        elif os.path.isdir(line):
            os.rmdir(line)
    assert box.tree() == {}


def test_another_agents_install_in_between_makes_our_odd_names_stale(box: Box) -> None:
    box.install({"app/odd ": "1"})
    box.write_list([f"{box.dest}/out/official"])
    box.install({"app/b": "2"})
    assert box.tree("out") == {"odd ": "1", "b": "2"}


def test_an_old_selinux_rule_does_not_stop_a_host_that_cannot_remove_it(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selinux, "_SYSTEM_DIRECTORIES", ())
    monkeypatch.setenv("PATH", box.top)
    box.put("out/a", "official")
    box.write_list([f"{box.dest}/out", f"{box.dest}/out/a", f"semanage\0{box.dest}/out/a"])
    box.install({"app/b": "1"})
    assert box.tree("out") == {"b": "1"}
    assert f"{box.dest}/out/a" in caplog.text


# What lies below the root directory


def test_the_pointer_names_the_deployment_without_a_newline(box: Box) -> None:
    archive = box.revision(ONE)
    box.install(archive)
    with open(f"{box.root}/deployment-instructions/{GROUP}_last_successful_install") as file:
        assert file.read() == os.path.dirname(archive)


def test_a_failed_install_leaves_the_pointer_where_it_was(box: Box) -> None:
    archive = box.revision(ONE)
    box.install(archive)
    box.put("out/new", "foreign")
    fails(box, {"app/new": "2"})
    with open(box.state.last_successful(GROUP)) as file:
        assert file.read() == os.path.dirname(archive)


def test_a_failed_first_install_leaves_no_list_and_no_pointer(box: Box) -> None:
    box.put("out/a", "foreign")
    fails(box, {"app/a": "1"})
    assert not os.path.exists(box.list_path())
    assert not os.path.exists(box.state.last_successful(GROUP))


def test_nothing_but_the_official_files_lies_beside_them(box: Box) -> None:
    box.install(ONE)
    box.install(TWO)
    names = sorted(os.listdir(f"{box.root}/deployment-instructions"))
    assert names == [f"{GROUP}-cleanup", f"{GROUP}-install.json", f"{GROUP}_last_successful_install"]
    assert sorted(os.listdir(box.root)) == ["agent-state", "deployment-instructions", GROUP]
    assert stat.S_IMODE(os.stat(f"{box.root}/agent-state").st_mode) == 0o700


def test_all_state_files_have_the_modes_of_the_settings(box: Box) -> None:
    options = InstallOptions(state_file_mode=0o600, state_directory_mode=0o700)
    install(box.request({"app/a": "1", "app/odd ": "1"}), options=options)
    directory = f"{box.root}/deployment-instructions"
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(f"{directory}/{name}").st_mode) for name in os.listdir(directory)} == {0o600}


def test_descriptors_do_not_leak(box: Box) -> None:
    box.install(ONE)
    box.put("out/new", "foreign")
    before = sorted(os.listdir("/proc/self/fd"))
    box.install(TWO)
    fails(box, {"app/new": "2"})
    assert sorted(os.listdir("/proc/self/fd")) == before


# Failures


def interrupting(when: int, raise_it: Callable[[], None]) -> Callable[[int, int], None]:
    def progress(done: int, _total: int) -> None:
        if done == when:
            raise_it()

    return progress


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("when", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), MemoryError(), OSError(errno.EIO, "x")])
def test_whatever_interrupts_an_install_it_is_undone(box: Box, error: BaseException, when: int) -> None:
    box.install(ONE)
    before, listed = snapshot(box.dest), box.listed()
    expected = InstallError if isinstance(error, OSError) else type(error)
    revision = {"app/a": "2", "app/n/x": "2", "app/sub": "2", "app/.hidden/y": "2"}
    with pytest.raises(expected):
        box.install(revision, progress=interrupting(when, lambda: _raise(error)))
    assert snapshot(box.dest) == before
    assert box.listed() == listed
    assert box.open_journals() == []


def test_a_signal_that_becomes_an_exception_undoes_too(box: Box) -> None:
    box.install(ONE)
    before = snapshot(box.dest)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        box.install(TWO, progress=interrupting(1, lambda: signal.raise_signal(signal.SIGINT)))
    assert snapshot(box.dest) == before


def test_an_install_that_fails_at_its_very_last_name_is_undone_whole(box: Box) -> None:
    """Every kind of change has happened by then."""
    box.put("out/taken", "foreign")
    box.put("out/dangling", Link("nowhere"))
    box.put("late")
    box.install(
        {
            "app/replaced": "1",
            "app/link": Link("replaced"),
            "app/gone/x": "1",
            "app/becomes-file/y/z": "1",
            "app/becomes-directory": "1",
            "app/becomes-link/x": "1",
            "app/kept/f": "1",
            "app/odd ": "1",
        }
    )
    os.chmod(f"{box.dest}/out/kept", 0o1700)
    os.link(f"{box.dest}/out/replaced", f"{box.dest}/other-name")
    before, listed = snapshot(box.dest), box.listed()
    archive = box.revision(
        {
            "app/replaced": "2",
            "app/link": "2",
            "app/becomes-file": "2",
            "app/becomes-directory/x/y": "2",
            "app/becomes-link": Link("nowhere"),
            "app/kept/f": "2",
            "app/taken": "2",
            "app/dangling": "2",
            "app/new/x": "2",
            "late/f": "2",
        }
    )

    def appear(_done: int, _total: int) -> None:
        box.put("late/f", "stranger")

    to = [("app", f"{box.dest}/out"), ("late", f"{box.dest}/late")]
    with pytest.raises(InstallError, match="Another process has put something here"):
        box.install(archive, to=to, behavior="OVERWRITE", progress=appear)
    os.unlink(f"{box.dest}/late/f")
    assert snapshot(box.dest) == before
    assert box.listed() == listed
    assert os.path.samefile(f"{box.dest}/out/replaced", f"{box.dest}/other-name")


@pytest.mark.needs("root", "immutable")
@pytest.mark.parametrize("which", ["out/b", "out/gone", "out/d"])
def test_an_immutable_file_or_directory_is_named_and_the_install_undone(box: Box, which: str) -> None:
    box.install({"app/a": "1", "app/b": "1", "app/gone": "1", "app/d/f": "1"})
    immutable = f"{box.dest}/{which}"
    subprocess.run(["chattr", "+i", immutable], check=True)
    try:
        text = fails(box, {"app/a": "2", "app/b": "2", "app/d/g": "2", "app/n/x": "2"})
    finally:
        subprocess.run(["chattr", "-i", immutable], check=True)
    assert which in text
    assert "not permitted" in text
    assert "lsattr" in text


@pytest.mark.needs("root", "mount")
def test_a_full_disk_is_named_and_the_install_undone(box: Box) -> None:
    box.put("")
    small, big = box.revision({"app/a": "1"}), box.revision({"app/a": "2", "app/big": "x" * 200_000, "app/c": "2"})

    def fill() -> object:
        box.install(small)
        text = fails(box, big)
        box.install(box.revision({"app/a": "3"}))
        return text, box.tree("out")

    said = with_own_mounts(fill, ["mount", "-t", "tmpfs", "-o", "size=64k", "none", box.dest])
    assert f"{box.dest}/out/big: No space left" in said
    assert "Free some space" in said
    assert said.endswith("{'a': '3'})")


@pytest.mark.needs("root", "mount")
def test_a_read_only_file_system_is_named_and_the_install_undone(box: Box) -> None:
    box.put("volume")
    archive = box.revision({"app/a": "1", "late/b": "1"})
    mappings = [("app", f"{box.dest}/out"), ("late", f"{box.dest}/volume")]

    def try_it() -> object:
        try:
            box.install(archive, to=mappings)
        except InstallError as error:
            failed = error, box.tree()
            # What was never written there needs no undoing, so that the group may go elsewhere.
            box.install(archive, to=mappings[:1])
            return *failed, box.tree("out")
        return "installed"

    said = with_own_mounts(try_it, ["mount", "-t", "tmpfs", "-o", "ro", "none", f"{box.dest}/volume"])
    assert f"{box.dest}/volume/b: Read-only file system" in said
    assert "parts of both revisions" not in said
    assert said.endswith("{'volume': None}, {'a': '1'})")


@pytest.mark.needs("root", "mount")
def test_an_install_spans_file_systems_and_keeps_directories_that_something_is_mounted_on(box: Box) -> None:
    box.put("out/volume")
    one = box.revision({"app/a": "1", "app/volume/f": "1", "app/volume/d/g": "1"})
    two = box.revision({"app/a": "2", "app/volume/d/h": "2"})

    def deploy() -> object:
        box.install(one)
        box.install(two)
        return box.tree("out") == {"a": "2", "volume": None, "volume/d": None, "volume/d/h": "2"} and box.listed()

    said = with_own_mounts(deploy, ["mount", "-t", "tmpfs", "none", f"{box.dest}/out/volume"])
    assert said == str(["out/a", "out/volume/d", "out/volume/d/h"])


@pytest.mark.needs("root")
def test_what_another_agent_has_installed_through_a_link_of_roots_is_deployed_again(box: Box) -> None:
    put(f"{box.top}/home/out/d/f", "1")
    os.chown(f"{box.top}/home", NOBODY, NOBODY)
    box.put("www", Link(f"{box.top}/home"))
    top = f"{box.dest}/www/out"
    box.write_list([top, f"{top}/d", f"{top}/d/f", "semanage\0/srv/f"])
    box.install({"app/d/f": "2"}, to="www/out")
    box.install({"app/d/f": "3"}, to="www/out")
    assert box.read("www/out/d/f") == "3"


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("lower", ["image", "disk/image"], ids=["of several file systems", "of one file system"])
def test_what_the_image_of_a_container_brings_is_replaced_and_removed(box: Box, lower: str) -> None:
    put(f"{box.top}/image/out/f", "0")
    put(f"{box.top}/image/out/sub/g", "0")
    put(f"{box.top}/image/out/foreign", "0")
    box.put(".")
    one = box.revision({"app/f": "1", "app/sub/g": "1"})
    two = box.revision({"app/f": "2", "app/new/h": "2"})
    box.write_list([f"{box.dest}/out", f"{box.dest}/out/sub", f"{box.dest}/out/sub/g"])

    def deploy() -> object:
        box.install(one, behavior="OVERWRITE")
        first = box.tree("out")
        box.install(two)
        return [sorted(table.items(), key=str) for table in (first, box.tree("out"))]

    options = f"lowerdir={box.top}/{lower},upperdir={box.top}/disk/upper,workdir={box.top}/disk/work"
    layers = (
        f"mkdir {box.top}/disk && mount -t tmpfs none {box.top}/disk && cd {box.top}/disk && mkdir upper work"
        f" && cp -a ../image . && mount -t overlay -o {options} none {box.dest}"
    )
    said = with_own_mounts(deploy, ["sh", "-c", layers])
    assert said == str(
        [
            [("f", "1"), ("foreign", "0"), ("sub", None), ("sub/g", "1")],
            [("f", "2"), ("foreign", "0"), ("new", None), ("new/h", "2")],
        ]
    )


@pytest.mark.needs("root", "mount")
def test_a_mount_on_a_directory_of_our_own_survives_the_revision_that_made_the_directory(box: Box) -> None:
    box.install({"app/volume/f": "1"})
    archive = box.revision({"app/a": "2"})

    def deploy() -> object:
        box.install(archive)
        return box.tree("out")

    said = with_own_mounts(deploy, ["mount", "-t", "tmpfs", "none", f"{box.dest}/out/volume"])
    assert said == "{'volume': None, 'a': '2'}"


SEMANAGE = r"""#!/bin/sh
shift
case "$1" in
-l) cat "$STORE/rules" ;;
-a) for spec in "$@"; do :; done; printf '%s  all files  system_u:object_r:some_t:s0\n' "$spec" >> "$STORE/rules" ;;
-d) test ! -e "$STORE/broken" || { echo "store is locked" >&2; exit 1; }; : > "$STORE/rules" ;;
esac
"""


@pytest.fixture
def semanage(box: Box, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand-ins for the SELinux programs; gives the directory where the rules are, and where "broken" makes -d fail."""
    put(f"{box.top}/bin/semanage", SEMANAGE, mode=0o755)
    put(f"{box.top}/bin/restorecon", "#!/bin/sh\n", mode=0o755)
    put(f"{box.top}/store/rules", "")
    monkeypatch.setenv("PATH", f"{box.top}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("STORE", f"{box.top}/store")
    return f"{box.top}/store"


def test_an_selinux_rule_is_taken_back_with_all_else(box: Box, semanage: str) -> None:
    with pytest.raises(InstallError, match="Another process has put something here"):
        install_a_label_and_fail(box)
    with open(f"{semanage}/rules") as rules:
        assert rules.read() == ""
    assert box.tree() == {"late": None, "late/f": "stranger"}


def test_a_rule_that_cannot_be_taken_back_hides_no_failure_and_is_tried_again(box: Box, semanage: str) -> None:
    put(f"{semanage}/broken", "")
    with pytest.raises(InstallError) as caught:
        install_a_label_and_fail(box)
    assert "Another process has put something here" in str(caught.value)
    assert "store is locked" in str(caught.value)
    assert box.open_journals() == [f"{GROUP}.journal"]
    os.unlink(f"{semanage}/broken")
    recover(box.root, options=InstallOptions())
    with open(f"{semanage}/rules") as rules:
        assert rules.read() == ""
    assert box.tree() == {"late": None, "late/f": "stranger"}
    assert box.open_journals() == []


def install_a_label_and_fail(box: Box) -> None:
    box.put("late")
    permission = Permission(f"{box.dest}/out/f", context=SelinuxContext("some_t"))
    to = [("app", f"{box.dest}/out"), ("late", f"{box.dest}/late")]
    box.install(
        {"app/f": "1", "late/f": "1"},
        to=to,
        permissions=[permission],
        progress=lambda _done, _total: box.put("late/f", "stranger") and None,
    )


def test_an_error_of_the_permissions_leaves_everything_as_it_was(box: Box) -> None:
    box.install(ONE)
    request = box.request(TWO, permissions=[Permission(f"{box.dest}/out", owner="no-such-user-here", line=7)])
    before = snapshot(box.dest)
    with pytest.raises(InstallConflictError, match="no-such-user-here"):
        install(request, options=InstallOptions())
    assert snapshot(box.dest) == before


def test_permissions_are_on_the_new_files_and_go_with_the_next_revision(box: Box) -> None:
    permissions = [
        Permission(f"{box.dest}/out", pattern="*.sh", mode=0o750, types=frozenset({"file"})),
        Permission(f"{box.dest}/out", pattern="d", mode=0o2711, types=frozenset({"directory"})),
    ]
    revision = {"app/run.sh": "1", "app/plain": "1", "app/d/f.sh": "1"}
    box.install(revision, permissions=permissions)
    assert modes_of(box, "run.sh", "plain", "d", "d/f.sh") == [0o750, 0o644, 0o2711, 0o644]
    box.install(revision)
    assert modes_of(box, "run.sh", "plain", "d", "d/f.sh") == [0o644, 0o644, 0o755, 0o644]


def modes_of(box: Box, *paths: str) -> list[int]:
    return [stat.S_IMODE(os.stat(f"{box.dest}/out/{path}").st_mode) for path in paths]


def test_an_ordinary_user_deploys_again_and_again(open_box: Box) -> None:
    open_box.put("home")
    archives = [open_box.revision(ONE), open_box.revision(TWO), open_box.revision(ONE)]
    give_to_ordinary_user(open_box.top)

    def deploy() -> object:
        for archive in archives:
            open_box.install(archive, to="home/out")
        return open_box.tree("home/out") == installed(ONE)

    assert as_ordinary_user(deploy) == "True"


def test_many_mappings_below_a_home_that_may_not_be_listed(open_box: Box) -> None:
    open_box.put("homes/me")
    archive = open_box.revision({f"f{number}": "1" for number in range(30)})
    give_to_ordinary_user(open_box.top)
    if os.geteuid() == 0:
        os.chown(f"{open_box.dest}/homes", 0, 0)
    os.chmod(f"{open_box.dest}/homes", 0o711 if os.geteuid() == 0 else 0o300)
    mappings = [(f"f{number}", f"{open_box.dest}/homes/me/{number}") for number in range(30)]
    try:
        assert as_ordinary_user(lambda: open_box.install(archive, to=mappings) and "done") == "done"
    finally:
        os.chmod(f"{open_box.dest}/homes", 0o755)


# Random hosts and revisions, against the official agent's algorithm, carried out naively on a copy of the host

NAMES = ("a", "b", "c")
TARGETS = ("a", "b", "../a", "../c", "nowhere", ".", "c/b", "../../x")

places = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
contents = st.sampled_from(["1", "2", "1", None]) | st.sampled_from(TARGETS).map(Link)
revisions = st.lists(st.tuples(places, contents), min_size=1, max_size=8)
by_hand = st.lists(
    st.tuples(st.sampled_from(["remove", "file", "directory", "closed", "link a", "link ../b", "link ../x"]), places),
    max_size=4,
)
behaviors = st.sampled_from(["OVERWRITE", "RETAIN", "DISALLOW"])
mapped = st.sampled_from(
    [[("app", "out")], [("app", "out")], [("app", "out"), ("app/a", "out/b")], [("app/a", "out/c")]]
)
deployments = st.lists(st.tuples(by_hand, revisions, behaviors, mapped, st.booleans()), min_size=2, max_size=4)
disk_calls = st.sampled_from(["rename", "rename", "unlink", "link", "mkdir", "symlink", "rmdir"])

# Each example is a row of deployments, so fewer do.
in_rows = settings(max_examples=max(settings.default.max_examples // 2, 1))


class NaiveConflictError(Exception):
    """The official rules meet something that they do not install over."""


class Naive:
    """The official agent's Install, step by step on a real directory; where ours differs on purpose, ours.

    A clean-up backwards, then decisions about everything, then the work in order. On purpose: a name is replaced and
    never written through; a link to a directory above itself is installed as a link.
    """

    def __init__(self, top: str, behavior: str, *, follow: bool) -> None:
        self.top = top
        self.behavior = behavior
        self.follow = follow
        self.made: dict[str, tuple[str, str]] = {}  # real path -> kind, source
        self.recorded: set[str] = set()

    def clean_up(self, listed: list[str]) -> None:
        for path in (f"{self.top}/{name}" for name in reversed(listed)):
            if os.path.islink(path) or os.path.isfile(path):
                os.unlink(path)
            elif os.path.isdir(path) and not os.listdir(path):
                os.rmdir(path)

    def map(self, archive: str, source: str, destination: str) -> None:
        path = f"{archive}/{source}"
        if not os.path.lexists(path):
            raise NaiveConflictError(path)
        if os.path.isdir(path):
            self._contents(path, self._parents(destination), destination, [os.path.realpath(path)])
        else:
            self._leaf(path, self._parents(destination), destination)

    def _parents(self, destination: str) -> str:
        real, shown = self.top, ""
        for name in destination.split("/"):
            shown = f"{shown}/{name}" if shown else name
            real = self._directory(f"{real}/{name}", shown)
        return real

    def _directory(self, real: str, shown: str) -> str:
        if real in self.made:
            if self.made[real][0] != "directory":
                raise NaiveConflictError(real)
            return real
        if os.path.islink(real):
            target = os.path.realpath(real)
            if self.made.get(target, ("", ""))[0] == "directory" or (os.path.isdir(real) and target not in self.made):
                return target
            raise NaiveConflictError(real)
        if os.path.isdir(real):
            return real
        if os.path.lexists(real):
            raise NaiveConflictError(real)
        self.made[real] = ("directory", "")
        self.recorded.add(shown)
        return real

    def _contents(self, source: str, real: str, shown: str, above: list[str]) -> None:
        for name in os.listdir(source):
            path = f"{source}/{name}"
            is_link = os.path.islink(path) and (not self.follow or os.path.realpath(path) in above)
            if os.path.isdir(path) and not is_link:
                inner = self._directory(f"{real}/{name}", f"{shown}/{name}")
                self._contents(path, inner, f"{shown}/{name}", [*above, os.path.realpath(path)])
            else:
                self._leaf(path, real, shown)

    def _leaf(self, source: str, directory: str, shown: str) -> None:
        real = f"{directory}/{os.path.basename(source)}"
        if self.made.get(real, ("", ""))[0] == "kept":
            return
        if real in self.made:
            raise NaiveConflictError(real)
        if os.path.exists(real):
            if self.behavior == "RETAIN":
                self.made[real] = ("kept", source)
                return
            if self.behavior == "DISALLOW" or (os.path.isdir(real) and not os.path.islink(real)):
                raise NaiveConflictError(real)
        self.made[real] = ("leaf", source)
        self.recorded.add(f"{shown}/{os.path.basename(source)}")

    def work(self) -> None:
        for path, (kind, source) in self.made.items():
            if kind == "directory":
                os.mkdir(path)
            elif kind == "leaf":
                if os.path.lexists(path):
                    os.unlink(path)
                shutil.copy2(source, path, follow_symlinks=False)


def change_by_hand(top: str, changes: list[tuple[str, str]]) -> None:
    for what, place in changes:
        path = f"{top}/{place}"
        parent = os.path.dirname(path)
        if what == "closed" and os.path.isdir(path):
            os.chmod(path, 0o750)
        elif what == "remove" and os.path.lexists(path) and not os.path.islink(parent):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        elif what not in ("remove", "closed") and os.path.isdir(parent) and not os.path.lexists(path):
            put(path, {"file": "foreign", "directory": None}.get(what, Link(what.removeprefix("link "))))


def real_names(box: Box, names: Iterable[str]) -> set[str]:
    """Names below box.dest, those that lead to the same object made one: a directory may be reached through a link."""
    paths = [f"{box.dest}/{name}" for name in names]
    return {f"{os.path.realpath(os.path.dirname(path))}/{os.path.basename(path)}" for path in paths}


def make_revision(box: Box, desired: list[tuple[str, Content]]) -> str:
    """Make a revision of what fits together: nothing below a file or a link."""
    files: dict[str, Content] = {"app": None}
    for place, content in desired:
        path = f"app/{place}"
        above = [path[:at] for at, sign in enumerate(path) if sign == "/"]
        if path not in files and all(files.get(directory) is None for directory in above):
            files |= {**dict.fromkeys(above), path: content}
    return box.revision(files)


Row = list[tuple[list[tuple[str, str]], list[tuple[str, Content]], str, list[tuple[str, str]], bool]]


@dataclass(slots=True)
class Turn:
    """One deployment of a row: what is to be installed, and the host as the naive way makes it (None: it refuses)."""

    install: Callable[[], object]
    after: dict[str, str] | None
    recorded: set[str]


def turns(box: Box, row: Row) -> Iterator[Turn]:
    """Prepare one deployment of a row after the other, the host being changed by hand in between."""
    box.put("x/b", "foreign")
    box.put("out/c")
    for changes, revision, behavior, mappings, follow in row:
        change_by_hand(f"{box.dest}/out", changes)
        archive = make_revision(box, revision)
        to = [(source, f"{box.dest}/{destination}") for source, destination in mappings]
        naive = Naive(f"{box.top}/copy", behavior, follow=follow)
        shutil.copytree(box.dest, naive.top, symlinks=True)
        naive.clean_up(box.listed())
        after = None
        with suppress(NaiveConflictError):
            for source, destination in mappings:
                naive.map(archive, source, destination)
            naive.work()
            after = snapshot(naive.top)
        shutil.rmtree(naive.top)
        yield Turn(partial(box.install, archive, to=to, behavior=behavior, follow=follow), after, naive.recorded)


@in_rows
@given(deployments)
def test_any_row_of_deployments_ends_as_the_naive_way_would(tmp_path_factory: pytest.TempPathFactory, row: Row) -> None:
    box = Box(os.path.realpath(tmp_path_factory.mktemp("row")))
    for turn in turns(box, row):
        before, listed = snapshot(box.dest), box.listed()
        if turn.after is None:
            with pytest.raises(InstallConflictError):
                turn.install()
            assert snapshot(box.dest) == before
            assert box.listed() == listed
        else:
            turn.install()
            assert snapshot(box.dest) == turn.after
            assert real_names(box, box.listed()) == real_names(box, turn.recorded)
        assert box.open_journals() == []


@contextmanager
def failing(name: str, number: int) -> Iterator[None]:
    """Let one call of a function of os fail, as a disk does that has a bad moment; those before and after succeed."""
    function = getattr(os, name)
    left = number

    def fail_once(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO), arguments[0])
        return function(*arguments, **options)

    setattr(os, name, fail_once)
    try:
        yield
    finally:
        setattr(os, name, function)


@in_rows
@given(deployments, disk_calls, st.integers(1, 25))
def test_any_install_that_meets_a_bad_moment_of_the_disk_is_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, row: Row, name: str, number: int
) -> None:
    box = Box(os.path.realpath(tmp_path_factory.mktemp("row")))
    for turn in turns(box, row):
        if turn.after is None:
            continue
        before, listed = snapshot(box.dest), box.listed()
        with suppress(InstallError), failing(name, number):
            turn.install()
        recover(box.root, options=InstallOptions())
        assert box.open_journals() == []
        if (snapshot(box.dest), box.listed()) == (before, listed):
            turn.install()
        assert snapshot(box.dest) == turn.after
        assert real_names(box, box.listed()) == real_names(box, turn.recorded)


def test_a_revision_that_goes_into_the_agents_own_records_is_refused_before_anything_changes(box: Box) -> None:
    box.install(ONE)
    before = snapshot(f"{box.root}/agent-state")
    for name in ("agent-state", "deployment-instructions", "ongoing-deployment"):
        with pytest.raises(InstallConflictError, match=rf"appspec\.yml:4:.*{name}"):
            box.install(ONE, to=[("app", f"{box.root}/{name}/x")])
        with pytest.raises(InstallConflictError, match=rf"appspec\.yml:4:.*{name}"):
            box.plan(ONE, to=[("app", f"{box.root}/{name}/x")])
    assert snapshot(f"{box.root}/agent-state") == before


@pytest.mark.needs("root", "mount")
@pytest.mark.parametrize("mounted", ["file", "directory", "directory with a stranger's file"])
def test_a_mount_point_keeps_itself_and_the_directories_above_it_on_the_list(box: Box, mounted: str) -> None:
    put(f"{box.top}/file", "mounted")
    put(f"{box.top}/directory/.", None)
    if "stranger" in mounted:
        put(f"{box.top}/directory/theirs", "x")
    kind = mounted.split()[0]
    old = {"app/a": "1", "app/old/deep/file": "1", "app/old/deep/directory/f": "1"}
    new = {"app/a": "2"}

    box.install(old)
    second, third = box.revision(new), box.revision(new)

    def deploy() -> object:
        box.install(second)
        return box.listed()

    if kind == "directory":
        os.unlink(f"{box.dest}/out/old/deep/directory/f")
    where = f"{box.dest}/out/old/deep/{kind}"
    said = with_own_mounts(deploy, ["mount", "--bind", f"{box.top}/{kind}", where])
    assert said == str([box.dest, "out", "out/a", "out/old", "out/old/deep", f"out/old/deep/{kind}"])
    # Without the mount the next deployment removes all of it.
    box.install(third)
    assert box.tree("out") == {"a": "2"}


@pytest.mark.needs("root", "immutable")
def test_a_directory_that_cannot_be_removed_keeps_the_directories_above_it_on_the_list(box: Box) -> None:
    box.install({"app/a": "1", "app/old/deep/er/f": "1"})
    os.unlink(f"{box.dest}/out/old/deep/er/f")
    subprocess.run(["chattr", "+i", f"{box.dest}/out/old/deep/er"], check=True)
    try:
        box.install({"app/a": "2"})
    finally:
        subprocess.run(["chattr", "-i", f"{box.dest}/out/old/deep/er"], check=True)
    assert box.listed() == ["out/old", "out/old/deep", "out/old/deep/er", box.dest, "out", "out/a"]
    box.install({"app/a": "3"})
    assert box.tree("out") == {"a": "3"}


def test_an_error_after_the_commit_is_a_warning_and_the_rest_is_done_later(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    box.install({"app/a": "1", "app/gone": "1"})
    pointer = box.state.last_successful(GROUP)
    os.unlink(pointer)
    os.makedirs(f"{pointer}/in the way")  # the file cannot be renamed over it
    box.install({"app/a": "2"})
    assert "the Install has succeeded" in caplog.text
    assert pointer in caplog.text
    assert box.tree("out")["a"] == "2"
    assert box.open_journals() == [f"{GROUP}.journal"]
    os.rmdir(f"{pointer}/in the way")
    os.rmdir(pointer)
    assert "completed" in recover(box.root, options=InstallOptions())[0]
    assert box.tree("out") == {"a": "2"}
    assert content_of(pointer) == f"{box.root}/{GROUP}/d-2"


def explained_text(error: BaseException) -> str:
    with pytest.raises(InstallError) as caught, explained("installing"):
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "owner and mode"),
        (errno.EPERM, "lsattr"),
        (errno.EIO, "kernel log"),
        (errno.ELOOP, "circle"),
        (errno.ENAMETOOLONG, "Shorten"),
        (errno.EEXIST, "Something else writes"),
    ],
)
def test_an_error_says_what_was_done_where_why_and_what_to_do(number: int, advice: str) -> None:
    text = explained_text(OSError(number, os.strerror(number), "/srv/app/x"))
    assert "While installing: /srv/app/x: " in text
    assert os.strerror(number) in text
    assert advice in text


def test_both_names_of_a_rename_are_given() -> None:
    assert "/srv/a -> /srv/b: " in explained_text(OSError(errno.EIO, "Input/output error", "/srv/a", None, "/srv/b"))


def test_an_error_without_a_known_remedy_or_number_is_still_told() -> None:
    assert "the disk is on fire" in explained_text(OSError("the disk is on fire"))
    assert "Device or resource busy" in explained_text(OSError(errno.EBUSY, os.strerror(errno.EBUSY), "/srv/x"))


def test_what_is_explained_already_is_left_as_it_is() -> None:
    error = InstallConflictError(["/srv/a is in the way"])
    with pytest.raises(InstallConflictError) as caught, explained("installing"):
        raise error
    assert caught.value is error


def test_an_interrupt_is_not_made_into_a_failure_of_the_disk() -> None:
    with pytest.raises(KeyboardInterrupt), explained("installing"):
        raise KeyboardInterrupt
