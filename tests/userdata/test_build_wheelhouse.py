"""build-wheelhouse: one archive with everything in it, the same for the same content, which installs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from agent.fleet.install import AgentInstallOptions, install
from fleet_box import StandIns, agent_wheel, digest, pip_wheel, wheel

PROGRAM = Path(__file__).resolve().parents[2] / "userdata" / "build-wheelhouse"


class Builder:
    """Runs the program with a directory in the place of a package index."""

    def __init__(self, tmp_path: Path) -> None:
        self.index = tmp_path / "index"
        self.index.mkdir()
        self.lock = tmp_path / "agent.lock"
        self.pin(wheel("leaf", "1.0", {"leaf.py": "ONE = 1\n"}), pip_wheel_with_metadata())
        name, data = agent_wheel("9.1")
        self.wheel = tmp_path / name
        self.wheel.write_bytes(data)
        self.out: Path | None = tmp_path / "out"
        self.program = PROGRAM

    def pin(self, *wheels: tuple[str, bytes]) -> None:
        """Put wheels into the index, and no others into the lock file."""
        lines = []
        for name, data in wheels:
            (self.index / name).write_bytes(data)
            package, version = name.split("-")[:2]
            lines.append(f"{package}=={version} \\\n    --hash=sha256:{digest(data)}\n")
        self.lock.write_text("".join(lines))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
            "PYTHON": sys.executable,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
        }
        place = ["-o", self.out] if self.out else []
        command = [self.program, *place, "-w", self.wheel, "-r", self.lock, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def build(self, *arguments: str) -> dict[str, str]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines())


def pip_wheel_with_metadata() -> tuple[str, bytes]:
    """pip as a wheel that pip itself takes for one."""
    import io
    import zipfile

    name, data = pip_wheel()
    buffer = io.BytesIO(data)
    _, small = wheel("pip", name.split("-")[1], {})
    with zipfile.ZipFile(buffer, "a") as archive, zipfile.ZipFile(io.BytesIO(small)) as information:
        for member in information.namelist():
            archive.writestr(member, information.read(member))
    return name, buffer.getvalue()


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_what_it_builds_installs(builder, tmp_path, monkeypatch) -> None:
    programs = StandIns(tmp_path / "programs")
    programs.add("systemctl")
    monkeypatch.setenv("PATH", programs.path)
    printed = builder.build()
    options = AgentInstallOptions(printed["AGENT_SOURCE"], printed["AGENT_SHA256"], root=str(tmp_path / "root"))
    assert install(options, tell=print).version == "9.1"


@pytest.mark.long  # two builds, and what one builds is installed by another test
def test_the_same_content_makes_the_same_archive(builder) -> None:
    first = builder.build("-a", "x86_64")
    assert builder.build("-a", "x86_64") == first
    assert first["AGENT_SOURCE"].endswith("/codedeploy-agent-9.1-x86_64.tar.gz")


def test_a_library_that_is_not_there_fails_and_leaves_no_archive(builder) -> None:
    (builder.index / "leaf-1.0-py3-none-any.whl").unlink()
    done = builder.run()
    assert done.returncode != 0
    assert "leaf" in done.stderr
    assert not builder.out.exists() or os.listdir(builder.out) == []


def members(printed: dict[str, str]) -> list[str]:
    with tarfile.open(printed["AGENT_SOURCE"]) as archive:
        return sorted(os.path.basename(name) for name in archive.getnames())


def test_a_library_that_came_out_since_is_not_taken(builder) -> None:
    name, data = wheel("leaf", "1.1", {"leaf.py": "ONE = 11\n"})
    (builder.index / name).write_bytes(data)
    found = members(builder.build())
    assert "leaf-1.0-py3-none-any.whl" in found
    assert name not in found


def test_a_library_that_was_exchanged_under_its_version_is_refused(builder) -> None:
    name, data = wheel("leaf", "1.0", {"leaf.py": "ONE = 'another'\n"})
    (builder.index / name).write_bytes(data)
    done = builder.run()
    assert done.returncode == 69
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
    assert os.listdir(builder.out) == []


def test_a_lock_file_that_lacks_what_the_agent_needs_is_refused_with_the_way_out(builder) -> None:
    builder.pin(pip_wheel_with_metadata())
    done = builder.run()
    assert done.returncode == 69
    assert "leaf" in done.stderr
    assert 'Make it again with "make lock", or name another one with -r.' in done.stderr


def test_the_lock_files_name_what_the_project_asks_for_with_hashes_and_no_address() -> None:
    project = tomllib.loads((PROGRAM.parents[1] / "pyproject.toml").read_text())
    for name, desired in (
        ("agent.lock", project["project"]["dependencies"]),
        ("build.lock", project["build-system"]["requires"]),
    ):
        text = (PROGRAM.parent / name).read_text()
        assert "://" not in text
        pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
        assert len(pins) == len(re.findall(r"^[^\s#].* \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE))
        for requirement in map(Requirement, desired):
            assert requirement.specifier.contains(pins[requirement.name.lower()]), f"{name}: run make lock"


def test_a_lock_file_that_is_not_there_is_reported_before_anything_is_fetched(builder) -> None:
    builder.lock.unlink()
    done = builder.run()
    assert (done.returncode, f"There is no lock file {builder.lock}." in done.stderr) == (64, True)


def test_something_that_is_no_wheel_of_the_agent_is_refused(builder, tmp_path) -> None:
    builder.wheel = builder.index / "leaf-1.0-py3-none-any.whl"
    done = builder.run()
    assert (done.returncode, "is not a wheel of the agent" in done.stderr) == (65, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-z"], "The option -z is unknown."),
        (["-p"], "The option -p needs a value."),
        (["more", "words"], "Unexpected: more words"),
    ],
)
def test_a_wrong_command_line_shows_how_it_is_called(builder, arguments, told) -> None:
    done = builder.run(*arguments)
    assert done.returncode == 64
    assert "[-p PYTHON_VERSION]" in done.stderr
    assert done.stderr.endswith(f"userdata/build-wheelhouse: {told}\n")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_is_no_error(option) -> None:
    done = subprocess.run([PROGRAM, option], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[-p PYTHON_VERSION]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-p", "banana"], '"banana" is not a Python version'),
        (["-p", "3.11", "-p", "3.11.4"], '"3.11.4" is not a Python version'),
        (["-p", ""], '"" is not a Python version'),
        (["-p", "3.11 *"], "is not a Python version"),
        (["-a", "sparc"], "The architecture sparc is unknown. Choose x86_64 or aarch64"),
    ],
)
def test_a_host_that_cannot_be_is_refused_before_anything_is_fetched(builder, arguments, told) -> None:
    (builder.index / "leaf-1.0-py3-none-any.whl").unlink()
    done = builder.run(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (64, "", 1)
    assert told in done.stderr


@pytest.mark.needs_tool("git")
def test_without_a_directory_the_archive_goes_where_git_ignores_it(builder, tmp_path) -> None:
    clone = tmp_path / "clone"
    (clone / "userdata").mkdir(parents=True)
    shutil.copy(PROGRAM, clone / "userdata")
    shutil.copytree(PROGRAM.parents[1] / "systemd", clone / "systemd")
    shutil.copy(PROGRAM.parents[1] / ".gitignore", clone)
    subprocess.run(["git", "init", "-q", clone], check=True)
    ignored = ["git", "-C", clone, "status", "--porcelain", "--untracked-files=all"]
    before = subprocess.run(ignored, check=True, capture_output=True).stdout
    builder.program, builder.out = clone / "userdata" / PROGRAM.name, None
    printed = builder.build("-a", "x86_64")
    assert printed["AGENT_SOURCE"] == f"{clone}/dist/codedeploy-agent-9.1-x86_64.tar.gz"
    assert subprocess.run(ignored, check=True, capture_output=True).stdout == before


def test_a_place_that_cannot_be_written_is_reported_before_anything_is_fetched(builder, tmp_path) -> None:
    builder.out = tmp_path / "file"
    builder.out.touch()
    (builder.index / "leaf-1.0-py3-none-any.whl").unlink()
    done = builder.run()
    assert done.returncode == 73
    assert f"cannot be written to {builder.out}. Name a directory of yours with -o." in done.stderr
    assert "leaf" not in done.stderr
