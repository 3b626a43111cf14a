"""The files for user data: complete, alike, small enough, and loud when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fleet_box import StandIns, digest, sums, wheel, write_archive, write_folder

USERDATA = Path(__file__).resolve().parents[2] / "userdata"
SCRIPTS = sorted(
    path for path in USERDATA.glob("*.sh") if path.name not in ("body.sh", "parameters.sh", "cloud-config.sh")
)
LARGEST = 16 * 1024
"""Bytes of user data that EC2 takes."""

SYSTEMS = {
    "amazon-linux-2023": ("amzn", "2023", "dnf", "python3.12"),
    "rhel-9": ("rhel", "9.6", "dnf", "python3.12"),
    "rocky-10": ("rocky", "10.1", "dnf", "python3.12"),
    "debian-12": ("debian", "12", "apt-get", "python3"),
    "debian-13": ("debian", "13", "apt-get", "python3"),
    "ubuntu-22.04": ("ubuntu", "22.04", "apt-get", "python3.11"),
    "ubuntu-24.04": ("ubuntu", "24.04", "apt-get", "python3"),
    "ubuntu-26.04": ("ubuntu", "26.04", "apt-get", "python3"),
    "sles-15": ("sles", "15.7", "zypper", "python313"),
}
FILES = {"rhel-9": "rhel", "rocky-10": "rhel", "sles-15": "suse"}

_AGENT = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "proxy": os.environ.get("https_proxy"), "texts": [
    open(path).read() for path in sys.argv if path.endswith(".yml")]}, open(os.environ["NOTE"], "w"))
if "STATUS" in os.environ:
    print("first line", "the disk is full", sep="\\n", file=sys.stderr)
    sys.exit(int(os.environ["STATUS"]))
"""


def script_for(system: str) -> Path:
    return USERDATA / f"{FILES.get(system, system.partition('-')[0] if 'amazon' not in system else system)}.sh"


def archive_files() -> dict[str, bytes]:
    """A wheelhouse whose agent notes what it is told."""
    name, data = wheel("codedeploy_host_agent", "9.1", {"agent/__init__.py": "", "agent/__main__.py": _AGENT})
    return {name: data, "requirements.txt": b""}


