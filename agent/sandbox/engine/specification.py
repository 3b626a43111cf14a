"""The deployment specification that a host is given, as JSON."""

from __future__ import annotations

import json

from agent.sandbox.engine.lifecycle import HOST_EVENTS
from agent.sandbox.engine.records import Deployment, Json, Scope


def specification(
    deployment: Deployment, scope: Scope, *, archive_reuse: bool, github_token: str | None = None
) -> bytes:
    """Make the document for one deployment; ``archive_reuse`` tells whether the host's agent knows RESTART."""
    group = deployment.group
    document: Json = {
        "DeploymentId": scope.arn("codedeploy", f"deployment/{deployment.deployment_id}"),
        "DeploymentGroupId": group.group_id,
        "DeploymentGroupName": group.name,
        "ApplicationName": group.application,
        "DeploymentCreator": deployment.creator,
        "DeploymentType": "IN_PLACE",
        "AgentActionOverrides": None,
        "AllPossibleLifecycleEvents": list(HOST_EVENTS),
        "GitHubAccessToken": github_token if deployment.revision["revisionType"] == "GitHub" else None,
        "Revision": revision(deployment.revision),
    }
    behaviour = deployment.request.get("fileExistsBehavior")
    if behaviour:
        document["AgentActionOverrides"] = {"AgentOverrides": {"FileExistsBehavior": behaviour}}
    if deployment.reuse_archive_from and archive_reuse:
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
