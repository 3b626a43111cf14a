"""What workers leave of a deployment for people."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agent.history.read import read_host
from agent_host import revision, specification
from command_service import command_service
from worker_runs import WorkerHost


def test_a_deployment_that_failed_can_be_looked_at_afterwards(tmp_path: Path) -> None:
    place = revision(tmp_path / "one", {"BeforeInstall": "echo broken >&2; exit 3"}, to=tmp_path / "out")
    spec = specification(place, GitHubAccessToken="ghp_secret", DeploymentCreator="autoscaling")
    with command_service() as service:
        host = WorkerHost(str(tmp_path / "host"), service)
        for event in ("DownloadBundle", "BeforeInstall"):
            host.work(host.take_on(event, spec))
    (group,) = read_host(host.layout, keep=5).groups
    (one,) = group.deployments
    assert (one.outcome, one.facts["application"], one.facts["creator"]) == ("failed", "App", "autoscaling")
    assert one.facts["revision"]["location"] == str(place)
    download, failed = one.events
    assert (download.name, download.status) == ("DownloadBundle", "Succeeded")
    assert (failed.name, failed.code, failed.scripts) == ("BeforeInstall", 4, ("scripts/BeforeInstall.sh",))
    assert "broken" in failed.log
    assert subprocess.run(["grep", "-r", "ghp_secret", host.settings.root_dir]).returncode == 1
