"""The machines of the Vagrantfile, booted as test hosts: provisioned by its scripts with its environment, and used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent_wheelhouse import packages, sandbox_layer, wheelhouse
from booted_host import BootedHost
from host_lab import NEEDED, HostLab
from vagrant_machines import Provision, Vagrantfile, VagrantMachine, project_copy, read_vagrantfile
from waiting import until

pytestmark = [*NEEDED, pytest.mark.needs_tool("ruby")]

PACKAGES = "/opt/packages"
PIP = (
    f"[global]\nno-index = true\nfind-links = {PACKAGES}\n[install]\nno-compile = no\n"  # "no" is how pip says yes here
)
PROVISIONED = 240.0  # seconds; the sandbox's packages are many
APPSPEC = """\
version: 0.0
os: linux
files:
  - source: app
    destination: /srv/www
  - source: www.service
    destination: /etc/systemd/system
file_exists_behavior: OVERWRITE
hooks:
  ApplicationStart:
    - location: start.sh
"""
UNIT = "[Service]\nExecStart=python3 -m http.server --directory /srv/www 80\n[Install]\nWantedBy=multi-user.target\n"
START = (
    "#!/bin/sh\nhostname >>/srv/www/index.html\nsystemctl daemon-reload\nsystemctl enable www\nsystemctl restart www\n"
)
# Through HAProxy, as a browser would; prints each answer on a line.
ASK = """
import urllib.request
for _ in range(4):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:80/", timeout=5).read().decode().split())
    except OSError as error:
        print(error)
"""


class Machines:
    """The three hosts, each with the address that it has in Vagrant's private network."""

    def __init__(self, lab: HostLab, project: Path, vagrantfile: Vagrantfile) -> None:
        self.project = project
        self.described = {machine.name: machine for machine in vagrantfile.machines}
        self.hosts = {name: self._create(lab, vagrantfile, machine) for name, machine in self.described.items()}
        for host in self.hosts.values():
            host.start(wait=False)
        for name, host in self.hosts.items():
            host.wait_until_running()
            host.run(["ip", "address", "add", f"{self.described[name].address}/24", "dev", "eth0"])

    def _create(self, lab: HostLab, vagrantfile: Vagrantfile, machine: VagrantMachine) -> BootedHost:
        image, layers = "debian12", []
        if machine.name == "service":
            image = "debian12-haproxy"
            layers = [sandbox_layer(image)]
        host = lab.create(machine.name, image, layers=layers, read_only={PACKAGES: packages()})
        host.put(vagrantfile.synced, self.project)
        host.put("/etc/pip.conf", PIP)
        return host

    def provision(self, name: str) -> None:
        """Do what ``vagrant provision NAME`` does."""
        for step in self.described[name].provisions:
            self._run(self.hosts[name], step)

    def _run(self, host: BootedHost, step: Provision) -> None:
        host.put("/tmp/vagrant-shell", self.project / step.path, mode=0o755)
        environment = [f"{name}={value}" for name, value in step.environment.items()]
        host.run(["env", "--chdir=/tmp", *environment, "/tmp/vagrant-shell"], timeout=PROVISIONED)


def aws(service: BootedHost, command: str) -> dict[str, Any]:
    """Run the AWS command line on the machine with the sandbox, as docs/on-premises.md says."""
    said = service.run(f". /run/sandbox/env.sh; cd /root; aws {command}").stdout
    return dict(json.loads(said)) if said.startswith("{") else {}


def revision(version: str) -> dict[str, str]:
    return {"appspec.yml": APPSPEC, "app/index.html": f"{version}\n", "www.service": UNIT, "start.sh": START}


def deploy(service: BootedHost, version: str) -> None:
    for path, text in revision(version).items():
        service.put(f"/root/{version}/{path}", text, mode=0o755 if path == "start.sh" else 0o644)
    place = f"s3://bundles/{version}.zip"
    aws(service, f"deploy push --application-name site --s3-location {place} --source {version}")
    location = f"bucket=bundles,key={version}.zip,bundleType=zip"
    group = "--application-name site --deployment-group-name web"
    made = aws(service, f"deploy create-deployment {group} --s3-location {location}")

    def status() -> str:  # "aws deploy wait" looks every fifteen seconds only
        found = aws(service, f"deploy get-deployment --deployment-id {made['deploymentId']}")
        return str(found["deploymentInfo"]["status"])

    until(lambda: status() in ("Succeeded", "Failed"), "the deployment to end")
    assert status() == "Succeeded"


def make_group(service: BootedHost) -> None:
    """What a sandbox that has just been started does not know."""
    role = "arn:aws:iam::123456789012:role/any"
    tags = "Key=Fleet,Value=web,Type=KEY_AND_VALUE"
    aws(service, "s3 mb s3://bundles")
    aws(service, "deploy create-application --application-name site")
    group = "--application-name site --deployment-group-name web"
    aws(
        service,
        f"deploy create-deployment-group {group} --service-role-arn {role} --on-premises-instance-tag-filters {tags}",
    )


def answers(service: BootedHost) -> set[str]:
    """What HAProxy gives to those who ask it several times."""
    return set(service.run(["python3", "-c", ASK]).stdout.splitlines())


def test_the_vagrant_machines_are_provisioned_and_deployed_to_behind_haproxy(
    lab: HostLab, tmp_path: Path, soak: bool
) -> None:
    project = project_copy(tmp_path / "project", wheelhouse().archive)
    vagrantfile = read_vagrantfile(project)
    assert "bookworm" in vagrantfile.box, "the hosts of this test are of another release"
    machines = Machines(lab, project, vagrantfile)
    service, webs = machines.hosts["service"], sorted({*machines.hosts} - {"service"})
    for name in ("service", *webs):
        machines.provision(name)

    for name in webs:
        left = machines.hosts[name].run(["grep", "-rl", "export AWS_SECRET_ACCESS_KEY", "/etc", "/tmp"], check=False)
        assert left.stdout == "", "an administrator's key stays on no host"
    known = aws(service, "deploy list-on-premises-instances --tag-filters Key=Fleet,Value=web,Type=KEY_AND_VALUE")
    assert known == {"instanceNames": webs}
    make_group(service)
    deploy(service, "v1")
    until(lambda: answers(service) == {str(["v1", name]) for name in webs}, "both to be served")

    if not soak:
        return
    # The sandbox forgets everything when it restarts; provisioning again is all it takes.
    service.run("systemctl restart sandbox")
    for name in webs:
        machines.provision(name)
    make_group(service)
    deploy(service, "v2")
    until(lambda: answers(service) == {str(["v2", name]) for name in webs}, "both to be served")
