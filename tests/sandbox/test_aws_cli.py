"""The real AWS command line against the sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from host_agent_stub import HostAgentStub
from sandbox_server import SandboxServer


@pytest.mark.long  # tests/end_to_end and the demo do the same with an agent
def test_aws_deploy_pushes_registers_deploys_and_waits(sandbox: SandboxServer, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/appspec.yml").write_text("version: 0.0\nos: linux\n")
    sandbox.aws("s3", "mb", "s3://releases")
    sandbox.aws("deploy", "create-application", "--application-name", "cli")
    sandbox.aws("deploy", "register", "--instance-name", "cli-1", "--tags", "Key=App,Value=cli", cwd=tmp_path)
    host = HostAgentStub.from_on_premises(sandbox.url, tmp_path / "codedeploy.onpremises.yml").work()
    location = "s3://releases/site.zip"
    pushed = sandbox.aws(
        *("deploy", "push", "--application-name", "cli", "--s3-location", location, "--source", str(tmp_path / "site"))
    )
    assert "aws deploy create-deployment" in pushed
    sandbox.aws(
        *("deploy", "create-deployment-group", "--application-name", "cli", "--deployment-group-name", "hosts"),
        *("--on-premises-instance-tag-filters", "Key=App,Value=cli,Type=KEY_AND_VALUE"),
        *("--service-role-arn", "arn:aws:iam::123456789012:role/deployer"),
    )
    deployment = sandbox.aws(
        *("deploy", "create-deployment", "--application-name", "cli", "--deployment-group-name", "hosts"),
        *("--s3-location", "bucket=releases,key=site.zip,bundleType=zip"),
    )["deploymentId"]
    sandbox.wait(deployment)
    sandbox.aws("deploy", "wait", "deployment-successful", "--deployment-id", deployment)
    shown = sandbox.aws("deploy", "get-deployment-target", "--deployment-id", deployment, "--target-id", "cli-1")
    assert shown["deploymentTarget"]["instanceTarget"]["status"] == "Succeeded"
    host.stop()


def test_an_unknown_name_gets_the_services_own_exception(sandbox: SandboxServer) -> None:
    done = sandbox.run_aws("deploy", "get-application", "--application-name", "nowhere")
    assert done.returncode != 0
    assert "ApplicationDoesNotExistException" in done.stderr
