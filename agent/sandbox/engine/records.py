"""What the sandbox remembers: applications, groups, hosts, deployments and their targets, all in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]
"""A structure in the shape of the public API, as botocore's model describes it."""


class Scope(NamedTuple):
    """Where the sandbox pretends to be."""

    region: str = "us-east-1"
    account: str = "123456789012"
    partition: str = "aws"

    def arn(self, service: str, resource: str) -> str:
        """Name a resource of this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


class Limits(NamedTuple):
    """How long the service waits, in seconds, and what it answers to a no-op.

    ``delivery``: for a host to take up a command. ``event``: for the end of a command that was taken up.
    ``redelivery``: until a command that was handed out and not acknowledged is handed out again.
    ``poll``: how long a poll waits for a command. ``noop_answer``: the command status that answers the
    acknowledgement of a no-op.
    """

    poll: float = 5.0
    delivery: float = 300.0
    event: float = 3600.0
    redelivery: float = 5.0
    noop_answer: str = "Succeeded"


class Application:
    """A name that deployment groups and revisions belong to."""

    def __init__(self, name: str, application_id: str, created: float, tags: dict[str, str]) -> None:
        self.name = name
        self.application_id = application_id
        self.created = created
        self.tags = tags
        self.groups: dict[str, DeploymentGroup] = {}
        self.revisions: list[RevisionRecord] = []


class RevisionRecord:
    """A revision that was registered or deployed."""

    def __init__(self, location: Json, description: str, registered: float) -> None:
        self.location = location
        self.description = description
        self.registered = registered
        self.first_used: float | None = None
        self.last_used: float | None = None
        self.groups: list[str] = []


class DeploymentGroup:
    """Which hosts an application goes to, and how; ``settings`` are as the API gave them."""

    def __init__(self, application: str, name: str, group_id: str, settings: Json, tags: dict[str, str]) -> None:
        self.application = application
        self.name = name
        self.group_id = group_id
        self.settings = settings
        self.tags = tags
        self.last_successful: Deployment | None = None
        self.last_attempted: Deployment | None = None
        self.installed: dict[str, Json] = {}  # by host identifier: the revision that last succeeded there


class OnPremisesInstance:
    """A host that was registered by name; its host identifier is the ARN of its IAM user or session."""

    def __init__(self, name: str, instance_arn: str, host_identifier: str, *, by_session: bool, at: float) -> None:
        self.name = name
        self.instance_arn = instance_arn
        self.host_identifier = host_identifier
        self.by_session = by_session
        self.registered = at
        self.deregistered: float | None = None
        self.tags: dict[str, str] = {}


class EventState:
    """One lifecycle event of one target."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = "Pending"
        self.started: float | None = None
        self.ended: float | None = None
        self.diagnostics: Json | None = None


class Target:
    """A host within a deployment, with its events in their order."""

    def __init__(self, target_id: str, arn: str, host_identifier: str, events: list[str], *, at: float) -> None:
        self.target_id = target_id
        self.execution_id = ""
        self.arn = arn
        self.host_identifier = host_identifier
        self.events = [EventState(name) for name in events]
        self.status = "Pending"
        self.updated = at
        self.command: TargetCommand | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether nothing more happens to this target."""
        return self.status in ("Succeeded", "Failed", "Skipped")


class TargetCommand:
    """One lifecycle event handed to one host; it ends once."""

    def __init__(
        self, identifier: str, deployment: Deployment, target: Target, event: EventState, *, at: float
    ) -> None:
        self.identifier = identifier
        self.deployment = deployment
        self.target = target
        self.event = event
        self.status = "Pending"
        self.created = at
        self.served: float | None = None
        self.acknowledged: float | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether the command has ended."""
        return self.status in ("Succeeded", "Failed")


class Deployment:
    """One deployment; ``request`` holds what its creator asked for, in the shape of the API."""

    def __init__(
        self,
        deployment_id: str,
        group: DeploymentGroup,
        *,
        revision: Json,
        request: Json,
        creator: str,
        config: tuple[str, Json],
        at: float,
    ) -> None:
        self.deployment_id = deployment_id
        self.group = group
        self.revision = revision
        self.request = request
        self.creator = creator
        self.config_name, self.minimum_healthy = config
        self.created = at
        self.completed: float | None = None
        self.status = "Created"
        self.targets: list[Target] = []
        self.error: Json | None = None
        self.rollback_info: Json = {}
        self.previous_revision: Json | None = None
        self.reuse_archive_from: str | None = None
        self.stopping = False
        self.stop_rollback = False

    @property
    def is_over(self) -> bool:
        """Tell whether the deployment has its final status."""
        return self.status in ("Succeeded", "Failed", "Stopped")