class Machine:
    """Runs a script with stand-ins for the package managers, and with no Python but what they install."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.programs = StandIns(tmp_path / "programs")
        self.log = tmp_path / "var" / "install.log"
        self.note = tmp_path / "note.json"
        self.place, self.sha256 = write_archive(tmp_path / "source.tar.gz", archive_files())
        for tool in ("date", "mkdir", "mktemp", "rm", "sleep", "cat", "sed", "sh", "env"):
            os.symlink(f"/usr/bin/{tool}", self.programs.folder / tool)
        self.programs.add("id", "echo 0")

    def system(self, name: str, version: str) -> None:
        (self.folder / "os-release").write_text(f'ID={name}\nVERSION_ID="{version}"\n')

    def python(self, name: str) -> str:
        """The shell that makes a Python appear under a name."""
        return f"/usr/bin/ln -sf {sys.executable} {self.programs.folder}/{name}"

    def run(self, script: Path, **parameters: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": str(self.programs.folder),
            "NOTE": str(self.note),
            "AGENT_LOG": str(self.log),
            "AGENT_OS_RELEASE": str(self.folder / "os-release"),
            "AGENT_PAUSE": "0",
            "AGENT_SOURCE": self.place,
            "AGENT_SHA256": self.sha256,
            "TMPDIR": str(self.folder),
            **parameters,
        }
        return subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, cwd=self.folder)

    def arguments(self) -> list[str]:
        return list(yaml.safe_load(self.note.read_text())["argv"])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def debian(machine: Machine) -> Machine:
    machine.system("debian", "12")
    machine.programs.add("apt-get")
    os.symlink(sys.executable, machine.programs.folder / "python3")
    return machine


def test_the_files_are_what_build_writes(tmp_path) -> None:
    subprocess.run([USERDATA / "build", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(made) == 7 - 1
    for name, data in made.items():
        assert (USERDATA / name).read_bytes() == data, f"run userdata/build: {name} is old"


def test_all_have_one_body() -> None:
    body = (USERDATA / "body.sh").read_text()
    assert len(SCRIPTS) == 5
    for script in SCRIPTS:
        assert script.read_text().endswith(body), script.name
        assert os.access(script, os.X_OK)


def test_each_fits_into_user_data() -> None:
    for path in [*SCRIPTS, USERDATA / "cloud-config.yaml"]:
        assert path.stat().st_size <= LARGEST, path.name


def test_the_cloud_config_holds_the_same_script() -> None:
    text = (USERDATA / "cloud-config.yaml").read_text()
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    (file,) = document["write_files"]
    assert file["content"].endswith((USERDATA / "body.sh").read_text())
    assert document["runcmd"] == [["sh", file["path"]]]


@pytest.mark.needs_tool("shellcheck")
def test_the_shell_is_clean() -> None:
    names = [*SCRIPTS, USERDATA / "build", USERDATA / "build-wheelhouse", *(USERDATA / "vagrant").glob("*.sh")]
    done = subprocess.run(["shellcheck", "--shell=sh", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("whole", [False, True], ids=["own-file", "cloud-config"])
def test_python_comes_from_the_distributions_own_package(machine, system, whole, tmp_path) -> None:
    name, version, manager, package = SYSTEMS[system]
    machine.system(name, version)
    installed = "python3.13" if package == "python313" else package
    machine.programs.add(manager, f'case "$*" in *install*{package}*) {machine.python(installed)} ;; esac')
    script = script_for(system)
    if whole:
        script = tmp_path / "cloud-config.sh"
        document = yaml.safe_load((USERDATA / "cloud-config.yaml").read_text())
        script.write_text(document["write_files"][0]["content"])
    done = machine.run(script)
    assert done.returncode == 0, machine.log.read_text()
    assert any(" install " in f"{call} " and call.endswith(package) for call in machine.programs.calls(manager))
    links = "/usr/bin" if manager == "dnf" else "/usr/local/bin"
    arguments = machine.arguments()
    assert arguments[arguments.index("--bin-folder") + 1] == links
    assert arguments[arguments.index("--python") + 1] == f"{machine.programs.folder}/{installed}"


def test_a_python_that_is_there_is_used_and_nothing_is_installed(debian) -> None:
    done = debian.run(USERDATA / "debian.sh")
    assert done.returncode == 0, debian.log.read_text()
    assert debian.programs.calls("apt-get") == []
    assert debian.arguments()[0] == "install"


def test_an_older_python_is_passed_over(machine) -> None:
    machine.system("ubuntu", "22.04")
    machine.programs.add("python3", "exit 1")
    machine.programs.add("apt-get", f'case "$*" in *install*) {machine.python("python3.11")} ;; esac')
    assert machine.run(USERDATA / "ubuntu.sh").returncode == 0
    arguments = machine.arguments()
    assert arguments[arguments.index("--python") + 1].endswith("/python3.11")


def test_all_parameters_reach_the_installer(debian) -> None:
    done = debian.run(
        USERDATA / "debian.sh",
        AGENT_VERSION="9.1",
        AGENT_PROXY="http://proxy:3128",
        AGENT_START="no",
        AGENT_TAKE_OVER="yes",
        AGENT_CONFIG=":max_revisions: 2\n:verbose: true",
    )
    assert done.returncode == 0, debian.log.read_text()
    note = yaml.safe_load(debian.note.read_text())
    assert note["proxy"] == "http://proxy:3128"
    assert note["texts"] == [":max_revisions: 2\n:verbose: true\n"]
    assert note["argv"][-8:-2] == ["--version", "9.1", "--proxy", "http://proxy:3128", "--no-start", "--take-over"]


def test_a_folder_is_a_source_too(debian, tmp_path) -> None:
    place, sha256 = write_folder(tmp_path / "house", archive_files())
    done = debian.run(USERDATA / "debian.sh", AGENT_SOURCE=place, AGENT_SHA256=sha256)
    assert done.returncode == 0, debian.log.read_text()
    assert debian.arguments()[2] == place


def test_a_wheel_in_a_folder_that_was_changed_is_never_run(debian, tmp_path) -> None:
    files = archive_files()
    place, sha256 = write_folder(tmp_path / "house", files)
    (name,) = (tmp_path / "house").glob("codedeploy_host_agent-*.whl")
    name.write_bytes(wheel("codedeploy_host_agent", "9.1", {"agent/__main__.py": "raise SystemExit('evil')"})[1])
    assert digest(sums(files)) == sha256
    done = debian.run(USERDATA / "debian.sh", AGENT_SOURCE=place, AGENT_SHA256=sha256)
    assert done.returncode == 70
    assert "was expected" in debian.log.read_text()
    assert "evil" not in debian.log.read_text()


@pytest.mark.parametrize(
    ("parameters", "status", "reason"),
    [
        ({"AGENT_SOURCE": ""}, 64, "AGENT_SOURCE is empty"),
        ({"AGENT_SOURCE": "http://example.com/x"}, 64, "expected https://"),
        ({"AGENT_SHA256": "abc"}, 64, "AGENT_SHA256 is not a SHA-256"),
        ({"AGENT_START": "maybe"}, 64, "are yes or no"),
        ({"AGENT_SHA256": "0" * 64}, 70, "is not the wheelhouse that was meant"),
        ({"AGENT_SOURCE": "/nowhere/at/all"}, 70, "is not the wheelhouse that was meant"),
        ({"AGENT_SOURCE": "https://127.0.0.1:1/x"}, 75, "could not be fetched"),
        ({"AGENT_PYTHON": "python9"}, 69, "AGENT_PYTHON is python9"),
        ({"STATUS": "3"}, 70, "the installation failed: the disk is full"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_it_fails_with_a_reason_on_the_console_and_in_the_log(debian, parameters, status, reason) -> None:
    done = debian.run(USERDATA / "debian.sh", **parameters)
    assert done.returncode == status
    assert reason in done.stderr
    assert reason in debian.log.read_text()
    assert f"ended with {status}; see {debian.log}" in done.stderr
    left = [path.name for path in debian.folder.iterdir() if path.name.startswith("tmp.")]
    assert left == [], "nothing temporary is left behind"


@pytest.mark.needs_tool("ruby")
def test_the_vagrantfile_is_ruby_and_what_it_names_is_there() -> None:
    vagrantfile = USERDATA.parent / "Vagrantfile"
    done = subprocess.run(["ruby", "-c", vagrantfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named = re.findall(r'path: "([^"]+)"', vagrantfile.read_text())
    assert named
    assert [path for path in named if not (vagrantfile.parent / path).exists()] == []


def test_the_file_for_another_system_says_so(machine) -> None:
    machine.system("ubuntu", "24.04")
    done = machine.run(USERDATA / "debian.sh")
    assert (done.returncode, "the machine is ubuntu" in done.stderr) == (69, True)


def test_it_is_for_root(debian) -> None:
    debian.programs.add("id", "echo 1000")
    assert debian.run(USERDATA / "debian.sh").returncode == 77


def test_a_package_manager_that_fails_at_first_is_asked_again(machine) -> None:
    machine.system("debian", "12")
    counter = machine.folder / "count"
    machine.programs.add(
        "apt-get",
        f'case "$*" in *install*) echo x >>{counter}; [ "$(/usr/bin/wc -l <{counter})" -ge 3 ] || exit 100\n'
        f"{machine.python('python3')} ;; esac",
    )
    assert machine.run(USERDATA / "debian.sh").returncode == 0
    assert counter.read_text() == "x\n" * 3


def test_a_distribution_without_a_fitting_python_fails(machine) -> None:
    machine.system("sles", "15.3")
    machine.programs.add("zypper", 'case "$*" in *install*) exit 104 ;; esac')
    done = machine.run(USERDATA / "suse.sh")
    assert (done.returncode, "no package with Python 3.11" in done.stderr) == (69, True)


def test_running_it_again_keeps_the_log_of_the_first_time(debian) -> None:
    debian.run(USERDATA / "debian.sh", AGENT_START="maybe")
    debian.run(USERDATA / "debian.sh")
    text = debian.log.read_text()
    assert "FAILED (64)" in text
    assert text.rstrip().endswith("installed")
