"""The one file to paste: right on each system, small enough, and loud when something is wrong."""

from __future__ import annotations

import os
import re
import subprocess
from typing import NamedTuple

import pytest
import yaml

from fleet_box import digest, sums, wheel, write_archive, write_directory
from userdata_machine import SCRIPT, USERDATA, archive_files
from wire_server import Answer, Authority, running_server

LARGEST = 16 * 1024
"""Bytes of user data that EC2 takes."""


class System(NamedTuple):
    """What os-release says, whose packages are asked for in which order, and the Python that the first one brings."""

    name: str
    version: str
    manager: str
    packages: tuple[str, ...]
    python: str
    like: str = ""


RED_HAT_LATER = ("python3.12", "python3.11")
SUSE = ("python313", "python312", "python311")
SYSTEMS = [
    System("amzn", "2023", "dnf", RED_HAT_LATER, "python3.12", "fedora"),
    System("rhel", "9.6", "dnf", RED_HAT_LATER, "python3.12", "fedora"),
    System("centos", "9", "dnf", RED_HAT_LATER, "python3.12", "rhel fedora"),
    System("ol", "9.5", "dnf", RED_HAT_LATER, "python3.12", "fedora"),
    System("rhel", "10.0", "dnf", ("python3",), "python3", "fedora"),
    System("rocky", "10.1", "dnf", ("python3",), "python3", "rhel centos fedora"),
    System("almalinux", "9.6", "dnf", RED_HAT_LATER, "python3.12", "rhel centos fedora"),
    System("debian", "12", "apt-get", ("python3",), "python3"),
    System("debian", "13", "apt-get", ("python3",), "python3"),
    System("ubuntu", "22.04", "apt-get", ("python3.11",), "python3.11", "debian"),
    System("ubuntu", "24.04", "apt-get", ("python3",), "python3", "debian"),
    System("ubuntu", "26.04", "apt-get", ("python3",), "python3", "debian"),
    System("sles", "15.7", "zypper", SUSE, "python3.13", "suse"),
    System("sles_sap", "15.6", "zypper", SUSE, "python3.13", "suse"),
    System("opensuse-leap", "15.6", "zypper", SUSE, "python3.13", "suse opensuse"),
]
NAMED = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: f"{system.name}-{system.version}")


def packages_asked_for(machine, system: System) -> list[str]:
    """The packages that the manager was told to install, without those that go along."""
    calls = [call.split() for call in machine.programs.calls(system.manager)]
    return [words[-1] for words in calls if "install" in words]


@NAMED
def test_python_comes_from_the_distributions_own_package(machine, system) -> None:
    machine.is_system(system.name, system.version, like=system.like)
    first = system.packages[0]
    machine.programs.add(system.manager, f'case "$*" in *install*" {first}") {machine.python(system.python)} ;; esac')
    done = machine.run()
    assert done.returncode == 0, machine.log.read_text()
    assert packages_asked_for(machine, system) == [first]
    arguments = machine.arguments()
    links = "/usr/bin" if system.manager == "dnf" else "/usr/local/bin"
    assert arguments[arguments.index("--bin-directory") + 1] == links
    assert arguments[arguments.index("--python") + 1] == f"{machine.programs.directory}/{system.python}"


@NAMED
def test_a_distribution_without_a_fitting_python_fails(machine, system) -> None:
    machine.is_system(system.name, system.version, like=system.like)
    machine.programs.add(system.manager, 'case "$*" in *install*) exit 104 ;; esac')
    done = machine.run()
    assert (done.returncode, "no package with Python 3.11" in done.stderr) == (69, True)
    tried = packages_asked_for(machine, system)
    # dnf says beforehand which packages there are, so the first is asked for until it comes.
    assert tried == (list(SUSE) if system.manager == "zypper" else [system.packages[0]] * 5)


