"""Exchanging the names: a reader of a destination never sees half a file, and other names of a file keep theirs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from contextlib import suppress

import pytest

from agent.appspec.model import Permission
from agent.errors import InstallError
from agent.filesystem.directories import Directories, MovedError
from agent.install.commit import overwrite
from install_box import Box, Link, Tree, as_ordinary_user, give_to_ordinary_user, put, tree, with_own_mounts


def test_a_replaced_file_is_a_new_file_so_its_other_name_keeps_its_content(box: Box) -> None:
    box.put("out/a", "foreign")
    os.link(f"{box.dest}/out/a", f"{box.dest}/other-name")
    box.install({"app/a": "1"}, behavior="OVERWRITE")
    assert box.read("out/a") == "1"
    assert box.read("other-name") == "foreign"
    assert os.stat(f"{box.dest}/other-name").st_nlink == 1


def test_what_a_replaced_link_led_to_keeps_its_content(box: Box) -> None:
    box.put("theirs", "foreign")
    box.put("out/a", Link("../theirs"))
    box.install({"app/a": "1"}, behavior="OVERWRITE")
    assert box.tree() == {"out": None, "out/a": "1", "theirs": "foreign"}


def test_a_dangling_link_is_replaced_and_not_written_through(box: Box) -> None:
    box.put("out/a", Link("nowhere"))
    box.install({"app/a": "1"})
    assert box.tree() == {"out": None, "out/a": "1"}


def test_a_link_is_installed_over_a_file_and_a_file_over_a_link(box: Box) -> None:
    box.install({"app/a": "1", "app/b": Link("a")})
    box.install({"app/a": Link("b"), "app/b": "2"})
    assert box.tree("out") == {"a": Link("b"), "b": "2"}


def test_a_link_is_installed_over_a_foreign_file(box: Box) -> None:
    box.put("out/a", "foreign")
    box.install({"app/a": Link("nowhere")}, behavior="OVERWRITE")
    assert box.tree("out") == {"a": Link("nowhere")}


def test_a_running_program_goes_on_with_its_old_self(box: Box) -> None:
    program = put(f"{box.dest}/out/run", "")
    with open("/bin/sleep", "rb") as source, open(program, "wb") as target:
        target.write(source.read())
    os.chmod(program, 0o755)
    running = subprocess.Popen([program, "60"])
    try:
        box.install({"app/run": "#!/bin/sh"}, behavior="OVERWRITE")
        assert box.read("out/run") == "#!/bin/sh"
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


def test_a_reader_sees_one_revision_or_the_other_and_never_half_a_file(box: Box) -> None:
    sizes = (300_000, 200_000)
    box.install({"app/f": "a" * sizes[0]})
    watcher = (
        "import json\n"
        "print('ready', flush=True)\n"
        "seen = set()\n"
        "while True:\n"
        f"    data = open({box.dest + '/out/f'!r}).read()\n"
        "    seen.add((data[:1], data[-1:], len(data)))\n"
        "    if data[:1] == 'z':\n"
        "        break\n"
        "print(json.dumps(sorted(seen)))\n"
    )
    with subprocess.Popen([sys.executable, "-c", watcher], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        for letter in "bcdefz":
            box.install({"app/f": letter * sizes[letter in "bdf"]})
        seen = json.loads(reader.stdout.readline())
    assert all(first == last and length in sizes for first, last, length in seen)


def test_something_that_appears_meanwhile_is_not_overwritten(box: Box) -> None:
    box.put("out")
    appeared = f"{box.dest}/out/a"

    def appear(_done: int, _total: int) -> None:
        put(appeared, "stranger")

    with pytest.raises(InstallError, match=f"{appeared}: Another process has put something here"):
        box.install({"app/a": "1", "app/b": "1"}, progress=appear)
    assert box.tree() == {"out": None, "out/a": "stranger"}


@pytest.mark.parametrize("revision", [{"app/d/f": "2"}, {"app/d/g": "2"}, {"app/x": "2"}], ids=["same", "new", "gone"])
def test_a_directory_exchanged_for_a_link_meanwhile_is_not_followed(box: Box, revision: Tree) -> None:
    """Who owns a directory of the application must not be able to lead the agent's user elsewhere."""
    box.install({"app/d/f": "1"})
    victim = put(f"{box.top}/victim")
    put(f"{victim}/f", "precious")
    os.chmod(victim, 0o700)

    def exchange(done: int, _total: int) -> None:
        if done == 1:
            os.rename(f"{box.dest}/out/d", f"{box.top}/aside")
            os.symlink(victim, f"{box.dest}/out/d")

    with suppress(InstallError):
        box.install(revision, progress=exchange)
    assert tree(victim) == {"f": "precious"}
    assert os.stat(victim).st_mode & 0o777 == 0o700


def test_an_old_file_that_somebody_removes_meanwhile_is_no_failure(box: Box) -> None:
    box.install({"app/old": "1"})

    def remove(_done: int, _total: int) -> None:
        os.unlink(f"{box.dest}/out/old")

    box.install({"app/new": "2"}, progress=remove)
    assert box.tree("out") == {"new": "2"}


def test_a_directory_that_stays_is_still_the_same_directory(box: Box) -> None:
    box.install({"app/d/a": "1"})
    before = [os.stat(f"{box.dest}/{path}").st_ino for path in ("out", "out/d")]
    box.install({"app/d/b": "2"})
    assert [os.stat(f"{box.dest}/{path}").st_ino for path in ("out", "out/d")] == before
    assert box.tree("out") == {"d": None, "d/b": "2"}


