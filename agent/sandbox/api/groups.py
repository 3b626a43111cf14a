"""Deployment groups."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, found_of, one_page, resource_tags, within_limit
from agent.sandbox.engine.catalogue import DEFAULT_CONFIG
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Deployment, DeploymentGroup, Json
from agent.sandbox.errors import RefusedError

_NOT_THERE = ("autoScalingGroups", "ecsServices", "blueGreenDeploymentConfiguration", "alarmConfiguration",
              "triggerConfigurations", "terminationHookEnabled")  # fmt: skip
_NAMES = ("applicationName", "deploymentGroupName", "currentDeploymentGroupName", "newDeploymentGroupName", "tags")
_FILTERS = ("ec2TagFilters", "ec2TagSet", "onPremisesInstanceTagFilters", "onPremisesTagSet")


def create_deployment_group(engine: Engine, request: Json) -> Json:
    """Add a deployment group."""
    engine.catalogue.application(request["applicationName"])
    settings, tags = _settings(engine, request), resource_tags(request.get("tags") or [], {})
    group = engine.catalogue.create_group(request["applicationName"], request["deploymentGroupName"], settings, tags)
    return {"deploymentGroupId": group.group_id}


def update_deployment_group(engine: Engine, request: Json) -> Json:
    """Change a group's settings; what the call does not name stays."""
    group = engine.catalogue.group(request["applicationName"], request["currentDeploymentGroupName"])
    changed = {key: value for key, value in group.settings.items() if not _displaced(key, request)}
    settings = _settings(engine, {**changed, **request})
    new_name = request.get("newDeploymentGroupName")
    if new_name and new_name != group.name:
        engine.catalogue.rename_group(group, new_name)
    group.settings = settings
    return {"hooksNotCleanedUp": []}


def get_deployment_group(engine: Engine, request: Json) -> Json:
    """Describe a group."""
    group = engine.catalogue.group(request["applicationName"], request["deploymentGroupName"])
    return {"deploymentGroupInfo": _info(group)}


def batch_get_deployment_groups(engine: Engine, request: Json) -> Json:
    """Describe several groups of an application."""
    names = within_limit(request["deploymentGroupNames"])
    application = engine.catalogue.application(request["applicationName"])
    groups, message = found_of(names, lambda name: engine.catalogue.group(application.name, name))
    return {"deploymentGroupsInfo": [_info(group) for group in groups], "errorMessage": message}


def list_deployment_groups(engine: Engine, request: Json) -> Json:
    """Name the groups of an application."""
    one_page(request)
    application = engine.catalogue.application(request["applicationName"])
    return {"applicationName": application.name, "deploymentGroups": list(application.groups)}


def delete_deployment_group(engine: Engine, request: Json) -> Json:
    """Forget a group; its deployments stay known."""
    application = engine.catalogue.applications.get(request["applicationName"])
    if application is not None:
        application.groups.pop(request["deploymentGroupName"], None)
    return {"hooksNotCleanedUp": []}


def _displaced(setting: str, request: Json) -> bool:
    """Tell whether a setting gives way: simple filters and tag sets of one kind exclude each other."""
    other = {"ec2TagFilters": "ec2TagSet", "ec2TagSet": "ec2TagFilters",
             "onPremisesInstanceTagFilters": "onPremisesTagSet",
             "onPremisesTagSet": "onPremisesInstanceTagFilters"}  # fmt: skip
    return setting in other and bool(request.get(other[setting]))


def _settings(engine: Engine, request: Json) -> Json:
    """Return the settings in a request, checked."""
    for name in _NOT_THERE:
        value = request.get(name)
        if value and not (isinstance(value, dict) and not value.get("enabled")):
            raise RefusedError("InvalidInputException", f"{name} is not supported by the sandbox")
    style = request.get("deploymentStyle") or {}
    if style.get("deploymentType", "IN_PLACE") != "IN_PLACE":
        raise RefusedError("InvalidDeploymentStyleException", "The sandbox deploys IN_PLACE only")
    if style.get("deploymentOption") == "WITH_TRAFFIC_CONTROL" and not any(
        (request.get("loadBalancerInfo") or {}).values()
    ):
        raise RefusedError("InvalidLoadBalancerInfoException", "WITH_TRAFFIC_CONTROL needs a loadBalancerInfo")
    for one, other in (("ec2TagFilters", "ec2TagSet"), ("onPremisesInstanceTagFilters", "onPremisesTagSet")):
        if request.get(one) and request.get(other):
            fault = "InvalidEC2TagCombinationException" if one.startswith("ec2") else (
                "InvalidOnPremisesTagCombinationException")  # fmt: skip
            raise RefusedError(fault, f"A group has {one} or {other}, not both")
    engine.catalogue.config(request.get("deploymentConfigName") or DEFAULT_CONFIG)
    kept = {key: value for key, value in request.items() if key not in _NAMES and key not in _NOT_THERE}
    return {key: value for key, value in kept.items() if value not in ([], {})}  # an empty one clears it


def _info(group: DeploymentGroup) -> Json:
    attempted, successful = group.last_attempted, group.last_successful
    return {
        "applicationName": group.application,
        "deploymentGroupId": group.group_id,
        "deploymentGroupName": group.name,
        "deploymentConfigName": DEFAULT_CONFIG,
        "deploymentStyle": {"deploymentType": "IN_PLACE", "deploymentOption": "WITHOUT_TRAFFIC_CONTROL"},
        "computePlatform": "Server",
        "autoScalingGroups": [],
        "triggerConfigurations": [],
        **{name: [] for name in _FILTERS if name.endswith("Filters")},
        **group.settings,
        "targetRevision": attempted.revision if attempted else None,
        "lastAttemptedDeployment": _last(attempted),
        "lastSuccessfulDeployment": _last(successful),
    }


def _last(deployment: Deployment | None) -> Json | None:
    if deployment is None:
        return None
    return {
        "deploymentId": deployment.deployment_id,
        "status": deployment.status,
        "createTime": deployment.created,
        "endTime": deployment.completed,
    }


OPERATIONS: dict[str, Operation] = {
    "CreateDeploymentGroup": create_deployment_group,
    "UpdateDeploymentGroup": update_deployment_group,
    "GetDeploymentGroup": get_deployment_group,
    "BatchGetDeploymentGroups": batch_get_deployment_groups,
    "ListDeploymentGroups": list_deployment_groups,
    "DeleteDeploymentGroup": delete_deployment_group,
}
