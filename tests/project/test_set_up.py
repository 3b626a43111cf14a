"""A first make that was interrupted, or that lacks something, does not spoil the clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable).resolve()


class Clone:
    """A copy of what sets environments up; what it installs is an empty list, so that no package index is asked."""

    def __init__(self, place: Path) -> None:
        self.place = place
        shutil.copytree(PROJECT / ".ci", place / ".ci")
        shutil.copy(PROJECT / "pyproject.toml", place)
        (place / "empty.txt").touch()

    def set_up(self) -> list[str]:
        """Return the lines that setting up the environment prints."""
        command = [".ci/environment", ".venv", "nothing", "--requirement", "empty.txt"]
        environment = {**os.environ, "PYTHON": str(PYTHON)}
        done = subprocess.run(command, cwd=self.place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        subprocess.run([self.place / ".venv/bin/python", "-c", "import pip"], check=True)
        return done.stdout.splitlines()


@pytest.mark.long  # it makes two environments
def test_an_environment_that_lacks_pip_or_was_moved_is_made_again_and_a_whole_one_is_left_alone(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", clone.place / ".venv"], check=True)
    again, installing = (
        ".venv is incomplete, was moved, or has another Python: it is made again.",
        "installing nothing into .venv",
    )
    assert clone.set_up() == [again, installing]
    assert clone.set_up() == []

    no_longer_required = clone.place / ".venv/bin/tool"
    no_longer_required.touch()
    with open(clone.place / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    assert clone.set_up() == [installing]
    assert not no_longer_required.exists()

    # A moved clone takes its environment along, whose programs still name the old place.
    clone.place = clone.place.rename(tmp_path / "moved")
    assert clone.set_up()[0] == again


def test_a_python_that_makes_no_environments_is_named_with_the_package_it_needs(tmp_path: Path) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase $2 in "import ensurepip"*) exit 1 ;; esac\nexec {PYTHON} "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python), "SYSTEM_PACKAGES": "no"}
    command = [PROJECT / ".ci/system-packages", "venv"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert str(python) in done.stderr
    assert f"python3.{sys.version_info.minor}-venv" in done.stderr


@pytest.mark.parametrize("example", ["demo", "demo-local", "try static-site/version-1 {}/host"])
def test_an_example_without_the_agent_names_the_command_that_installs_it(tmp_path: Path, example: str) -> None:
    shutil.copytree(PROJECT / "appspec-examples", tmp_path / "appspec-examples")
    assert_setting_up_is_advised(tmp_path, example)


@pytest.mark.parametrize("example", ["demo-local", "try static-site/version-1 {}/host"])
def test_an_example_in_a_clone_that_was_moved_names_the_command_that_repairs_it(tmp_path: Path, example: str) -> None:
    shutil.copytree(PROJECT / "appspec-examples", tmp_path / "appspec-examples")
    program = tmp_path / ".venv-demo/bin/codedeploy-local"
    program.parent.mkdir(parents=True)
    program.write_text("#!/no/such/python\n")
    program.chmod(0o755)
    assert_setting_up_is_advised(tmp_path, example)


def assert_setting_up_is_advised(clone: Path, example: str) -> None:
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    name, *arguments = example.format(clone).split()
    command = [clone / "appspec-examples" / name, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert '"make demo-setup"' in done.stderr
