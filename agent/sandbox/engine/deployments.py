"""Creates and stops deployments, and rolls back those that fail."""

from __future__ import annotations

from collections.abc import Callable

from agent.sandbox.engine import lifecycle, names
from agent.sandbox.engine.catalogue import DEFAULT_CONFIG, Catalogue
from agent.sandbox.engine.dispatcher import CommandDispatcher
from agent.sandbox.engine.hosts import Hosts
from agent.sandbox.engine.orchestrator import Orchestrator
from agent.sandbox.engine.records import Deployment, DeploymentGroup, Json, Target
from agent.sandbox.errors import RefusedError

ROLLBACK = "codeDeployRollback"


class Deployments:
    """All deployments of the account, by id, oldest first."""

    def __init__(
        self, catalogue: Catalogue, hosts: Hosts, dispatcher: CommandDispatcher, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._hosts = hosts
        self._clock = clock
        self._orchestrator = Orchestrator(dispatcher, clock, self._over)
        self.complete = self._orchestrator.complete
        self.all: dict[str, Deployment] = {}

    def find(self, deployment_id: str) -> Deployment:
        """Return a deployment, or refuse with DeploymentDoesNotExistException."""
        found = self.all.get(deployment_id)
        if found is None:
            raise RefusedError("DeploymentDoesNotExistException", f"The deployment {deployment_id} could not be found")
        return found

    def create(self, request: Json) -> Deployment:
        """Start a deployment as the API's CreateDeployment asks for it."""
        application = self._catalogue.application(request["applicationName"])
        if not request.get("deploymentGroupName"):
            raise RefusedError("DeploymentGroupNameRequiredException", "Deployment Group name is missing")
        group = self._catalogue.group(application.name, request["deploymentGroupName"])
        _refuse_what_is_not_there(request)
        revision, reuse = self._revision(group, request)
        self._refuse_a_second(group)
        return self._start(group, revision, request, creator="user", reuse_archive_from=reuse)

    def stop(self, deployment: Deployment, roll_back: bool | None) -> bool:
        """Stop a deployment; tell whether it is over already, or a host still ends its event.

        ``roll_back`` is what the caller asks for; None leaves it to the automatic rollback's settings.
        """
        if deployment.is_over:
            raise RefusedError(
                "DeploymentAlreadyCompletedException", f"{deployment.deployment_id} is over: {deployment.status}"
            )
        desired = roll_back if roll_back is not None else _rolls_back_on(deployment, "DEPLOYMENT_STOP_ON_REQUEST")
        deployment.stop_rollback = desired
        return self._orchestrator.stop(deployment)

    def _revision(self, group: DeploymentGroup, request: Json) -> tuple[Json, str | None]:
        """Return the revision to deploy, and for a restart the deployment whose archive is used again."""
        revision: Json | None = request.get("revision")
        if request.get("deploymentMode") != "RESTART":
            if not revision:
                raise RefusedError("RevisionRequiredException", "The revision is missing")
            check_revision(revision)
            return revision, None
        if revision or request.get("updateOutdatedInstancesOnly"):
            raise RefusedError(
                "InvalidInputException", "A RESTART takes neither a revision nor updateOutdatedInstancesOnly"
            )
        if group.last_successful is None:
            raise RefusedError("InvalidInputException", f"{group.name} has no successful deployment to restart")
        return group.last_successful.revision, group.last_successful.deployment_id

    def _refuse_a_second(self, group: DeploymentGroup) -> None:
        active = group.last_attempted
        if active is not None and not active.is_over:
            raise RefusedError(
                "DeploymentLimitExceededException",
                f"The Deployment Group '{group.name}' already has an active Deployment '{active.deployment_id}'",
            )

    def _start(
        self,
        group: DeploymentGroup,
        revision: Json,
        request: Json,
        *,
        creator: str,
        reuse_archive_from: str | None = None,
        triggered_by: Deployment | None = None,
    ) -> Deployment:
        name = request.get("deploymentConfigName") or group.settings.get("deploymentConfigName") or DEFAULT_CONFIG
        config = (name, self._catalogue.config(name).minimum)
        now = self._clock()
        deployment = Deployment(
            names.deployment_id(), group, revision=revision, request=request, creator=creator, config=config, at=now
        )
        deployment.reuse_archive_from = reuse_archive_from
        deployment.previous_revision = group.last_successful.revision if group.last_successful else None
        if triggered_by is not None:
            _link(deployment, triggered_by)
        deployment.targets = self._targets(deployment)
        self._note_use(group, revision)
        self.all[deployment.deployment_id] = deployment
        group.last_attempted = deployment
        self._orchestrator.begin(deployment)
        return deployment

    def _targets(self, deployment: Deployment) -> list[Target]:
        group = deployment.group
        hosts = self._hosts.of_group(group)
        if deployment.request.get("updateOutdatedInstancesOnly"):
            hosts = [host for host in hosts if group.installed.get(host.host_identifier) != deployment.revision]
        events = lifecycle.events_of(group.settings)
        return [Target(one.target_id, one.arn, one.host_identifier, events, at=self._clock()) for one in hosts]

    def _note_use(self, group: DeploymentGroup, revision: Json) -> None:
        record = self._catalogue.note_revision(group.application, revision)
        record.last_used = self._clock()
        record.first_used = record.first_used or record.last_used
        if group.name not in record.groups:
            record.groups.append(group.name)

    def _over(self, deployment: Deployment) -> None:
        """Roll back a deployment that ended badly, if it should be and can be."""
        if deployment.status == "Succeeded" or deployment.creator == ROLLBACK:
            return
        failed = deployment.status == "Failed" and _rolls_back_on(deployment, "DEPLOYMENT_FAILURE")
        if not (failed or (deployment.status == "Stopped" and deployment.stop_rollback)):
            return
        last = deployment.group.last_successful
        if not deployment.targets or last is None:
            reason = "no deployment of the group has succeeded before" if deployment.targets else "there is no host"
            deployment.rollback_info = {"rollbackMessage": f"There was nothing to roll back to: {reason}."}
            return
        kept = ("deploymentConfigName", "ignoreApplicationStopFailures", "fileExistsBehavior")
        request = {name: deployment.request[name] for name in kept if name in deployment.request}
        request["description"] = f"Rollback of {deployment.deployment_id}"
        self._start(deployment.group, last.revision, request, creator=ROLLBACK, triggered_by=deployment)


def _link(rollback: Deployment, failed: Deployment) -> None:
    rollback.rollback_info = {
        "rollbackTriggeringDeploymentId": failed.deployment_id,
        "rollbackMessage": f"This deployment brings back the last revision that succeeded before "
        f"{failed.deployment_id}.",
    }
    failed.rollback_info = {
        "rollbackDeploymentId": rollback.deployment_id,
        "rollbackMessage": f"{rollback.deployment_id} brings back the last revision that succeeded.",
    }


def _rolls_back_on(deployment: Deployment, event: str) -> bool:
    """Tell whether an event rolls back: the deployment's own settings win over the group's."""
    settings = deployment.request.get("autoRollbackConfiguration")
    if settings is None:
        settings = deployment.group.settings.get("autoRollbackConfiguration") or {}
    return bool(settings.get("enabled")) and event in (settings.get("events") or [])


def check_revision(revision: Json) -> None:
    """Refuse a revision that no server can deploy. Raises RefusedError, InvalidRevisionException."""
    kind = revision.get("revisionType")
    place = {"S3": "s3Location", "GitHub": "gitHubLocation"}.get(kind or "")
    if place is None:
        raise RefusedError("InvalidRevisionException", f"A server deployment takes S3 or GitHub, not {kind}")
    needed = ("bucket", "key", "bundleType") if kind == "S3" else ("repository", "commitId")
    location = revision.get(place) or {}
    missing = [name for name in needed if not location.get(name)]
    if missing:
        raise RefusedError("InvalidRevisionException", f"The {place} lacks {', '.join(missing)}")
    if kind == "S3" and location["bundleType"] not in ("tar", "tgz", "zip"):
        raise RefusedError("InvalidRevisionException", f"The bundleType {location['bundleType']} is not for servers")
    if kind == "GitHub" and location["repository"].count("/") != 1:
        raise RefusedError("InvalidRevisionException", "The repository is written account/repository")


def _refuse_what_is_not_there(request: Json) -> None:
    if request.get("targetInstances"):
        raise RefusedError("InvalidTargetInstancesException", "targetInstances is for blue/green deployments")
    behaviour = request.get("fileExistsBehavior", "DISALLOW")
    if behaviour not in ("DISALLOW", "OVERWRITE", "RETAIN"):
        raise RefusedError("InvalidFileExistsBehaviorException", f"Unknown file exists behaviour {behaviour}")
    mode = request.get("deploymentMode", "STANDARD")
    if mode not in ("STANDARD", "RESTART"):
        raise RefusedError("InvalidInputException", f"Unknown deployment mode {mode}")
