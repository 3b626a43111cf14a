"""Deployments as users make them: the service, the agent and the files on the host are real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_fleet import Fleet, pack
from object_server import StoredObject, running_server

EVENTS = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
]
TRAFFIC = ["BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic"]
TRAFFIC_BACK = ["BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic"]


def events(fleet: Fleet, deployment_id: str) -> dict[str, str]:
    (found,) = fleet.sandbox.events(deployment_id).values()
    return found


@pytest.mark.long  # the command line pushes a zip below; tests/bundle has all kinds
@pytest.mark.parametrize("bundle_type", ["zip", "tar", "tgz"])
def test_a_revision_in_s3_is_deployed_whatever_its_format(fleet: Fleet, bundle_type: str) -> None:
    fleet.on_premises().start()
    fleet.group()
    source = fleet.revision("v1", {"ApplicationStart": f"echo $BUNDLE_BUCKET $BUNDLE_KEY > {fleet.directory}/seen"})
    found = fleet.deploy(fleet.upload(source, bundle_type=bundle_type))
    assert found["status"] == "Succeeded", found
    assert events(fleet, found["deploymentId"]) == dict.fromkeys(EVENTS, "Succeeded")
    assert (fleet.site / "index.html").read_text() == "v1"
    assert (fleet.directory / "seen").read_text() == f"{fleet.application}-bundles v1.{bundle_type}\n"


@pytest.mark.long  # the demo shows it (tests/sandbox/test_demo.py)
def test_a_broken_version_is_rolled_back_to_the_one_before(fleet: Fleet) -> None:
    fleet.on_premises().start()
    fleet.group(autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]})
    fleet.deploy(fleet.upload(fleet.revision("v1", {})))
    broken = fleet.revision("v2", {"ValidateService": "echo it does not answer >&2; exit 3"})
    found = fleet.deploy(fleet.upload(broken))
    assert found["status"] == "Failed"
    (target,) = fleet.sandbox.targets(found["deploymentId"]).values()
    (failed,) = [event for event in target["lifecycleEvents"] if event["status"] == "Failed"]
    assert failed["lifecycleEventName"] == "ValidateService"
    assert failed["diagnostics"]["errorCode"] == "ScriptFailed"
    assert failed["diagnostics"]["scriptName"] == "scripts/ValidateService.sh"
    assert "it does not answer" in failed["diagnostics"]["logTail"]
    rollback = fleet.sandbox.wait(found["rollbackInfo"]["rollbackDeploymentId"])
    assert (rollback["status"], rollback["creator"]) == ("Succeeded", "codeDeployRollback")
    assert (fleet.site / "index.html").read_text() == "v1"


@pytest.mark.long  # tests/sandbox/test_deploying.py has the events
def test_with_a_load_balancer_the_six_traffic_events_come_and_old_scripts_take_the_host_out(fleet: Fleet) -> None:
    fleet.on_premises().start()
    fleet.group(
        deploymentStyle={"deploymentType": "IN_PLACE", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
        loadBalancerInfo={"elbInfoList": [{"name": "balancer"}]},
    )
    hooks = [name for name in [*TRAFFIC, *EVENTS, *TRAFFIC_BACK] if name not in ("DownloadBundle", "Install")]
    hooks = [name for name in hooks if name not in ("BlockTraffic", "AllowTraffic")]
    for version in ("v1", "v2"):
        note = dict.fromkeys(hooks, f"echo {version} $LIFECYCLE_EVENT >> {fleet.directory}/order")
        found = fleet.deploy(fleet.upload(fleet.revision(version, note)))
        assert found["status"] == "Succeeded", found
        assert list(events(fleet, found["deploymentId"])) == [*TRAFFIC, *EVENTS, *TRAFFIC_BACK]
    first = [f"v1 {name}" for name in hooks if name not in (*TRAFFIC, "ApplicationStop")]
    old = ("BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop")
    second = [f"{'v1' if name in old else 'v2'} {name}" for name in hooks]
    assert (fleet.directory / "order").read_text().splitlines() == [*first, *second]


@pytest.mark.long  # tests/daemon/test_supervisor.py has groups that do not wait for one another
def test_three_groups_are_deployed_to_one_host_at_once(fleet: Fleet) -> None:
    host = fleet.on_premises()
    host.start()
    deployments = []
    for name in ("a", "b", "c"):
        fleet.sandbox.create_group(fleet.application, name, {"Application": fleet.application})
        source = fleet.revision(f"revision-{name}", {"AfterInstall": f"echo {name} >> {fleet.directory}/done"})
        text = (source / "appspec.yml").read_text()
        (source / "appspec.yml").write_text(text.replace(str(fleet.site), f"{fleet.site}/{name}"))
        deployments.append(fleet.sandbox.deploy(fleet.application, name, fleet.upload(source)))
    assert [fleet.sandbox.wait(one)["status"] for one in deployments] == ["Succeeded"] * 3
    assert sorted((fleet.directory / "done").read_text().split()) == ["a", "b", "c"]
    assert [(fleet.site / name / "index.html").read_text() for name in "abc"] == [f"revision-{n}" for n in "abc"]


@pytest.mark.long  # tests/identity has sessions that are renewed
def test_a_host_with_a_session_goes_on_when_its_credentials_are_renewed(fleet: Fleet) -> None:
    host = fleet.on_premises(session=True)
    host.start()
    fleet.group()
    first = fleet.deploy(fleet.upload(fleet.revision("v1", {})))
    fleet.sandbox.renew_session(
        f"{fleet.application}-host", Path(str(host.settings["on_premises_config_file"])).parent / "credentials"
    )
    second = fleet.deploy(fleet.upload(fleet.revision("v2", {})))
    assert [first["status"], second["status"]] == ["Succeeded", "Succeeded"]
    assert (fleet.site / "index.html").read_text() == "v2"


def test_an_instance_finds_out_who_it_is_and_is_deployed_to(fleet: Fleet) -> None:
    fleet.sandbox.run_instance({"Application": fleet.application})
    host = fleet.add("instance", on_premises_config_file=fleet.directory / "none.yml")
    host.environment |= {"AWS_EC2_METADATA_SERVICE_ENDPOINT": fleet.sandbox.url}
    host.start()
    fleet.sandbox.create_group(
        fleet.application,
        "group",
        {},
        ec2TagFilters=[{"Key": "Application", "Value": fleet.application, "Type": "KEY_AND_VALUE"}],
    )
    found = fleet.deploy(fleet.upload(fleet.revision("v1", {})))
    assert found["status"] == "Succeeded", found
    assert "instance metadata" in host.log_text()


def test_a_bundle_that_is_not_there_says_so_in_the_console(fleet: Fleet) -> None:
    fleet.on_premises().start()
    fleet.group()
    bundle = fleet.upload(fleet.revision("v1", {}))
    bundle["s3Location"] |= {"key": "missing.zip"}
    del bundle["s3Location"]["eTag"]
    found = fleet.deploy(bundle)
    assert found["status"] == "Failed"
    (target,) = fleet.sandbox.targets(found["deploymentId"]).values()
    (failed,) = [event for event in target["lifecycleEvents"] if event["status"] == "Failed"]
    assert failed["lifecycleEventName"] == "DownloadBundle"
    assert "missing.zip" in failed["diagnostics"]["message"]


@pytest.mark.long  # tests/sandbox/test_checksums.py and tests/bundle/test_s3.py have uploads in parts
def test_a_bundle_of_20_mb_that_the_cli_uploads_in_parts_is_deployed(fleet: Fleet) -> None:
    fleet.on_premises().start()
    fleet.group()
    aws, name = fleet.sandbox.aws, fleet.application
    source = fleet.revision("v1", {})
    (source / "app" / "large.bin").write_bytes(os.urandom(20 << 20))
    packed = pack(source, fleet.directory / "v1.tar", "tar")
    aws("s3", "mb", f"s3://{name}")
    aws("s3", "cp", "--no-progress", str(packed), f"s3://{name}/v1.tar")
    query = ("--bucket", name, "--key", "v1.tar", "--checksum-mode", "ENABLED")
    head = aws("s3api", "head-object", *query)
    assert head["ETag"].endswith('-3"')
    assert (head["ChecksumType"], head["ChecksumCRC32"][-2:]) == ("COMPOSITE", "-3")
    place = {"bucket": name, "key": "v1.tar", "bundleType": "tar"}
    found = fleet.deploy({"revisionType": "S3", "s3Location": place})
    assert found["status"] == "Succeeded", found
    assert (fleet.site / "large.bin").read_bytes() == (source / "app" / "large.bin").read_bytes()


def test_the_agent_is_restarted_in_the_middle_and_the_service_sees_one_result_for_each_event(fleet: Fleet) -> None:
    host = fleet.on_premises()
    host.start()
    fleet.group()
    go = fleet.directory / "go"
    waiting = f"touch {fleet.directory}/here; until [ -e {go} ]; do sleep 0.05; done"
    bundle = fleet.upload(fleet.revision("v1", {"ApplicationStart": waiting}))
    deployment = fleet.sandbox.deploy(fleet.application, "group", bundle)
    host.until((fleet.directory / "here").exists, "the hook to run")
    assert host.stop() == 0
    host.start()
    go.touch()
    found = fleet.sandbox.wait(deployment)
    assert found["status"] == "Succeeded", found
    calls = [entry for entry in fleet.sandbox.journal("PutHostCommandComplete") if "error" not in entry]
    mine = [entry["input"]["HostCommandIdentifier"] for entry in calls if fleet.application in entry["caller"]]
    # The four events without scripts are no-ops, which the service closes itself.
    assert len(mine) == len(set(mine)) == 3


@pytest.mark.long  # tests/steps/test_bundle_command.py has RESTART
def test_a_restart_uses_the_revision_that_is_on_the_host(fleet: Fleet) -> None:
    host = fleet.on_premises()
    host.start()
    fleet.group()
    note = {"ApplicationStart": f"echo $DEPLOYMENT_ID >> {fleet.directory}/started"}
    first = fleet.deploy(fleet.upload(fleet.revision("v1", note)))
    fleet.sandbox.client("s3").delete_object(Bucket=f"{fleet.application}-bundles", Key="v1.zip")
    again = fleet.sandbox.wait(fleet.sandbox.deploy(fleet.application, "group", None, deploymentMode="RESTART"))
    assert again["status"] == "Succeeded", again
    assert (fleet.directory / "started").read_text().split() == [first["deploymentId"], again["deploymentId"]]
    (source,) = host.root.glob(f"*/{again['deploymentId']}/.bundle-source")
    assert source.read_text() == "archive-reuse"
    told = [entry["input"] for entry in fleet.sandbox.journal("PutHostCommandComplete") if "error" not in entry]
    assert [body for body in told if "archive-reuse" in body["Diagnostics"]["Payload"]]


@pytest.mark.long  # tests/bundle/test_github.py and tests/cli have GitHub
def test_a_commit_on_github_is_deployed(fleet: Fleet) -> None:
    source = fleet.revision("v1", {"ApplicationStart": f"echo $BUNDLE_COMMIT > {fleet.directory}/seen"})
    commit = "0123456789abcdef0123456789abcdef01234567"
    with running_server() as github:
        data = pack(source, fleet.directory / "commit.tgz", "tgz").read_bytes()
        github.objects[f"/repos/owner/project/tarball/{commit}"] = StoredObject(data)
        fleet.on_premises(github_endpoint_override=github.url).start()
        fleet.group()
        location = {"repository": "owner/project", "commitId": commit}
        found = fleet.deploy({"revisionType": "GitHub", "gitHubLocation": location})
    assert found["status"] == "Succeeded", found
    assert (fleet.directory / "seen").read_text() == f"{commit}\n"
    assert (fleet.site / "index.html").read_text() == "v1"


def test_the_command_line_that_users_type_works(fleet: Fleet) -> None:
    """push, create-deployment and wait, by the real AWS CLI."""
    fleet.on_premises().start()
    fleet.group()
    aws, name = fleet.sandbox.aws, fleet.application
    aws("s3", "mb", f"s3://{name}")
    source = fleet.revision("v1", {})
    aws("deploy", "push", "--application-name", name, "--s3-location", f"s3://{name}/v1.zip", "--source", str(source))
    location = f"bucket={name},key=v1.zip,bundleType=zip"
    made = aws(
        *("deploy", "create-deployment", "--application-name", name, "--deployment-group-name", "group"),
        *("--s3-location", location),
    )
    aws("deploy", "wait", "deployment-successful", "--deployment-id", made["deploymentId"])
    assert (fleet.site / "index.html").read_text() == "v1"
