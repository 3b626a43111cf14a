"""Every operation answers what cannot be done with an exception that its model has: SDKs know no other."""

from __future__ import annotations

from typing import Any

import botocore.config
import botocore.session
import pytest
from botocore.exceptions import ClientError

from agent.sandbox.wire.inputs import MEMBER_FAULTS
from agent.sandbox.wire.public import OPERATIONS
from sandbox_scene import Scene
from sandbox_server import SandboxServer

ODD = "odd name \u00fc /"
REVISION = {"revisionType": "S3", "s3Location": {"bucket": "b", "key": "unknown.zip", "bundleType": "zip"}}
TAG = {"Key": "Team", "Value": "web"}
ROLE = "arn:aws:iam::123456789012:role/deployer"
ARN = "arn:aws:codedeploy:us-east-1:123456789012"

UNKNOWN: dict[str, Any] = {
    "applicationName": "unknown",
    "newApplicationName": "unknown-too",
    "applicationNames": ["unknown"],
    "deploymentGroupName": "unknown",
    "currentDeploymentGroupName": "unknown",
    "deploymentGroupNames": ["unknown"],
    "deploymentConfigName": "unknown",
    "deploymentId": "d-ABCDEFGHI",
    "deploymentIds": ["d-ABCDEFGHI"],
    "instanceName": "unknown",
    "instanceNames": ["unknown"],
    "instanceId": "unknown",
    "instanceIds": ["unknown"],
    "targetId": "unknown",
    "targetIds": ["unknown"],
    "revision": REVISION,
    "revisions": [REVISION],
    "serviceRoleArn": ROLE,
    "ResourceArn": f"{ARN}:application:unknown",
    "Tags": [TAG],
    "TagKeys": ["Team"],
    "tags": [TAG],
}

APPLICATION, GROUP = "ApplicationDoesNotExistException", "DeploymentGroupDoesNotExistException"
CONFIG, DEPLOYMENT = "DeploymentConfigDoesNotExistException", "DeploymentDoesNotExistException"
INSTANCE = "InstanceNotRegisteredException"

# What an operation answers when nothing of what it names exists; "" where it succeeds.
FAULTS = {
    "AddTagsToOnPremisesInstances": INSTANCE,
    "BatchGetApplicationRevisions": APPLICATION,
    "BatchGetApplications": APPLICATION,
    "BatchGetDeploymentGroups": APPLICATION,
    "BatchGetDeploymentInstances": DEPLOYMENT,
    "BatchGetDeploymentTargets": DEPLOYMENT,
    "BatchGetDeployments": "",
    "BatchGetOnPremisesInstances": "",
    "ContinueDeployment": DEPLOYMENT,
    "CreateDeployment": APPLICATION,
    "CreateDeploymentGroup": APPLICATION,
    "DeleteApplication": "",
    "DeleteDeploymentConfig": "",
    "DeleteDeploymentGroup": "",
    "DeregisterOnPremisesInstance": "",
    "GetApplication": APPLICATION,
    "GetApplicationRevision": APPLICATION,
    "GetDeployment": DEPLOYMENT,
    "GetDeploymentConfig": CONFIG,
    "GetDeploymentGroup": APPLICATION,
    "GetDeploymentInstance": DEPLOYMENT,
    "GetDeploymentTarget": DEPLOYMENT,
    "GetOnPremisesInstance": INSTANCE,
    "ListApplicationRevisions": APPLICATION,
    "ListApplications": "",
    "ListDeploymentConfigs": "",
    "ListDeploymentGroups": APPLICATION,
    "ListDeploymentInstances": DEPLOYMENT,
    "ListDeploymentTargets": DEPLOYMENT,
    "ListDeployments": APPLICATION,
    "ListOnPremisesInstances": "",
    "ListTagsForResource": "InvalidArnException",
    "RegisterApplicationRevision": APPLICATION,
    "RemoveTagsFromOnPremisesInstances": INSTANCE,
    "StopDeployment": DEPLOYMENT,
    "TagResource": APPLICATION,
    "UntagResource": APPLICATION,
    "UpdateApplication": APPLICATION,
    "UpdateDeploymentGroup": APPLICATION,
}
# These make something of any name; the rest of their faults is below.
MAKING = {"CreateApplication", "CreateDeploymentConfig", "RegisterOnPremisesInstance"}


@pytest.fixture(scope="module")
def unchecked(sandbox: SandboxServer) -> Any:
    """A client that sends whatever it is given."""
    return botocore.session.Session().create_client(
        "codedeploy",
        region_name=sandbox.region,
        endpoint_url=sandbox.url,
        aws_access_key_id=sandbox.description["access_key_id"],
        aws_secret_access_key=sandbox.description["secret_access_key"],
        config=botocore.config.Config(retries={"max_attempts": 0}, proxies={}, parameter_validation=False),
    )


def fault_of(client: Any, operation: str, request: dict[str, Any]) -> str:
    """Call an operation; give its fault, which must be one of its model, or "" if it succeeds."""
    try:
        client._make_api_call(operation, request)
    except ClientError as error:
        fault = str(error.response["Error"]["Code"])
    else:
        return ""
    modelled = [shape.name for shape in client.meta.service_model.operation_model(operation).error_shapes]
    assert fault in modelled, f"{operation}: {fault}"
    return fault


