from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.filesystem.trees import remove_tree


def test_everything_below_a_folder_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for folder in ("a/b/c", "a/b/d", "e", ".1~", ".2~/.3~"):
        (top / folder).mkdir(parents=True)
        (top / folder / "f").write_text("x")
    (top / "a" / "link").symlink_to(tmp_path)
    os.mkfifo(top / "a" / "pipe")
    assert remove_tree(str(top))
    assert os.listdir(tmp_path) == []


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert not remove_tree(str(tmp_path / "nothing"))


def test_a_file_and_a_link_are_removed_and_a_links_target_is_not(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").write_text("x")
    assert remove_tree(str(tmp_path / "link"))
    assert remove_tree(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["folder"]


def test_a_tree_deeper_than_a_path_may_be_long_is_removed(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("dd", dir_fd=here)
        below = os.open("dd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert remove_tree(str(tmp_path / "dd"))
    assert os.listdir(tmp_path) == []


@pytest.mark.needs("root", "users")
def test_an_ordinary_user_removes_folders_that_they_closed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "f").write_text("x")
    for path in (top / "a" / "b" / "c", top / "a" / "b", top / "a", top):
        os.chown(path, 12345, 12345)
        path.chmod(0o000)
    os.chown(tmp_path, 12345, 12345)
    script = (
        "import os, sys\nfrom agent.filesystem.trees import remove_tree\n"
        "os.fchdir(int(sys.argv[1])); os.setgid(12345); os.setuid(12345)\nremove_tree('top')"
    )
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        subprocess.run([sys.executable, "-c", script, str(here)], check=True, pass_fds=[here])
    finally:
        os.close(here)
        os.chown(tmp_path, 0, 0)
    assert os.listdir(tmp_path) == []
