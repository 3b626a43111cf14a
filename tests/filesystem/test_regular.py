"""What another account has put under the name of a file of the agent's neither stops the agent nor is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.filesystem.regular import open_regular, read_regular

APP = 12345
WRITE = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def test_a_regular_file_is_opened_and_no_program_inherits_it(tmp_path: Path) -> None:
    descriptor = open_regular(f"{tmp_path}/file", WRITE, 0o640)
    os.write(descriptor, b"text")
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)
    assert read_regular(f"{tmp_path}/file", 3) == b"tex"


@pytest.mark.parametrize("flags", [os.O_RDONLY, WRITE, os.O_RDWR | os.O_CREAT])
@pytest.mark.parametrize("kind", ["fifo", "link", "dangling", "directory"])
def test_anything_else_is_refused_at_once(tmp_path: Path, kind: str, flags: int) -> None:
    name, target = tmp_path / "name", tmp_path / "target"
    if kind == "fifo":
        os.mkfifo(name)
    elif kind == "directory":
        name.mkdir()
    else:
        name.symlink_to(target)
    if kind == "link":
        target.write_text("precious")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r"regular|No such device|symbolic|directory"):
        open_regular(str(name), flags)
    assert os.listdir("/proc/self/fd") == before
    assert target.exists() == (kind == "link")


@pytest.mark.needs("root")
def test_a_second_name_in_another_accounts_directory_is_nobodys_log(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "app").mkdir()
    os.link(tmp_path / "precious", tmp_path / "app/log")
    os.close(open_regular(f"{tmp_path}/app/log", os.O_WRONLY))  # as of a backup by hard links
    os.chown(tmp_path / "app", APP, APP)
    with pytest.raises(OSError, match="second name"):
        open_regular(f"{tmp_path}/app/log", WRITE)
