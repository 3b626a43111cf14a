"""Whole deployments over the wire: what the API shows, and what hosts are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from host_agent_stub import SUCCESS, HostAgentStub, document_of, reuse_archive_of
from sandbox_scene import Scene

SEVEN = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
]


def failing(event: str, log: str = "the last line") -> Any:
    def script(name: str) -> Mapping[str, Any]:
        failed = {"error_code": 4, "script_name": "check.sh", "message": "it failed", "log": log}
        return failed if name == event else SUCCESS

    return script


def test_a_host_gets_the_seven_events_in_order_and_the_api_shows_them(scene: Scene) -> None:
    host = scene.host().work()
    scene.group()
    deployment = scene.deploy()
    info = scene.sandbox.wait(deployment)
    assert info["status"] == "Succeeded"
    assert info["deploymentOverview"]["Succeeded"] == 1
    assert host.commands == SEVEN
    (target,) = scene.sandbox.targets(deployment).values()
    assert [event["lifecycleEventName"] for event in target["lifecycleEvents"]] == SEVEN
    assert all(event["startTime"] <= event["endTime"] for event in target["lifecycleEvents"])


def test_with_a_load_balancer_the_service_does_the_two_traffic_events_itself(scene: Scene) -> None:
    host = scene.host().work()
    scene.group(
        deploymentStyle={"deploymentType": "IN_PLACE", "deploymentOption": "WITH_TRAFFIC_CONTROL"},
        loadBalancerInfo={"targetGroupInfoList": [{"name": "web"}]},
    )
    deployment = scene.deploy()
    scene.sandbox.wait(deployment)
    (events,) = scene.sandbox.events(deployment).values()
    assert list(events) == [
        *["BeforeBlockTraffic", "BlockTraffic", "AfterBlockTraffic"],
        *SEVEN,
        *["BeforeAllowTraffic", "AllowTraffic", "AfterAllowTraffic"],
    ]
    assert set(events.values()) == {"Succeeded"}
    assert host.commands == [name for name in events if name not in ("BlockTraffic", "AllowTraffic")]


def test_a_no_op_ends_its_event_with_the_acknowledgement(scene: Scene) -> None:
    host = scene.host().work(lambda name: SUCCESS if name in ("DownloadBundle", "Install") else None)
    scene.group()
    assert scene.sandbox.wait(scene.deploy())["status"] == "Succeeded"
    assert host.commands == SEVEN
    calls = [entry for entry in scene.sandbox.journal() if entry.get("caller") == host.host_identifier]
    completed = [entry for entry in calls if entry["operation"] == "PutHostCommandComplete"]
    assert len(completed) == 2


def test_a_failed_event_is_shown_with_its_diagnostics_and_ends_the_deployment(scene: Scene) -> None:
    scene.host().work(failing("AfterInstall"))
    scene.group()
    deployment = scene.deploy()
    info = scene.sandbox.wait(deployment)
    assert info["status"] == "Failed"
    assert info["errorInformation"]["code"] == "HEALTH_CONSTRAINTS"
    (target,) = scene.sandbox.targets(deployment).values()
    failed = target["lifecycleEvents"][4]
    assert failed["diagnostics"] == {
        "errorCode": "ScriptFailed",
        "scriptName": "check.sh",
        "message": "it failed",
        "logTail": "the last line",
    }
    assert [event["status"] for event in target["lifecycleEvents"][5:]] == ["Skipped", "Skipped"]


def test_a_failed_deployment_is_rolled_back_to_the_last_revision_that_succeeded(scene: Scene) -> None:
    host = scene.host()
    bad: set[str] = set()

    def script(name: str) -> Mapping[str, Any]:
        return failing("ValidateService")(name) if bad and name == "ValidateService" and bad.pop() else SUCCESS

    host.work(script)
    scene.group(autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]})
    first = scene.deploy("v1.zip")
    scene.sandbox.wait(first)
    bad.add("next")
    second = scene.deploy("v2.zip")
    failed = scene.sandbox.wait(second)
    assert failed["status"] == "Failed"
    rollback = scene.sandbox.wait(failed["rollbackInfo"]["rollbackDeploymentId"])
    assert (rollback["status"], rollback["creator"]) == ("Succeeded", "codeDeployRollback")
    assert rollback["revision"]["s3Location"]["key"] == "v1.zip"
    assert rollback["rollbackInfo"]["rollbackTriggeringDeploymentId"] == second


def test_a_stopped_deployment_lets_the_event_end_and_begins_no_other(scene: Scene) -> None:
    host = scene.host()
    scene.group()
    deployment = scene.deploy()
    command = host.poll()
    assert command is not None
    host.acknowledge(command)
    deploy = scene.sandbox.client("codedeploy")
    assert deploy.stop_deployment(deploymentId=deployment)["status"] == "Pending"
    assert deploy.get_deployment(deploymentId=deployment)["deploymentInfo"]["status"] == "InProgress"
    assert host.complete(command).status == 200
    assert scene.sandbox.wait(deployment)["status"] == "Stopped"
    (events,) = scene.sandbox.events(deployment).values()
    assert list(events.values()) == ["Succeeded"] + ["Skipped"] * 6


def test_a_command_that_nobody_took_up_is_withdrawn_by_a_stop(scene: Scene) -> None:
    host = scene.host()
    scene.group()
    deployment = scene.deploy()
    command = host.poll()
    assert command is not None
    deploy = scene.sandbox.client("codedeploy")
    assert deploy.stop_deployment(deploymentId=deployment)["status"] == "Succeeded"
    assert host.acknowledge(command).body == {"CommandStatus": "Failed"}


def test_a_restart_names_the_deployment_whose_archive_is_used_again(scene: Scene) -> None:
    host = scene.host().work()
    scene.group()
    first = scene.deploy()
    scene.sandbox.wait(first)
    host.stop()
    restart = scene.deploy(None, deploymentMode="RESTART")
    fresh = HostAgentStub(host.url, host.region, host.host_identifier, host.credentials)
    command = fresh.poll()
    assert command is not None
    assert reuse_archive_of(fresh.specification(command)) == first
    fresh.version = "1.8.1"
    assert reuse_archive_of(fresh.specification(command)) is None
    scene.sandbox.client("codedeploy").stop_deployment(deploymentId=restart)


def test_the_specification_says_what_the_deployment_is(scene: Scene) -> None:
    host = scene.host()
    scene.group()
    deployment = scene.deploy(fileExistsBehavior="OVERWRITE")
    command = host.poll()
    assert command is not None
    document = document_of(host.specification(command))
    assert document["DeploymentId"].endswith(f":deployment/{deployment}")
    assert document["Revision"] == {
        "RevisionType": "S3",
        "S3Revision": {"Bucket": "bundles", "Key": "v1.zip", "BundleType": "zip"},
    }
    assert document["AgentActionOverrides"]["AgentOverrides"] == {"FileExistsBehavior": "OVERWRITE"}
    assert document["DeploymentCreator"] == "user"


@pytest.mark.parametrize(
    ("version", "has_events"),
    [
        ("OFFICIAL_1.8.1-ref", False),
        ("OFFICIAL_1.7.0-11_deb", False),
        ("1.6.0", False),
        ("unknown", False),
        ("UNKNOWN_VERSION", False),
        ("v0.13.0", False),
        ("dev build", False),
        ("2.0", True),
        ("2.1.0", True),
        ("v2.0.1", True),
        ("2.1.0-rc.1+build", True),
        ("OFFICIAL_2.1.0-12_rpm", True),
    ],
)
def test_the_list_of_all_events_goes_to_agents_that_can_read_it(scene: Scene, version: str, has_events: bool) -> None:
    host = scene.host()
    host.version = version
    scene.group()
    scene.deploy()
    command = host.poll()
    assert command is not None
    assert ("AllPossibleLifecycleEvents" in document_of(host.specification(command))) is has_events
    host.acknowledge(command)
    assert host.complete(command).status == 200


def test_a_host_gets_the_github_token_for_a_revision_on_github(scene: Scene) -> None:
    host = scene.host()
    scene.group()
    place = {"repository": "account/site", "commitId": "0" * 40}
    scene.sandbox.deploy(scene.name, "group", {"revisionType": "GitHub", "gitHubLocation": place})
    command = host.poll()
    assert command is not None
    scene.sandbox.control("PUT", "github", {"token": "secret"})
    document = document_of(host.specification(command))
    scene.sandbox.control("PUT", "github", {})
    assert document["GitHubAccessToken"] == "secret"
    assert document["Revision"]["GitHubRevision"]["Account"] == "account"
    assert "GitHubAccessToken" not in document_of(host.specification(command))


def test_a_host_that_works_by_sessions_is_deployed_to(scene: Scene) -> None:
    scene.host(session=True).work()
    scene.group()
    assert scene.sandbox.wait(scene.deploy())["status"] == "Succeeded"


def test_an_ec2_instance_is_found_by_its_tag_and_polls_with_its_role(scene: Scene) -> None:
    import http.client
    import json
    from urllib.parse import urlsplit

    from botocore.credentials import Credentials

    sandbox = scene.sandbox
    instance = sandbox.run_instance({"Name": scene.name}, role="host-role")

    def ask(method: str, path: str, headers: dict[str, str]) -> str:
        connection = http.client.HTTPConnection(urlsplit(sandbox.url).netloc)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse().read().decode()
        connection.close()
        return answer

    token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    with_token = {"X-aws-ec2-metadata-token": token}
    role = json.loads(ask("GET", "/latest/meta-data/iam/security-credentials/host-role", with_token))
    document = json.loads(ask("GET", "/latest/dynamic/instance-identity/document", with_token))
    assert document["instanceId"] == instance
    arn = f"arn:aws:ec2:{document['region']}:{document['accountId']}:instance/{instance}"
    key = Credentials(role["AccessKeyId"], role["SecretAccessKey"], role["Token"])
    scene.hosts.append(HostAgentStub(sandbox.url, sandbox.region, arn, key).work())
    filters = [{"Key": "Name", "Value": scene.name, "Type": "KEY_AND_VALUE"}]
    sandbox.create_group(scene.name, "group", {}, ec2TagFilters=filters)
    deployment = scene.deploy()
    assert sandbox.wait(deployment)["status"] == "Succeeded"
    assert list(sandbox.targets(deployment)) == [instance]


def test_one_host_at_a_time_stops_after_the_first_failure(scene: Scene) -> None:
    for _ in range(3):
        scene.host().work(failing("BeforeInstall"))
    scene.group(deploymentConfigName="CodeDeployDefault.OneAtATime")
    info = scene.sandbox.wait(scene.deploy())
    assert info["status"] == "Failed"
    assert info["deploymentOverview"]["Failed"] == 1
    assert info["deploymentOverview"]["Skipped"] == 2


def test_a_host_that_never_answers_fails_after_the_time_limit(scene: Scene) -> None:
    scene.host()
    scene.group()
    deployment = scene.deploy()
    before = scene.sandbox.control("GET", "limits")
    try:
        scene.sandbox.set_limits(delivery=0)
        assert scene.sandbox.wait(deployment)["status"] == "Failed"
    finally:
        scene.sandbox.set_limits(**before)
    (target,) = scene.sandbox.targets(deployment).values()
    assert "did not ask for a command" in target["lifecycleEvents"][0]["diagnostics"]["message"]
