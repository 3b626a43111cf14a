"""Building the new files: complete with content, mode, owner and time, before any name on the host is touched."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from agent.appspec.model import Permission
from agent.errors import InstallError
from agent.filesystem.directories import Directories
from agent.install.plan import Plan
from agent.install.stage import Stager
from host_tree import describe
from install_box import NOBODY, Box, Link, as_ordinary_user, give_to_ordinary_user, put

NOT_READABLE = pytest.param(0o000, marks=pytest.mark.needs("root"))
LONG_AGO = 1_000_000_000
BIG = "0123456789abcdef" * 70_000  # more than one read and more than one step of the kernel's copy


def stage(plan: Plan) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    replaced = [operation.path for operation in plan.operations if operation.kind == "replace"]
    with Directories() as directories:
        before = directories.identities_of(replaced)
        Stager(plan, directories, lambda done, total: seen.append((done, total)), before=before).run()
    return seen


def mode(path: str) -> int:
    return os.stat(path, follow_symlinks=False).st_mode & 0o7777


def test_no_name_of_the_host_changes_while_the_new_files_are_built(box: Box) -> None:
    box.install({"app/a": "1", "app/directory/x": "1"})
    plan = box.plan({"app/a": "2", "app/directory": "2", "app/new/y": "2"})
    stage(plan)
    visible = {path: what for path, what in box.tree().items() if ".codedeploy-" not in path}
    assert visible == {"out": None, "out/a": "1", "out/directory": None, "out/directory/x": "1"}


def test_everything_is_built_under_its_temporary_name(box: Box) -> None:
    plan = box.plan({"app/a": "1", "app/new/y": BIG, "app/new/link": Link("y")})
    stage(plan)
    (operation,) = plan.operations
    assert operation.path == box.dest
    assert not os.path.exists(box.dest)
    assert describe(f"{operation.temp}/out/a").endswith('"1"')
    assert os.readlink(f"{operation.temp}/out/new/link") == "y"
    assert os.path.getsize(f"{operation.temp}/out/new/y") == len(BIG)


def test_progress_counts_up_to_its_total(box: Box) -> None:
    box.put("out/kept", "foreign")
    box.install({"app/a": "1", "app/d/b": "1"})
    plan = box.plan({"app/a": "2", "app/d/b": "2", "app/kept": "2", "app/new/x": "2"}, behavior="RETAIN")
    seen = stage(plan)
    assert seen == [(number, len(seen)) for number in range(1, len(seen) + 1)]
    assert len(seen) == 4


@pytest.mark.parametrize("bits", [0o644, 0o600, 0o755, 0o4755, 0o2755, 0o444, 0o777, NOT_READABLE])
def test_a_file_keeps_the_mode_that_it_has_in_the_bundle(box: Box, bits: int) -> None:
    archive = box.revision({"app/f": "1"})
    os.chmod(f"{archive}/app/f", bits)
    before = os.umask(0o027)
    try:
        box.install(archive)
    finally:
        os.umask(before)
    assert mode(f"{box.dest}/out/f") == bits


@pytest.mark.parametrize("content", ["", "short", BIG], ids=["empty", "short", "big"])
def test_a_file_keeps_its_content_and_its_time(box: Box, content: str) -> None:
    archive = box.revision({"app/f": content})
    os.utime(f"{archive}/app/f", ns=(LONG_AGO * 10**9 + 7, LONG_AGO * 10**9 + 123_456_789))
    box.install(archive)
    assert box.read("out/f") == content
    assert os.stat(f"{box.dest}/out/f").st_mtime_ns == LONG_AGO * 10**9 + 123_456_789


@pytest.mark.needs("root")
def test_a_file_keeps_its_owner_and_its_setuid_bit(box: Box) -> None:
    archive = box.revision({"app/f": "1"})
    os.chown(f"{archive}/app/f", 5, 60)
    os.chmod(f"{archive}/app/f", 0o4755)
    box.install(archive)
    status = os.stat(f"{box.dest}/out/f")
    assert (status.st_uid, status.st_gid, mode(f"{box.dest}/out/f")) == (5, 60, 0o4755)


def test_modes_and_times_of_the_bundles_directories_do_not_reach_the_host(box: Box) -> None:
    archive = box.revision({"app/d/f": "1"})
    os.chmod(f"{archive}/app/d", 0o2700)
    os.utime(f"{archive}/app/d", (LONG_AGO, LONG_AGO))
    box.install(archive)
    assert mode(f"{box.dest}/out/d") == 0o755
    assert os.stat(f"{box.dest}/out/d").st_mtime > LONG_AGO


@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o755), (0o027, 0o750), (0o077, 0o700), (0o000, 0o777)])
def test_new_directories_follow_the_umask(box: Box, umask: int, expected: int) -> None:
    archive = box.revision({"app/d/e/f": "1"})
    before = os.umask(umask)
    try:
        box.install(archive)
    finally:
        os.umask(before)
    assert [mode(f"{box.dest}/{path}") for path in ("out", "out/d", "out/d/e")] == [expected] * 3


@pytest.mark.needs("root")
def test_new_directories_and_files_below_a_setgid_directory_are_as_plain_commands_make_them(box: Box) -> None:
    parent = box.put("shared", mode=0o2775)
    os.chown(parent, 0, 60)
    os.chmod(parent, 0o2775)
    box.install({"app/d/f": "1"}, to="shared/out")
    os.makedirs(f"{parent}/plain/d")
    for path in ("", "/d"):
        assert describe(f"{parent}/out{path}") == describe(f"{parent}/plain{path}")
    # A file's group is the bundle's, as the official agent has it (copy with preserve).
    assert os.stat(f"{parent}/out/d/f").st_gid == 0


@pytest.mark.needs_tool("setfacl")
def test_new_directories_and_files_below_a_default_acl_are_as_plain_commands_make_them(box: Box) -> None:
    parent = box.put("shared")
    subprocess.run(["setfacl", "-d", "-m", "u:games:rwx,m::rwx", parent], check=True)
    box.install({"app/d/f": "1"}, to="shared/out")
    os.makedirs(f"{parent}/plain/d")
    shutil.copy2(f"{box.root}/group-a/d-1/deployment-archive/app/d/f", f"{parent}/plain/d/f")
    os.utime(f"{parent}/plain/d/f", (LONG_AGO, LONG_AGO))
    os.utime(f"{parent}/out/d/f", (LONG_AGO, LONG_AGO))
    for path in ("", "/d", "/d/f"):
        assert describe(f"{parent}/out{path}") == describe(f"{parent}/plain{path}")


def test_a_link_keeps_its_text_whatever_it_is(box: Box) -> None:
    targets = {"a": "nowhere", "b": "/no/where", "c": "../../../..//x/.", "d": "caf\udce9"}
    box.install({f"app/{name}": Link(target) for name, target in targets.items()})
    assert box.tree("out") == {name: Link(target) for name, target in targets.items()}


def test_files_are_copies_and_no_links_into_the_revision(box: Box) -> None:
    archive = box.revision({"app/f": "1"})
    os.link(f"{archive}/app/f", f"{archive}/app/g")
    box.install(archive)
    inodes = {os.stat(path).st_ino for path in (f"{archive}/app/f", f"{box.dest}/out/f", f"{box.dest}/out/g")}
    assert len(inodes) == 3


def test_a_revision_file_that_vanishes_meanwhile_fails_the_install_with_its_name_and_undoes_it(box: Box) -> None:
    box.install({"app/a": "1", "app/b": "1"})
    archive = box.revision({"app/a": "2", "app/b": "2"})
    before = box.tree()

    def vanish(_done: int, _total: int) -> None:
        shutil.rmtree(f"{archive}/app", ignore_errors=True)

    with pytest.raises(InstallError, match=rf"{archive}/app/[ab]: No such file"):
        box.install(archive, progress=vanish)
    assert box.tree() == before


def test_a_revision_file_that_becomes_a_link_meanwhile_is_not_followed(box: Box) -> None:
    secret = put(f"{box.top}/secret", "secret")
    archive = box.revision({"app/a": "1", "app/b": "1"})

    def exchange(_done: int, _total: int) -> None:
        for name in ("a", "b"):
            os.unlink(f"{archive}/app/{name}")
            os.symlink(secret, f"{archive}/app/{name}")

    with pytest.raises(InstallError):
        box.install(archive, progress=exchange)
    assert box.tree() == {}


def test_the_work_of_an_ordinary_user_is_that_users(open_box: Box) -> None:
    open_box.put("home")
    archive = open_box.revision({"app/d/f": "1", "app/link": Link("d")})
    give_to_ordinary_user(open_box.top)

    assert as_ordinary_user(lambda: open_box.install(archive, to="home/out") and "done") == "done"
    assert open_box.tree("home/out") == {"d": None, "d/f": "1", "link": None, "link/f": "1"}
    owner = NOBODY if os.geteuid() == 0 else os.geteuid()
    assert {os.lstat(f"{open_box.dest}/home/out/{path}").st_uid for path in ("", "d", "d/f")} == {owner}


def test_an_ordinary_user_installs_directories_that_nobody_may_enter(open_box: Box) -> None:
    open_box.put(".")
    closed = Permission(open_box.dest, mode=0o444, types=frozenset({"directory"}))
    archive = open_box.revision({"app/a/b/c/f": "1", "app/a/b/d": None})
    give_to_ordinary_user(open_box.top)

    assert as_ordinary_user(lambda: open_box.install(archive, permissions=[closed]) and "done") == "done"
    assert open_box.open_journals() == []
    paths = [f"{open_box.dest}/out{below}" for below in ("", "/a", "/a/b", "/a/b/c", "/a/b/d")]
    modes = []
    for path in paths:
        modes.append(mode(path))
        os.chmod(path, 0o755)
    assert modes == [0o444] * 5
    assert open_box.read("out/a/b/c/f") == "1"


def test_an_ordinary_user_learns_which_directory_is_closed_and_nothing_has_changed(open_box: Box) -> None:
    open_box.put("home")
    open_box.put("closed/out")
    archive = open_box.revision({"app/f": "1"})
    give_to_ordinary_user(open_box.top)
    os.chmod(f"{open_box.dest}/closed/out", 0o555)
    mappings = [("app", f"{open_box.dest}/home/out"), ("app", f"{open_box.dest}/closed/out")]
    before = open_box.tree()
    said = as_ordinary_user(lambda: open_box.install(archive, to=mappings))
    assert said.startswith("InstallError")
    assert f"{open_box.dest}/closed/out/f: Permission denied" in said
    assert "check the owner and mode" in said
    assert open_box.tree() == before
    assert open_box.open_journals() == []
