"""Writes that are whole and on the disk when they return, or have changed nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.filesystem.durable import (
    append_durably,
    make_directory,
    remove_if_there,
    sync_directory,
    sync_file_systems,
    temporary_name,
    write_all,
    write_durably,
)


@pytest.fixture
def top(tmp_path: Path) -> str:
    return str(tmp_path)


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_new_content_replaces_the_old_whole(top: str) -> None:
    write_durably(f"{top}/file", b"old and long")
    write_durably(f"{top}/file", b"new")
    assert content(f"{top}/file") == b"new"
    assert os.listdir(top) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_the_mode_is_exact_whatever_the_umask(top: str, mode: int) -> None:
    before = os.umask(0o077)
    try:
        write_durably(f"{top}/file", b"x", mode=mode)
    finally:
        os.umask(before)
    assert os.stat(f"{top}/file").st_mode & 0o7777 == mode


def test_who_has_the_old_file_open_goes_on_reading_it(top: str) -> None:
    write_durably(f"{top}/file", b"old")
    with open(f"{top}/file", "rb") as reader:
        write_durably(f"{top}/file", b"new")
        assert reader.read() == b"old"


def test_a_link_is_replaced_and_what_it_leads_to_kept(top: str) -> None:
    write_durably(f"{top}/theirs", b"theirs")
    os.symlink("theirs", f"{top}/file")
    write_durably(f"{top}/file", b"new")
    assert content(f"{top}/theirs") == b"theirs"
    assert not os.path.islink(f"{top}/file")


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(top: str) -> None:
    write_durably(f"{top}/theirs", b"theirs")
    os.symlink("theirs", temporary_name(f"{top}/file"))
    write_durably(f"{top}/file", b"ours")
    assert content(f"{top}/theirs") == b"theirs"
    assert content(f"{top}/file") == b"ours"
    assert not os.path.islink(f"{top}/file")


def test_what_a_killed_writer_left_does_not_get_in_the_way(top: str) -> None:
    with open(temporary_name(f"{top}/file"), "wb") as file:
        file.write(b"a longer half of something")
    write_durably(f"{top}/file", b"new")
    assert content(f"{top}/file") == b"new"
    assert os.listdir(top) == ["file"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(top: str) -> None:
    write_durably(f"{top}/file", b"old")
    script = (
        "import resource, signal, sys\n"
        "from agent.filesystem.durable import write_durably\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"write_durably({top + '/file'!r}, b'x' * 5000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert content(f"{top}/file") == b"old"
    assert os.listdir(top) == ["file"]


def test_a_target_that_is_a_directory_fails_and_leaves_nothing(top: str) -> None:
    os.mkdir(f"{top}/file")
    with pytest.raises(IsADirectoryError):
        write_durably(f"{top}/file", b"new")
    assert os.listdir(top) == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "\u20ac" * 85, "\udce9" * 255], ids=["ascii", "three bytes", "not utf-8"])
def test_the_longest_possible_name_can_be_written(top: str, name: str) -> None:
    write_durably(f"{top}/{name}", b"x")
    assert os.listdir(top) == [name]


def test_temporary_files_are_hidden_and_match_no_usual_include_pattern() -> None:
    assert temporary_name("/etc/app.d/a.conf") == "/etc/app.d/.a.conf.new~"


def test_a_relative_name_is_written_in_the_working_directory(top: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    write_durably("file", b"x")
    assert content(f"{top}/file") == b"x"


def test_a_reader_sees_the_old_content_or_the_new_and_never_a_part(top: str) -> None:
    write_durably(f"{top}/file", b"a" * 200_000)
    script = (
        "import sys\n"
        "from agent.filesystem.durable import write_durably\n"
        f"for letter in b'bcdefghz': write_durably({top + '/file'!r}, bytes([letter]) * 200_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as writer:
        while True:
            ended = writer.poll() is not None
            data = content(f"{top}/file")
            assert len(data) == 200_000
            assert len(set(data)) == 1
            if ended:
                break
    assert data[:1] == b"z"


def test_appending_keeps_what_is_there_and_makes_no_file(top: str) -> None:
    write_durably(f"{top}/file", b"one\n")
    append_durably(f"{top}/file", b"two\n")
    assert content(f"{top}/file") == b"one\ntwo\n"
    with pytest.raises(FileNotFoundError):
        append_durably(f"{top}/missing", b"x")
    os.symlink("file", f"{top}/link")
    with pytest.raises(OSError, match="symbolic links"):
        append_durably(f"{top}/link", b"x")


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 1_000_000])
def test_all_is_written_also_where_the_kernel_takes_it_in_parts(data: bytes) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, True)
    child = os.fork()
    if child == 0:
        os.close(reader)
        write_all(writer, data)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == data
    assert os.waitpid(child, 0)[1] == 0


def test_descriptors_do_not_leak(top: str) -> None:
    make_directory(f"{top}/a/b")
    before = sorted(os.listdir("/proc/self/fd"))
    write_durably(f"{top}/file", b"x")
    append_durably(f"{top}/file", b"x")
    sync_directory(top)
    sync_file_systems([top, f"{top}/file", "/proc"])
    with pytest.raises(IsADirectoryError):
        write_durably(f"{top}/a", b"x")
    with pytest.raises(FileNotFoundError):
        sync_file_systems([top, f"{top}/missing"])
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_syncing_something_that_is_no_directory_is_an_error(top: str) -> None:
    write_durably(f"{top}/file", b"x")
    with pytest.raises(NotADirectoryError):
        sync_directory(f"{top}/file")
    with pytest.raises(FileNotFoundError):
        sync_directory(f"{top}/missing")


def test_syncing_a_fifo_does_not_hang(top: str) -> None:
    os.mkfifo(f"{top}/pipe")
    sync_file_systems([f"{top}/pipe"])


@pytest.mark.needs("devices")
def test_syncing_opens_no_device_that_a_link_leads_to(top: str) -> None:
    os.mknod(f"{top}/device", stat.S_IFCHR | 0o600, os.makedev(60, 1))  # no driver has it, so to open it is an error
    os.symlink("device", f"{top}/directory")
    sync_file_systems([f"{top}/directory"])


def test_removing_tells_whether_something_was_there(top: str) -> None:
    write_durably(f"{top}/file", b"x")
    os.symlink("nowhere", f"{top}/link")
    assert remove_if_there(f"{top}/link")
    assert not remove_if_there(f"{top}/file/below")
    assert remove_if_there(f"{top}/file")
    assert not remove_if_there(f"{top}/file")
    os.mkdir(f"{top}/directory")
    with pytest.raises((IsADirectoryError, PermissionError)):
        remove_if_there(f"{top}/directory")


def test_directories_are_made_with_their_parents_and_exactly_this_mode(top: str) -> None:
    before = os.umask(0o077)
    try:
        make_directory(f"{top}/a/b/c", mode=0o755)
    finally:
        os.umask(before)
    assert [os.stat(f"{top}/{path}").st_mode & 0o7777 for path in ("a", "a/b", "a/b/c")] == [0o755] * 3


def test_a_directory_that_is_there_is_left_as_it_is(top: str) -> None:
    os.mkdir(f"{top}/a", 0o700)
    os.symlink("a", f"{top}/link")
    make_directory(f"{top}/a", mode=0o755)
    make_directory(f"{top}/a/", mode=0o755)
    make_directory(f"{top}/link", mode=0o755)
    assert os.stat(f"{top}/a").st_mode & 0o7777 == 0o700


def test_a_directory_cannot_be_made_where_a_file_is(top: str) -> None:
    write_durably(f"{top}/file", b"x")
    for path in ("file", "file/below"):
        with pytest.raises(FileExistsError):
            make_directory(f"{top}/{path}")


def test_a_relative_directory_is_made_in_the_working_directory(top: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    make_directory("a/b")
    assert os.path.isdir(f"{top}/a/b")


def test_what_lies_under_the_temporary_name_is_neither_written_nor_waited_for(top: str) -> None:
    write_durably(f"{top}/precious", b"precious")
    os.link(f"{top}/precious", temporary_name(f"{top}/file"))
    write_durably(f"{top}/file", b"new")
    assert content(f"{top}/precious") == b"precious"
    os.mkfifo(temporary_name(f"{top}/file"))
    write_durably(f"{top}/file", b"newer")
    assert content(f"{top}/file") == b"newer"
    assert sorted(os.listdir(top)) == ["file", "precious"]


@pytest.mark.needs("root", "mount")
def test_a_file_system_is_synced_where_there_is_no_proc(tmp_path):
    code = f"import os; from agent.filesystem.durable import sync_file_systems; sync_file_systems([{str(tmp_path)!r}])"
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    subprocess.run([*hidden, sys.executable, "-c", code], check=True)
