"""A CloudFormation stack makes its CodeDeploy resources in the sandbox, or fails with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox_scene import Scene

ROLE = "arn:aws:iam::123456789012:role/deployer"


def filters(app: str) -> list[dict[str, str]]:
    return [{"Key": "App", "Value": app, "Type": "KEY_AND_VALUE"}]


def template(name: str, **group: Any) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "Site": {
            "Type": "AWS::CodeDeploy::Application",
            "Properties": {"ApplicationName": name, "Tags": [{"Key": "Team", "Value": "web"}]},
        },
        "Half": {
            "Type": "AWS::CodeDeploy::DeploymentConfig",
            "Properties": {"MinimumHealthyHosts": {"Type": "HOST_COUNT", "Value": "0"}},
        },
        "Hosts": {
            "Type": "AWS::CodeDeploy::DeploymentGroup",
            "Properties": {
                "ApplicationName": {"Ref": "Site"},
                "DeploymentGroupName": "group",
                "DeploymentConfigName": {"Ref": "Half"},
                "ServiceRoleArn": ROLE,
                "AutoRollbackConfiguration": {"Enabled": "true", "Events": ["DEPLOYMENT_FAILURE"]},
                "OnPremisesTagSet": {"OnPremisesTagSetList": [{"OnPremisesTagGroup": filters(name)}]},
                **group,
            },
        },
    }
    return {"Resources": resources}


def test_a_stack_makes_changes_and_deletes_what_it_claims(scene: Scene, tmp_path: Path) -> None:
    """With the real CLI, which makes change sets; a host is then deployed to."""
    name, deploy = scene.name, scene.sandbox.client("codedeploy")
    scene.host().work()

    def bring(content: dict[str, Any]) -> None:
        (tmp_path / "stack.json").write_text(json.dumps(content))
        file = str(tmp_path / "stack.json")
        scene.sandbox.aws("cloudformation", "deploy", "--stack-name", name, "--template-file", file)

    bring(template(name))
    made = scene.sandbox.aws("cloudformation", "describe-stack-resources", "--stack-name", name)["StackResources"]
    physical = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in made}
    config = physical["Half"]
    assert physical == {"Site": name, "Half": config, "Hosts": "group"}
    assert deploy.get_deployment_config(deploymentConfigName=config)["deploymentConfigInfo"]["minimumHealthyHosts"] == {
        "type": "HOST_COUNT",
        "value": 0,
    }
    names = {"applicationName": name, "deploymentGroupName": "group"}
    group = deploy.get_deployment_group(**names)["deploymentGroupInfo"]
    assert group["deploymentConfigName"] == config
    assert group["autoRollbackConfiguration"] == {"enabled": True, "events": ["DEPLOYMENT_FAILURE"]}
    assert group["onPremisesTagSet"] == {"onPremisesTagSetList": [filters(name)]}
    arn = f"arn:aws:codedeploy:us-east-1:{scene.sandbox.account}:application:{name}"
    assert deploy.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "Team", "Value": "web"}]
    assert scene.sandbox.wait(scene.deploy())["status"] == "Succeeded"
    changed = template(name, OnPremisesInstanceTagFilters=filters("other"))
    properties = changed["Resources"]["Hosts"]["Properties"]
    del properties["OnPremisesTagSet"], properties["AutoRollbackConfiguration"], properties["DeploymentConfigName"]
    changed["Resources"]["Site"]["Properties"]["Tags"] = [{"Key": "Stage", "Value": "test"}]
    bring(changed)
    group = deploy.get_deployment_group(**names)["deploymentGroupInfo"]
    assert group["onPremisesInstanceTagFilters"] == filters("other")
    assert not {"onPremisesTagSet", "autoRollbackConfiguration"} & group.keys()
    assert group["deploymentConfigName"] == "CodeDeployDefault.OneAtATime"
    assert deploy.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "Stage", "Value": "test"}]
    scene.sandbox.aws("cloudformation", "delete-stack", "--stack-name", name)
    assert name not in deploy.list_applications()["applications"]
    assert config not in deploy.list_deployment_configs()["deploymentConfigsList"]


def test_a_stack_that_cannot_be_made_fails_with_the_reason_and_leaves_nothing(scene: Scene) -> None:
    deploy = scene.sandbox.client("codedeploy")
    for number, (group, reason) in enumerate(
        (
            ({"DeploymentConfigName": "Unknown"}, "Hosts: No Deployment Configuration found: Unknown"),
            ({"AutoScalingGroups": ["one"]}, "Hosts: autoScalingGroups is not supported by the sandbox"),
            ({"Deployment": "v1.zip"}, "Hosts: Deployment is not a map"),
            ({"Colour": "green"}, "Hosts: DeploymentGroup has no property Colour"),
            ({"DeploymentGroupName": "odd name /"}, "Hosts: deploymentGroupName: 'odd name /' is not of the form"),
        )
    ):
        stack = f"{scene.name}-{number}"
        body = json.dumps(template(stack, **group))
        done = scene.sandbox.run_aws("cloudformation", "create-stack", "--stack-name", stack, "--template-body", body)
        assert done.returncode != 0
        assert reason in done.stderr
        (found,) = scene.sandbox.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        assert found["StackStatus"] == "ROLLBACK_COMPLETE"
        events = scene.sandbox.client("cloudformation").describe_stack_events(StackName=stack)["StackEvents"]
        assert any(reason in event.get("ResourceStatusReason", "") for event in events)
        assert stack not in deploy.list_applications()["applications"]


def test_properties_that_are_no_map_are_the_stacks_reason(scene: Scene) -> None:
    client = scene.sandbox.client("cloudformation")
    resource = {"Type": "AWS::CodeDeploy::Application", "Properties": ["x"]}
    with pytest.raises(ClientError, match="App: Properties is not a map"):
        client.create_stack(StackName=scene.name, TemplateBody=json.dumps({"Resources": {"App": resource}}))
    (found,) = client.describe_stacks(StackName=scene.name)["Stacks"]
    assert found["StackStatus"] == "ROLLBACK_COMPLETE"


def test_a_group_of_a_stack_deploys_the_revision_of_its_template(scene: Scene) -> None:
    scene.host().work()
    place = {"Bucket": "bundles", "Key": "v1.zip", "BundleType": "zip"}
    revision = {"RevisionType": "S3", "S3Location": place}
    body = template(scene.name, Deployment={"Description": "first", "Revision": revision})
    scene.sandbox.client("cloudformation").create_stack(StackName=scene.name, TemplateBody=json.dumps(body))
    (deployment,) = scene.sandbox.client("codedeploy").list_deployments(
        applicationName=scene.name, deploymentGroupName="group"
    )["deployments"]
    assert scene.sandbox.wait(deployment)["description"] == "first"
