"""Applications and deployment configurations."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, one_page, required, resource_tags, within_limit
from agent.sandbox.engine.catalogue import DeploymentConfig
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Application, Json
from agent.sandbox.errors import RefusedError


def create_application(engine: Engine, request: Json) -> Json:
    """Add an application for servers."""
    platform = request.get("computePlatform", "Server")
    if platform != "Server":
        raise RefusedError("InvalidComputePlatformException", f"The sandbox deploys to servers only, not {platform}")
    application = engine.catalogue.create_application(
        request["applicationName"], resource_tags(request.get("tags") or [], {})
    )
    return {"applicationId": application.application_id}


def get_application(engine: Engine, request: Json) -> Json:
    """Describe an application."""
    return {"application": _application(engine.catalogue.application(request["applicationName"]))}


def batch_get_applications(engine: Engine, request: Json) -> Json:
    """Describe several applications."""
    names = within_limit(request["applicationNames"])
    return {"applicationsInfo": [_application(engine.catalogue.application(name)) for name in names]}


def list_applications(engine: Engine, request: Json) -> Json:
    """Name all applications."""
    one_page(request)
    return {"applications": list(engine.catalogue.applications)}


def update_application(engine: Engine, request: Json) -> Json:
    """Rename an application."""
    name = required(request, "applicationName", "ApplicationNameRequiredException")
    if request.get("newApplicationName"):
        engine.catalogue.rename_application(name, request["newApplicationName"])
    else:
        engine.catalogue.application(name)
    return {}


def delete_application(engine: Engine, request: Json) -> Json:
    """Forget an application with its groups and revisions; its deployments stay known."""
    engine.catalogue.applications.pop(request["applicationName"], None)
    return {}


def create_deployment_config(engine: Engine, request: Json) -> Json:
    """Add a configuration with a minimum of healthy hosts."""
    platform = request.get("computePlatform", "Server")
    if platform != "Server":
        raise RefusedError("InvalidComputePlatformException", f"The sandbox deploys to servers only, not {platform}")
    for name, fault in (("trafficRoutingConfig", "InvalidTrafficRoutingConfigurationException"),
                        ("zonalConfig", "InvalidZonalDeploymentConfigurationException")):  # fmt: skip
        if request.get(name):
            raise RefusedError(fault, f"{name} is not supported by the sandbox")
    if not request.get("minimumHealthyHosts"):
        raise RefusedError("InvalidMinimumHealthyHostValueException", "minimumHealthyHosts is missing")
    config = engine.catalogue.create_config(request["deploymentConfigName"], request["minimumHealthyHosts"])
    return {"deploymentConfigId": config.config_id}


def get_deployment_config(engine: Engine, request: Json) -> Json:
    """Describe a configuration."""
    return {"deploymentConfigInfo": _config(engine.catalogue.config(request["deploymentConfigName"]))}


def list_deployment_configs(engine: Engine, request: Json) -> Json:
    """Name all configurations."""
    one_page(request)
    return {"deploymentConfigsList": list(engine.catalogue.configs)}


def delete_deployment_config(engine: Engine, request: Json) -> Json:
    """Forget a configuration."""
    engine.catalogue.delete_config(request["deploymentConfigName"])
    return {}


def _application(application: Application) -> Json:
    return {
        "applicationId": application.application_id,
        "applicationName": application.name,
        "createTime": application.created,
        "linkedToGitHub": False,
        "computePlatform": "Server",
    }


def _config(config: DeploymentConfig) -> Json:
    return {
        "deploymentConfigId": config.config_id,
        "deploymentConfigName": config.name,
        "minimumHealthyHosts": config.minimum,
        "createTime": config.created,
        "computePlatform": "Server",
    }


OPERATIONS: dict[str, Operation] = {
    "CreateApplication": create_application,
    "GetApplication": get_application,
    "BatchGetApplications": batch_get_applications,
    "ListApplications": list_applications,
    "UpdateApplication": update_application,
    "DeleteApplication": delete_application,
    "CreateDeploymentConfig": create_deployment_config,
    "GetDeploymentConfig": get_deployment_config,
    "ListDeploymentConfigs": list_deployment_configs,
    "DeleteDeploymentConfig": delete_deployment_config,
}