def test_an_older_release_of_a_system_gets_the_next_package(machine) -> None:
    machine.is_system("rhel", "9.2")
    machine.programs.add(
        "dnf", f'case "$*" in *list*python3.12) exit 1 ;; *install*python3.11) {machine.python("python3.11")} ;; esac'
    )
    assert machine.run().returncode == 0, machine.log.read_text()
    assert machine.programs.calls("dnf")[-1].endswith("install python3.11")


@pytest.mark.parametrize(
    ("name", "version", "like"),
    [
        ("fedora", "43", ""),
        ("amzn", "2", "centos rhel fedora"),
        ("rhel", "8.10", "fedora"),
        ("debian", "11", ""),
        ("debian", "", ""),
        ("ubuntu", "20.04", "debian"),
        ("linuxmint", "22.1", "ubuntu debian"),
        ("opensuse-tumbleweed", "20261101", "opensuse suse"),
        ("alpine", "3.22.1", ""),
    ],
)
def test_an_unknown_system_is_told_what_was_found_and_what_is_known(debian, name, version, like) -> None:
    debian.is_system(name, version, like=like)
    done = debian.run()
    assert done.returncode == 69
    assert f"ID={name} ID_LIKE={like} VERSION_ID={version}, which is unknown" in done.stderr
    for known in ("Amazon Linux 2023", "RHEL", "Debian 12 and 13", "Ubuntu 22.04", "SUSE 15"):
        assert known in done.stderr
    assert not debian.note.exists()


def test_a_machine_that_does_not_say_what_it_is_is_told_so(machine) -> None:
    done = machine.run()
    assert (done.returncode, "os-release cannot be read" in done.stderr) == (69, True)