def request_of(client: Any, operation: str) -> dict[str, Any]:
    members = client.meta.service_model.operation_model(operation).input_shape.members
    return {name: value for name, value in UNKNOWN.items() if name in members}


def odd(value: Any) -> Any:
    """The same with something in it that no service takes."""
    if isinstance(value, dict):
        return value | {"revisionType": "Tape"} if "revisionType" in value else {"Key": "aws:odd"}
    return [odd(value[0])] if isinstance(value, list) else ODD


def test_the_table_is_whole() -> None:
    assert FAULTS.keys() | MAKING == OPERATIONS.keys()


@pytest.mark.parametrize("operation", FAULTS)
def test_unknown_names_have_their_exception(unchecked: Any, operation: str) -> None:
    assert fault_of(unchecked, operation, request_of(unchecked, operation)) == FAULTS[operation]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_odd_names_and_bogus_ids_have_their_exception(unchecked: Any, operation: str) -> None:
    request = request_of(unchecked, operation)
    for name, value in request.items():
        found = fault_of(unchecked, operation, request | {name: odd(value)})
        if name in ("TagKeys", "tags", "Tags", "serviceRoleArn"):
            continue  # checked after what they belong to was found, or not at all
        assert found in MEMBER_FAULTS[name].invalid, (operation, name, found)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_missing_has_its_exception(unchecked: Any, operation: str) -> None:
    model = unchecked.meta.service_model.operation_model(operation)
    request = request_of(unchecked, operation)
    for name in model.input_shape.required_members:
        missing = [{key: value for key, value in request.items() if key != name}]
        if isinstance(request[name], str | list):
            missing.append(request | {name: type(request[name])()})
        for changed in missing:
            assert fault_of(unchecked, operation, changed) == MEMBER_FAULTS[name].missing, (operation, name)


@pytest.mark.parametrize(
    ("operation", "request_", "fault"),
    [
        ("GetDeployment", {"deploymentId": "1"}, "InvalidDeploymentIdException"),
        ("GetDeployment", {"deploymentId": "d-abcdefghi"}, "InvalidDeploymentIdException"),
        ("BatchGetDeployments", {"deploymentIds": ["d-ABCDEFGHI", "bogus"]}, "InvalidDeploymentIdException"),
        ("BatchGetDeployments", {"deploymentIds": ["d-ABCDEFGHI"] * 26}, "BatchLimitExceededException"),
        ("ContinueDeployment", {}, "DeploymentIdRequiredException"),
        ("UpdateApplication", {"newApplicationName": "x"}, "ApplicationNameRequiredException"),
        ("CreateApplication", {"applicationName": "x" * 101}, "InvalidApplicationNameException"),
        ("CreateApplication", {"applicationName": "x", "computePlatform": "Odd"}, "InvalidComputePlatformException"),
        ("CreateApplication", {"applicationName": "x", "tags": [{"Key": "aws:x"}]}, "InvalidTagsToAddException"),
        ("CreateDeploymentConfig", {"deploymentConfigName": "x", "computePlatform": "Lambda"},
         "InvalidComputePlatformException"),
        ("CreateDeploymentConfig", {"deploymentConfigName": "x", "zonalConfig": {"monitorDurationInSeconds": 1}},
         "InvalidZonalDeploymentConfigurationException"),
        ("CreateDeploymentConfig", {"deploymentConfigName": "x", "minimumHealthyHosts": {"type": "ALL", "value": 1}},
         "InvalidMinimumHealthyHostValueException"),
        ("DeleteDeploymentConfig", {"deploymentConfigName": "CodeDeployDefault.OneAtATime"},
         "InvalidOperationException"),
        ("ListDeployments", {"deploymentGroupName": "x"}, "ApplicationNameRequiredException"),
        ("ListDeployments", {"includeOnlyStatuses": ["Odd"]}, "InvalidDeploymentStatusException"),
        ("ListApplications", {"nextToken": "x"}, "InvalidNextTokenException"),
        ("ListOnPremisesInstances", {"registrationStatus": "Odd"}, "InvalidRegistrationStatusException"),
        ("RegisterOnPremisesInstance", {"instanceName": "x"}, "IamArnRequiredException"),
        ("RegisterOnPremisesInstance", {"instanceName": "x", "iamUserArn": "x"}, "InvalidIamUserArnException"),
        ("AddTagsToOnPremisesInstances", {"instanceNames": ["x"] * 101, "tags": [TAG]},
         "InstanceLimitExceededException"),
        ("TagResource", {"ResourceArn": "arn:aws:s3:::b", "Tags": [TAG]}, "InvalidArnException"),
        ("ListTagsForResource", {"ResourceArn": f"{ARN}:deploymentconfig:x"}, "ArnNotSupportedException"),
    ],
)  # fmt: skip
def test_these_have_exceptions_of_their_own(
    unchecked: Any, operation: str, request_: dict[str, Any], fault: str
) -> None:
    assert fault_of(unchecked, operation, request_) == fault


