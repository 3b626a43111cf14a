"""Which exception of the public API each part of an input has: missing, or not as the model wants it."""

from __future__ import annotations

import re
from typing import NamedTuple


class MemberFaults(NamedTuple):
    """The exceptions of one member of an input, and the form that its texts have beside the model."""

    missing: str = ""
    invalid: tuple[str, ...] = ()
    form: re.Pattern[str] | None = None


_HOST = re.compile(r"[\w+=,.@:/-]{1,1000}")
_APPLICATION = MemberFaults("ApplicationNameRequiredException", ("InvalidApplicationNameException",))
_GROUP = MemberFaults("DeploymentGroupNameRequiredException", ("InvalidDeploymentGroupNameException",))
_CONFIG = MemberFaults("DeploymentConfigNameRequiredException", ("InvalidDeploymentConfigNameException",))
_DEPLOYMENT = MemberFaults(
    "DeploymentIdRequiredException", ("InvalidDeploymentIdException",), re.compile(r"d-[A-Z0-9]{9}")
)
_INSTANCE = MemberFaults("InstanceNameRequiredException", ("InvalidInstanceNameException",), _HOST)
_INSTANCE_ID = MemberFaults("InstanceIdRequiredException", ("InvalidInstanceNameException",), _HOST)
_TARGET = MemberFaults("DeploymentTargetIdRequiredException", ("InvalidDeploymentTargetIdException",), _HOST)
_REVISION = MemberFaults("RevisionRequiredException", ("InvalidRevisionException",))
_TAGS = MemberFaults("TagRequiredException", ("InvalidTagsToAddException", "InvalidTagException"))


def _only(*invalid: str) -> MemberFaults:
    return MemberFaults(invalid=invalid)


MEMBER_FAULTS: dict[str, MemberFaults] = {
    "applicationName": _APPLICATION,
    "newApplicationName": _APPLICATION,
    "applicationNames": _APPLICATION,
    "deploymentGroupName": _GROUP,
    "currentDeploymentGroupName": _GROUP,
    "newDeploymentGroupName": _GROUP,
    "deploymentGroupNames": _GROUP,
    "deploymentConfigName": _CONFIG,
    "deploymentId": _DEPLOYMENT,
    "deploymentIds": _DEPLOYMENT,
    "instanceName": _INSTANCE,
    "instanceNames": _INSTANCE,
    "instanceId": _INSTANCE_ID,
    "instanceIds": _INSTANCE_ID,
    "targetId": _TARGET,
    "targetIds": _TARGET,
    "revision": _REVISION,
    "revisions": _REVISION,
    "serviceRoleArn": MemberFaults("RoleRequiredException", ("InvalidRoleException",)),
    "ResourceArn": MemberFaults("ResourceArnRequiredException", ("InvalidArnException",), re.compile(r"arn:.+")),
    "tags": _TAGS,
    "Tags": _TAGS,
    "TagKeys": _TAGS,
    "description": _only("DescriptionTooLongException"),
    "computePlatform": _only("InvalidComputePlatformException"),
    "minimumHealthyHosts": _only("InvalidMinimumHealthyHostValueException"),
    "trafficRoutingConfig": _only("InvalidTrafficRoutingConfigurationException"),
    "zonalConfig": _only("InvalidZonalDeploymentConfigurationException"),
    "fileExistsBehavior": _only("InvalidFileExistsBehaviorException"),
    "targetInstances": _only("InvalidTargetInstancesException"),
    "autoRollbackConfiguration": _only("InvalidAutoRollbackConfigException"),
    "overrideAlarmConfiguration": _only("InvalidAlarmConfigException"),
    "alarmConfiguration": _only("InvalidAlarmConfigException"),
    "triggerConfigurations": _only("InvalidTriggerConfigException"),
    "loadBalancerInfo": _only("InvalidLoadBalancerInfoException"),
    "deploymentStyle": _only("InvalidDeploymentStyleException"),
    "blueGreenDeploymentConfiguration": _only("InvalidBlueGreenDeploymentConfigurationException"),
    "ec2TagFilters": _only("InvalidEC2TagException"),
    "ec2TagSet": _only("InvalidEC2TagException"),
    "onPremisesInstanceTagFilters": _only("InvalidTagException"),
    "onPremisesTagSet": _only("InvalidTagException"),
    "autoScalingGroups": _only("InvalidAutoScalingGroupException"),
    "ecsServices": _only("InvalidECSServiceException"),
    "sortBy": _only("InvalidSortByException"),
    "sortOrder": _only("InvalidSortOrderException"),
    "deployed": _only("InvalidDeployedStateFilterException"),
    "s3Bucket": _only("InvalidBucketNameFilterException"),
    "s3KeyPrefix": _only("InvalidKeyPrefixFilterException"),
    "includeOnlyStatuses": _only("InvalidDeploymentStatusException"),
    "createTimeRange": _only("InvalidTimeRangeException"),
    "externalId": _only("InvalidExternalIdException"),
    "instanceStatusFilter": _only("InvalidInstanceStatusException"),
    "instanceTypeFilter": _only("InvalidInstanceTypeException"),
    "targetFilters": _only("InvalidTargetFilterNameException"),
    "registrationStatus": _only("InvalidRegistrationStatusException"),
    "tagFilters": _only("InvalidTagFilterException"),
    "deploymentWaitType": _only("InvalidDeploymentWaitTypeException"),
    "nextToken": _only("InvalidNextTokenException"),
}
