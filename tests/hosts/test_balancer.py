"""A real HAProxy in front of three hosts that really boot, and visitors who ask it all the time."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from agent_hosts import CONFIG, WAITING, Fleet, exists, service_revision
from booted_host import BootedHost
from haproxy_server import Haproxy
from host_lab import NEEDED
from host_network import MACHINE_ADDRESS
from visitors import Visitors
from waiting import until

pytestmark = [*NEEDED, pytest.mark.needs_tool("haproxy")]

EXAMPLE = Path(__file__).resolve().parents[2] / "userdata" / "examples" / "traffic-control.sh"

HELD = f"[ ! -e /run/hold ] || ({WAITING})"
"""A hook that waits on the host that is told to."""


class Shop:
    """Three hosts with version v1, in one deployment group and behind one HAProxy, which they leave by themselves."""

    def __init__(self, fleet: Fleet, directory: Path) -> None:
        self.fleet = fleet
        hosts = [fleet.create(name) for name in ("one", "two", "three")]
        servers = [(host.name, f"{host.address}:8080", 100) for host in hosts]
        # Half a second to find out that a host is down: whoever is not taken out before that is missed.
        self.haproxy = Haproxy(directory, servers, address=MACHINE_ADDRESS, check="500ms")
        self.haproxy.start()
        for host in hosts:
            self._configure(host)
            fleet.register(host)
            host.start(wait=False)
        for host in hosts:
            host.wait_until_running()
            fleet.wait_for_poll(host)
        fleet.group(deploymentConfigName="CodeDeployDefault.OneAtATime")
        first = self.deploy("v1", deploymentConfigName="CodeDeployDefault.AllAtOnce")
        assert first["status"] == "Succeeded"
        # In the order in which the service will deploy to them.
        names = {host.name: host for host in hosts}
        self.hosts = [names[name] for name in fleet.sandbox.targets(first["deploymentId"])]
        self.all_up()

    def _configure(self, host: BootedHost) -> None:
        """Let the example of user data say where the balancer is."""
        given = {
            "TRAFFIC_GROUP": "group",
            "TRAFFIC_HAPROXY": f"{MACHINE_ADDRESS}:{self.haproxy.runtime_port}",
            "TRAFFIC_BACKEND": "web",
            "TRAFFIC_SERVER": host.name,
        }
        command = ["sh", "-c", f'. {EXAMPLE}; printf "%s\\n" "$AGENT_CONFIG"']
        lines = subprocess.run(command, env=os.environ | given, check=True, capture_output=True, text=True).stdout
        host.put(CONFIG, self.fleet.site.config + lines.removeprefix("---\n"))

    def begin(self, version: str, **options: Any) -> str:
        """Begin the deployment of a version; give its id."""
        source = service_revision(self.fleet.directory, version, hooks={"BeforeInstall": HELD})
        return self.fleet.begin(self.fleet.upload(source), **options)

    def deploy(self, version: str, **options: Any) -> dict[str, Any]:
        """Deploy a version and wait for the end."""
        return self.end(self.begin(version, **options))

    def end(self, deployment: str) -> dict[str, Any]:
        """Wait for the end of a deployment."""
        return self.fleet.sandbox.wait(deployment)

    def all_up(self) -> None:
        """Wait until HAProxy sends requests to all hosts."""
        for host in self.hosts:
            self.haproxy.until(host.name, "UP")

    def visitors(self, *versions: str) -> Visitors:
        """Visitors who are content with any of these versions."""
        return Visitors(MACHINE_ADDRESS, self.haproxy.port, versions)


@pytest.fixture
def shop(fleet: Fleet, tmp_path: Path) -> Any:
    made = Shop(fleet, tmp_path)
    yield made
    made.haproxy.stop()


def wait_for_hold(host: BootedHost) -> None:
    """Wait until the deployment waits on this host, which is out of service then."""
    until(exists(host, "/run/here"), "the hook to run")


def release(host: BootedHost) -> None:
    """Let the deployment go on."""
    host.run("touch /run/go")


_FIND = "grep -l -a -E '{pattern}' /proc/[0-9]*/cmdline | cut -d / -f 3"


def kill(host: BootedHost, program: str) -> None:
    """Kill the process of a host that runs a program of the agent, the youngest one, and none that it has forked."""
    # Arguments are parted by zeros; the bracket keeps the search from finding itself.
    pattern = f"{program[:-1]}[{program[-1]}]".replace(" ", ".")
    each = f"for p in $({_FIND.format(pattern=pattern)}); do echo $p $(cut -d ' ' -f 4 /proc/$p/stat); done"
    lines = [line.split() for line in host.run(each).stdout.splitlines()]
    parents = {int(line[0]): int(line[1]) for line in lines if len(line) == 2}  # others have just ended
    host.run(f"kill -9 {max(pid for pid, parent in parents.items() if parent not in parents)}")


def traffic(host: BootedHost) -> dict[str, Any]:
    """What the host's agent says about its traffic."""
    shown = host.run("codedeploy-agent traffic status --json", check=False).stdout
    (found,) = json.loads(shown)["groups"]
    return dict(found)


