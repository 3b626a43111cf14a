"""Application revisions."""

from __future__ import annotations

from agent.sandbox.api.shared import Operation, found_of, one_page, within_limit
from agent.sandbox.engine.deployments import check_revision
from agent.sandbox.engine.engine import Engine
from agent.sandbox.engine.records import Json, RevisionRecord
from agent.sandbox.errors import RefusedError


def register_application_revision(engine: Engine, request: Json) -> Json:
    """Remember a revision with its description."""
    engine.catalogue.application(request["applicationName"])
    check_revision(request["revision"])
    engine.catalogue.note_revision(request["applicationName"], request["revision"], request.get("description") or "")
    return {}


def get_application_revision(engine: Engine, request: Json) -> Json:
    """Describe one revision."""
    name = request["applicationName"]
    engine.catalogue.application(name)
    check_revision(request["revision"])
    record = engine.catalogue.revision(name, request["revision"])
    return {"applicationName": name, "revision": record.location, "revisionInfo": _info(record)}


def batch_get_application_revisions(engine: Engine, request: Json) -> Json:
    """Describe several revisions of an application."""
    name = request["applicationName"]
    engine.catalogue.application(name)
    desired = within_limit(request["revisions"], 25)
    for one in desired:
        check_revision(one)
    records, message = found_of(desired, lambda one: engine.catalogue.revision(name, one))
    described = [{"revisionLocation": record.location, "genericRevisionInfo": _info(record)} for record in records]
    return {"applicationName": name, "revisions": described, "errorMessage": message}


def list_application_revisions(engine: Engine, request: Json) -> Json:
    """List revisions by use, bucket, key prefix and time."""
    one_page(request)
    records = engine.catalogue.application(request["applicationName"]).revisions
    deployed = request.get("deployed", "ignore")
    if deployed not in ("include", "exclude", "ignore"):
        raise RefusedError("InvalidDeployedStateFilterException", f"Unknown filter {deployed}")
    if deployed != "ignore":
        records = [record for record in records if bool(record.groups) == (deployed == "include")]
    if request.get("s3Bucket"):
        records = [record for record in records if _in_bucket(record, request)]
    sort_by = request.get("sortBy", "registerTime")
    if sort_by not in _SORT:
        raise RefusedError("InvalidSortByException", f"Unknown order {sort_by}")
    descending = request.get("sortOrder") == "descending"
    ordered = sorted(records, key=lambda record: getattr(record, _SORT[sort_by]) or 0.0, reverse=descending)
    return {"revisions": [record.location for record in ordered]}


_SORT = {"registerTime": "registered", "firstUsedTime": "first_used", "lastUsedTime": "last_used"}


def _in_bucket(record: RevisionRecord, request: Json) -> bool:
    place = record.location.get("s3Location") or {}
    prefix = request.get("s3KeyPrefix") or ""
    return place.get("bucket") == request["s3Bucket"] and str(place.get("key", "")).startswith(prefix)


def _info(record: RevisionRecord) -> Json:
    return {
        "description": record.description,
        "deploymentGroups": record.groups,
        "firstUsedTime": record.first_used,
        "lastUsedTime": record.last_used,
        "registerTime": record.registered,
    }


OPERATIONS: dict[str, Operation] = {
    "RegisterApplicationRevision": register_application_revision,
    "GetApplicationRevision": get_application_revision,
    "BatchGetApplicationRevisions": batch_get_application_revisions,
    "ListApplicationRevisions": list_application_revisions,
}
