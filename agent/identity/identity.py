"""Who this host is, for the command service: one attempt to find out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agent.identity import names
from agent.identity.errors import IdentityError
from agent.identity.metadata import InstanceMetadata
from agent.identity.on_premises import OnPremises
from agent.identity.replies import shown

REGION = "AWS_REGION"
HOST_IDENTIFIER = "AWS_HOST_IDENTIFIER"

IGNORED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CREDENTIAL_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""Variables by which the SDKs find credentials and this agent does not."""


class HostIdentity(NamedTuple):
    """Who this host is.

    ``kind`` is ``iam-user`` or ``iam-session`` (the on-premises file), ``ec2`` (instance metadata) or ``environment``
    (AWS_HOST_IDENTIFIER). ``domain`` is that of the services, empty where only the region tells it. ``source`` is a
    phrase for the log and holds no secret.
    """

    host_identifier: str
    region: str
    domain: str = ""
    kind: str = "ec2"
    source: str = ""


def find_identity(
    on_premises: OnPremises | None, metadata: InstanceMetadata, environment: Mapping[str, str]
) -> HostIdentity:
    """Find out who this host is: the on-premises file counts before the environment, and that before EC2's metadata.

    The order is that of the official agent 1.8.1, which exports what the on-premises file says. AWS_REGION replaces the
    region and AWS_HOST_IDENTIFIER the identifier; where both are set, metadata is not asked. Raises IdentityError.
    """
    if on_premises is not None:
        kind = "session of a role" if on_premises.kind == "iam-session" else "IAM user"
        source = f"the on-premises configuration file {on_premises.path} ({kind})"
        return HostIdentity(on_premises.arn, on_premises.region, "", on_premises.kind, source)
    region, identifier = _region(environment), _identifier(environment)
    if region and identifier:
        return HostIdentity(identifier, region, "", "environment", f"{HOST_IDENTIFIER} and {REGION} of the environment")
    return _from_metadata(metadata, region, identifier)


def _from_metadata(metadata: InstanceMetadata, region: str, identifier: str) -> HostIdentity:
    document = metadata.document()
    # The domain is that of the instance's own partition, and another region may lie in another one.
    domain = metadata.domain() if region in ("", document.region) else ""
    arn = identifier or (
        f"arn:{metadata.partition()}:ec2:{document.region}:{document.account}:instance/{document.instance_id}"
    )
    source = f"instance metadata at {metadata.endpoint} ({metadata.version})"
    if region:
        source += f"; the region is {REGION} of the environment"
    if identifier:
        source = f"{HOST_IDENTIFIER} of the environment; the region is from {source}"
    return HostIdentity(arn, region or document.region, domain, "environment" if identifier else "ec2", source)


def ignored_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables that look as if they gave the agent credentials; it uses none of them, as 1.8.1 does not."""
    return tuple(name for name in IGNORED if environment.get(name))


def _region(environment: Mapping[str, str]) -> str:
    region = environment.get(REGION, "").strip()
    if region and names.region_fault(region):
        raise IdentityError(
            f"{REGION} of the environment, {shown(region)}, {names.region_fault(region)}.",
            remedy="Correct it, or unset it: then the region comes from instance metadata.",
            passing=False,
        )
    return region


def _identifier(environment: Mapping[str, str]) -> str:
    identifier = environment.get(HOST_IDENTIFIER, "").strip()
    if identifier and not names.is_host_identifier(identifier):
        raise IdentityError(
            f"{HOST_IDENTIFIER} of the environment is {shown(identifier)}, which cannot be a host identifier.",
            remedy="Write an ARN, or unset it: then it comes from instance metadata.",
            passing=False,
        )
    return identifier
