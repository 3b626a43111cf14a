"""Three hosts in one deployment group: enough of them stay as they are while the others change, or fail."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from agent_host import revision
from agent_hosts import SITE, Fleet
from booted_host import BootedHost
from host_lab import NEEDED

pytestmark = NEEDED

NOTE = "echo $DEPLOYMENT_ID {what} $(date +%s%N) >> /srv/times"


class Three:
    """Three hosts with version v1."""

    def __init__(self, fleet: Fleet, configuration: str) -> None:
        self.fleet = fleet
        hosts = [fleet.create(name) for name in ("one", "two", "three")]
        for host in hosts:
            fleet.register(host)
            host.start(wait=False)
        for host in hosts:
            host.wait_until_running()
            fleet.wait_for_poll(host)
        fleet.group(
            deploymentConfigName=f"CodeDeployDefault.{configuration}",
            autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]},
        )
        first = self.deploy("v1", deploymentConfigName="CodeDeployDefault.AllAtOnce")
        assert first["status"] == "Succeeded"
        # In the order in which the service will deploy to them.
        names = {host.name: host for host in hosts}
        self.hosts = [names[name] for name in fleet.sandbox.targets(first["deploymentId"])]

    def deploy(self, version: str, **options: Any) -> dict[str, Any]:
        """Deploy a version, which does not work on hosts whose file /srv/broken names it."""
        hooks = {
            "BeforeInstall": NOTE.format(what="began"),
            "ValidateService": f"{NOTE.format(what='ended')}\n! grep -qsx {version} /srv/broken",
        }
        source = revision(self.fleet.directory / version, hooks, files={"version": version}, to=Path(SITE))
        return self.fleet.deploy(self.fleet.upload(source), **options)

    def spans(self, deployment: str) -> dict[str, tuple[int, int]]:
        """When each host that took part in a deployment began and ended."""
        found = {}
        for host in self.hosts:
            lines = [line.split() for line in host.run("cat /srv/times").stdout.splitlines()]
            times = {what: int(moment) for identifier, what, moment in lines if identifier == deployment}
            if times:
                found[host.name] = (times["began"], times["ended"])
        return found

    def one_at_a_time(self, deployment: str) -> int:
        """Check that no two hosts were at work at once; gives how many took part."""
        spans = sorted(self.spans(deployment).values())
        assert all(before[1] < after[0] for before, after in itertools.pairwise(spans)), spans
        return len(spans)

    def versions(self) -> list[str]:
        """What is installed on the hosts."""
        return [host.run(f"cat {SITE}/version").stdout for host in self.hosts]

    def states(self, found: dict[str, Any]) -> list[str]:
        """The status of a deployment on each host."""
        targets = self.fleet.sandbox.targets(found["deploymentId"])
        return [targets[host.name]["status"] for host in self.hosts]

    def rolled_back(self, found: dict[str, Any]) -> dict[str, Any]:
        """The deployment that put the version before back, when it is over."""
        return self.fleet.sandbox.wait(found["rollbackInfo"]["rollbackDeploymentId"])


def breaks(host: BootedHost, version: str) -> None:
    """From now on this version does not work on this host."""
    host.put("/srv/broken", version)


@pytest.mark.soak_only  # tests/sandbox has the service's rules without hosts
def test_one_at_a_time_the_first_failure_ends_it_and_only_the_last_host_may_fail(fleet: Fleet) -> None:
    three = Three(fleet, "OneAtATime")
    first, _, last = three.hosts

    breaks(last, "v2")
    found = three.deploy("v2")
    assert found["status"] == "Succeeded"
    assert three.states(found) == ["Succeeded", "Succeeded", "Failed"]
    assert three.one_at_a_time(found["deploymentId"]) == 3

    last.run("rm /srv/broken")
    breaks(first, "v3")
    found = three.deploy("v3")
    assert found["status"] == "Failed"
    assert three.states(found) == ["Failed", "Skipped", "Skipped"]
    assert three.one_at_a_time(found["deploymentId"]) == 1

    back = three.rolled_back(found)
    assert (back["status"], back["creator"]) == ("Succeeded", "codeDeployRollback")
    assert three.versions() == ["v2", "v2", "v2"]


@pytest.mark.soak_only
def test_half_at_a_time_a_failure_in_the_middle_has_all_of_them_rolled_back(fleet: Fleet) -> None:
    three = Three(fleet, "HalfAtATime")
    breaks(three.hosts[1], "v2")

    found = three.deploy("v2")

    assert found["status"] == "Failed"
    assert three.states(found) == ["Succeeded", "Failed", "Skipped"]
    assert three.one_at_a_time(found["deploymentId"]) == 2
    back = three.rolled_back(found)
    assert (back["status"], back["creator"]) == ("Succeeded", "codeDeployRollback")
    assert three.versions() == ["v1", "v1", "v1"]
