from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.filesystem.trees import remove_empty_tree, remove_tree
from install_box import as_ordinary_user, give_to_ordinary_user
from install_trace import fault_at
from worker_runs import run_traced


def test_everything_below_a_directory_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    for directory in ("a/b/c", "a/b/d", "e", ".1~", ".2~/.3~"):
        (top / directory).mkdir(parents=True)
        (top / directory / "f").write_text("x")
    (top / "a" / "link").symlink_to(tmp_path)
    os.mkfifo(top / "a" / "pipe")
    assert remove_tree(str(top))
    assert os.listdir(tmp_path) == []


def test_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert not remove_tree(str(tmp_path / "nothing"))


def test_a_file_and_a_link_are_removed_and_a_links_target_is_not(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "file").write_text("x")
    assert remove_tree(str(tmp_path / "link"))
    assert remove_tree(str(tmp_path / "file"))
    assert os.listdir(tmp_path) == ["directory"]


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
def test_an_ordinary_user_removes_directories_that_they_closed(tmp_path: Path) -> None:
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


REMOVE = """
import os, sys
from agent.filesystem.trees import remove_empty_tree
top, said = sys.argv[1:]
os.makedirs(top + "/top/below/deep", exist_ok=True)
with open(said, "w") as file:
    try:
        file.write(str(remove_empty_tree("top", os.open(top, os.O_RDONLY))))
    except OSError as error:
        file.write(error.strerror)
"""


@pytest.mark.needs("tracing")
def test_a_directory_that_cannot_be_opened_for_the_moment_is_not_taken_for_one_that_holds_something(
    tmp_path: Path,
) -> None:
    said = tmp_path / "said"
    command = [sys.executable, "-P", "-c", REMOVE, str(tmp_path), str(said)]
    calls = run_traced(command, log=f"{tmp_path}.calls")
    assert said.read_text() == "True"
    opened = next(call for call in calls if call.name == "openat" and call.texts[-1] == "deep")
    run_traced(command, log=f"{tmp_path}.calls", faults=fault_at(calls, opened, "error=ENFILE"))
    assert said.read_text() == "Too many open files in system"


def test_an_empty_directory_that_an_ordinary_user_may_not_open_is_removed() -> None:
    top = tempfile.mkdtemp(prefix="codedeploy-trees-")  # pytest's own directories are closed to others
    os.makedirs(f"{top}/top/closed")
    give_to_ordinary_user(top)
    os.chmod(f"{top}/top/closed", 0)
    assert as_ordinary_user(lambda: remove_empty_tree("top", os.open(top, os.O_RDONLY))) == "True"
    os.rmdir(top)
