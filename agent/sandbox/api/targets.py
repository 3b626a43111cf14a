"""The targets of a deployment, with their lifecycle events; also under their older name, instances."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, found_of, one_page, within_limit
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Deployment, EventState, Json, Target
from agent.sandbox.errors import RefusedError

_STATUSES = ("Pending", "InProgress", "Succeeded", "Failed", "Skipped", "Unknown", "Ready")


def list_deployment_targets(engine: Engine, request: Json) -> Json:
    """List target ids, filtered by status."""
    one_page(request)
    desired = (request.get("targetFilters") or {}).get("TargetStatus")
    deployment = engine.deployments.find(request["deploymentId"])
    return {"targetIds": _ids(deployment, desired, "InvalidInstanceStatusException")}


def get_deployment_target(engine: Engine, request: Json) -> Json:
    """Describe one target."""
    deployment = engine.deployments.find(request["deploymentId"])
    return {"deploymentTarget": _described(deployment, _find(deployment, request["targetId"]))}


def batch_get_deployment_targets(engine: Engine, request: Json) -> Json:
    """Describe several targets."""
    deployment = engine.deployments.find(request["deploymentId"])
    if len(request["targetIds"]) > 25:
        raise RefusedError("DeploymentTargetListSizeExceededException", "At most 25 targets at once")
    targets = [_find(deployment, name) for name in request["targetIds"]]
    return {"deploymentTargets": [_described(deployment, target) for target in targets]}


def list_deployment_instances(engine: Engine, request: Json) -> Json:
    """List instance ids, filtered by status."""
    one_page(request)
    deployment = engine.deployments.find(request["deploymentId"])
    return {"instancesList": _ids(deployment, request.get("instanceStatusFilter"), "InvalidInstanceStatusException")}


def get_deployment_instance(engine: Engine, request: Json) -> Json:
    """Describe one instance."""
    deployment = engine.deployments.find(request["deploymentId"])
    target = _find(deployment, request["instanceId"], fault="InstanceDoesNotExistException")
    return {"instanceSummary": _summary(deployment, target)}


def batch_get_deployment_instances(engine: Engine, request: Json) -> Json:
    """Describe several instances."""
    deployment = engine.deployments.find(request["deploymentId"])
    names = within_limit(request["instanceIds"])
    targets, message = found_of(names, lambda name: _find(deployment, name))
    return {"instancesSummary": [_summary(deployment, target) for target in targets], "errorMessage": message}


def _ids(deployment: Deployment, desired: list[str] | None, fault: str) -> list[str]:
    unknown = [status for status in desired or () if status not in _STATUSES]
    if unknown:
        raise RefusedError(fault, f"Unknown status {unknown[0]}")
    return [one.target_id for one in deployment.targets if not desired or one.status in desired]


def _find(deployment: Deployment, target_id: str, *, fault: str = "DeploymentTargetDoesNotExistException") -> Target:
    for target in deployment.targets:
        if target_id in (target.target_id, target.arn):
            return target
    raise RefusedError(fault, f"{deployment.deployment_id} has no target {target_id}")


def _described(deployment: Deployment, target: Target) -> Json:
    instance = {
        "deploymentId": deployment.deployment_id,
        "targetId": target.target_id,
        "targetArn": target.arn,
        "status": target.status,
        "lastUpdatedAt": target.updated,
        "lifecycleEvents": [_event(event) for event in target.events],
    }
    return {"deploymentTargetType": "InstanceTarget", "instanceTarget": instance}


def _summary(deployment: Deployment, target: Target) -> Json:
    return {
        "deploymentId": deployment.deployment_id,
        "instanceId": target.arn,
        "status": target.status,
        "lastUpdatedAt": target.updated,
        "lifecycleEvents": [_event(event) for event in target.events],
    }


def _event(event: EventState) -> Json:
    return {
        "lifecycleEventName": event.name,
        "status": event.status,
        "startTime": event.started,
        "endTime": event.ended,
        "diagnostics": event.diagnostics,
    }


OPERATIONS: dict[str, Operation] = {
    "ListDeploymentTargets": list_deployment_targets,
    "GetDeploymentTarget": get_deployment_target,
    "BatchGetDeploymentTargets": batch_get_deployment_targets,
    "ListDeploymentInstances": list_deployment_instances,
    "GetDeploymentInstance": get_deployment_instance,
    "BatchGetDeploymentInstances": batch_get_deployment_instances,
}
