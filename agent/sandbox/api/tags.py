"""Tags of applications and deployment groups, by their ARNs."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, resource_tags
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Application, DeploymentGroup, Json
from agent.sandbox.errors import RefusedError

_OTHERS = ("deploymentconfig", "instance", "deployment")


def tag_resource(engine: Engine, request: Json) -> Json:
    """Add tags, or give those that are there another value."""
    tagged = _find(engine, request["ResourceArn"])
    tagged.tags = resource_tags(request["Tags"], tagged.tags)
    return {}


def untag_resource(engine: Engine, request: Json) -> Json:
    """Remove tags by their keys; a key that is not there is no mistake."""
    tagged = _find(engine, request["ResourceArn"])
    tagged.tags = {key: value for key, value in tagged.tags.items() if key not in request["TagKeys"]}
    return {}


def list_tags_for_resource(engine: Engine, request: Json) -> Json:
    """List the tags of a resource."""
    arn = request["ResourceArn"]
    try:
        tags = _find(engine, arn).tags
    except RefusedError as error:
        if not error.fault.endswith("DoesNotExistException"):
            raise
        raise RefusedError("InvalidArnException", error.message) from error  # the operation knows no other
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


def _find(engine: Engine, arn: str) -> Application | DeploymentGroup:
    prefix = engine.scope.arn("codedeploy", "")
    kind, _, name = arn.removeprefix(prefix).partition(":")
    if not arn.startswith(prefix) or not name:
        raise RefusedError("InvalidArnException", f"{arn} is not the ARN of a CodeDeploy resource of this account")
    if kind in _OTHERS:
        raise RefusedError("ArnNotSupportedException", f"Applications and deployment groups have tags, not {arn}")
    application, slash, group = name.partition("/")
    if kind == "application" and not slash:
        return engine.catalogue.application(application)
    if kind == "deploymentgroup" and group:
        return engine.catalogue.group(application, group)
    raise RefusedError("InvalidArnException", f"{arn} is not the ARN of an application or deployment group")


OPERATIONS: dict[str, Operation] = {
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
    "ListTagsForResource": list_tags_for_resource,
}
