"""The cloud-config: its command is run as cloud-init runs it, with the machine's directory in the place of /run."""

from __future__ import annotations

import ast
import os
import re
import subprocess

import pytest
import yaml

from fleet_box import digest
from userdata_machine import SCRIPT, USERDATA, Machine
from wire_server import Answer, Authority, running_server

TEXT = (USERDATA / "cloud-config.yaml").read_text()


class CloudInit:
    """Writes the files and runs the commands of the cloud-config on a machine, with its parameters filled in."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.script = machine.directory / "releases" / "codedeploy-agent.sh"
        self.script.parent.mkdir()
        self.script.write_bytes(SCRIPT.read_bytes())

    def boot(self, *, environment: dict[str, str] | None = None, **parameters: str) -> subprocess.CompletedProcess[str]:
        """Do what the first boot does; the parameters are written as a user writes them, unquoted."""
        filled = {
            "AGENT_SCRIPT": str(self.script),
            "AGENT_SCRIPT_SHA256": digest(SCRIPT.read_bytes()),
            "AGENT_SOURCE": self.machine.place,
            "AGENT_SHA256": self.machine.sha256,
            **parameters,
        }
        text = TEXT.replace("/run/", f"{self.machine.directory}/")
        for name, value in filled.items():
            text, count = re.subn(rf"^( +{name}=)(yes|no)?", rf"\g<1>{value}", text, flags=re.MULTILINE)
            assert count == 1, f"{name} is not a parameter"
        document = yaml.safe_load(text)
        (file,) = document["write_files"]
        with open(file["path"], "w") as out:
            out.write(file["content"])
        (command,) = document["runcmd"]
        commands = self.machine.directory / "runcmd"
        commands.write_text(f"#!/bin/sh\n{command}\necho 'the next command ran'\n")
        given = {**self.machine.environment(), **(environment or {})}
        done = subprocess.run(["/bin/sh", commands], env=given, capture_output=True, text=True)
        left = {file["path"], str(self.machine.directory / "codedeploy-agent.sh")}
        assert not [path for path in left if os.path.exists(path)], "nothing temporary is left behind"
        return done


@pytest.fixture
def cloud(debian: Machine) -> CloudInit:
    return CloudInit(debian)


def test_the_checked_script_runs_with_the_parameters(cloud) -> None:
    done = cloud.boot(AGENT_START="no", AGENT_VERSION="9.1", AGENT_PROXY="http://proxy:3128")
    assert done.returncode == 0, done.stderr
    arguments = cloud.machine.arguments()
    assert arguments[0] == "install"
    assert arguments[-5:] == ["--version", "9.1", "--proxy", "http://proxy:3128", "--no-start"]
    assert "the next command ran" in done.stdout


def test_the_script_comes_from_a_web_server_though_it_fails_at_first(cloud, tmp_path) -> None:
    authority = Authority(tmp_path)
    with running_server(tls=authority.server_context("127.0.0.1")) as server:
        server.will(Answer(503), Answer(body=SCRIPT.read_bytes(), cut=100), Answer(body=SCRIPT.read_bytes()))
        address = f"'{server.url}/codedeploy-agent.sh?a=1&b=2'"
        done = cloud.boot(AGENT_SCRIPT=address, environment={"SSL_CERT_FILE": authority.path})
    assert done.returncode == 0, done.stderr
    assert [request.target for request in server.requests] == ["/codedeploy-agent.sh?a=1&b=2"] * 3
    assert cloud.machine.arguments()[0] == "install"


@pytest.mark.parametrize(
    ("parameters", "status", "reason"),
    [
        ({"AGENT_SCRIPT": ""}, 64, "expected https://... or an absolute path"),
        ({"AGENT_SCRIPT": "http://127.0.0.1/x"}, 64, "expected https://... or an absolute path"),
        ({"AGENT_SCRIPT_SHA256": ""}, 64, "AGENT_SCRIPT_SHA256 is not a SHA-256 of 64 digits"),
        ({"AGENT_SCRIPT_SHA256": "0" * 64}, 70, f"and {'0' * 64} was expected"),
        ({"AGENT_SCRIPT": "/nowhere/at/all"}, 75, "/nowhere/at/all could not be fetched"),
        ({"AGENT_SCRIPT": "'https://127.0.0.1:1/x?secret'"}, 75, "https://127.0.0.1:1/x could not be fetched"),
    ],
)
def test_it_fails_with_a_reason_on_the_console_and_in_the_log(cloud, parameters, status, reason) -> None:
    done = cloud.boot(**parameters)
    assert done.returncode == status
    assert f"FAILED ({status})" in done.stderr
    assert reason in done.stderr
    assert reason in cloud.machine.log.read_text()
    assert "secret" not in done.stderr
    assert not cloud.machine.note.exists(), "nothing was installed"
    assert "the next command ran" not in done.stdout


def test_a_script_that_was_changed_is_never_run(cloud) -> None:
    cloud.script.write_text("echo evil\n")
    done = cloud.boot()
    assert (done.returncode, "evil" in done.stdout) == (70, False)


def test_a_failure_of_the_script_is_the_failure_of_the_command(cloud) -> None:
    cloud.machine.is_system("alpine", "3.22.1")
    done = cloud.boot()
    assert (done.returncode, "the system is ID=alpine" in done.stderr) == (69, True)
    assert "the next command ran" not in done.stdout


def test_it_is_cloud_config_that_only_root_reads_and_holds_no_copy_of_the_script() -> None:
    assert TEXT.startswith("#cloud-config\n")
    (file,) = yaml.safe_load(TEXT)["write_files"]
    assert file["permissions"] == "0600", "an address may be signed"
    assert len(TEXT) < 4096


def test_every_parameter_of_the_script_can_be_given() -> None:
    (file,) = yaml.safe_load(TEXT)["write_files"]
    own = {"AGENT_SCRIPT", "AGENT_SCRIPT_SHA256"}
    there = set(re.findall(r"^(AGENT_\w+)=", file["content"], re.MULTILINE))
    assert there - own == set(re.findall(r"^(AGENT_\w+)=", SCRIPT.read_text(), re.MULTILINE))


def test_cloud_inits_python_may_be_an_old_one() -> None:
    (command,) = yaml.safe_load(TEXT)["runcmd"]
    program = re.search(r"<<'PYTHON'.*?\n(.*)\nPYTHON\n", command, re.DOTALL)[1]
    ast.parse(program, feature_version=(3, 7))


@pytest.mark.needs_tool("shellcheck")
def test_the_shell_is_clean(tmp_path) -> None:
    (tmp_path / "runcmd").write_text(yaml.safe_load(TEXT)["runcmd"][0])
    command = ["shellcheck", "--shell=sh", "--exclude=SC1091", tmp_path / "runcmd"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
