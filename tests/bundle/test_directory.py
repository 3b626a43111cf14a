from __future__ import annotations

import os
import resource
import socket
import zlib
from pathlib import Path

import pytest

from agent.filesystem import helper_process
from bundle_box import Box, tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "appspec.yml").write_text("version: 0.0\n")
    return directory


def test_a_directory_is_copied_not_linked(box: Box, source: Path) -> None:
    box.unpack(source, "directory")
    with (source / "appspec.yml").open("a") as file:
        file.write("changed")
    assert "changed" not in box.text("appspec.yml")
    assert (box.destination / "appspec.yml").stat().st_nlink == 1


def test_modes_lose_what_the_umask_takes_and_directories_have_no_mode_of_their_own(box: Box, source: Path) -> None:
    for mode in (0o777, 0o4775, 0o600, 0o400):
        (source / f"{mode:o}").write_text("x")
        (source / f"{mode:o}").chmod(mode)
    (source / "private").mkdir(mode=0o700)
    before = os.umask(0o022)
    try:
        found = box.unpack(source, "directory")
    finally:
        os.umask(before)
    shown = {name: rest[1] for name, rest in found.items() if name != "appspec.yml"}
    assert shown == {"777": "0o755", "4775": "0o4755", "600": "0o600", "400": "0o400", "private": "0o755"}


def test_a_directory_lets_no_other_account_exchange_what_is_in_it_even_if_the_umask_is_0(
    box: Box, source: Path
) -> None:
    (source / "scripts").mkdir(mode=0o777)
    before = os.umask(0)
    try:
        found = box.unpack(source, "directory")
    finally:
        os.umask(before)
    assert found["scripts"][1] == "0o755"


@pytest.mark.needs("root")
def test_owners_and_times_are_those_of_new_files(box: Box, source: Path) -> None:
    os.chown(source / "appspec.yml", 5, 60)
    os.utime(source / "appspec.yml", (1_000_000_000, 1_000_000_000))
    found = box.unpack(source, "directory")["appspec.yml"]
    assert found[2:4] == (0, 0)
    assert found[4] > 1_500_000_000 * 10**9


def test_links_stay_links_and_hard_links_become_files(box: Box, source: Path) -> None:
    (source / "link").symlink_to("appspec.yml")
    (source / "dangling").symlink_to("/no/such")
    (source / "directory").mkdir()
    (source / "loop").symlink_to(".")
    os.link(source / "appspec.yml", source / "second")
    found = box.unpack(source, "directory")
    assert [found[name][5] for name in ("link", "dangling", "loop")] == [b"appspec.yml", b"/no/such", b"."]
    assert found["second"][5] == b"version: 0.0\n"


def test_names_of_any_bytes_and_files_of_any_size_are_copied(box: Box, source: Path) -> None:
    for name in (b"\xff\xfe", b"new\nline", b"n" * 255, "☃".encode()):
        Path(os.fsdecode(os.fsencode(source) + b"/" + name)).write_bytes(name)
    for size in (0, 1, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 3_000_000):
        (source / f"size-{size}").write_bytes(os.urandom(size))
    (source / "a" / "b" / "c").mkdir(parents=True)
    expected = {name: rest[5] for name, rest in tree(source).items()}
    assert {name: rest[5] for name, rest in box.unpack(source, "directory").items()} == expected


def test_two_processes_copy_what_one_copies(box: Box, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        file = source / f"directory-{number // 5}" / "inner" / f"file-{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(100))
        file.chmod((0o600, 0o755, 0o4711)[number % 3])
    (source / "directory-1" / "link").symlink_to("inner")
    (source / "empty").mkdir()
    one = {name: rest[:4] + rest[5:] for name, rest in box.unpack(source, "directory").items()}
    monkeypatch.setattr(helper_process, "WORTH_A_HELPER", 10)
    seen: list[tuple[int, int]] = []
    found = box.unpack(source, "directory", progress=lambda *progress: seen.append(progress))
    assert {name: rest[:4] + rest[5:] for name, rest in found.items()} == one
    assert seen[-1][0] == seen[-1][1] == 40 * 100 + len("version: 0.0\n")


@pytest.mark.parametrize("directory", ["a", "b", "c", "d"])
def test_an_error_of_either_hand_names_its_file(
    box: Box, source: Path, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By their names some of these directories are copied by one process and some by the other.
    assert {zlib.crc32(name) & 1 for name in (b"a", b"b", b"c", b"d")} == {0, 1}
    monkeypatch.setattr(helper_process, "WORTH_A_HELPER", 4)
    for name in "abcd":
        (source / name).mkdir()
        (source / name / "file").write_bytes(b"x")
    os.truncate(source / directory / "file", 1 << 20)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        assert f"'{directory}/file'" in box.refused(source, "directory")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_fifo_is_named_and_does_not_hang(box: Box, source: Path) -> None:
    (source / "a").mkdir()
    os.mkfifo(source / "a" / "pipe")
    message = box.refused(source, "directory")
    assert "'a/pipe' is a named pipe (fifo)" in message


def test_a_socket_is_named(box: Box, source: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.open(source, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{here}/s")
        finally:
            os.close(here)
        assert "'s' is a socket" in box.refused(source, "directory")


@pytest.mark.needs("root", "devices")
def test_a_device_is_named(box: Box, source: Path) -> None:
    os.mknod(source / "null", 0o20666, os.makedev(1, 3))
    assert "'null' is a character device" in box.refused(source, "directory")


def test_a_bundle_that_holds_its_own_deployments_is_not_copied_into_itself_for_ever(box: Box) -> None:
    assert "root_dir" in box.refused(box.directory, "directory")


def test_a_link_given_as_the_directory_is_followed(box: Box, source: Path) -> None:
    (box.directory / "current").symlink_to(source)
    assert "appspec.yml" in box.unpack(box.directory / "current", "directory")


def test_a_file_given_as_a_directory_is_explained(box: Box, source: Path) -> None:
    assert "Not a directory" in box.refused(source / "appspec.yml", "directory")


def test_a_file_that_tells_no_size_is_copied_whole(box: Box) -> None:
    # As some FUSE file systems have them; /proc stands for these here.
    found = box.unpack(Path("/proc/sys/kernel/random"), "directory")
    assert len(found["boot_id"][5]) == 37


@pytest.mark.parametrize("depth", [300])
def test_a_deep_directory_is_copied(box: Box, source: Path, depth: int) -> None:
    deep = source.joinpath(*["d"] * depth)
    deep.mkdir(parents=True)
    (deep / "f").write_text("x")
    found = box.unpack(source, "directory")
    assert found["/".join(["d"] * depth) + "/f"][5] == b"x"
