"""The public API beside deployments: every operation answers in the shape of botocore's model."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from agent.sandbox.wire.public import OPERATIONS
from sandbox_scene import Scene
from sandbox_server import SandboxServer


@pytest.fixture
def deploy(sandbox: SandboxServer) -> Any:
    return sandbox.client("codedeploy")


def fault_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_an_application_is_made_renamed_and_forgotten(scene: Scene, deploy: Any) -> None:
    scene.group()
    deploy.update_application(applicationName=scene.name, newApplicationName=f"{scene.name}-new")
    assert f"{scene.name}-new" in deploy.list_applications()["applications"]
    info = deploy.get_application(applicationName=f"{scene.name}-new")["application"]
    assert info["computePlatform"] == "Server"
    groups = deploy.list_deployment_groups(applicationName=f"{scene.name}-new")
    assert groups["deploymentGroups"] == ["group"]
    deploy.delete_application(applicationName=f"{scene.name}-new")
    with pytest.raises(ClientError) as error:
        deploy.get_application(applicationName=f"{scene.name}-new")
    assert fault_of(error) == "ApplicationDoesNotExistException"


def test_a_group_keeps_what_an_update_does_not_name(scene: Scene, deploy: Any) -> None:
    scene.group(autoRollbackConfiguration={"enabled": True, "events": ["DEPLOYMENT_FAILURE"]})
    names = {"applicationName": scene.name, "currentDeploymentGroupName": "group"}
    deploy.update_deployment_group(
        **names, newDeploymentGroupName="renamed", deploymentConfigName="CodeDeployDefault.HalfAtATime"
    )
    described = deploy.batch_get_deployment_groups(applicationName=scene.name, deploymentGroupNames=["renamed"])
    (info,) = described["deploymentGroupsInfo"]
    assert info["deploymentConfigName"] == "CodeDeployDefault.HalfAtATime"
    assert info["autoRollbackConfiguration"]["enabled"] is True
    assert info["onPremisesTagSet"]["onPremisesTagSetList"]
    filters = [{"Key": "App", "Value": "other", "Type": "KEY_AND_VALUE"}]
    names["currentDeploymentGroupName"] = "renamed"
    deploy.update_deployment_group(**names, onPremisesInstanceTagFilters=filters)
    info = deploy.get_deployment_group(applicationName=scene.name, deploymentGroupName="renamed")
    assert "onPremisesTagSet" not in info["deploymentGroupInfo"]
    deploy.delete_deployment_group(applicationName=scene.name, deploymentGroupName="renamed")
    assert deploy.list_deployment_groups(applicationName=scene.name)["deploymentGroups"] == []


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"deploymentStyle": {"deploymentType": "BLUE_GREEN"}}, "InvalidDeploymentStyleException"),
        ({"deploymentStyle": {"deploymentOption": "WITH_TRAFFIC_CONTROL"}}, "InvalidLoadBalancerInfoException"),
        ({"autoScalingGroups": ["one"]}, "InvalidInputException"),
        ({"deploymentConfigName": "Unknown"}, "DeploymentConfigDoesNotExistException"),
        ({"onPremisesInstanceTagFilters": [{"Key": "App"}]}, "InvalidOnPremisesTagCombinationException"),
    ],
)
def test_what_a_group_cannot_be_is_refused(scene: Scene, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ClientError) as error:
        scene.group(**settings)
    assert fault_of(error) == fault


def test_configurations_of_ones_own_are_used_and_protected(scene: Scene, deploy: Any) -> None:
    name = f"{scene.name}-config"
    minimum = {"type": "HOST_COUNT", "value": 1}
    deploy.create_deployment_config(deploymentConfigName=name, minimumHealthyHosts=minimum)
    assert deploy.get_deployment_config(deploymentConfigName=name)["deploymentConfigInfo"][
        "minimumHealthyHosts"
    ] == minimum  # fmt: skip
    scene.group(deploymentConfigName=name)
    with pytest.raises(ClientError) as error:
        deploy.delete_deployment_config(deploymentConfigName=name)
    assert fault_of(error) == "DeploymentConfigInUseException"
    listed = deploy.list_deployment_configs()["deploymentConfigsList"]
    assert {"CodeDeployDefault.AllAtOnce", "CodeDeployDefault.OneAtATime", name} <= set(listed)


def test_hosts_are_listed_by_registration_and_tags(scene: Scene, deploy: Any) -> None:
    scene.host()
    scene.host()
    first, second = f"{scene.name}-host-0", f"{scene.name}-host-1"
    filters = [{"Key": "App", "Value": scene.name, "Type": "KEY_AND_VALUE"}]
    assert deploy.list_on_premises_instances(tagFilters=filters)["instanceNames"] == [first, second]
    tag = [{"Key": "App", "Value": scene.name}]
    deploy.remove_tags_from_on_premises_instances(instanceNames=[first], tags=tag)
    assert deploy.list_on_premises_instances(tagFilters=filters)["instanceNames"] == [second]
    deploy.deregister_on_premises_instance(instanceName=second)
    assert second in deploy.list_on_premises_instances(registrationStatus="Deregistered")["instanceNames"]
    infos = deploy.batch_get_on_premises_instances(instanceNames=[first, second])["instanceInfos"]
    assert "deregisterTime" in infos[1]
    assert "deregisterTime" not in infos[0]
    assert deploy.get_on_premises_instance(instanceName=first)["instanceInfo"]["iamUserArn"].endswith(first)


def test_revisions_tell_where_they_were_deployed(scene: Scene, deploy: Any) -> None:
    scene.group()
    place = {"bucket": "b", "key": "v0.zip", "bundleType": "zip"}
    unused = {"revisionType": "S3", "s3Location": place}
    deploy.register_application_revision(applicationName=scene.name, revision=unused, description="first")
    scene.deploy("v1.zip")
    known = deploy.list_application_revisions(applicationName=scene.name, deployed="include")["revisions"]
    assert [one["s3Location"]["key"] for one in known] == ["v1.zip"]
    info = deploy.get_application_revision(applicationName=scene.name, revision=known[0])["revisionInfo"]
    assert info["deploymentGroups"] == ["group"]
    described = deploy.batch_get_application_revisions(applicationName=scene.name, revisions=[unused])
    assert described["revisions"][0]["genericRevisionInfo"]["description"] == "first"


def test_deployments_are_found_by_group_status_and_time(scene: Scene, deploy: Any) -> None:
    scene.host().work()
    scene.group()
    first = scene.deploy()
    info = scene.sandbox.wait(first)
    second = scene.deploy()
    scene.sandbox.wait(second)
    names = {"applicationName": scene.name, "deploymentGroupName": "group"}
    assert deploy.list_deployments(**names)["deployments"] == [second, first]
    assert deploy.list_deployments(**names, includeOnlyStatuses=["Failed"])["deployments"] == []
    day = datetime.timedelta(days=1)
    earlier, later = info["createTime"] - day, info["createTime"] + day
    for times, found in (
        ({"start": earlier, "end": later}, [second, first]),
        ({"end": earlier}, []),
        ({"start": later}, []),
    ):
        assert deploy.list_deployments(**names, createTimeRange=times)["deployments"] == found
    described = deploy.batch_get_deployments(deploymentIds=[first, second])["deploymentsInfo"]
    assert described[1]["previousRevision"] == described[0]["revision"]
    with pytest.raises(ClientError) as error:
        deploy.stop_deployment(deploymentId=first)
    assert fault_of(error) == "DeploymentAlreadyCompletedException"


def test_targets_are_seen_under_their_old_name_too(scene: Scene, deploy: Any) -> None:
    scene.host()
    scene.group()
    deployment = scene.deploy()
    names = deploy.list_deployment_instances(deploymentId=deployment)["instancesList"]
    summary = deploy.get_deployment_instance(deploymentId=deployment, instanceId=names[0])["instanceSummary"]
    assert summary["status"] == "InProgress"
    batch = deploy.batch_get_deployment_instances(deploymentId=deployment, instanceIds=names)
    assert batch["instancesSummary"] == [summary]
    waiting = deploy.list_deployment_targets(deploymentId=deployment, targetFilters={"TargetStatus": ["Pending"]})
    assert waiting["targetIds"] == []
    with pytest.raises(ClientError) as error:
        deploy.get_deployment_target(deploymentId=deployment, targetId="nobody")
    assert fault_of(error) == "DeploymentTargetDoesNotExistException"


def test_what_the_sandbox_does_not_have_it_says(deploy: Any) -> None:
    with pytest.raises(ClientError, match="not supported by the sandbox"):
        deploy.list_git_hub_account_token_names()
    with pytest.raises(ClientError) as error:
        deploy.create_application(applicationName="lambda", computePlatform="Lambda")
    assert fault_of(error) == "InvalidComputePlatformException"


def test_every_operation_is_one_of_the_service(deploy: Any) -> None:
    assert set(OPERATIONS) <= set(deploy.meta.service_model.operation_names)
