"""The deployment specification that a host is given, as JSON."""

from __future__ import annotations

import json

from agent.sandbox.engine.lifecycle import HOST_EVENTS
from agent.sandbox.engine.records import Deployment, Json, Scope

EVENT_LIST_SINCE = (2, 0, 0)
"""The official agents 1.x fail every Install whose specification holds AllPossibleLifecycleEvents."""

ARCHIVE_REUSE_SINCE = (2, 1, 0)


def specification(
    deployment: Deployment, scope: Scope, *, agent: tuple[int, ...], github_token: str | None = None
) -> bytes:
    """Return the document for one deployment, with what this version of the agent understands."""
    group = deployment.group
    document: Json = {
        "DeploymentId": scope.arn("codedeploy", f"deployment/{deployment.deployment_id}"),
        "DeploymentGroupId": group.group_id,
        "DeploymentGroupName": group.name,
        "ApplicationName": group.application,
        "DeploymentCreator": deployment.creator,
        "DeploymentType": "IN_PLACE",
        "AgentActionOverrides": None,
        "AllPossibleLifecycleEvents": list(HOST_EVENTS) if agent >= EVENT_LIST_SINCE else None,
        "GitHubAccessToken": github_token if deployment.revision["revisionType"] == "GitHub" else None,
        "Revision": revision(deployment.revision),
    }
    behaviour = deployment.request.get("fileExistsBehavior")
    if behaviour:
        document["AgentActionOverrides"] = {"AgentOverrides": {"FileExistsBehavior": behaviour}}
    if deployment.reuse_archive_from and agent >= ARCHIVE_REUSE_SINCE:
        document["ReuseArchiveFromDeploymentId"] = deployment.reuse_archive_from
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def revision(location: Json) -> Json:
    """Say the API's revision location in the words of the specification."""
    if location["revisionType"] == "GitHub":
        account, repository = location["gitHubLocation"]["repository"].split("/", 1)
        commit = location["gitHubLocation"]["commitId"]
        found = {"Account": account, "Repository": repository, "CommitId": commit, "BundleType": "tar"}
        return {"RevisionType": "GitHub", "GitHubRevision": found}
    source = location["s3Location"]
    pairs = (("Bucket", "bucket"), ("Key", "key"), ("BundleType", "bundleType"), ("Version", "version"),
             ("ETag", "eTag"))  # fmt: skip
    return {"RevisionType": "S3", "S3Revision": {name: source[key] for name, key in pairs if source.get(key)}}
