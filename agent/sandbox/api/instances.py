"""On-premises instances and their tags."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, found_of, one_page, within_limit
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json, OnPremisesInstance
from agent.sandbox.engine.tags import matches_any
from agent.sandbox.errors import RefusedError

_MOST_TAGS = 10


def register_on_premises_instance(engine: Engine, request: Json) -> Json:
    """Register a host under the ARN of an IAM user or session."""
    engine.hosts.register(
        request["instanceName"], user_arn=request.get("iamUserArn"), session_arn=request.get("iamSessionArn")
    )
    return {}


def deregister_on_premises_instance(engine: Engine, request: Json) -> Json:
    """Take a host out."""
    engine.hosts.deregister(request["instanceName"])
    return {}


def get_on_premises_instance(engine: Engine, request: Json) -> Json:
    """Describe a host."""
    return {"instanceInfo": _info(engine.hosts.named(request["instanceName"]))}


def batch_get_on_premises_instances(engine: Engine, request: Json) -> Json:
    """Describe several hosts."""
    found, _ = found_of(within_limit(request["instanceNames"]), engine.hosts.named)
    return {"instanceInfos": [_info(one) for one in found]}


def list_on_premises_instances(engine: Engine, request: Json) -> Json:
    """Name hosts by registration and tags."""
    one_page(request)
    desired = request.get("registrationStatus")
    if desired not in (None, "Registered", "Deregistered"):
        raise RefusedError("InvalidRegistrationStatusException", f"Unknown registration status {desired}")
    filters = request.get("tagFilters")
    found = [
        one.name
        for one in engine.hosts.on_premises.values()
        if (desired is None or (one.deregistered is None) == (desired == "Registered"))
        and (not filters or matches_any(filters, one.tags))
    ]
    return {"instanceNames": found}


def add_tags_to_on_premises_instances(engine: Engine, request: Json) -> Json:
    """Tag hosts; ten tags each at the most."""
    instances = _registered(engine, request)
    tags = {tag.get("Key") or "": tag.get("Value") or "" for tag in request["tags"]}
    for instance in instances:
        if len(instance.tags | tags) > _MOST_TAGS:
            raise RefusedError("TagLimitExceededException", f"{instance.name} would have more than {_MOST_TAGS} tags")
    for instance in instances:
        instance.tags |= tags
    return {}


def remove_tags_from_on_premises_instances(engine: Engine, request: Json) -> Json:
    """Take tags from hosts; a tag with a value goes only if the value is the same."""
    for instance in _registered(engine, request):
        for tag in request["tags"]:
            key, value = tag.get("Key") or "", tag.get("Value")
            if key in instance.tags and value in (None, "", instance.tags[key]):
                del instance.tags[key]
    return {}


def _registered(engine: Engine, request: Json) -> list[OnPremisesInstance]:
    names = within_limit(request["instanceNames"], fault="InstanceLimitExceededException")
    return [engine.hosts.registered(name) for name in names]


def _info(instance: OnPremisesInstance) -> Json:
    return {
        "instanceName": instance.name,
        "iamSessionArn" if instance.by_session else "iamUserArn": instance.host_identifier,
        "instanceArn": instance.instance_arn,
        "registerTime": instance.registered,
        "deregisterTime": instance.deregistered,
        "tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()],
    }


OPERATIONS: dict[str, Operation] = {
    "RegisterOnPremisesInstance": register_on_premises_instance,
    "DeregisterOnPremisesInstance": deregister_on_premises_instance,
    "GetOnPremisesInstance": get_on_premises_instance,
    "BatchGetOnPremisesInstances": batch_get_on_premises_instances,
    "ListOnPremisesInstances": list_on_premises_instances,
    "AddTagsToOnPremisesInstances": add_tags_to_on_premises_instances,
    "RemoveTagsFromOnPremisesInstances": remove_tags_from_on_premises_instances,
}
