"""The hosts: on-premises instances by registration, EC2 instances by whoever knows them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from agent.sandbox.engine.records import DeploymentGroup, Json, OnPremisesInstance, Scope
from agent.sandbox.engine.tags import selected
from agent.sandbox.errors import RefusedError

_USER = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:user/[\w+=,.@/-]+")
_SESSION = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+")


class Ec2Instance(NamedTuple):
    """A running EC2 instance."""

    instance_id: str
    tags: Mapping[str, str]


class TargetHost(NamedTuple):
    """A host that a deployment may go to, by the names that the API and the agent know it under."""

    target_id: str
    arn: str
    host_identifier: str


class Hosts:
    """All hosts of the account; ``ec2`` tells which instances run at the moment."""

    def __init__(self, scope: Scope, clock: Callable[[], float], ec2: Callable[[], Sequence[Ec2Instance]]) -> None:
        self._scope = scope
        self._clock = clock
        self._ec2 = ec2
        self.on_premises: dict[str, OnPremisesInstance] = {}
        self._identifiers: set[str] = set()

    def register(self, name: str, *, user_arn: str | None, session_arn: str | None) -> OnPremisesInstance:
        """Register an on-premises instance under exactly one ARN; a name may come back after it was deregistered."""
        identifier = _one_arn(user_arn, session_arn)
        for known in self.on_premises.values():
            if known.deregistered is None and known.name == name:
                raise RefusedError("InstanceNameAlreadyRegisteredException", f"{name} is registered already")
            if known.deregistered is None and known.host_identifier == identifier:
                kind = "IamSessionArn" if session_arn else "IamUserArn"
                raise RefusedError(f"{kind}AlreadyRegisteredException", f"{identifier} is registered as {known.name}")
        arn = self._scope.arn("codedeploy", f"instance/{name}_{secrets.token_hex(5)}")
        instance = OnPremisesInstance(name, arn, identifier, by_session=bool(session_arn), at=self._clock())
        self.on_premises[name] = instance
        self._identifiers.add(identifier)
        return instance

    def was_registered(self, identifier: str) -> bool:
        """Tell whether this ARN is or ever was a host's, also if its name belongs to another ARN now."""
        return identifier in self._identifiers

    def deregister(self, name: str) -> None:
        """Take an instance out of all further deployments; its tags go, its name stays known.

        One that is not registered stays as it is: the operation has no exception for it.
        """
        instance = self.on_premises.get(name)
        if instance is not None and instance.deregistered is None:
            instance.deregistered = self._clock()
            instance.tags = {}

    def named(self, name: str) -> OnPremisesInstance:
        """Return an instance, registered or not any more, or refuse with InstanceNotRegisteredException."""
        found = self.on_premises.get(name)
        if found is None:
            raise RefusedError("InstanceNotRegisteredException", f"The instance {name} is not registered")
        return found

    def registered(self, name: str) -> OnPremisesInstance:
        """Return an instance that is registered now."""
        found = self.named(name)
        if found.deregistered is not None:
            raise RefusedError("InstanceNotRegisteredException", f"The instance {name} is not registered any more")
        return found

    def of_group(self, group: DeploymentGroup) -> list[TargetHost]:
        """Return the hosts that a deployment group means, in the order of their registration or start."""
        settings = group.settings
        local_sets = (settings.get("onPremisesTagSet") or {}).get("onPremisesTagSetList") or []
        found = [
            TargetHost(one.name, one.instance_arn, one.host_identifier)
            for one in self.on_premises.values()
            if one.deregistered is None
            and selected(settings.get("onPremisesInstanceTagFilters") or [], local_sets, one.tags)
        ]
        return found + self._ec2_hosts(settings)

    def _ec2_hosts(self, settings: Json) -> list[TargetHost]:
        filters = settings.get("ec2TagFilters") or []
        tag_sets = (settings.get("ec2TagSet") or {}).get("ec2TagSetList") or []
        if not filters and not tag_sets:
            return []
        found = [one for one in self._ec2() if selected(filters, tag_sets, one.tags)]
        arns = [self._scope.arn("ec2", f"instance/{one.instance_id}") for one in found]
        return [TargetHost(one.instance_id, arn, arn) for one, arn in zip(found, arns, strict=True)]


def _one_arn(user_arn: str | None, session_arn: str | None) -> str:
    if user_arn and session_arn:
        raise RefusedError("MultipleIamArnsProvidedException", "Give an IAM user ARN or an IAM session ARN, not both")
    if session_arn:
        if not _SESSION.fullmatch(session_arn):
            raise RefusedError(
                "InvalidIamSessionArnException", f"Not the ARN of an assumed-role session: {session_arn}"
            )
        return session_arn
    if not user_arn:
        raise RefusedError("IamArnRequiredException", "An IAM user ARN or an IAM session ARN is required")
    if not _USER.fullmatch(user_arn):
        raise RefusedError("InvalidIamUserArnException", f"Not the ARN of an IAM user: {user_arn}")
    return user_arn