def test_within_a_known_application_unknown_names_have_their_exception(scene: Scene, unchecked: Any) -> None:
    scene.group()
    names, group = {"applicationName": scene.name}, {"applicationName": scene.name, "deploymentGroupName": "group"}
    other = {"revisionType": "S3", "s3Location": {"bucket": "c", "key": "k", "bundleType": "zip"}}
    made, of_deployment = {**group, "revision": REVISION}, {"deploymentId": scene.deploy()}
    for operation, request, fault in (
        ("GetDeploymentGroup", {**names, "deploymentGroupName": "unknown"}, GROUP),
        ("CreateDeployment", {**made, "deploymentGroupName": "unknown"}, GROUP),
        ("CreateDeployment", {**made, "deploymentConfigName": "unknown"}, CONFIG),
        ("CreateDeployment", {**made, "fileExistsBehavior": "EAT"}, "InvalidFileExistsBehaviorException"),
        ("CreateDeployment", names, "DeploymentGroupNameRequiredException"),
        ("CreateDeployment", group, "RevisionRequiredException"),
        ("UpdateDeploymentGroup", {**names, "currentDeploymentGroupName": "unknown"}, GROUP),
        ("ListDeployments", {**names, "deploymentGroupName": "unknown"}, GROUP),
        ("GetApplicationRevision", {**names, "revision": other}, "RevisionDoesNotExistException"),
        ("GetApplicationRevision", {**names, "revision": {"revisionType": "S3"}}, "InvalidRevisionException"),
        ("GetDeploymentTarget", {**of_deployment, "targetId": "unknown"}, "DeploymentTargetDoesNotExistException"),
        ("BatchGetDeploymentTargets", {**of_deployment, "targetIds": ["unknown"]},
         "DeploymentTargetDoesNotExistException"),
        ("GetDeploymentInstance", {**of_deployment, "instanceId": "unknown"}, "InstanceDoesNotExistException"),
        ("ListDeploymentInstances", {**of_deployment, "instanceStatusFilter": ["Odd"]},
         "InvalidInstanceStatusException"),
        ("TagResource", {"ResourceArn": f"{ARN}:deploymentgroup:{scene.name}/unknown", "Tags": [TAG]}, GROUP),
        ("CreateApplication", names, "ApplicationAlreadyExistsException"),
        ("CreateDeploymentGroup", {**group, "serviceRoleArn": ROLE}, "DeploymentGroupAlreadyExistsException"),
    ):  # fmt: skip
        assert fault_of(unchecked, operation, request) == fault, (operation, request)


def test_a_batch_without_an_exception_for_unknown_names_leaves_them_out(scene: Scene, unchecked: Any) -> None:
    scene.host()
    scene.group()
    deployment = scene.deploy()
    names = {"applicationName": scene.name}
    found = unchecked.batch_get_deployment_groups(**names, deploymentGroupNames=["unknown", "group"])
    assert [one["deploymentGroupName"] for one in found["deploymentGroupsInfo"]] == ["group"]
    assert "unknown" in found["errorMessage"]
    found = unchecked.batch_get_deployments(deploymentIds=["d-ABCDEFGHI", deployment])
    assert [one["deploymentId"] for one in found["deploymentsInfo"]] == [deployment]
    found = unchecked.batch_get_deployment_instances(deploymentId=deployment, instanceIds=["unknown"])
    assert (found["instancesSummary"], "unknown" in found["errorMessage"]) == ([], True)
    found = unchecked.batch_get_on_premises_instances(instanceNames=["unknown", f"{scene.name}-host-0"])
    assert [one["instanceName"] for one in found["instanceInfos"]] == [f"{scene.name}-host-0"]
    found = unchecked.batch_get_application_revisions(**names, revisions=[REVISION])
    assert (found["revisions"], bool(found["errorMessage"])) == ([], True)


def test_tags_are_kept_listed_changed_and_removed(scene: Scene) -> None:
    aws, name = scene.sandbox.aws, scene.name
    aws("deploy", "create-application", "--application-name", name, "--tags", "Key=Team,Value=web", "Key=Empty,Value=")
    aws(
        *("deploy", "create-deployment-group", "--application-name", name, "--deployment-group-name", "group"),
        *("--service-role-arn", ROLE, "--tags", "Key=Stage,Value=test"),
    )

    def tags(arn: str) -> dict[str, str]:
        listed = aws("deploy", "list-tags-for-resource", "--resource-arn", arn)["Tags"]
        return {tag["Key"]: tag["Value"] for tag in listed}

    application, group = f"{ARN}:application:{name}", f"{ARN}:deploymentgroup:{name}/group"
    assert tags(application) == {"Team": "web", "Empty": ""}
    assert tags(group) == {"Stage": "test"}
    added = ("Key=Team,Value=app", "Key=More,Value=1")
    aws("deploy", "tag-resource", "--resource-arn", application, "--tags", *added)
    aws("deploy", "untag-resource", "--resource-arn", application, "--tag-keys", "Empty", "Unknown")
    assert tags(application) == {"Team": "app", "More": "1"}
    assert tags(group) == {"Stage": "test"}
