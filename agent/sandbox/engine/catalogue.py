"""Applications, deployment groups, configurations and revisions."""

from __future__ import annotations

from collections.abc import Callable

from agent.sandbox.engine import health, names
from agent.sandbox.engine.records import Application, DeploymentGroup, Json, RevisionRecord
from agent.sandbox.errors import RefusedError

DEFAULT_CONFIG = "CodeDeployDefault.OneAtATime"
"""What a group or deployment gets that names no configuration."""


class DeploymentConfig:
    """A named minimum of healthy hosts."""

    def __init__(self, name: str, config_id: str, minimum: Json, created: float) -> None:
        self.name = name
        self.config_id = config_id
        self.minimum = minimum
        self.created = created


class Catalogue:
    """What can be deployed where; every look-up that fails raises RefusedError with the service's fault."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.applications: dict[str, Application] = {}
        self.configs = {
            name: DeploymentConfig(name, names.random_uuid(), minimum, clock())
            for name, minimum in health.PREDEFINED.items()
        }

    def create_application(self, name: str, tags: dict[str, str]) -> Application:
        """Add an application; ApplicationAlreadyExistsException if there is one of that name."""
        if name in self.applications:
            raise RefusedError("ApplicationAlreadyExistsException", f"Application already exists: {name}")
        application = Application(name, names.random_uuid(), self._clock(), tags)
        self.applications[name] = application
        return application

    def application(self, name: str) -> Application:
        """Return an application by name, or refuse with ApplicationDoesNotExistException."""
        found = self.applications.get(name)
        if found is None:
            raise RefusedError("ApplicationDoesNotExistException", f"No application found for name: {name}")
        return found

    def rename_application(self, name: str, new_name: str) -> None:
        """Give an application another name; its groups and revisions go with it."""
        application = self.application(name)
        if new_name in self.applications:
            raise RefusedError("ApplicationAlreadyExistsException", f"Application already exists: {new_name}")
        del self.applications[name]
        application.name = new_name
        self.applications[new_name] = application
        for group in application.groups.values():
            group.application = new_name

    def create_group(self, application: str, name: str, settings: Json, tags: dict[str, str]) -> DeploymentGroup:
        """Add a deployment group to an application."""
        groups = self.application(application).groups
        if name in groups:
            raise RefusedError("DeploymentGroupAlreadyExistsException", f"Deployment group already exists: {name}")
        groups[name] = DeploymentGroup(application, name, names.random_uuid(), settings, tags)
        return groups[name]

    def group(self, application: str, name: str) -> DeploymentGroup:
        """Return a group by name, or refuse with DeploymentGroupDoesNotExistException."""
        found = self.application(application).groups.get(name)
        if found is None:
            raise RefusedError(
                "DeploymentGroupDoesNotExistException",
                f"No Deployment Group found for name: {name}, in application {application}",
            )
        return found

    def rename_group(self, group: DeploymentGroup, new_name: str) -> None:
        """Give a group another name within its application."""
        groups = self.application(group.application).groups
        if new_name in groups:
            raise RefusedError("DeploymentGroupAlreadyExistsException", f"Deployment group already exists: {new_name}")
        del groups[group.name]
        group.name = new_name
        groups[new_name] = group

    def create_config(self, name: str, minimum: Json) -> DeploymentConfig:
        """Add a deployment configuration."""
        if name in self.configs:
            raise RefusedError("DeploymentConfigAlreadyExistsException", f"Configuration already exists: {name}")
        if name.startswith("CodeDeployDefault."):
            raise RefusedError("InvalidDeploymentConfigNameException", "CodeDeployDefault. begins the predefined names")
        health.check(minimum)
        self.configs[name] = DeploymentConfig(name, names.random_uuid(), minimum, self._clock())
        return self.configs[name]

    def config(self, name: str) -> DeploymentConfig:
        """Return a configuration by name, or refuse with DeploymentConfigDoesNotExistException."""
        found = self.configs.get(name)
        if found is None:
            raise RefusedError("DeploymentConfigDoesNotExistException", f"No Deployment Configuration found: {name}")
        return found

    def delete_config(self, name: str) -> None:
        """Forget a configuration of one's own that no group uses."""
        if name.startswith("CodeDeployDefault."):
            raise RefusedError("InvalidOperationException", f"{name} is predefined")
        used = [
            group.name
            for application in self.applications.values()
            for group in application.groups.values()
            if group.settings.get("deploymentConfigName") == name
        ]
        if used:
            raise RefusedError("DeploymentConfigInUseException", f"{name} is used by {', '.join(used)}")
        self.configs.pop(name, None)

    def note_revision(self, application: str, location: Json, description: str = "") -> RevisionRecord:
        """Remember a revision of an application, once for each location."""
        revisions = self.application(application).revisions
        for known in revisions:
            if known.location == location:
                known.description = description or known.description
                return known
        revisions.append(RevisionRecord(location, description, self._clock()))
        return revisions[-1]

    def revision(self, application: str, location: Json) -> RevisionRecord:
        """Return what is known of a revision, or refuse with RevisionDoesNotExistException."""
        for known in self.application(application).revisions:
            if known.location == location:
                return known
        raise RefusedError("RevisionDoesNotExistException", f"{application} has no such revision")
