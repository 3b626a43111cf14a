"""Deployments: create, look at, list, stop."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, found_of, one_page, required, within_limit
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.orchestrator import progress_of
from agent.sandbox.engine.records import Deployment, Json
from agent.sandbox.errors import RefusedError

_STATUSES = ("Created", "Queued", "InProgress", "Baking", "Succeeded", "Failed", "Stopped", "Ready")


def create_deployment(engine: Engine, request: Json) -> Json:
    """Start a deployment."""
    deployment = engine.deployments.create(request)
    engine.ring()
    return {"deploymentId": deployment.deployment_id}


def get_deployment(engine: Engine, request: Json) -> Json:
    """Describe a deployment."""
    return {"deploymentInfo": _info(engine.deployments.find(request["deploymentId"]))}


def batch_get_deployments(engine: Engine, request: Json) -> Json:
    """Describe several deployments."""
    names = within_limit(request["deploymentIds"], 25)
    found, _ = found_of(names, engine.deployments.find)
    return {"deploymentsInfo": [_info(one) for one in found]}


def list_deployments(engine: Engine, request: Json) -> Json:
    """List deployment ids, newest first, by group, status and time."""
    one_page(request)
    application, group = request.get("applicationName"), request.get("deploymentGroupName")
    if group and not application:
        raise RefusedError("ApplicationNameRequiredException", "A deployment group needs its application's name")
    if application:
        engine.catalogue.application(application)
        if group:
            engine.catalogue.group(application, group)
    statuses = request.get("includeOnlyStatuses")
    unknown = [status for status in statuses or () if status not in _STATUSES]
    if unknown:
        raise RefusedError("InvalidDeploymentStatusException", f"Unknown status {unknown[0]}")
    times = request.get("createTimeRange") or {}
    found = [
        one.deployment_id
        for one in reversed(engine.deployments.all.values())
        if (not application or one.group.application == application)
        and (not group or one.group.name == group)
        and (not statuses or one.status in statuses)
        and times.get("start", 0.0) <= one.created <= times.get("end", float("inf"))
    ]
    return {"deployments": found}


def stop_deployment(engine: Engine, request: Json) -> Json:
    """Stop a deployment, and roll it back where that is asked for."""
    deployment = engine.deployments.find(request["deploymentId"])
    over = engine.deployments.stop(deployment, request.get("autoRollbackEnabled"))
    engine.ring()
    if over:
        return {"status": "Succeeded", "statusMessage": "The deployment is stopped."}
    return {"status": "Pending", "statusMessage": "Hosts end the lifecycle events that they have begun."}


def continue_deployment(engine: Engine, request: Json) -> Json:
    """Refuse: only blue/green deployments wait to be continued."""
    engine.deployments.find(required(request, "deploymentId", "DeploymentIdRequiredException"))
    raise RefusedError("UnsupportedActionForDeploymentTypeException", "Only a blue/green deployment can be continued")


def _info(deployment: Deployment) -> Json:
    group, request = deployment.group, deployment.request
    shared = ("deploymentStyle", "loadBalancerInfo", "autoRollbackConfiguration")
    return {
        "applicationName": group.application,
        "deploymentGroupName": group.name,
        "deploymentConfigName": deployment.config_name,
        "deploymentId": deployment.deployment_id,
        "previousRevision": deployment.previous_revision,
        "revision": deployment.revision,
        "status": deployment.status,
        "errorInformation": deployment.error,
        "createTime": deployment.created,
        "startTime": deployment.created,
        "completeTime": deployment.completed,
        "deploymentOverview": _status(deployment),
        "description": request.get("description"),
        "creator": deployment.creator,
        "ignoreApplicationStopFailures": bool(request.get("ignoreApplicationStopFailures")),
        "updateOutdatedInstancesOnly": bool(request.get("updateOutdatedInstancesOnly")),
        "deploymentStyle": {"deploymentType": "IN_PLACE", "deploymentOption": "WITHOUT_TRAFFIC_CONTROL"},
        **{name: group.settings[name] for name in shared if name in group.settings},
        **{name: request[name] for name in shared if name in request},
        "rollbackInfo": deployment.rollback_info or None,
        "instanceTerminationWaitTimeStarted": False,
        "fileExistsBehavior": request.get("fileExistsBehavior", "DISALLOW"),
        "deploymentMode": "RESTART" if deployment.reuse_archive_from else None,
        "deploymentStatusMessages": [],
        "computePlatform": "Server",
    }


def _status(deployment: Deployment) -> Json:
    progress = progress_of(deployment)
    return {
        "Pending": progress.pending,
        "InProgress": progress.running,
        "Succeeded": progress.succeeded,
        "Failed": progress.failed,
        "Skipped": len(deployment.targets) - progress.total,
        "Ready": 0,
    }


OPERATIONS: dict[str, Operation] = {
    "CreateDeployment": create_deployment,
    "GetDeployment": get_deployment,
    "BatchGetDeployments": batch_get_deployments,
    "ListDeployments": list_deployments,
    "StopDeployment": stop_deployment,
    "ContinueDeployment": continue_deployment,
}