def in_service(shop: Shop, host: BootedHost) -> bool:
    """Whether a host takes requests and its agent has nothing to say about it."""
    return traffic(host)["outage"] is None and shop.haproxy.statuses()[host.name] == "UP"


def out_and_shown(shop: Shop, host: BootedHost, reason: str) -> bool:
    """Whether a host takes no requests, and its agent says why."""
    outage = traffic(host)["outage"] or {"why": ""}
    return reason in outage["why"] and shop.haproxy.is_drained(host.name)


@pytest.mark.soak_only  # the next one does the same, and more
def test_no_request_fails_while_a_new_version_comes_to_one_host_at_a_time(shop: Shop) -> None:
    with shop.visitors("v1", "v2") as visitors:
        visitors.wait_for_more()
        assert shop.deploy("v2")["status"] == "Succeeded"
        visitors.wait_for_more()
    assert visitors.failures == []
    assert set(visitors.answers) == {"v1", "v2"}
    assert set(visitors.answers[-10:]) == {"v2"}
    assert all(in_service(shop, host) for host in shop.hosts)
    assert all(traffic(host)["last_out_seconds"] > 0 for host in shop.hosts)

    # The visitors do miss a host that stops without leaving first.
    for host in shop.hosts:
        host.put(CONFIG, shop.fleet.site.config)
        host.run("systemctl restart codedeploy-agent")
        shop.fleet.wait_for_poll(host)
    with shop.visitors("v2", "v3") as visitors:
        assert shop.deploy("v3")["status"] == "Succeeded"
    assert visitors.failures != []


def test_no_request_fails_where_an_agent_is_killed_or_loses_its_network_in_the_middle(shop: Shop) -> None:
    first, second, last = shop.hosts
    shop.fleet.killed_on_purpose = True
    for host in shop.hosts:
        host.run("touch /run/hold")
    with shop.visitors("v1", "v2", "v3") as visitors:
        deployment = shop.begin("v2")
        wait_for_hold(first)
        kill(first, "codedeploy-agent start")
        release(first)
        wait_for_hold(second)
        second.unplug()
        release(second)
        visitors.wait_for_more(300)
        second.plug()
        wait_for_hold(last)
        kill(last, "agent.worker.process")
        # Of three hosts the last one may fail.
        assert shop.end(deployment)["status"] == "Succeeded"
        assert in_service(shop, first)
        assert in_service(shop, second)
        assert out_and_shown(shop, last, f"a command of {deployment} was interrupted")
        assert traffic(last)["outage"]["on_purpose"]
        # The next version brings it back.
        release(last)
        assert shop.deploy("v3")["status"] == "Succeeded"
        visitors.wait_for_more()
    assert visitors.failures == []
    assert set(visitors.answers) == {"v1", "v2", "v3"}
    assert all(in_service(shop, host) for host in shop.hosts)


@pytest.mark.soak_only
def test_no_request_fails_whenever_a_host_loses_its_agent_and_its_worker(shop: Shop) -> None:
    first = shop.hosts[0]
    shop.fleet.killed_on_purpose = True
    versions = [f"w{turn}" for turn in range(10)]
    with shop.visitors("v1", *versions) as visitors:
        for turn, version in enumerate(versions):
            deployment = shop.begin(version)
            time.sleep(turn * 0.7)
            first.run(f"kill -9 $({_FIND.format(pattern='codedeploy-agent.star[t]|agent.worker.proces[s]')}) || true")
            shop.end(deployment)
            until(lambda: in_service(shop, first) or out_and_shown(shop, first, "d-"), "the host to be in order")
    assert visitors.failures == []
