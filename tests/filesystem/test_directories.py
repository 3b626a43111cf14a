"""Changes to a directory reach the one that was opened, whatever its owner puts under its name meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.filesystem import directories as module
from agent.filesystem.directories import Directories, MovedError, by_descriptor
from agent.filesystem.kernel import Identity


@pytest.fixture
def directories() -> Iterator[Directories]:
    with Directories() as opened:
        yield opened


@pytest.fixture
def top(tmp_path: Path) -> str:
    os.mkdir(tmp_path / "app")
    os.mkdir(tmp_path / "foreign")
    (tmp_path / "app" / "f").write_text("ours")
    (tmp_path / "foreign" / "f").write_text("precious")
    return str(tmp_path)


def swap_for_a_link(top: str) -> None:
    os.rename(f"{top}/app", f"{top}/moved")
    os.symlink("foreign", f"{top}/app")


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def test_a_change_goes_to_the_directory_that_was_opened(directories: Directories, top: str) -> None:
    directories.open(f"{top}/app")
    swap_for_a_link(top)
    directories.rename(f"{top}/app/f", f"{top}/app/g")
    directories.make(f"{top}/app/d", 0o777)
    directories.symlink("g", f"{top}/app/link")
    os.close(directories.create(f"{top}/app", "new"))
    assert directories.remove_file(f"{top}/app/g")
    assert sorted(os.listdir(f"{top}/moved")) == ["d", "link", "new"]
    assert os.listdir(f"{top}/foreign") == ["f"]


def test_a_link_on_the_way_is_refused(directories: Directories, top: str) -> None:
    swap_for_a_link(top)
    with pytest.raises(MovedError) as caught:
        directories.remove_file(f"{top}/app/f")
    assert caught.value.filename == f"{top}/app"
    assert read(f"{top}/foreign/f") == "precious"


def test_another_directory_under_a_known_name_is_refused(top: str) -> None:
    with Directories() as earlier:
        earlier.open(f"{top}/app")
        known = dict(earlier.identities)
    os.rename(f"{top}/app", f"{top}/moved")
    os.rename(f"{top}/foreign", f"{top}/app")
    with Directories(known=known) as later, pytest.raises(MovedError):
        later.remove_file(f"{top}/app/f")
    assert read(f"{top}/app/f") == "precious"


def test_a_directory_is_known_again_after_a_reboot_that_renumbered_the_devices(top: str) -> None:
    with Directories() as earlier:
        earlier.open(f"{top}/app")
        renumbered = {path: one._replace(device=one.device + 1) for path, one in earlier.identities.items()}
    with Directories(known=renumbered, same_boot=False) as later:
        assert later.remove_file(f"{top}/app/f")


def test_without_a_time_of_birth_the_device_counts_within_a_boot() -> None:
    one = Identity(1, 2, stat.S_IFDIR, 0)
    other = one._replace(device=9)
    assert not one.is_same(other)
    assert one.is_same(other, same_boot=False)
    # Some file systems get another number with each mount.
    assert one._replace(born=5).is_same(other._replace(born=5))


def test_an_inode_that_is_used_again_is_another_object() -> None:
    one = Identity(1, 2, stat.S_IFDIR, 1000)
    assert one.is_same(one._replace(born=0))
    assert not one.is_same(one._replace(born=2000))
    assert not one.is_same(one._replace(born=2000), same_boot=False)
    assert not one.is_same(one._replace(type=stat.S_IFREG))


def test_more_directories_than_may_be_open_are_opened_again(top: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OPEN", 5)
    with Directories() as directories:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(20):
            directories.make(f"{top}/app/{number}", 0o777)
            os.close(directories.create(f"{top}/app/{number}", "f"))
        for number in range(20):
            assert directories.remove_file(f"{top}/app/{number}/f")
        assert len(os.listdir("/proc/self/fd")) <= before + 5
        os.rename(f"{top}/app/0", f"{top}/app/away")
        os.rename(f"{top}/foreign", f"{top}/app/0")
        with pytest.raises(MovedError):
            directories.remove_file(f"{top}/app/0/f")


def test_the_walk_does_without_openat2(top: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.filesystem.kernel._lacks_openat2", True)
    monkeypatch.setattr(module, "_MOST_OPEN", 2)
    with Directories() as directories:
        assert directories.remove_file(f"{top}/app/f")
        directories.verify([f"{top}/app"])
        swap_for_a_link(top)
        with pytest.raises(MovedError):
            directories.verify([f"{top}/app"])


def test_a_name_that_is_taken_is_not_renamed_over(directories: Directories, top: str) -> None:
    with pytest.raises(FileExistsError) as caught:
        directories.rename_to_free_name(f"{top}/app/f", f"{top}/foreign/f")
    assert caught.value.filename == f"{top}/foreign/f"
    assert read(f"{top}/foreign/f") == "precious"


def test_a_file_system_without_a_rename_to_a_free_name_serves_too(
    directories: Directories, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.filesystem.kernel._RENAMEAT2", None)
    test_a_name_that_is_taken_is_not_renamed_over(directories, top)
    directories.rename_to_free_name(f"{top}/app/f", f"{top}/app/g")
    assert os.listdir(f"{top}/app") == ["g"]


def test_another_object_is_put_back_where_it_was_taken(directories: Directories, top: str) -> None:
    desired = directories.identity(f"{top}/app/f")
    directories.make_private(f"{top}/app/private")
    os.unlink(f"{top}/app/f")
    os.rename(f"{top}/foreign", f"{top}/app/f")
    with pytest.raises(MovedError):
        directories.take(f"{top}/app/f", f"{top}/app/private/f", desired)
    assert read(f"{top}/app/f/f") == "precious"


def test_a_private_directory_is_closed_to_others_whatever_is_inherited(directories: Directories, top: str) -> None:
    os.chmod(f"{top}/app", 0o2777)
    umask = os.umask(0)
    try:
        directories.make_private(f"{top}/app/private")
    finally:
        os.umask(umask)
    assert os.stat(f"{top}/app/private").st_mode & 0o777 == 0o700
    os.chmod(f"{top}/foreign", 0o750)
    assert not directories.is_private(f"{top}/foreign")


@pytest.mark.needs_tool("setfacl")
def test_a_default_acl_does_not_open_a_private_directory(directories: Directories, top: str) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:games:rwx", f"{top}/app"], check=True)
    directories.make_private(f"{top}/app/private")
    shown = subprocess.run(["getfacl", "-cpE", f"{top}/app/private"], capture_output=True, text=True, check=True)
    assert "mask::---" in shown.stdout


@pytest.mark.parametrize("kind", ["fifo", "socket", "link", "directory"])
def test_what_is_not_a_file_is_not_opened_as_one(directories: Directories, top: str, kind: str) -> None:
    path = f"{top}/app/odd"
    make = {
        "fifo": lambda: os.mkfifo(path),
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
        "link": lambda: os.symlink("f", path),
        "directory": lambda: os.mkdir(path),
    }
    make[kind]()
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with pytest.raises(MovedError):
            os.close(directories.open_file(path, flags))


def test_a_link_is_not_pinned(directories: Directories, top: str) -> None:
    os.symlink("f", f"{top}/app/link")
    with pytest.raises(MovedError), directories.pinned(f"{top}/app/link"):
        pass
    with directories.pinned(f"{top}/app/f") as pinned:
        os.rename(f"{top}/app/f", f"{top}/app/g")
        assert read(by_descriptor(pinned)) == "ours"


@pytest.mark.needs("root", "mount")
def test_removing_all_stops_at_a_mount(directories: Directories, top: str) -> None:
    directories.make(f"{top}/app/d", 0o777)
    subprocess.run(["mount", "--bind", f"{top}/foreign", f"{top}/app/d"], check=True)
    try:
        with pytest.raises(OSError, match="Something is mounted here"):
            directories.remove_all(f"{top}/app")
    finally:
        subprocess.run(["umount", f"{top}/app/d"], check=True)
    assert read(f"{top}/foreign/f") == "precious"


def test_only_empty_directories_go_with_a_tree_that_is_to_be_empty(directories: Directories, top: str) -> None:
    os.makedirs(f"{top}/app/a/b/c")
    assert directories.remove_empty_tree(f"{top}/app/a")
    os.makedirs(f"{top}/app/a/b/c")
    os.symlink("../../foreign", f"{top}/app/a/b/link")
    assert not directories.remove_empty_tree(f"{top}/app")
    assert sorted(os.listdir(f"{top}/app/a/b")) == ["link"]
    assert read(f"{top}/foreign/f") == "precious"


def test_an_error_names_the_whole_path(directories: Directories, top: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        directories.status(f"{top}/app/missing")
    assert caught.value.filename == f"{top}/app/missing"
    with pytest.raises(FileNotFoundError) as caught:
        directories.rename(f"{top}/missing/x", f"{top}/app/x")
    assert caught.value.filename == f"{top}/missing"


def test_every_directory_on_the_way_is_judged_once(top: str) -> None:
    seen = []
    with Directories(judge=lambda path, _descriptor, _above, _below: seen.append(path)) as directories:
        directories.status(f"{top}/app/f")
        directories.status(f"{top}/app/f")
        directories.status(f"{top}/foreign/f")
    assert seen[-2:] == [f"{top}/app", f"{top}/foreign"]
    assert seen.count(top) == 1


def test_a_directory_that_moved_is_told_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MovedError("/app/d")))
    assert (type(error), error.filename) == (MovedError, "/app/d")


def test_an_error_of_an_object_that_is_held_names_the_whole_path(directories: Directories, top: str) -> None:
    with pytest.raises(FileNotFoundError) as caught, directories.pinned(f"{top}/app/missing"):
        pass
    assert caught.value.filename == f"{top}/app/missing"


def test_a_very_deep_directory_is_opened(directories: Directories, top: str) -> None:
    path = f"{top}/app" + "/d" * 500
    os.makedirs(path)
    directories.make(f"{path}/new", 0o777)
    assert os.path.isdir(f"{path}/new")


def test_a_rename_reaches_both_directories_when_no_more_can_be_open(top: str) -> None:
    names = [f"{top}/app/{number}" for number in range(module._MOST_OPEN)]
    for name in names:
        os.makedirs(f"{name}/a/b")
    for opened in range(1, len(names)):
        open(f"{names[0]}/f{opened}", "x").close()
    with Directories() as directories:
        directories.open(names[0])
        for opened, name in enumerate(names[1:], 1):
            # Sooner or later the directory of the old name is the one that has been open longest.
            directories.rename(f"{names[0]}/f{opened}", f"{name}/a/b/f")
    assert all(os.path.isfile(f"{name}/a/b/f") for name in names[1:])


WITH_FEW_FILES = """
import os, resource, sys
from agent.filesystem.directories import Directories
names = [f"{sys.argv[1]}/{number}" for number in range(300)]
for name in names:
    os.mkdir(name)
opened = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
with Directories() as directories:
    for name in names:
        directories.make_private(f"{name}/.private~")
    directories.verify(names)
    for name in names:
        directories.remove_empty(f"{name}/.private~")
assert not any(os.listdir(name) for name in names)
"""


def test_a_process_that_may_open_few_files_works_in_many_directories(top: str) -> None:
    # In a process of its own, where no other test has left files open.
    subprocess.run([sys.executable, "-c", WITH_FEW_FILES, f"{top}/app"], check=True)


def refused(*_arguments: object) -> int:
    ctypes.set_errno(errno.EPERM)
    return -1


def test_calls_that_a_containers_filter_refuses_are_done_without(
    directories: Directories, top: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = directories.identity(f"{top}/app/f")
    monkeypatch.setattr("agent.filesystem.kernel._STATX", refused)
    monkeypatch.setattr("agent.filesystem.kernel._RENAMEAT2", refused)
    assert directories.identity(f"{top}/app/f") == desired._replace(born=0)
    test_a_name_that_is_taken_is_not_renamed_over(directories, top)
    directories.rename_to_free_name(f"{top}/app/f", f"{top}/app/g")
    assert os.listdir(f"{top}/app") == ["g"]
