from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agent.traffic.policy import Policy
from agent.traffic.provider import Member
from agent.traffic.record import Phase, Records, TrafficRecord
from agent_host import revision
from haproxy_server import Haproxy, free_port
from visitors import Visitors
from waiting import until

pytestmark = pytest.mark.needs_tool("haproxy")

APPLICATION = """\
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
VERSION = open(__file__ + ".version").read().encode()
class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(VERSION)))
        self.end_headers()
        self.wfile.write(VERSION)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class Site:
    """One host of the fleet: a directory of its own, and an application behind HAProxy."""

    def __init__(self, directory: Path, number: int, program: str) -> None:
        self.name = f"host-{number}"
        self.directory = directory / self.name
        self.directory.mkdir()
        self.port = free_port()
        self.program = program
        self.config = self.directory / "agent.yml"
        self.pid = self.directory / "pid"
        self.hold = self.directory / "hold"
        self.held = self.directory / "held"

    def configure(self, haproxy: Haproxy, **policy) -> None:
        provider = {"type": "haproxy", "sockets": [haproxy.socket], "servers": [f"web/{self.name}"]}
        settings = {"root_dir": f"{self.directory}/root", "log_dir": f"{self.directory}/log"}
        control = {"groups": ["Web"], "providers": [provider], **policy}
        self.config.write_text(json.dumps({**settings, "traffic_control": control}))

    def bundle(self, version: str) -> Path:
        wait = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{self.port}/', timeout=1)"
        hooks = {
            "ApplicationStop": (
                f"kill $(cat {self.pid})\nwhile kill -0 $(cat {self.pid}) 2>/dev/null; do sleep 0.02; done"
            ),
            "AfterInstall": (
                f"[ -e {self.hold} ] || exit 0\ntouch {self.held}\nwhile [ -e {self.held} ]; do sleep 0.1; done"
            ),
            "ApplicationStart": (
                f"setsid {sys.executable} {self.directory}/app/app.py {self.port} >/dev/null 2>&1 </dev/null &\n"
                f"echo $! > {self.pid}"
            ),
            "ValidateService": f'until {sys.executable} -c "{wait}" 2>/dev/null; do sleep 0.05; done',
        }
        files = {"app.py": APPLICATION, "app.py.version": version}
        place = self.directory / version
        return place if place.exists() else revision(place, hooks, files=files, to=self.directory / "app")

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "-c", str(self.config), "-g", "web", "-d", "Web", *arguments]

    def deploy(self, version: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = self.command("-l", str(self.bundle(version)), *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=check)

    def end(self) -> None:
        self.held.unlink(missing_ok=True)
        if self.pid.exists():
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(self.pid.read_text()), signal.SIGKILL)


@pytest.fixture
def fleet(tmp_path, program):
    sites = [Site(tmp_path, number, program("codedeploy-local")) for number in (1, 2, 3)]
    haproxy = Haproxy(tmp_path, [(site.name, site.port, 100) for site in sites])
    for site in sites:
        site.configure(haproxy)
    yield sites, haproxy
    haproxy.stop()
    for site in sites:
        site.end()


def agent(program, *arguments):
    return subprocess.run([program("codedeploy-agent"), *arguments], capture_output=True, text=True, check=False)


def _all_up(haproxy, sites):
    haproxy.start()
    for site in sites:
        haproxy.until(site.name, "UP")


def test_no_request_fails_while_a_fleet_is_deployed_one_host_at_a_time_and_one_agent_is_killed(fleet):
    sites, haproxy = fleet
    for site in sites:
        site.deploy("v1")
    _all_up(haproxy, sites)
    with Visitors(haproxy.address, haproxy.port, ("v1", "v2")) as visitors:
        sites[0].deploy("v2", "--traffic")
        _kill_in_the_middle(sites[1])
        assert haproxy.is_drained(sites[1].name)
        sites[1].deploy("v2", "--traffic")
        result = sites[2].deploy("v2", "--traffic")
        visitors.wait_for_more()
    assert visitors.failures == []
    assert set(visitors.answers) == {"v1", "v2"}
    assert set(visitors.answers[-10:]) == {"v2"}
    assert set(haproxy.statuses().values()) == {"UP"}
    assert "Back in service after" in result.stderr


def _kill_in_the_middle(site):
    site.hold.touch()
    command = site.command("-l", str(site.bundle("v2")), "--traffic")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(site.held.exists, "the hook to hold", alive=lambda: process.poll() is None)
        process.kill()
    site.hold.unlink()


def test_a_deployment_that_fails_leaves_the_host_out_and_everybody_can_see_it(fleet, program):
    sites, haproxy = fleet
    site = sites[0]
    for one in sites:
        one.deploy("v1")
    _all_up(haproxy, sites)
    broken = site.bundle("v2")
    (broken / "scripts" / "AfterInstall.sh").write_text("#!/bin/sh\nexit 3\n")
    assert site.deploy("v2", "--traffic", check=False).returncode == 1
    assert haproxy.is_drained(site.name)
    status = agent(program, "traffic", "status", "--config-file", str(site.config))
    assert status.returncode == 3
    assert "is out of service" in status.stdout
    assert "AfterInstall" in status.stdout
    assert f"server web/{site.name}" in status.stdout
    found = json.loads(agent(program, "status", "--json", "--config-file", str(site.config)).stdout)
    assert found["out_of_service"][0]["group"] == "Web"
    assert (
        "Traffic of Web: this host is out of service"
        in agent(program, "status", "--config-file", str(site.config)).stdout
    )
    site.end()
    subprocess.run(["sh", str(sites[0].directory / "v1" / "scripts" / "ApplicationStart.sh")], check=True)
    allowed = agent(program, "traffic", "allow", "Web", "--json", "--config-file", str(site.config))
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["groups"][0]["outage"] is None
    assert haproxy.statuses()[site.name] == "UP"


def test_a_person_takes_a_host_out_and_puts_it_back(fleet, program):
    sites, haproxy = fleet
    for one in sites[:2]:
        one.deploy("v1")
    haproxy.start()
    haproxy.until(sites[0].name, "UP")
    haproxy.until(sites[1].name, "UP")
    config = ["--config-file", str(sites[0].config)]
    assert agent(program, "traffic", "block", "--reason", "new memory", *config).returncode == 0
    assert haproxy.statuses()[sites[0].name] == "DRAIN"
    status = agent(program, "traffic", "status", "--json", *config)
    row = json.loads(status.stdout)["groups"][0]
    assert (status.returncode, row["outage"]["why"]) == (3, "taken out by hand: new memory")
    refused = agent(program, "traffic", "block", "--config-file", str(sites[1].config))
    assert refused.returncode == 1
    assert "minimum_healthy" in refused.stdout
    assert haproxy.statuses()[sites[1].name] == "UP"
    assert agent(program, "traffic", "allow", *config).returncode == 0
    assert haproxy.statuses()[sites[0].name] == "UP"
    (row,) = json.loads(agent(program, "traffic", "status", "--json", *config).stdout)["groups"]
    assert row["outage"] is None
    assert 0 < row["last_out_seconds"] < 600
    assert abs(row["last_back_at"] - time.time()) < 600
    assert row["places"] == [{"place": f"server web/{sites[0].name} at {haproxy.socket}", "state": "UP"}]
    assert "last out for" in agent(program, "traffic", "status", *config).stdout


def test_traffic_is_refused_for_a_group_that_is_not_named(fleet):
    sites, _ = fleet
    command = [
        sites[0].program,
        "-c",
        str(sites[0].config),
        "-l",
        str(sites[0].bundle("v1")),
        "--traffic",
        "-d",
        "Other",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "does not name the deployment group" in result.stdout + result.stderr


def test_traffic_is_refused_without_the_events_that_move_it(fleet):
    sites, _ = fleet
    result = sites[0].deploy("v1", "--traffic", "--events", "DownloadBundle,Install,ValidateService", check=False)
    assert result.returncode == 1
    assert "ApplicationStop" in result.stderr + result.stdout
    assert not os.path.exists(sites[0].directory / "app")


@pytest.mark.parametrize("words", ["status --json Web", "--json status Web", "status Web --json"])
def test_options_may_stand_wherever_a_tired_person_writes_them(tmp_path, program, words):
    config = tmp_path / "agent.yml"
    control = {"groups": ["Web", "Api"], "providers": [ROUTER]}
    config.write_text(json.dumps({"root_dir": str(tmp_path / "root"), "traffic_control": control}))
    result = agent(program, "traffic", *words.split(), "--config-file", str(config))
    assert [row["group"] for row in json.loads(result.stdout)["groups"]] == ["Web"]


@pytest.mark.parametrize("action", ["status", "block X", "allow X"])
def test_a_host_without_traffic_control_is_told_so_and_gets_no_directory(tmp_path, program, action):
    config = tmp_path / "agent.yml"
    config.write_text(json.dumps({"root_dir": str(tmp_path / "root")}))
    result = agent(program, "traffic", *action.split(), "--config-file", str(config))
    assert result.returncode == (1 if action == "status" else 64)
    assert "traffic_control" in result.stderr
    assert "docs/traffic.md" in result.stderr
    assert os.listdir(tmp_path) == ["agent.yml"]


def test_asking_for_the_traffic_of_a_group_makes_no_directory(alone):
    directory, status = alone
    assert status("Web").returncode == 0
    assert os.listdir(directory) == ["agent.yml"]


ROUTER = {"type": "command", "block": ["/bin/true"], "allow": ["/bin/true"]}


@pytest.fixture
def alone(tmp_path, program):
    """The directory of a host with two balancers, and what ``traffic status --json`` says there."""
    path = tmp_path / "agent.yml"
    provider = {"type": "elbv2", "target_groups": ["web"], "region": "eu-central-1"}
    control = {"groups": {"Web": {"providers": [ROUTER]}, "Cloud": {"providers": [provider]}}}
    settings = {"root_dir": str(tmp_path / "root"), "on_premises_config_file": str(tmp_path / "onpremises.yml")}
    path.write_text(json.dumps({**settings, "traffic_control": control}))

    def status(*arguments):
        environment = {"AWS_EC2_METADATA_DISABLED": "true", "PATH": os.environ["PATH"]}
        command = [program("codedeploy-agent"), "traffic", "status", *arguments, "--json", "--config-file", str(path)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return tmp_path, status


def test_an_identity_that_cannot_be_used_is_told_and_the_record_still_shown(alone):
    directory, status = alone
    (directory / "onpremises.yml").write_text("no: [yaml")
    found = status("Cloud")
    assert found.returncode == 1, found.stderr
    (row,) = json.loads(found.stdout)["groups"]
    assert "onpremises.yml" in row["error"]
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("arguments", [(), ("Web",)])
def test_a_damaged_record_is_told_for_its_group_and_hides_no_other(alone, arguments):
    directory, status = alone
    place = directory / "root/agent-state/traffic"
    place.mkdir(parents=True)
    records = Records(str(place))
    provider = {"name": "router", "command_seconds": 10, "status": None, "drained": None, "healthy": None} | ROUTER
    for name in ("Web", "Former", "Other"):
        member = Member(provider, "router", {}, "in")
        records.write(TrafficRecord(name, Policy([provider]), Phase.OUT, kept="why", members=(member,)))
    for name in ("Web", "Former"):
        (path,) = place.glob(f"{name}-*.json")
        path.write_text("{")
    found = status(*arguments)
    assert found.returncode == 1, found.stderr
    rows = json.loads(found.stdout)["groups"]
    assert [row["group"] for row in rows] == (["Web"] if arguments else ["Web", "Cloud", "Other", None])
    assert "Web-" in rows[0]["error"]
    if not arguments:
        assert rows[2]["outage"]["why"] == "why"
        assert "Former-" in rows[3]["error"]