def test_it_fits_into_user_data_and_can_be_run() -> None:
    assert SCRIPT.stat().st_size <= LARGEST
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.needs_tool("shellcheck")
def test_the_shell_is_clean() -> None:
    names = [*USERDATA.glob("*.sh"), USERDATA / "build-wheelhouse", *(USERDATA / "vagrant").glob("*.sh")]
    done = subprocess.run(["shellcheck", "--shell=sh", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_python_that_is_there_is_used_and_nothing_is_installed(debian) -> None:
    done = debian.run()
    assert done.returncode == 0, debian.log.read_text()
    assert debian.programs.calls("apt-get") == []
    assert debian.arguments()[0] == "install"


def test_an_older_python_is_passed_over(machine) -> None:
    machine.is_system("ubuntu", "22.04")
    machine.programs.add("python3", "exit 1")
    machine.programs.add("apt-get", f'case "$*" in *install*) {machine.python("python3.11")} ;; esac')
    assert machine.run().returncode == 0
    arguments = machine.arguments()
    assert arguments[arguments.index("--python") + 1].endswith("/python3.11")


def test_all_parameters_reach_the_installer(debian) -> None:
    done = debian.run(
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


def test_parameters_filled_in_at_the_top_need_no_environment(debian, tmp_path) -> None:
    text = SCRIPT.read_text()
    for name, value in (("AGENT_SOURCE", debian.place), ("AGENT_SHA256", debian.sha256), ("AGENT_START", "no")):
        text = re.sub(rf"^{name}=\$\{{{name}:-\w*\}}", f"{name}=${{{name}:-{value}}}", text, flags=re.MULTILINE)
    (tmp_path / "filled-in.sh").write_text(text)
    done = debian.run(tmp_path / "filled-in.sh", AGENT_SOURCE="", AGENT_SHA256="")
    assert done.returncode == 0, debian.log.read_text()
    assert "--no-start" in debian.arguments()


def test_a_directory_is_a_source_too(debian, tmp_path) -> None:
    place, sha256 = write_directory(tmp_path / "house", archive_files())
    done = debian.run(AGENT_SOURCE=place, AGENT_SHA256=sha256)
    assert done.returncode == 0, debian.log.read_text()
    assert debian.arguments()[2] == place


def test_a_wheel_in_a_directory_that_was_changed_is_never_run(debian, tmp_path) -> None:
    files = archive_files()
    place, sha256 = write_directory(tmp_path / "house", files)
    (name,) = (tmp_path / "house").glob("codedeploy_host_agent-*.whl")
    name.write_bytes(wheel("codedeploy_host_agent", "9.1", {"agent/__main__.py": "raise SystemExit('evil')"})[1])
    assert digest(sums(files)) == sha256
    done = debian.run(AGENT_SOURCE=place, AGENT_SHA256=sha256)
    assert done.returncode == 70
    assert "was expected" in debian.log.read_text()
    assert "evil" not in debian.log.read_text()


def test_an_archive_that_is_another_one_is_never_run(debian, tmp_path) -> None:
    evil = dict([wheel("codedeploy_host_agent", "9.1", {"agent/__main__.py": "raise SystemExit('evil')"})])
    place, _ = write_archive(tmp_path / "evil.tar.gz", evil)
    assert debian.run(AGENT_SOURCE=place).returncode == 70
    assert f"and {debian.sha256} was expected" in debian.log.read_text()
    assert "evil'" not in debian.log.read_text()


def test_a_download_that_needs_a_second_try_is_installed(debian, tmp_path) -> None:
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("127.0.0.1")) as server, open(debian.place, "rb") as archive:
        server.will(Answer(503), Answer(body=archive.read()))
        done = debian.run(AGENT_SOURCE=f"{server.url}/w.tar.gz", SSL_CERT_FILE=authority.path)
    assert done.returncode == 0, debian.log.read_text()
    source = debian.arguments()[2]
    assert re.fullmatch(rf"{re.escape(str(debian.directory))}/tmp\.\w+/wheelhouse\.tar\.gz", source)


def test_a_signature_of_an_address_gets_into_no_log(debian) -> None:
    done = debian.run(AGENT_SOURCE="https://127.0.0.1:1/w.tar.gz?X-Amz-Signature=secret")
    assert (done.returncode, "https://127.0.0.1:1/w.tar.gz could not be fetched" in done.stderr) == (75, True)
    assert "secret" not in done.stderr + done.stdout + debian.log.read_text()


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
    done = debian.run(**parameters)
    assert done.returncode == status
    assert reason in done.stderr
    assert reason in debian.log.read_text()
    assert f"ended with {status}; see {debian.log}" in done.stderr
    left = [path.name for path in debian.directory.iterdir() if path.name.startswith("tmp.")]
    assert left == [], "nothing temporary is left behind"


def test_it_is_for_root(debian) -> None:
    debian.programs.add("id", "echo 1000")
    done = debian.run()
    assert (done.returncode, "root is needed" in done.stderr) == (77, True)
    assert not debian.log.exists(), "others than root could not write it"


def test_a_package_manager_that_fails_at_first_is_asked_again(machine) -> None:
    machine.is_system("debian", "12")
    counter = machine.directory / "count"
    machine.programs.add(
        "apt-get",
        f'case "$*" in *install*) echo x >>{counter}; [ "$(/usr/bin/wc -l <{counter})" -ge 3 ] || exit 100\n'
        f"{machine.python('python3')} ;; esac",
    )
    assert machine.run().returncode == 0
    assert counter.read_text() == "x\n" * 3


def test_running_it_again_keeps_the_log_of_the_first_time(debian) -> None:
    debian.run(AGENT_START="maybe")
    debian.run()
    text = debian.log.read_text()
    assert "FAILED (64)" in text
    assert text.rstrip().endswith("installed")


@pytest.mark.needs_tool("ruby")
def test_the_vagrantfile_is_ruby_and_what_it_names_is_there() -> None:
    vagrantfile = USERDATA.parent / "Vagrantfile"
    done = subprocess.run(["ruby", "-c", vagrantfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named = re.findall(r'path: "([^"]+)"', vagrantfile.read_text())
    assert str(SCRIPT.relative_to(vagrantfile.parent)) in named
    assert [path for path in named if not (vagrantfile.parent / path).exists()] == []