def test_a_process_in_a_directory_that_stays_sees_the_new_files(box: Box) -> None:
    box.install({"app/d/a": "1"})
    directory = os.open(f"{box.dest}/out/d", os.O_RDONLY)
    try:
        box.install({"app/d/b": "2"})
        assert os.listdir(directory) == ["b"]
    finally:
        os.close(directory)


def write_over(source: str, target: str) -> None:
    with Directories() as directories:
        overwrite(directories, source, target, directories.identity(target))


@pytest.mark.parametrize("content", ["", "new", "x" * 300_000])
def test_overwriting_gives_content_mode_and_times_and_keeps_the_file(box: Box, content: str) -> None:
    source = put(f"{box.top}/source", content, mode=0o640)
    target = put(f"{box.top}/target", "something long that was here before", mode=0o600)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    before = os.stat(target).st_ino
    write_over(source, target)
    status = os.stat(target)
    assert (status.st_ino, status.st_mode & 0o7777, status.st_mtime) == (before, 0o640, 1_000_000_000)
    with open(target) as file:
        assert file.read() == content


def test_overwriting_leaks_no_descriptor(box: Box) -> None:
    source, target = put(f"{box.top}/source", "new"), put(f"{box.top}/target", "old")
    before = sorted(os.listdir("/proc/self/fd"))
    write_over(source, target)
    with pytest.raises(FileNotFoundError):
        write_over(source, f"{box.top}/missing")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_overwriting_does_not_follow_a_link(box: Box) -> None:
    source, theirs = put(f"{box.top}/source", "new"), put(f"{box.top}/theirs", "foreign")
    os.symlink(theirs, f"{box.top}/link")
    with pytest.raises(MovedError):
        write_over(source, f"{box.top}/link")
    with open(theirs) as file:
        assert file.read() == "foreign"


@pytest.mark.needs("root", "mount")
def test_a_file_that_something_is_mounted_on_is_written_in_place(box: Box) -> None:
    mounted = put(f"{box.top}/volume", "foreign")
    os.chmod(mounted, 0o600)
    os.chown(mounted, 5, 60)
    box.put("out/conf", "below the mount")
    archive = box.revision({"app/conf": "1", "app/b": "1"})

    def install() -> object:
        box.install(archive, behavior="OVERWRITE")
        return box.tree("out"), sorted(box.listed())

    said = with_own_mounts(install, ["mount", "--bind", mounted, f"{box.dest}/out/conf"])
    assert said == str(({"b": "1", "conf": "1"}, ["out/b", "out/conf"])), said
    with open(mounted) as file:
        assert file.read() == "1"
    status = os.stat(mounted)
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o644, 0, 0)
    assert box.tree("out") == {"b": "1", "conf": "below the mount"}


@pytest.mark.needs("root", "mount")
def test_a_mounted_file_gets_its_old_content_back_when_the_install_fails(box: Box) -> None:
    mounted = put(f"{box.top}/volume", "foreign")
    os.chmod(mounted, 0o600)
    os.chown(mounted, 5, 60)
    os.utime(mounted, (1_000_000_000, 1_000_000_000))
    box.put("out/conf", "below the mount")
    mappings = [("app/conf", f"{box.dest}/out"), ("late", f"{box.dest}/out")]
    archive = box.revision({"app/conf": "1", "late": "1"})

    def appear(_done: int, _total: int) -> None:
        put(f"{box.dest}/out/late", "stranger")

    def install() -> object:
        return box.install(archive, to=mappings, behavior="OVERWRITE", progress=appear)

    said = with_own_mounts(install, ["mount", "--bind", mounted, f"{box.dest}/out/conf"])
    assert "Another process has put something here" in said
    with open(mounted) as file:
        assert file.read() == "foreign"
    status = os.stat(mounted)
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o600, 5, 60)
    assert status.st_mtime == 1_000_000_000
    assert box.tree("out") == {"conf": "below the mount", "late": "stranger"}


def test_an_old_file_that_goes_by_itself_while_the_revision_is_built_stops_nothing(box: Box) -> None:
    box.install({"app/a": "1", "app/old": "1"})
    plan = box.install(
        box.revision({"app/a": "2"}),
        progress=lambda done, total: os.path.exists(f"{box.dest}/out/old") and os.unlink(f"{box.dest}/out/old"),
    )
    assert box.tree("out") == {"a": "2"}
    assert [operation.kind for operation in plan.operations].count("remove") == 1


def test_an_ordinary_user_installs_directories_that_it_may_not_write_to(open_box: Box) -> None:
    open_box.put(".")
    closed = Permission(open_box.dest, mode=0o555, types=frozenset({"directory"}))
    archive = open_box.revision({"app/sub/f": "1"})
    give_to_ordinary_user(open_box.top)

    def deploy() -> object:
        open_box.install(archive, permissions=[closed])
        return stat.S_IMODE(os.stat(f"{open_box.dest}/out").st_mode), open_box.tree("out")

    assert as_ordinary_user(deploy) == str((0o555, {"sub": None, "sub/f": "1"}))


def test_an_ordinary_user_installs_into_a_directory_that_it_may_not_read(open_box: Box) -> None:
    archive = open_box.revision({"app/f": "1"})
    give_to_ordinary_user(open_box.top)
    os.chmod(open_box.put("drop"), 0o1733 if os.geteuid() == 0 else 0o300)
    try:
        said = as_ordinary_user(lambda: open_box.install(archive, to="drop/out") and open_box.tree("drop/out"))
    finally:
        os.chmod(f"{open_box.dest}/drop", 0o700)
    assert said == str({"f": "1"})
